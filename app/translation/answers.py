"""Reading what a provider answers: its JSON, and its pieces as the events and the parts of one choice."""

from typing import cast

import msgspec

from app.providers.exact_json import Fields, is_fields, parse_typed, write_exact
from app.wire.chat import Delta, Event, Part, PartEnd, PartStart, Refusal, Text, Thinking, ToolUse

_exact = msgspec.json.Decoder(float_hook=msgspec.Raw)


def read_answer(data: bytes) -> Fields:
    """Return the object in `data`: numbers keep their digits, half a surrogate pair becomes a replacement character."""
    fields = cast("object", parse_typed(_exact, data))
    if not is_fields(fields):
        raise ValueError("not a JSON object")
    return fields


def need_text(fields: Fields, key: str) -> str:
    """Return the string under `key`; ValueError when there is none."""
    value = fields.get(key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is no string")


def write_arguments(value: object) -> str:
    """Return the arguments of a tool call as text, an empty object when they are none."""
    try:
        return write_exact(value if is_fields(value) else {}).decode()
    except RecursionError as error:
        raise ValueError(str(error)) from None


class PartFeed:
    """Makes the events of one choice's parts from pieces: one part is open at a time, and they are counted."""

    __slots__ = ("_index", "_open")

    def __init__(self) -> None:
        self._index = -1
        self._open: type[Text | Thinking | ToolUse] | None = None

    def add_text(self, text: str, logprobs: msgspec.Raw | None = None) -> list[Event]:
        """Return the events of more text."""
        if not text and logprobs is None:
            return []
        return [*self._reach(Text), Delta(index=self._index, text=text, logprobs=logprobs)]

    def add_thinking(self, text: str) -> list[Event]:
        """Return the events of more thinking."""
        return [*self._reach(Thinking), Delta(index=self._index, text=text)] if text else []

    def sign(self, signature: str) -> list[Event]:
        """Return the events that sign the thinking so far, which ends with it; without any, empty thinking."""
        return [*self._reach(Thinking), Delta(index=self._index, signature=signature), *self.end()]

    def add_part(self, part: ToolUse | Thinking) -> list[Event]:
        """Return the events of a part that comes whole."""
        events = self.end()
        self._index += 1
        return [*events, PartStart(index=self._index, part=part), PartEnd(index=self._index)]

    def start_use(self, use: ToolUse) -> list[Event]:
        """Return the start of a tool call whose arguments follow."""
        events = self.end()
        self._index += 1
        self._open = ToolUse
        return [*events, PartStart(index=self._index, part=use)]

    def add_arguments(self, text: str) -> list[Event]:
        """Return the events of more arguments of the tool call that was started; ValueError when none is."""
        if self._open is not ToolUse:
            raise ValueError("arguments without their tool call")
        return [Delta(index=self._index, text=text)] if text else []

    def end(self) -> list[Event]:
        """Return the end of the part that is open, if one is."""
        if self._open is None:
            return []
        self._open = None
        return [PartEnd(index=self._index)]

    def _reach(self, kind: type[Text] | type[Thinking]) -> list[Event]:
        if self._open is kind:
            return []
        events = self.end()
        self._index += 1
        self._open = kind
        part = Text(text="") if kind is Text else Thinking()
        return [*events, PartStart(index=self._index, part=part)]


def collect_parts(events: list[Event]) -> tuple[Part, ...]:
    """Return the parts that the events of one choice make."""
    parts: list[Part] = []
    for event in events:
        if isinstance(event, PartStart):
            parts.append(event.part)
        elif isinstance(event, Delta):
            parts[event.index] = _add(parts[event.index], event)
    return tuple(parts)


def _add(part: Part, delta: Delta) -> Part:
    if isinstance(part, Text | Refusal):
        return msgspec.structs.replace(part, text=part.text + delta.text)
    if isinstance(part, ToolUse):
        return msgspec.structs.replace(part, arguments=part.arguments + delta.text)
    if isinstance(part, Thinking):
        return msgspec.structs.replace(part, text=part.text + delta.text, signature=delta.signature or part.signature)
    raise ValueError("more of a part that does not grow")
