"""A client's Responses call in canonical words.

Nothing is stored here: `store` is accepted in either value and answered with false, and what would need a store
(`previous_response_id`, `conversation`, `background`, `prompt`, item references) is refused.
"""

from app.providers.exact_json import Fields, is_fields
from app.translation.reading import (
    as_json,
    as_text,
    at,
    get_choice,
    get_flag,
    get_integer,
    get_list,
    get_number,
    get_object,
    get_text,
    need,
    need_text,
    read_extras,
    read_object,
    refuse,
)
from app.translation.responses_fields import allow_only
from app.translation.responses_input import read_messages
from app.translation.responses_tools import read_tool_choice, read_tools
from app.wire.chat import ChatCall, Format, Json, Reasoning

_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_retention", "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip
# Fields that OpenAI means as hints are among the extras: who builds the provider's body knows them by these names.
_HINTS = ("prompt_cache_key", "prompt_cache_retention", "safety_identifier")
_READ = (
    "model", "input", "include", "stream", "stream_options", "store", "background", "service_tier", *_ECHOED,
)  # fmt: skip
_KNOWN = tuple(name for name in _READ if name not in _HINTS)
_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "include",
}
_STATEFUL = ("previous_response_id", "conversation", "prompt")
_ENCRYPTED, _LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"


def read_call(body: bytes) -> ChatCall:
    """Return the call in `body`; BadRequestError names the field that does not fit."""
    fields = read_object(body)
    _check_state(fields)
    _check_without_meaning(fields)
    form, verbosity = _read_text_config(fields)
    included = _read_include(fields)
    top_logprobs = get_integer(fields, "top_logprobs", least=0) or None
    return ChatCall(
        model=need_text(fields, "model"),
        messages=read_messages(fields),
        tools=read_tools(fields),
        tool_choice=read_tool_choice(fields),
        parallel_tool_calls=get_flag(fields, "parallel_tool_calls"),
        max_tokens=get_integer(fields, "max_output_tokens", least=1),
        temperature=get_number(fields, "temperature"),
        top_p=get_number(fields, "top_p"),
        logprobs=True if _LOGPROBS in included or top_logprobs else None,
        top_logprobs=top_logprobs,
        format=form,
        verbosity=verbosity,
        reasoning=_read_reasoning(fields),
        user=get_text(fields, "user"),
        metadata=_read_metadata(fields),
        service_tier=get_text(fields, "service_tier"),
        stream=get_flag(fields, "stream") or False,
        include_usage=True,
        extras=read_extras(fields, _KNOWN),
        names=_NAMES if _LOGPROBS in included else _NAMES | {"logprobs": "top_logprobs"},
        echo=_read_echo(fields),
    )


def _check_state(fields: Fields) -> None:
    """Refuse what needs answers that were kept."""
    for name in _STATEFUL:
        if fields.get(name) is not None:
            raise refuse(
                name, "needs answers or prompts that are stored; nothing is stored here, send the whole input."
            )
    if get_flag(fields, "background"):
        raise refuse("background", "is not possible here: an answer is not stored for later.")
    get_flag(fields, "store")


def _check_without_meaning(fields: Fields) -> None:
    """Check the type of fields that change nothing here; `max_tool_calls` limits only the tools OpenAI runs itself."""
    if get_choice(fields, "truncation", ("auto", "disabled")) == "auto":
        raise refuse("truncation", "'auto' is not possible here: no other provider drops items to make the input fit.")
    if fields.get("context_management") is not None:  # Anthropic's field of this name is another one
        raise refuse("context_management", "is not possible here: only OpenAI compacts a conversation of its own.")
    get_integer(fields, "max_tool_calls", least=1)
    for name in _HINTS:
        get_text(fields, name)
    options = get_object(fields, "stream_options")
    if options is not None:
        allow_only(options, "stream_options", ("include_obfuscation",))
        get_flag(options, "include_obfuscation", "stream_options")


def _read_include(fields: Fields) -> list[str]:
    included: list[str] = []
    for place, value in enumerate(get_list(fields, "include") or ()):
        name = as_text(value, at("include", place))
        if name not in {_ENCRYPTED, _LOGPROBS}:
            raise refuse(at("include", place), f"{name!r} belongs to a tool or a store that is not there.")
        included.append(name)
    return included


def _read_text_config(fields: Fields) -> tuple[Format | None, str | None]:
    config = get_object(fields, "text")
    if config is None:
        return None, None
    allow_only(config, "text", ("format", "verbosity"))
    form = get_object(config, "format", "text")
    return _read_format(form) if form is not None else None, get_text(config, "verbosity", "text")


def _read_format(form: Fields) -> Format:
    path = "text.format"
    kind = need_text(form, "type", path)
    match kind:
        case "text" | "json_object":
            allow_only(form, path, ("type",))
            return Format(kind=kind)
        case "json_schema":
            allow_only(form, path, ("type", "name", "description", "schema", "strict"))
            schema = need(get_object(form, "schema", path), "schema", path)
            return Format(
                kind=kind,
                name=need_text(form, "name", path),
                description=get_text(form, "description", path),
                schema=as_json(schema, at(path, "schema")),
                strict=get_flag(form, "strict", path),
            )
        case _:
            raise refuse(at(path, "type"), "must be one of text, json_object, json_schema.")


_SUMMARIES = ("auto", "concise", "detailed")
_AS_ELSEWHERE = {"context": ("auto",), "mode": ("standard",)}


def _read_reasoning(fields: Fields) -> Reasoning | None:
    path = "reasoning"
    config = get_object(fields, path)
    if config is None:
        return None
    allow_only(config, path, ("effort", "summary", "generate_summary"), _AS_ELSEWHERE)
    effort = get_text(config, "effort", path)
    summary = get_choice(config, "summary", _SUMMARIES, path)
    older = get_choice(config, "generate_summary", _SUMMARIES, path)
    if effort is None and summary is None and older is None:
        return None
    return Reasoning(enabled=effort != "none", effort=effort, summary=summary or older)


def _read_metadata(fields: Fields) -> Json | None:
    metadata = get_object(fields, "metadata")
    if metadata is None:
        return None
    for key in metadata:
        get_text(metadata, key, "metadata")
    return as_json(metadata, "metadata")


_DEFAULTS: dict[str, Fields] = {
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None, "summary": None},
}


def _read_echo(fields: Fields) -> dict[str, Json]:
    echo: dict[str, Json] = {}
    for name in _ECHOED:
        value = fields.get(name)
        if value is not None:
            echo[name] = as_json(_fill(value, _DEFAULTS[name]) if name in _DEFAULTS else value, name)
    return echo


def _fill(value: object, defaults: Fields) -> Fields:
    said = value if is_fields(value) else {}
    return defaults | {key: item for key, item in said.items() if item is not None}
