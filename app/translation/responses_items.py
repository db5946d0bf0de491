"""The items of a Responses answer while they grow: each tells its events and in the end the whole item."""

from typing import Protocol

import msgspec

from app.providers.exact_json import Fields, get_items, parse_exact
from app.translation.responses_seal import Seal, write_seal
from app.wire.chat import Delta, Json, Refusal, Text, Thinking, ToolUse

Notice = tuple[str, Fields]
"""An event that is not yet numbered: its type and its fields."""


class OpenItem(Protocol):
    """An item that is not complete: its parts begin, grow and end; `build` is what it has come to."""

    def build(self, status: str) -> Fields:
        """Return the item as it stands."""
        ...

    def grow(self, delta: Delta) -> list[Notice]:
        """Return the events of more of the open part."""
        ...

    def end(self) -> list[Notice]:
        """Return the events that end the open part."""
        ...


class MessageItem:
    """A message: texts and refusals."""

    def __init__(self, place: Fields) -> None:
        self._place = place
        self._content: list[Fields] = []
        self._refusal = False
        self._text: list[str] = []
        self._logprobs: list[Fields] = []

    def start(self, part: Text | Refusal) -> list[Notice]:
        """Return the events of a new part, empty so far."""
        self._refusal, self._text, self._logprobs = isinstance(part, Refusal), [], []
        return [("response.content_part.added", self._here() | {"part": self._build_part()})]

    def grow(self, delta: Delta) -> list[Notice]:
        """Return the events of more of the open part."""
        logprobs = read_logprobs(delta.logprobs)
        if not delta.text and not logprobs:
            return []
        self._text.append(delta.text)
        self._logprobs += logprobs
        if self._refusal:
            return [("response.refusal.delta", self._here() | {"delta": delta.text})]
        return [("response.output_text.delta", self._here() | {"delta": delta.text, "logprobs": logprobs})]

    def end(self) -> list[Notice]:
        """Return the events that end the open part."""
        here, part = self._here(), self._build_part()
        self._content.append(part)
        if self._refusal:
            done: Notice = ("response.refusal.done", here | {"refusal": part["refusal"]})
        else:
            done = ("response.output_text.done", here | {"text": part["text"], "logprobs": part["logprobs"]})
        return [done, ("response.content_part.done", here | {"part": part})]

    def build(self, status: str) -> Fields:
        """Return the item as it stands."""
        item: Fields = {"id": self._place["item_id"], "type": "message", "status": status, "role": "assistant"}
        return item | {"content": list(self._content)}

    def _here(self) -> Fields:
        return self._place | {"content_index": len(self._content)}

    def _build_part(self) -> Fields:
        text = "".join(self._text)
        if self._refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(self._logprobs)}


class CallItem:
    """A call of a function or, with free text, of a custom tool."""

    def __init__(self, place: Fields, use: ToolUse, call_id: str) -> None:
        self._place = place
        self._use = use
        self._call_id = call_id
        self._text: list[str] = []
        self._kind = "custom_tool_call_input" if use.custom else "function_call_arguments"

    def grow(self, delta: Delta) -> list[Notice]:
        """Return the events of more of the arguments."""
        if not delta.text:
            return []
        self._text.append(delta.text)
        return [(f"response.{self._kind}.delta", self._place | {"delta": delta.text})]

    def end(self) -> list[Notice]:
        """Return the events that end the arguments; none at all are an empty object, which clients can parse."""
        notices: list[Notice] = []
        if not self._use.custom and not "".join(self._text).strip():
            notices += self.grow(Delta(index=0, text="{}"))
        text = "".join(self._text)
        last: Fields = {"input": text} if self._use.custom else {"name": self._use.name, "arguments": text}
        return [*notices, (f"response.{self._kind}.done", self._place | last)]

    def build(self, status: str) -> Fields:
        """Return the item as it stands."""
        text = "".join(self._text)
        item: Fields = {"id": self._place["item_id"], "call_id": self._call_id, "name": self._use.name}
        if self._use.custom:
            return item | {"type": "custom_tool_call", "status": status, "input": text}
        return item | {"type": "function_call", "status": status, "arguments": text}


class ReasoningItem:
    """What the model thought, and the provider's signature of it (or, with `call`, of the tool call `call`)."""

    def __init__(self, place: Fields, part: Thinking, call: str | None = None) -> None:
        self._place = place
        self._seal = Seal(signature=part.signature, redacted=part.redacted, call=call)
        self._text: list[str] = []

    def grow(self, delta: Delta) -> list[Notice]:
        """Return the events of more of the thought; a signature is told only with the whole item."""
        if delta.signature is not None:
            self._seal = msgspec.structs.replace(self._seal, signature=delta.signature)
        if not delta.text:
            return []
        notices: list[Notice] = []
        if not self._text:
            notices.append(("response.reasoning_summary_part.added", self._here() | {"part": self._build_part()}))
        self._text.append(delta.text)
        return [*notices, ("response.reasoning_summary_text.delta", self._here() | {"delta": delta.text})]

    def end(self) -> list[Notice]:
        """Return the events that end the thought, none when it was not shown."""
        if not self._text:
            return []
        part, here = self._build_part(), self._here()
        return [
            ("response.reasoning_summary_text.done", here | {"text": part["text"]}),
            ("response.reasoning_summary_part.done", here | {"part": part}),
        ]

    def build(self, status: str) -> Fields:
        """Return the item as it stands."""
        summary = [self._build_part()] if self._text else []
        item: Fields = {"id": self._place["item_id"], "type": "reasoning", "summary": summary}
        return item | {"status": status, "encrypted_content": write_seal(self._seal)}

    def _here(self) -> Fields:
        return self._place | {"summary_index": 0}

    def _build_part(self) -> Fields:
        return {"type": "summary_text", "text": "".join(self._text)}


def read_logprobs(raw: Json | None) -> list[Fields]:
    """Return the tokens of a chat choice's logprobs as an output text lists them; what cannot be read is left out."""
    if raw is None:
        return []
    try:
        tokens = get_items(parse_exact(bytes(raw)), "content")
        return [
            _build_token(token) | {"top_logprobs": [*map(_build_token, get_items(token, "top_logprobs"))]}
            for token in tokens
        ]
    except ValueError:
        return []


def _build_token(token: Fields) -> Fields:
    """Return a token with its bytes, which chat may leave null."""
    return {"token": token.get("token"), "bytes": token.get("bytes") or [], "logprob": token.get("logprob")}
