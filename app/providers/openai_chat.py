"""OpenAI's chat completions: what a whole answer says, and the same answer as a stream and back."""

import msgspec

from app.providers.exact_json import Fields, get_fields, get_index, get_items, is_fields, parse_typed
from app.providers.openai_chunks import (
    join_fields,
    join_logprobs,
    merge_delta,
    write_chunks,
    write_joined,
)
from app.providers.usage import read_openai_usage
from app.wire.usage import Facts

_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")
_JOINED = frozenset({"index", "delta", "logprobs"})


class _Skipped(msgspec.Struct):
    pass


class _Choice(msgspec.Struct):
    message: _Skipped | None = None
    finish_reason: object = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: object = None
    service_tier: object = None
    error: object = None


_decoder = msgspec.json.Decoder(_Answer)


def read_facts(body: bytes) -> Facts:
    """Return what a whole answer says.

    Complete needs a message and a finish reason in every choice. `length` is a finish reason like any other: the answer
    is as long as the call allowed, and the same call gets the same again.
    """
    answer = parse_typed(_decoder, body)
    if answer.choices is None and not answer.error:
        raise ValueError("no choices")
    choices = answer.choices or []
    whole = bool(choices) and all(choice.finish_reason and choice.message is not None for choice in choices)
    return Facts(
        usage=read_openai_usage(answer.usage, tier=answer.service_tier),
        model=answer.model,
        complete=whole and not answer.error,
    )


def write_stream(body: bytes, usage: bool) -> bytes:
    """Return the stream of a whole answer, with the usage chunk when the client asked for it."""
    return write_chunks(body, usage, "chat.completion.chunk", _cut_choice)


def write_whole(events: bytes) -> bytes:
    """Return the whole answer of a stored stream; ValueError when it is not complete."""
    return write_joined(events, "chat.completion", _join_choice, _number_calls)


def _cut_choice(choice: Fields) -> list[Fields]:
    """Return a role chunk, one for each text, two for each tool call and a finish chunk."""
    message = get_fields(choice, "message")
    texts: Fields = {key: text for key in _TEXTS if isinstance(text := message.get(key), str) and text}
    calls = get_items(message, "tool_calls")
    start = {key: value for key, value in message.items() if key not in texts and key != "tool_calls"}
    if "content" in texts:
        start["content"] = ""
    deltas: list[Fields] = [start, *({key: text} for key, text in texts.items())]
    for position, call in enumerate(calls):
        deltas += _cut_call(position, call)
    return _build_parts(choice, deltas, with_logprobs=_find_text(deltas))


def _find_text(deltas: list[Fields]) -> int:
    """Return which delta the log probabilities belong to: the content's, else the refusal's, else the first."""
    for key in ("content", "refusal"):
        for position, delta in enumerate(deltas):
            if delta.get(key):
                return position
    return 0


def _build_parts(choice: Fields, deltas: list[Fields], *, with_logprobs: int) -> list[Fields]:
    index = get_index(choice)
    empty: Fields = {"logprobs": None} if "logprobs" in choice else {}
    parts: list[Fields] = [{"index": index, "delta": delta} | empty | {"finish_reason": None} for delta in deltas]
    parts[with_logprobs] |= {key: choice[key] for key in empty}
    rest = {key: value for key, value in choice.items() if key not in {"index", "message", "logprobs"}}
    return [*parts, {"index": index, "delta": {}} | empty | rest]


def _cut_call(position: int, call: Fields) -> list[Fields]:
    function = call.get("function")
    if not is_fields(function) or not isinstance(function.get("arguments"), str):
        return [{"tool_calls": [{"index": position} | call | {"index": position}]}]
    start = {"index": position} | call | {"index": position, "function": function | {"arguments": ""}}
    arguments: Fields = {"index": position, "function": {"arguments": function["arguments"]}}
    return [{"tool_calls": [start]}, {"tool_calls": [arguments]}]


def _join_choice(whole: Fields, part: Fields) -> None:
    message = whole.setdefault("message", {"role": "assistant", "content": None})
    if is_fields(message):
        merge_delta(message, get_fields(part, "delta"))
    join_logprobs(whole, part)
    join_fields(whole, part, _JOINED)


def _number_calls(choice: Fields) -> None:
    """Tool calls are numbered in a stream and stand in that order, without numbers, in a whole answer."""
    message = get_fields(choice, "message")
    calls = sorted(get_items(message, "tool_calls"), key=get_index)
    if calls:
        message["tool_calls"] = calls
    for call in calls:
        call.pop("index", None)
