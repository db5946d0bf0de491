"""Writing canonical events as a stream of chat completion chunks."""

from app.errors import Dialect, RelayError, write_error_event
from app.providers.exact_json import Fields, write_exact
from app.providers.sse import write_event
from app.translation.openai_answer import NOTHING, write_call
from app.translation.openai_thinking import write_thinking_block
from app.translation.openai_words import wants_function_call, write_finish, write_usage
from app.wire.chat import (
    ChatCall,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    Json,
    PartEnd,
    PartStart,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage

_DONE = b"data: [DONE]\n\n"


class _Choice:
    """What is known of a choice: its parts under way, calls without arguments so far, and how much it had of each."""

    __slots__ = ("begun", "blocks", "calls", "parts", "refused", "silent", "thoughts")

    def __init__(self) -> None:
        self.begun = False
        self.refused = False
        self.blocks = 0
        self.calls = 0
        self.silent: set[int] = set()
        self.parts: dict[int, tuple[Text | ToolUse | Thinking | Refusal, int]] = {}
        self.thoughts: dict[int, tuple[list[str], list[str]]] = {}


class OpenAIStreamWriter:
    """Writes each event as the chunks that say it; nothing waits but the usage, which OpenAI sends last.

    A block of thinking that must come back as it is (openai_thinking.py) is sent whole when it is complete.
    """

    __slots__ = ("_call", "_choices", "_ended", "_head", "_include_usage", "_usage")

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._include_usage = call.include_usage
        self._head: Fields = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": call.model}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._ended = False

    def write(self, event: Event) -> bytes:
        """Return the bytes of an event, maybe none; nothing follows the end."""
        if self._ended:
            return b""
        match event:
            case Start():
                written = self._start(event)
            case Finished():
                written = self._finish(event)
            case Used():
                self._usage, written = event.usage, b""
            case End():
                written = self._end()
            case Failed():
                written = self.fail(_build_error(event))
            case _:
                written = self._write_part(event)
        return written

    def fail(self, error: RelayError) -> bytes:
        """Return the bytes that end the stream with an error; none when it has ended."""
        if self._ended:
            return b""
        self._ended = True
        return write_error_event(error, Dialect.OPENAI)

    def _start(self, start: Start) -> bytes:
        self._head |= {"id": start.id, "created": start.created, "model": start.model or self._call.model}
        self._usage = start.usage or self._usage
        return self._begin(0)

    def _begin(self, index: int) -> bytes:
        """Return the chunk that opens a choice, once."""
        choice = self._choices.setdefault(index, _Choice())
        if choice.begun:
            return b""
        choice.begun = True
        return self._write_chunk([_build_choice(index, {"role": "assistant"})])

    def _write_chunk(self, choices: list[Fields], usage: Fields | None = None) -> bytes:
        chunk: Fields = {**self._head, "choices": choices}
        if self._include_usage:
            chunk["usage"] = usage
        return write_event(write_exact(chunk))

    def _write_delta(self, index: int, delta: Fields, logprobs: Json | None = None) -> bytes:
        return self._begin(index) + self._write_chunk([_build_choice(index, delta, logprobs)])

    def _write_part(self, event: PartStart | Delta | PartEnd) -> bytes:
        if isinstance(event, PartStart):
            return self._begin_part(event)
        return self._continue_part(event) if isinstance(event, Delta) else self._end_part(event)

    def _begin_part(self, event: PartStart) -> bytes:
        choice, part = self._choices.setdefault(event.choice, _Choice()), event.part
        number = choice.calls
        choice.parts[event.index] = part, number
        if isinstance(part, ToolUse):
            choice.calls += 1
            choice.silent |= {event.index} if not part.arguments else set()
            return self._begin_call(event.choice, part, number)
        if isinstance(part, Thinking):
            signed = [part.signature] if part.signature is not None else []
            choice.thoughts[event.index] = [part.text], signed
        choice.refused = choice.refused or isinstance(part, Refusal)
        return self._write_delta(event.choice, {_field_of(part): part.text}) if part.text else b""

    def _begin_call(self, index: int, use: ToolUse, number: int) -> bytes:
        if not wants_function_call(self._call):
            return self._write_delta(index, {"tool_calls": [{"index": number, **write_call(use, use.arguments)}]})
        if number > 0:
            return b""
        return self._write_delta(index, {"function_call": {"name": use.name, "arguments": use.arguments}})

    def _continue_part(self, event: Delta) -> bytes:
        choice = self._choices[event.choice]
        part, number = choice.parts[event.index]
        if isinstance(part, Thinking):
            texts, signatures = choice.thoughts[event.index]
            texts.append(event.text)
            signatures += [event.signature] if event.signature is not None else []
        if not event.text and event.logprobs is None:
            return b""
        if isinstance(part, ToolUse):
            choice.silent.discard(event.index)
            return self._continue_call(event, part, number)
        return self._write_delta(event.choice, {_field_of(part): event.text}, event.logprobs)

    def _continue_call(self, event: Delta, use: ToolUse, number: int) -> bytes:
        if wants_function_call(self._call):
            return self._write_delta(event.choice, {"function_call": {"arguments": event.text}}) if not number else b""
        said: Fields = {"custom": {"input": event.text}} if use.custom else {"function": {"arguments": event.text}}
        return self._write_delta(event.choice, {"tool_calls": [{"index": number, **said}]}, event.logprobs)

    def _end_part(self, event: PartEnd) -> bytes:
        choice = self._choices[event.choice]
        part, number = choice.parts.pop(event.index)
        if isinstance(part, ToolUse):
            nothing = Delta(index=event.index, choice=event.choice, text=NOTHING[part.custom])
            silent = event.index in choice.silent and nothing.text
            return self._continue_call(nothing, part, number) if silent else b""
        if not isinstance(part, Thinking):
            return b""
        texts, signatures = choice.thoughts.pop(event.index)
        whole = Thinking(text="".join(texts), signature="".join(signatures) or None, redacted=part.redacted, id=part.id)
        block = write_thinking_block(whole)
        if block is None:
            return b""
        choice.blocks += 1
        return self._write_delta(event.choice, {"thinking_blocks": [{"index": choice.blocks - 1, **block}]})

    def _finish(self, event: Finished) -> bytes:
        refused = self._choices.setdefault(event.choice, _Choice()).refused
        finish = write_finish(event.finish, self._call, refused=refused)
        last = _build_choice(event.choice, {}) | {"finish_reason": finish}
        return self._begin(event.choice) + self._write_chunk([last])

    def _end(self) -> bytes:
        self._ended = True
        if not self._include_usage or self._usage is None:
            return _DONE
        return self._write_chunk([], write_usage(self._usage)) + _DONE


def _build_choice(index: int, delta: Fields, logprobs: Json | None = None) -> Fields:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _field_of(part: Text | Thinking | Refusal) -> str:
    if isinstance(part, Text):
        return "content"
    return "refusal" if isinstance(part, Refusal) else "reasoning_content"


def _build_error(failed: Failed) -> RelayError:
    """Return the error that the provider reported; the types are called alike at OpenAI and Anthropic."""
    error = RelayError(failed.message, code="upstream_error")
    error.openai_type = failed.kind
    return error
