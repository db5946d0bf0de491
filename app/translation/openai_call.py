"""Reading the body of an OpenAI chat completion as a call."""

from app.providers.exact_json import Fields
from app.translation.openai_messages import read_messages
from app.translation.openai_parts import read_texts
from app.translation.openai_tools import read_tool_choice, read_tools
from app.translation.reading import (
    as_json,
    at,
    expect_only,
    get_choice,
    get_flag,
    get_integer,
    get_number,
    get_object,
    get_text,
    need,
    need_object,
    need_text,
    read_extras,
    read_object,
    refuse,
)
from app.wire.chat import ChatCall, Format, Json, Reasoning

_KNOWN = frozenset({
    "model", "messages", "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "n", "seed", "frequency_penalty",
    "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "verbosity", "reasoning_effort",
    "user", "metadata", "service_tier", "stream", "stream_options",
})  # fmt: skip


def read_call(body: bytes) -> ChatCall:
    """Return the call; BadRequestError names the field that does not fit."""
    fields = read_object(body)
    stream = get_flag(fields, "stream") or False
    return ChatCall(
        model=need_text(fields, "model"),
        messages=read_messages(fields),
        tools=read_tools(fields),
        tool_choice=read_tool_choice(fields),
        parallel_tool_calls=_read_parallel(fields),
        max_tokens=_read_limit(fields),
        temperature=get_number(fields, "temperature"),
        top_p=get_number(fields, "top_p"),
        top_k=get_integer(fields, "top_k"),
        stop=_read_stop(fields),
        n=get_integer(fields, "n", least=1),
        seed=get_integer(fields, "seed"),
        frequency_penalty=get_number(fields, "frequency_penalty"),
        presence_penalty=get_number(fields, "presence_penalty"),
        logit_bias=_get_object_json(fields, "logit_bias"),
        logprobs=get_flag(fields, "logprobs"),
        top_logprobs=get_integer(fields, "top_logprobs", least=0),
        format=_read_format(fields),
        verbosity=get_text(fields, "verbosity"),
        reasoning=_read_reasoning(fields),
        user=get_text(fields, "user"),
        metadata=_get_object_json(fields, "metadata"),
        service_tier=get_text(fields, "service_tier"),
        stream=stream,
        include_usage=_read_include_usage(fields) and stream,
        extras=read_extras(fields, _KNOWN),
        names=_read_names(fields),
    )


def _get_object_json(fields: Fields, key: str) -> Json | None:
    value = get_object(fields, key)
    return None if value is None else as_json(value, key)


def _read_parallel(fields: Fields) -> bool | None:
    """Return whether tools may be called at once; the deprecated form knows one call only."""
    parallel = get_flag(fields, "parallel_tool_calls")
    return False if parallel is None and fields.get("functions") else parallel


def _read_limit(fields: Fields) -> int | None:
    limit = get_integer(fields, "max_completion_tokens", least=1)
    old = get_integer(fields, "max_tokens", least=1)
    if limit is not None and old is not None and limit != old:
        raise refuse("max_tokens", "cannot be given together with max_completion_tokens.")
    return old if limit is None else limit


def _read_stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.get("stop")
    return () if stop is None else read_texts(stop, "stop")


def _read_include_usage(fields: Fields) -> bool:
    """Return whether the usage chunk is wanted; `include_obfuscation` only pads what a provider sends."""
    options = get_object(fields, "stream_options") or {}
    expect_only(options, {"include_usage", "include_obfuscation"}, "stream_options")
    return get_flag(options, "include_usage", "stream_options") is True


def _read_reasoning(fields: Fields) -> Reasoning | None:
    effort = get_text(fields, "reasoning_effort")
    return None if effort is None else Reasoning(effort=effort, enabled=effort != "none")


def _read_format(fields: Fields) -> Format | None:
    form = get_object(fields, "response_format")
    if form is None:
        return None
    path = "response_format"
    expect_only(form, {"type", "json_schema"}, path)
    kind = need(get_choice(form, "type", ("text", "json_object", "json_schema"), path), "type", path)
    if kind == "text":
        return Format(kind="text")
    if kind == "json_object":
        return Format(kind="json_object")
    said, here = need_object(form, "json_schema", path), at(path, "json_schema")
    expect_only(said, {"name", "description", "schema", "strict"}, here)
    schema = get_object(said, "schema", here)
    return Format(
        kind="json_schema",
        name=need_text(said, "name", here),
        description=get_text(said, "description", here),
        schema=None if schema is None else as_json(schema, at(here, "schema")),
        strict=get_flag(said, "strict", here),
    )


def _read_names(fields: Fields) -> dict[str, str]:
    """Return what the client called the fields that have another name in a call."""
    names = {"format": "response_format", "reasoning": "reasoning_effort", "include_usage": "stream_options"}
    if fields.get("max_completion_tokens") is not None:
        names["max_tokens"] = "max_completion_tokens"
    if fields.get("functions"):
        names |= {"tools": "functions", "parallel_tool_calls": "functions"}
    if fields.get("tool_choice") is None and fields.get("function_call") is not None:
        names["tool_choice"] = "function_call"
    return names
