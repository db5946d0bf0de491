"""One choice of a stream of chunks, read into the events of its parts."""

from app.providers.exact_json import parse_exact
from app.translation import openai_shapes as shapes
from app.translation.openai_reply import read_arguments, read_call
from app.wire.chat import Delta, Event, Finished, Json, PartEnd, PartStart, Refusal, Text, Thinking, ToolUse

_Said = type[Text] | type[Refusal] | type[Thinking]


class _OpenCall:
    """A tool call under way: which part it is, and its arguments so far."""

    __slots__ = ("arguments", "custom", "id", "index", "open")

    def __init__(self, index: int, use: ToolUse) -> None:
        self.index = index
        self.id = use.id
        self.custom = use.custom
        self.arguments: list[str] = []
        self.open = True

    def is_complete(self) -> bool:
        """Return whether no more can come: the arguments are an object, or nobody can tell."""
        if self.custom:
            return True
        try:
            parse_exact("".join(self.arguments).encode())
        except ValueError:
            return False
        return True


class ChoiceFeed:
    """Makes the events of one choice.

    Texts, refusals and thinking end when something else begins. A tool call ends when another begins, unless its
    arguments are still incomplete: then the provider sends its calls interleaved, and it stays open.
    """

    __slots__ = ("_called", "_calls", "_choice", "_index", "_open", "_refused", "finished")

    def __init__(self, choice: int) -> None:
        self.finished = False
        self._choice = choice
        self._index = -1
        self._open: _Said | None = None
        self._calls: dict[int, _OpenCall] = {}
        self._called = False
        self._refused = False

    def feed(self, piece: shapes.Choice) -> list[Event]:
        """Return the events of a chunk's piece of this choice; ValueError for what does not follow."""
        if self.finished:
            return []
        events: list[Event] = []
        said = piece.delta or piece.message
        if said is not None:
            events += self._read_said(said, shapes.read_logprobs(piece.logprobs))
        if piece.finish_reason:
            self.finished = True
            finish = shapes.read_finish(piece.finish_reason, called=self._called, refused=self._refused)
            events += [*self._end_said(), *self._end_calls(all_of_them=True)]
            events.append(Finished(finish=finish, choice=self._choice))
        return events

    def _read_said(self, said: shapes.Said, logprobs: Json | None) -> list[Event]:
        text, refusal = shapes.read_texts(said)
        events = self._read_thoughts(said)
        if text or (logprobs is not None and not refusal and self._open is Text):
            events += self._add(Text, text, logprobs)
        if refusal:
            self._refused = True
            events += self._add(Refusal, refusal, None if text else logprobs)
        for call in said.tool_calls or ():
            events += self._read_call(call)
        if said.function_call is not None:
            events += self._read_call(shapes.Call(index=-1, function=said.function_call))
        return events

    def _read_thoughts(self, said: shapes.Said) -> list[Event]:
        """Return the events of thinking; a block beside or behind the text that it repeats brings the rest of it."""
        events: list[Event] = []
        shown = said.reasoning_content or said.reasoning
        if isinstance(shown, str) and shown:
            events += self._add(Thinking, shown, None)
        if said.thinking_blocks:
            for part in shapes.read_thoughts(said):
                events += self._add_block(part)
        return events

    def _add_block(self, part: Thinking) -> list[Event]:
        if self._open is Thinking and part.redacted is None:
            if part.signature is None:
                return []
            return [Delta(index=self._index, choice=self._choice, signature=part.signature), *self._end_said()]
        events = self._begin(Thinking(redacted=part.redacted) if self._open is Thinking else part)
        self._open = Thinking
        return [*events, *self._end_said()]

    def _add(self, kind: _Said, text: str, logprobs: Json | None) -> list[Event]:
        events: list[Event] = []
        if self._open is not kind:
            events = self._begin(kind() if kind is Thinking else kind(text=""))
            self._open = kind
        return [*events, Delta(index=self._index, text=text, choice=self._choice, logprobs=logprobs)]

    def _begin(self, part: Text | Refusal | Thinking) -> list[Event]:
        events = [*self._end_said(), *self._end_calls(all_of_them=True)]
        self._index += 1
        return [*events, PartStart(index=self._index, part=part, choice=self._choice)]

    def _end_said(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        return [PartEnd(index=self._index, choice=self._choice)]

    def _end_calls(self, *, all_of_them: bool) -> list[Event]:
        ended: list[Event] = []
        for call in self._calls.values():
            if call.open and (all_of_them or call.is_complete()):
                call.open = False
                ended.append(PartEnd(index=call.index, choice=self._choice))
        return ended

    def _read_call(self, call: shapes.Call) -> list[Event]:
        arguments = read_arguments(call)
        position = self._find_position(call)
        known = self._calls.get(position)
        if known is None or (call.id and call.id != known.id):
            return self._begin_call(position, call, arguments)
        if known.open:
            return self._add_arguments(known, arguments)
        if arguments.strip():
            raise ValueError("a fragment of a call that has ended")
        return []

    def _find_position(self, call: shapes.Call) -> int:
        """Return the call's number; without one a new id is a new call, and no id means the last one."""
        if call.index is not None:
            return call.index
        last = max(self._calls, default=-1)
        same = next((position for position, known in self._calls.items() if known.id == call.id), None)
        if same is not None:
            return same
        return last + 1 if call.id or last < 0 else last

    def _begin_call(self, position: int, call: shapes.Call, arguments: str) -> list[Event]:
        """Return the start of a call; a vendor that numbers all of them alike has ended the one before."""
        events = [*self._end_said(), *self._end_calls(all_of_them=position in self._calls)]
        self._called = True
        self._index += 1
        use = read_call(call, "")
        known = self._calls[position] = _OpenCall(self._index, use)
        events.append(PartStart(index=self._index, part=use, choice=self._choice))
        return [*events, *self._add_arguments(known, arguments)]

    def _add_arguments(self, call: _OpenCall, arguments: str) -> list[Event]:
        if not arguments:
            return []
        call.arguments.append(arguments)
        return [Delta(index=call.index, text=arguments, choice=self._choice)]
