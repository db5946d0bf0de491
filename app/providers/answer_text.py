"""The words of a whole answer, where it is words and nothing else: what a similar question could be answered with."""

import re
from collections.abc import Callable, Mapping

import msgspec

REFUSAL = re.compile(
    r"\s*(i['\u2019]?m (really |very )?sorry|sorry|i apologi[sz]e|i can(not|['\u2019]?t)|"
    r"i['\u2019]?m (not able|unable)|as an ai)\b",
    re.IGNORECASE,
)
"""How answers begin that are none. Leaving out too much costs a hit, nothing else."""


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _AnthropicMessage(msgspec.Struct):
    content: list[_Part]
    stop_reason: str | None = None


class _Item(msgspec.Struct):
    type: str
    content: list[_Part] = []


class _Response(msgspec.Struct):
    output: list[_Item]
    status: str | None = None


_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_NOTHING = frozenset({b"", b"null", b"[]"})
_completion = msgspec.json.Decoder(_Completion).decode
_message = msgspec.json.Decoder(_AnthropicMessage).decode
_response = msgspec.json.Decoder(_Response).decode


def read_answer_text(endpoint: str, body: bytes) -> str | None:
    """Return the text of an answer that ended by itself; None for tools, refusals, several answers or anything else."""
    read = _READERS.get(endpoint)
    if read is None:
        return None
    try:
        text = read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return text if text and text.strip() and not REFUSAL.match(text) else None


def _read_completion(body: bytes) -> str | None:
    choices = _completion(body).choices
    if len(choices) != 1 or choices[0].finish_reason != "stop":
        return None
    message = choices[0].message
    others = (message.tool_calls, message.function_call, message.audio)
    if message.refusal or any(bytes(raw) not in _NOTHING for raw in others):
        return None
    return message.content


def _read_message(body: bytes) -> str | None:
    message = _message(body)
    said = [part for part in message.content if part.type not in _THOUGHTS]
    if message.stop_reason != "end_turn" or any(part.type != "text" for part in said):
        return None
    return "".join(part.text for part in said)


def _read_response(body: bytes) -> str | None:
    response = _response(body)
    items = [item for item in response.output if item.type != "reasoning"]
    if response.status != "completed" or len(items) != 1 or items[0].type != "message":
        return None
    if any(part.type != "output_text" for part in items[0].content):
        return None
    return "".join(part.text for part in items[0].content)


_READERS: Mapping[str, Callable[[bytes], str | None]] = {
    "chat": _read_completion,
    "messages": _read_message,
    "responses": _read_response,
}
