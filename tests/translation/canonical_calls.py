"""Canonical calls from the samples of the pages docs/translation/to-*.md, the pages' rows, and any messages."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.wire.chat import ChatCall, Format, Message, Text, Tool

PAGES = Path(__file__).parents[2] / "docs/translation"
_TYPES = get_type_hints(ChatCall)
_RAW = {"metadata", "logit_bias", "schema", "parameters"}
_CODE = re.compile(r"`([^`]*)`")


def list_rows(page: str) -> list[tuple[str, str, str]]:
    rows = [line.strip("| ").split(" | ") for line in (PAGES / page).read_text().splitlines() if line.startswith("| ")]
    return [(row[0], row[1].strip("`"), row[2]) for row in rows if len(row) == 3 and row[1].startswith("`{")]


def build_call(model: str, sample: str = "{}") -> ChatCall:
    """The plain call with the fields of a sample; numbers keep their digits."""
    fields: dict[str, Any] = {"model": model, "messages": (Message(role="user", parts=(Text(text="hi"),)),)}
    return ChatCall(**(fields | {name: _read(name, raw) for name, raw in _split(sample).items()}))


def _split(text: str | msgspec.Raw) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


def _read(name: str, raw: msgspec.Raw) -> Any:
    if name in _RAW:
        return raw
    if name == "tools":
        return tuple(_read_struct(Tool, tool) for tool in msgspec.json.decode(raw, type=list[msgspec.Raw]))
    if name == "format":
        return _read_struct(Format, raw)
    return msgspec.json.decode(raw, type=_TYPES[name])


def _read_struct(kind: type, raw: msgspec.Raw) -> Any:
    fields = _split(raw)
    plain = {name: json.loads(bytes(value)) for name, value in fields.items() if name not in _RAW}
    rest = {name: value for name, value in fields.items() if name in _RAW}
    return msgspec.structs.replace(msgspec.convert(plain, kind), **rest)


def show(body: bytes | str) -> Any:
    """JSON with the digits of its numbers."""
    return json.loads(body, parse_float=str)


def check_row(build: Callable[[ChatCall], bytes], model: str, sample: str, outcome: str) -> None:
    call = build_call(model, sample)
    said = _CODE.search(outcome)
    if outcome.startswith("**400**"):
        with pytest.raises(BadRequestError) as caught:
            build(call)
        assert said is not None
        assert caught.value.param == said[1]
        return
    plain = show(build(build_call(model)))
    if outcome.startswith("**sent as**"):
        assert said is not None
        plain |= show(said[1])
    else:
        assert outcome.startswith("**dropped**")
    assert show(build(call)) == plain


_words = st.text(max_size=8)
_sources = st.fixed_dictionaries(
    {}, optional={"url": _words, "data": _words, "text": _words, "file_id": _words, "media_type": _words}
)
_flat: list[st.SearchStrategy[dict[str, Any]]] = [
    st.fixed_dictionaries({"type": st.just("text"), "text": _words}),
    st.fixed_dictionaries({"type": st.just("image"), "source": _sources}),
    st.fixed_dictionaries({"type": st.just("document"), "source": _sources}, optional={"name": _words}),
    st.fixed_dictionaries({"type": st.just("audio"), "data": _words, "format": _words}),
    st.fixed_dictionaries({"type": st.just("refusal"), "text": _words}),
    st.fixed_dictionaries({"type": st.just("thinking")}, optional={"text": _words, "signature": _words}),
    st.fixed_dictionaries(
        {"type": st.just("tool_use"), "id": _words, "name": _words, "arguments": st.sampled_from(["", "{}", "[", "1"])}
    ),
]
_parts = st.one_of(
    *_flat,
    st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": _words, "parts": st.lists(st.one_of(_flat), max_size=2)}
    ),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant"]),
            "parts": st.lists(_parts, max_size=4),
        }
    ),
    max_size=5,
)
