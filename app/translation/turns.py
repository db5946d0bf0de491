"""A conversation as providers want it whose turns alternate: system words first, results before anything else."""

from typing import Literal

import msgspec

from app.errors import BadRequestError
from app.providers.exact_json import parse_exact
from app.translation.refusing import refuse_field
from app.wire.chat import ChatCall, Message, Part, Source, Text, ToolResult, ToolUse

_SYSTEM = {"system", "developer"}


class Turn(msgspec.Struct, kw_only=True):
    """Everything one side says before the other side speaks."""

    role: Literal["system", "user", "assistant"]
    parts: list[Part]


def split_system(call: ChatCall) -> tuple[list[Text], list[Turn]]:
    """Return the texts of the leading system and developer messages, and the turns after them."""
    for message in call.messages:
        if message.name is not None:
            raise refuse_part(call, "the provider has no names of speakers.")
    start = 0
    while start < len(call.messages) and call.messages[start].role in _SYSTEM:
        start += 1
    texts: list[Text] = []
    for message in call.messages[:start]:
        texts += read_texts(call, message.parts, "system messages")
    return [text for text in texts if text.text], _merge(call.messages[start:])


def read_texts(call: ChatCall, parts: tuple[Part, ...] | list[Part], where: str) -> list[Text]:
    """Return parts that may only be texts."""
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) != len(parts):
        raise refuse_part(call, f"the provider takes nothing but text in {where}.")
    return texts


def _merge(messages: tuple[Message, ...]) -> list[Turn]:
    turns: list[Turn] = []
    for message in messages:
        role = "system" if message.role in _SYSTEM else message.role
        if turns and turns[-1].role == role:
            turns[-1].parts += message.parts
        else:
            turns.append(Turn(role=_as_role(role), parts=list(message.parts)))
    for turn in turns:
        turn.parts = _leave_out_empty(turn.parts)
        if turn.role == "user":
            turn.parts.sort(key=_comes_later)
    return turns


def _as_role(role: str) -> Literal["system", "user", "assistant"]:
    return "assistant" if role == "assistant" else "user" if role == "user" else "system"


def _comes_later(part: Part) -> bool:
    return not isinstance(part, ToolResult)


def _leave_out_empty(parts: list[Part]) -> list[Part]:
    """Leave out empty texts, which clients send beside tool calls and providers refuse; never all there is."""
    kept = [part for part in parts if not (isinstance(part, Text) and not part.text)]
    return kept or parts


def build_arguments(call: ChatCall, use: ToolUse) -> msgspec.Raw:
    """Return the arguments of a call as the JSON object they are, byte for byte."""
    if use.custom:
        raise refuse_part(call, f"the provider has no free-text tools, so no call of `{use.name}`.")
    text = use.arguments.strip() or "{}"
    try:
        arguments = text.encode()
        parse_exact(arguments)
    except ValueError:
        raise refuse_field(
            call, "messages", f"the arguments of the tool call `{use.id}` are not a JSON object."
        ) from None
    return msgspec.Raw(arguments)


_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}


def find_media_type(call: ChatCall, source: Source) -> str:
    """Return the media type of base64 data: what the client said, else what its first bytes say."""
    if source.media_type:
        return source.media_type.lower()
    data = source.data or ""
    for beginning, media_type in _BEGINNINGS.items():
        if data.startswith(beginning):
            return media_type
    raise refuse_part(call, "an image or a file does not say its media type.")


def refuse_part(call: ChatCall, message: str) -> BadRequestError:
    """Return the error for something inside of a message."""
    return refuse_field(call, "messages", message)
