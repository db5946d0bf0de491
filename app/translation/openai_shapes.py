"""What providers of OpenAI's dialect answer, whole or in chunks, as far as it is read; and their words for it."""

import time

import msgspec

from app.providers.exact_json import Fields
from app.providers.usage import read_count
from app.translation.openai_thinking import read_thinking
from app.wire.chat import Finish, Json, Thinking
from app.wire.ids import make_uuid7


class Function(msgspec.Struct):
    """The name and the arguments of a call, or fragments of them."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct):
    """The same of a custom tool."""

    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct):
    """A tool call; `index` counts calls in a stream, and not every vendor gives it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: object = None


class Piece(msgspec.Struct):
    """A part of content in a list."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Audio(msgspec.Struct):
    """Sound; only what is said in it can be passed on."""

    transcript: str | None = None


class Said(msgspec.Struct):
    """A message of the model, or a delta of one."""

    content: str | list[Piece] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    reasoning_content: object = None
    reasoning: object = None
    thinking_blocks: object = None
    audio: Audio | None = None


class Choice(msgspec.Struct):
    """One answer, or a piece of one."""

    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """A whole answer or a chunk."""

    id: str | None = None
    model: str | None = None
    created: object = None
    choices: list[Choice] | None = None
    usage: object = None
    service_tier: object = None
    error: object = None


decoder = msgspec.json.Decoder(Answer)

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
    "model_length": "length",
    "max_tokens": "length",
    "insufficient_system_resource": "length",
}
BROKEN = "error"
"""The finish reason of an answer that failed on the way."""


def read_finish(reason: str, *, called: bool, refused: bool) -> Finish:
    """Return why an answer ended; a forced call ends with "stop" at OpenAI, and so does a refusal."""
    finish = _FINISHES.get(reason, "stop")
    if finish == "stop" and (called or refused):
        return "tool_use" if called else "refusal"
    return finish


def read_texts(said: Said) -> tuple[str, str]:
    """Return the text and the refusal of a message or a delta."""
    content, refusal = said.content, said.refusal or ""
    if isinstance(content, list):
        refusal += "".join(piece.refusal or "" for piece in content)
        content = "".join(piece.text or "" for piece in content if piece.type == "text")
    if not content and said.audio is not None:
        content = said.audio.transcript
    return content or "", refusal


def read_thoughts(said: Said) -> list[Thinking]:
    """Return the thinking of a message or a delta; ValueError when the blocks are none."""
    if said.reasoning_content is None and said.reasoning is None and said.thinking_blocks is None:
        return []
    fields: Fields = {
        "thinking_blocks": said.thinking_blocks,
        "reasoning_content": said.reasoning_content,
        "reasoning": said.reasoning,
    }
    return read_thinking(fields)


def read_logprobs(raw: msgspec.Raw) -> Json | None:
    """Return log probabilities as JSON in one line; None for none."""
    data = bytes(raw)
    if data in {b"", b"null"}:
        return None
    return msgspec.Raw(msgspec.json.format(data, indent=-1))


def read_created(value: object) -> int:
    """Return when an answer was made: now, if it does not say."""
    return read_count(value) or int(time.time())


def make_id(prefix: str) -> str:
    """Return an id for an answer or a call that came without one."""
    return prefix + make_uuid7().hex
