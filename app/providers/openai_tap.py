"""Reading OpenAI's chat and legacy completion streams while they pass."""

import re

import msgspec

from app.providers.exact_json import is_fields, parse_typed
from app.providers.sse import EventBuffer, read_event, split_events
from app.providers.usage import read_openai_usage
from app.wire.usage import Facts

# In JSON the quotes inside a string are escaped: these bytes are always a key.
_USAGE_OBJECT = re.compile(rb'"usage"[ \t]*:[ \t]*\{')
_USAGE_NULL = re.compile(rb',[ \t]*"usage"[ \t]*:[ \t]*null|"usage"[ \t]*:[ \t]*null[ \t]*,[ \t]*')
_FINISH = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')
_MODEL = re.compile(rb'"model"[ \t]*:[ \t]*("(?:[^"\\]|\\.)+")')


class _Chunk(msgspec.Struct):
    choices: object = None
    usage: object = None
    service_tier: object = None
    kind: object = msgspec.field(name="object", default=None)
    error: object = None


_decoder = msgspec.json.Decoder(_Chunk)
_text_decoder = msgspec.json.Decoder(str)


class OpenAITap:
    """The tap of a stream of chunks that ends with `[DONE]`.

    Chunks are decoded only when they carry a usage object or an error. `hide_usage` takes the usage-only chunk out, and
    `"usage":null` out of the others; usage that a vendor sends together with choices, unasked, stays.
    """

    __slots__ = ("_broken", "_buffer", "_hide", "_model", "_stopped", "_tier", "_usage", "failed", "finished")

    def __init__(self, hide_usage: bool) -> None:
        self.finished = False
        self.failed = False
        self._hide = hide_usage
        self._buffer = EventBuffer()
        self._model: str | None = None
        self._stopped = False
        self._broken = False
        self._usage: object = None
        self._tier: object = None

    def feed(self, data: bytes) -> bytes:
        """Return the whole events that may go to the client now."""
        if self.finished:
            return b""
        whole = self._buffer.feed(data)
        if b"[DONE]" in whole or b"error" in whole:
            return self._pass_each(whole)
        if b'"usage"' in whole:
            if _USAGE_OBJECT.search(whole):
                return self._pass_each(whole)
            if self._hide:
                whole = _drop_null(whole)
        self._glance(whole)
        return whole

    def facts(self) -> Facts:
        """Return what is known so far; complete needs the end marker, a finish reason and no error."""
        return Facts(
            usage=read_openai_usage(self._usage, tier=self._tier),
            model=self._model,
            complete=self.finished and self._stopped and not self.failed and not self._broken,
        )

    def _glance(self, whole: bytes) -> None:
        """Note the model and the finish reason, without decoding."""
        if not self._stopped and _FINISH.search(whole):
            self._stopped = True
        if self._model is None and (found := _MODEL.search(whole)):
            self._model = _read_text(found[1])

    def _pass_each(self, whole: bytes) -> bytes:
        kept: list[bytes] = []
        for raw in split_events(whole):
            self._glance(raw)
            kept.append(self._pass_event(raw))
            if self.finished:
                break
        passed = b"".join(kept)
        return whole if passed == whole else passed

    def _pass_event(self, raw: bytes) -> bytes:
        name, data = read_event(raw)
        if data.startswith(b"[DONE]"):
            self.finished = True
            return raw
        self.failed = self.failed or name == b"error"
        has_usage = _USAGE_OBJECT.search(data) is not None
        usage_only = (has_usage or b'"error"' in data) and self._read_chunk(data)
        if not self._hide:
            return raw
        return b"" if usage_only else _drop_null(raw)

    def _read_chunk(self, data: bytes) -> bool:
        """Take usage and errors from a chunk; return whether it carries nothing but usage."""
        try:
            chunk = parse_typed(_decoder, data)
        except ValueError:
            self._broken = True
            return False
        if chunk.error or chunk.kind == "error":
            self.failed = True
            return False
        if not is_fields(chunk.usage):
            return False
        self._usage = chunk.usage
        self._tier = chunk.service_tier or self._tier
        return not chunk.choices


def _drop_null(raw: bytes) -> bytes:
    """Take `"usage":null` out; the usual spelling without the cost of a regular expression."""
    raw = raw.replace(b',"usage":null', b"")
    return _USAGE_NULL.sub(b"", raw) if b'"usage"' in raw else raw


def _read_text(quoted: bytes) -> str | None:
    try:
        return parse_typed(_text_decoder, quoted)
    except ValueError:
        return None


def hide_usage(events: bytes) -> bytes:
    """Return stored events as a client sees them that did not ask for usage."""
    return OpenAITap(hide_usage=True).feed(events)
