"""The input of a Responses call as the turns of a conversation.

An answer is several items there (reasoning, a message, calls); here the items in a row are one assistant's turn, and
the outputs in a row are one user's turn.
"""

from collections.abc import Callable, Iterable
from itertools import chain

import msgspec

from app.providers.exact_json import Fields
from app.translation.reading import as_items, as_object, at, get_list, get_text, need, need_text, refuse
from app.translation.responses_fields import allow_only
from app.translation.responses_parts import INPUT_PARTS, OUTPUT_PARTS, RESULT_PARTS, read_parts
from app.translation.responses_seal import Seal, read_seal
from app.wire.chat import Message, Part, Text, Thinking, ToolResult, ToolUse

_BOOKKEEPING = ("type", "id", "status")
_DIRECT = {"caller": ({"type": "direct"},), "async": (False,)}


def read_messages(fields: Fields) -> tuple[Message, ...]:
    """Return the conversation: the instructions first, then the input."""
    instructions = get_text(fields, "instructions")
    first = () if instructions is None else (Message(role="system", parts=(Text(text=instructions),)),)
    return first + _read_input(need(fields.get("input"), "input"))


def _read_input(value: object) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message(role="user", parts=(Text(text=value),)),)
    items = [as_object(item, at("input", place)) for place, item in enumerate(as_items(value, "input"))]
    if not items:
        raise refuse("input", "must hold at least one item.")
    turns = _join([_read_item(item, at("input", place)) for place, item in enumerate(items)])
    signatures = dict(filter(None, map(_find_signature, items)))
    return tuple(_sign_calls(turn, signatures) for turn in turns) if signatures else turns


def _join(messages: Iterable[Message | None]) -> tuple[Message, ...]:
    """Return the turns: what belongs together in a row is one."""
    rows: list[list[Message]] = []
    for message in messages:
        if message is None:
            continue
        if rows and _belong_together(rows[-1][-1], message):
            rows[-1].append(message)
        else:
            rows.append([message])
    return tuple(Message(role=row[0].role, parts=tuple(chain.from_iterable(one.parts for one in row))) for row in rows)


def _belong_together(last: Message, message: Message) -> bool:
    return last.role == message.role == "assistant" or (_is_result(last) and _is_result(message))


def _is_result(message: Message) -> bool:
    return bool(message.parts) and isinstance(message.parts[0], ToolResult)


def _read_item(item: Fields, path: str) -> Message | None:
    kind = get_text(item, "type", path) or ("message" if "role" in item else "item_reference")
    if kind == "item_reference":
        raise refuse(path, "points to a stored item, but nothing is stored here: send the item itself.")
    reader = _READERS.get(kind)
    if reader is None:
        raise refuse(at(path, "type"), f"{kind!r} is an item that only OpenAI's own models understand.")
    return reader(item, path)


def _read_message(item: Fields, path: str) -> Message:
    allow_only(item, path, (*_BOOKKEEPING, "role", "content", "phase"))
    role = need_text(item, "role", path)
    content, here = item.get("content"), at(path, "content")
    match role:
        case "assistant":
            return Message(role=role, parts=read_parts(content, here, OUTPUT_PARTS))
        case "user" | "system" | "developer":
            return Message(role=role, parts=read_parts(content, here, INPUT_PARTS))
        case _:
            raise refuse(at(path, "role"), "must be one of user, assistant, system, developer.")


def _read_call(item: Fields, path: str) -> Message:
    allow_only(item, path, (*_BOOKKEEPING, "call_id", "name", "arguments"), _DIRECT)
    return _build_use(item, path, need_text(item, "arguments", path), custom=False)


def _read_custom_call(item: Fields, path: str) -> Message:
    allow_only(item, path, (*_BOOKKEEPING, "call_id", "name", "input"), _DIRECT)
    return _build_use(item, path, need_text(item, "input", path), custom=True)


def _build_use(item: Fields, path: str, arguments: str, *, custom: bool) -> Message:
    use = ToolUse(
        id=need_text(item, "call_id", path), name=need_text(item, "name", path), arguments=arguments, custom=custom
    )
    return Message(role="assistant", parts=(use,))


def _read_output(item: Fields, path: str) -> Message:
    allow_only(item, path, (*_BOOKKEEPING, "call_id", "name", "output"), _DIRECT)
    output, here = item.get("output"), at(path, "output")
    parts = () if output == "" else read_parts(output, here, RESULT_PARTS)
    return Message(role="user", parts=(ToolResult(tool_use_id=need_text(item, "call_id", path), parts=parts),))


def _read_reasoning(item: Fields, path: str) -> Message | None:
    """Return what was thought; None for what only OpenAI can read and for the signature of a call."""
    allow_only(item, path, (*_BOOKKEEPING, "summary", "content", "encrypted_content"))
    seal = read_seal(get_text(item, "encrypted_content", path))
    text = _read_thoughts(item, path, "content") or _read_thoughts(item, path, "summary")
    if seal.call is not None or not (text or seal != Seal()):
        return None
    part = Thinking(text=text, signature=seal.signature, redacted=seal.redacted, id=get_text(item, "id", path))
    return Message(role="assistant", parts=(part,))


def _read_thoughts(item: Fields, path: str, key: str) -> str:
    here = at(path, key)
    thoughts: list[str] = []
    for place, value in enumerate(get_list(item, key, path) or ()):
        thought = as_object(value, at(here, place))
        allow_only(thought, at(here, place), ("type", "text"))
        thoughts.append(need_text(thought, "text", at(here, place)))
    return "\n\n".join(thoughts)


def _find_signature(item: Fields) -> tuple[str, str] | None:
    text = item.get("encrypted_content")
    seal = read_seal(text) if isinstance(text, str) else Seal()
    return None if seal.call is None or seal.signature is None else (seal.call, seal.signature)


def _sign_calls(turn: Message, signatures: dict[str, str]) -> Message:
    def sign(part: Part) -> Part:
        if isinstance(part, ToolUse) and part.id in signatures:
            return msgspec.structs.replace(part, signature=signatures[part.id])
        return part

    return msgspec.structs.replace(turn, parts=tuple(map(sign, turn.parts)))


_READERS: dict[str, Callable[[Fields, str], Message | None]] = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
    "custom_tool_call": _read_custom_call,
    "custom_tool_call_output": _read_output,
    "reasoning": _read_reasoning,
}
