"""The output of a Responses answer: its items one after the other, with their ids and events."""

from app.providers.exact_json import Fields
from app.translation.responses_items import CallItem, MessageItem, Notice, OpenItem, ReasoningItem
from app.wire.chat import Delta, Json, Refusal, Text, Thinking, ToolUse

Said = Text | Refusal | ToolUse | Thinking
"""What items are made of; a response has none for other parts."""


class Output:
    """Makes items of parts. An item is complete when the next one begins or the answer ends, which tells its status.

    `stem` is the answer's id without its prefix: every item's id is made of it and stays the same in every event.
    """

    def __init__(self, stem: str) -> None:
        self.items: list[Fields] = []
        self.refused = False
        self._stem = stem
        self._item: OpenItem | None = None
        self._calls: set[str] = set()
        self._ids: set[str] = set()

    def start(self, part: Said) -> list[Notice]:
        """Return the events of a part that begins."""
        match part:
            case Text() | Refusal():
                return self._start_message(part)
            case ToolUse():
                return self._start_call(part)
            case Thinking():
                notices = self._open(ReasoningItem(self._place("rs", part.id), part))
                return notices + self.grow(Delta(index=0, text=part.text))

    def grow(self, delta: Delta) -> list[Notice]:
        """Return the events of more of the open part."""
        return self._item.grow(delta) if self._item is not None else []

    def end(self) -> list[Notice]:
        """Return the events that end the open part."""
        return self._item.end() if self._item is not None else []

    def finish(self, status: str) -> list[Notice]:
        """Return the event that completes the last item; `status` is whether it is whole."""
        if self._item is None:
            return []
        item, place = self._item.build(status), len(self.items)
        self._item = None
        self.items.append(item)
        return [("response.output_item.done", {"output_index": place, "item": item})]

    def add(self, part: Said, logprobs: Json | None = None) -> None:
        """Add a whole part."""
        self.start(part)
        self.grow(Delta(index=0, logprobs=logprobs))
        self.end()

    def _start_message(self, part: Text | Refusal) -> list[Notice]:
        notices: list[Notice] = []
        self.refused = self.refused or isinstance(part, Refusal)
        item = self._item
        if not isinstance(item, MessageItem):
            item = MessageItem(self._place("msg"))
            notices = self._open(item)
        return notices + item.start(part) + item.grow(Delta(index=0, text=part.text))

    def _start_call(self, use: ToolUse) -> list[Notice]:
        notices: list[Notice] = []
        call_id = use.id
        if not call_id or call_id in self._calls:  # the SDK refuses an answer in which two calls have one id
            call_id = f"call_{self._stem}_{len(self._calls)}"
        self._calls.add(call_id)
        if use.signature is not None:
            notices += self._open(ReasoningItem(self._place("rs"), Thinking(signature=use.signature), call_id))
        notices += self._open(CallItem(self._place("ctc" if use.custom else "fc"), use, call_id))
        return notices + self.grow(Delta(index=0, text=use.arguments))

    def _open(self, item: OpenItem) -> list[Notice]:
        notices = self.finish("completed")
        self._item = item
        added: Fields = {"output_index": len(self.items), "item": item.build("in_progress")}
        return [*notices, ("response.output_item.added", added)]

    def _place(self, prefix: str, item_id: str | None = None) -> Fields:
        """Return where the next item is: after those that are complete and the one that is open."""
        index = len(self.items) + (self._item is not None)
        if not item_id or item_id in self._ids:
            item_id = f"{prefix}_{self._stem}_{index}"
        self._ids.add(item_id)
        return {"item_id": item_id, "output_index": index}
