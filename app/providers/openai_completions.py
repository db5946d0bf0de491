"""OpenAI's legacy completions: what a whole answer says, and the same answer as a stream and back."""

import msgspec

from app.providers.exact_json import Fields, Text, get_index, parse_typed
from app.providers.openai_chunks import join_fields, join_logprobs, write_chunks, write_joined
from app.providers.usage import read_openai_usage
from app.wire.usage import Facts

_KIND = "text_completion"
_JOINED = frozenset({"index", "text", "logprobs"})


class _Choice(msgspec.Struct):
    text: str | None = None
    finish_reason: object = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: object = None
    service_tier: object = None
    error: object = None


_decoder = msgspec.json.Decoder(_Answer)


def read_facts(body: bytes) -> Facts:
    """Return what a whole answer says; complete needs a text and a finish reason in every choice."""
    answer = parse_typed(_decoder, body)
    if answer.choices is None and not answer.error:
        raise ValueError("no choices")
    choices = answer.choices or []
    whole = bool(choices) and all(choice.finish_reason and choice.text is not None for choice in choices)
    return Facts(
        usage=read_openai_usage(answer.usage, tier=answer.service_tier),
        model=answer.model,
        complete=whole and not answer.error,
    )


def write_stream(body: bytes, usage: bool) -> bytes:
    """Return the stream of a whole answer, with the usage chunk when the client asked for it."""
    return write_chunks(body, usage, _KIND, _cut_choice)


def write_whole(events: bytes) -> bytes:
    """Return the whole answer of a stored stream; ValueError when it is not complete."""
    return write_joined(events, _KIND, _join_choice, _end_choice)


def _cut_choice(choice: Fields) -> list[Fields]:
    """Return one chunk with the text and one with the finish reason."""
    index = get_index(choice)
    empty: Fields = {"logprobs": None} if "logprobs" in choice else {}
    text: Fields = {"index": index, "text": choice.get("text") or ""}
    text |= {key: choice[key] for key in empty} | {"finish_reason": None}
    rest = {key: value for key, value in choice.items() if key not in _JOINED}
    return [text, {"index": index, "text": ""} | empty | rest]


def _join_choice(whole: Fields, part: Fields) -> None:
    text = whole.setdefault("text", Text())
    if isinstance(text, Text) and isinstance(fragment := part.get("text"), str):
        text.parts.append(fragment)
    join_logprobs(whole, part)
    join_fields(whole, part, _JOINED)


def _end_choice(choice: Fields) -> None:
    choice["text"] = str(choice["text"])
