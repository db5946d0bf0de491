"""Reading a whole chat completion as a reply."""

from app.providers.exact_json import is_fields, parse_typed
from app.providers.usage import read_openai_usage, read_tier
from app.translation import openai_shapes as shapes
from app.wire.chat import ChatReply, Choice, Part, Refusal, Text, ToolUse


def parse_chat(body: bytes) -> ChatReply:
    """Return the reply; ValueError for bytes that are no whole answer."""
    answer = parse_typed(shapes.decoder, body)
    if answer.error or not answer.choices:
        raise ValueError("no choices")
    return ChatReply(
        id=answer.id or shapes.make_id("chatcmpl-"),
        model=answer.model or "",
        created=shapes.read_created(answer.created),
        choices=tuple(_read_choice(choice) for choice in answer.choices),
        usage=read_openai_usage(answer.usage, tier=answer.service_tier),
        service_tier=read_tier(answer.service_tier),
    )


def _read_choice(choice: shapes.Choice) -> Choice:
    said, reason = choice.message, choice.finish_reason
    if said is None or not reason or reason == shapes.BROKEN:
        raise ValueError("a choice without a message or an end")
    text, refusal = shapes.read_texts(said)
    calls = read_calls(said)
    parts: list[Part] = [*shapes.read_thoughts(said)]
    parts += [Text(text=text)] if text else []
    parts += [Refusal(text=refusal)] if refusal else []
    return Choice(
        index=choice.index,
        parts=(*parts, *calls),
        finish=shapes.read_finish(reason, called=bool(calls), refused=bool(refusal)),
        logprobs=shapes.read_logprobs(choice.logprobs),
    )


def read_calls(said: shapes.Said) -> list[ToolUse]:
    """Return the tool calls of a whole message, the deprecated one included."""
    calls = list(said.tool_calls or ())
    if said.function_call is not None:
        calls.append(shapes.Call(function=said.function_call))
    return [read_call(call, read_arguments(call) or ("" if call.custom else "{}")) for call in calls]


def read_arguments(call: shapes.Call) -> str:
    """Return the arguments of a call, or a fragment of them."""
    if call.custom is not None:
        return call.custom.input or ""
    return (call.function.arguments if call.function is not None else None) or ""


def read_call(call: shapes.Call, arguments: str) -> ToolUse:
    """Return a call with these arguments; one without an id gets one."""
    named = call.custom or call.function
    return ToolUse(
        id=call.id or shapes.make_id("call_"),
        name=(named.name if named is not None else None) or "",
        arguments=arguments,
        custom=call.custom is not None,
        signature=_read_signature(call.extra_content),
    )


def _read_signature(extra: object) -> str | None:
    """Return the thought signature where Google's OpenAI endpoint puts it."""
    google = extra.get("google") if is_fields(extra) else None
    signature = google.get("thought_signature") if is_fields(google) else None
    return signature if isinstance(signature, str) else None
