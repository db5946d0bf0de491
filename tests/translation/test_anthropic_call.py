"""Reading Messages calls and building them again: whatever the bytes, a call or a refusal."""

import json
import re
from typing import Any

import pytest
from anthropic.types import MessageParam
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.errors import BadRequestError
from app.providers.exact_json import write_exact
from app.translation.anthropic import ANTHROPIC_CLIENT, ANTHROPIC_PROVIDER
from app.translation.anthropic_ids import read_id, write_id
from app.translation.anthropic_models import find_generation, refuses_later_system, thinks_adaptively

FULL: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 2000,
    "system": [
        {"type": "text", "text": "x-billing"},
        {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}, "title": "a"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "so", "signature": "s"},
                {"type": "redacted_thinking", "data": "r"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 9007199254740993}},
                {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "2"}]},
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True},
                {"type": "text", "text": "go on"},
            ],
        },
    ],
    "tools": [
        {
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object"},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        }
    ],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "temperature": 0.5,
    "top_p": 0.25,
    "top_k": 3,
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "service_tier": "standard_only",
    "inference_geo": "eu",
    "container": "c_1",
    "stream": True,
}

HOSTILE = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "cut": b'{"model":"m","messages":[{"ro',
    "a BOM": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"model":"\xff"}',
    "half a surrogate pair": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\\ud800"}]}',
    "deep lists": b'{"messages":' + b"[" * 100_000,
    "deep objects": b'{"x":' * 50_000 + b"1" + b"}" * 50_000,
    "an endless number": b'{"max_tokens":' + b"9" * 5_000 + b"}",
    "infinity": b'{"model":"m","max_tokens":1e999,"messages":[{"role":"user","content":"a"}]}',
}


def build(fields: dict[str, Any]) -> dict[str, Any]:
    return json.loads(ANTHROPIC_PROVIDER.build_chat(ANTHROPIC_CLIENT.read_call(write_exact(fields))))


def test_a_call_comes_back_as_it_was() -> None:
    """What read_call reads, build_chat says in the same words: no field of the dialect loses its meaning."""
    assert build(FULL) == FULL
    TypeAdapter(list[MessageParam]).validate_python(build(FULL)["messages"])


@pytest.mark.parametrize(
    "said",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1500}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        {"output_config": {"effort": "medium"}},
        {"tool_choice": {"type": "tool", "name": "f"}},
        {"tool_choice": {"type": "none"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\u0000 \u2028"}]}]},
    ],
)
def test_each_form_of_a_field_comes_back_as_it_was(said: dict[str, Any]) -> None:
    """Thinking, effort and the choice of tools have several forms; none turns into another."""
    plain = {key: value for key, value in FULL.items() if key not in {"thinking", "output_config", "tool_choice"}}
    assert build(plain | said) == plain | said


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_body_is_refused(body: bytes) -> None:
    """Bytes that are no call are a 400, never a failure of ours."""
    with pytest.raises(BadRequestError):
        ANTHROPIC_CLIENT.read_call(body)


def test_content_and_tools_may_be_odd() -> None:
    """Empty and missing content, NUL and two calls of one id are read; the provider judges what they mean."""
    use = {"type": "tool_use", "id": "", "name": "f", "input": {"\u0000": "\u0000"}}
    odd = [
        {"role": "user", "content": ""},
        {"role": "assistant"},
        {"role": "assistant", "content": [use, use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "\u0000", "content": None}]},
    ]
    assert [len(message["content"]) for message in build(FULL | {"messages": odd})["messages"]] == [2, 1]


TYPES = "text image document tool_use tool_result thinking base64 url file adaptive enabled auto tool ephemeral custom"
KEYS_OF_BLOCKS = "type text source content role data url id tool_use_id name input media_type thinking signature title"
KEYS_OF_OTHERS = "cache_control citations budget_tokens format schema effort user_id edits keep is_error caller ttl"
WORDS = st.sampled_from([*TYPES.split(), "json_schema", "user", "\u0000", "é"])
KEYS = st.sampled_from([*KEYS_OF_BLOCKS.split(), *KEYS_OF_OTHERS.split(), "input_schema", "transformations"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def find_refusal(fields: dict[str, Any]) -> str | None:
    """The field that is refused, None when the call is understood."""
    try:
        build(fields)
    except BadRequestError as error:
        return error.param or "?"
    return None


@settings(max_examples=400, deadline=None)
@given(field=st.sampled_from([*sorted(FULL), "context_management", "cache_control", "speed", "x"]), value=JSON)
def test_any_field_may_be_anything(field: str, value: object) -> None:
    """A field of any type in any place is understood or refused by its name, by the reader or by the builder."""
    assert find_refusal(FULL | {field: value}) != "?"


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5), st.sampled_from(["user", "assistant", "system"]))
def test_any_block_may_be_anything(block: dict[str, Any], role: str) -> None:
    """A block with any fields of any types is understood or refused with the path of what does not fit."""
    refused = find_refusal(FULL | {"messages": [{"role": role, "content": [block]}]})
    assert refused is None or refused.startswith("messages")


@given(st.text())
def test_ids_are_mapped_and_back(identifier: str) -> None:
    """An id that Anthropic takes stays; any other becomes one that it takes, which leads back to it."""
    mapped = write_id(identifier)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", mapped)
    assert read_id(mapped) == identifier
    assert read_id(read_id(mapped)) == read_id(identifier)


@given(st.text() | st.text().map("relay_".__add__))
def test_ids_of_others_are_left_alone(identifier: str) -> None:
    """An id that we did not map is read as it is, even when it looks as if we had."""
    assert read_id(identifier) == identifier or write_id(read_id(identifier)) == identifier


@pytest.mark.parametrize(
    ("model", "generation"),
    [
        ("claude-3-haiku-20240307", (3, 0)),
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-7-sonnet-latest", (3, 7)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("anthropic.claude-opus-4-1-20250805-v1:0", (4, 1)),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
        ("anthropic/claude-opus-4.8", (4, 8)),
        ("claude-sonnet-4-5@20250929", (4, 5)),
        ("claude-opus-4-6", (4, 6)),
        ("claude-fable-5-2", (5, 2)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-mythos-preview", (99, 0)),
        ("kimi-k2", None),
    ],
)
def test_a_models_generation_is_in_its_name(model: str, generation: tuple[int, int] | None) -> None:
    """Dates are no numbers of a generation, and the clouds' own ways to write a name make no difference."""
    assert find_generation(model) == generation
    assert thinks_adaptively(model) == (generation is not None and generation >= (4, 6))
    assert refuses_later_system(model) == (generation is not None and generation < (4, 8))
