"""Reading OpenAI's chat calls: docs/translation/from-openai.md is the table."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from app.errors import BadRequestError
from app.translation.openai import OPENAI_CLIENT, OPENAI_PROVIDER
from app.wire.chat import ChatCall
from tests.translation.openai_samples import add_raw, list_rows, show

BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ROWS = list_rows("from-openai.md")
read = OPENAI_CLIENT.read_call


@pytest.mark.parametrize(("field", "sample", "outcome"), ROWS)
def test_every_row_of_the_page_is_what_happens(field: str, sample: str, outcome: str) -> None:
    """A field becomes what the page says, is dropped where it says so, or is refused under the name it says."""
    body = add_raw(BASE, sample)
    if outcome.startswith("400"):
        with pytest.raises(BadRequestError) as caught:
            read(body)
        assert caught.value.param == outcome.removeprefix("400 "), field
        assert caught.value.message.startswith(outcome.removeprefix("400 "))
        return
    call, plain = read(body), read(add_raw(BASE, "{}"))
    expected = show({} if outcome == "dropped" else outcome)
    for name in ChatCall.__struct_fields__:
        if name != "names":
            wanted = expected[name] if name in expected else show(getattr(plain, name))
            assert show(getattr(call, name)) == wanted, (field, name)


def test_the_page_covers_every_field_of_the_sdk() -> None:
    """No parameter of the official SDK is forgotten."""
    named = {name for _, sample, _ in ROWS for name in msgspec.json.decode(sample, type=dict[str, msgspec.Raw])}
    assert set(CompletionCreateParamsBase.__annotations__) <= named


def test_json_that_only_travels_keeps_its_digits_and_order() -> None:
    """Schemas and unknown fields come out as they went in: keys in order, numbers digit for digit."""
    schema = '{"z":9007199254740993,"a":1.10,"m":1e3,"big":123456789012345678901234567890}'
    tool = f'{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}'
    call = read(add_raw(BASE, f'{{"tools": [{tool}], "seed": 9007199254740993, "frobnicate": {schema}}}'))
    assert bytes(call.tools[0].parameters or b"").decode() == schema
    assert bytes(call.extras["frobnicate"]).decode() == schema
    assert call.seed == 9007199254740993


def test_errors_name_the_field_that_the_client_wrote() -> None:
    """`names` has the client's own word where the call has another."""
    names = read(
        add_raw(BASE, '{"max_completion_tokens": 5, "functions": [{"name": "f"}], "function_call": "auto"}')
    ).names
    assert names["max_tokens"] == "max_completion_tokens"
    assert names["tools"] == "functions"
    assert names["tool_choice"] == "function_call"
    assert names["format"] == "response_format"
    assert "max_tokens" not in read(add_raw(BASE, '{"max_tokens": 5}')).names


def test_two_calls_of_one_function_are_told_apart() -> None:
    """In the deprecated form a function message answers the last call of its name; one without a call is kept."""
    ask = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    answer = {"role": "function", "name": "f", "content": "x"}
    call = read(json.dumps({**BASE, "messages": [ask, answer, ask, answer, answer]}).encode())
    ids = [part.id if hasattr(part, "id") else part.tool_use_id for turn in call.messages for part in turn.parts]
    assert ids == ["call_function_1", "call_function_1", "call_function_2", "call_function_2", "call_function_f"]


FULL: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look\u0000 \U0001f600"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {
            "role": "assistant",
            "content": "calling",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"n": 1.10}'}},
                {"id": "2", "type": "custom", "custom": {"name": "g", "input": "free"}},
            ],
        },
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}},
        {"type": "custom", "custom": {"name": "g"}},
    ],
    "tool_choice": {"type": "custom", "custom": {"name": "g"}},
    "parallel_tool_calls": True,
    "max_tokens": 10,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["x"],
    "n": 2,
    "seed": 1,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 1,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": False}},
    "verbosity": "low",
    "reasoning_effort": "low",
    "user": "u",
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "stream": True,
    "stream_options": {"include_usage": True},
    "prediction": {"type": "content", "content": "x"},
    "safety_identifier": "s",
}


def test_a_call_read_and_built_again_says_the_same() -> None:
    """Within the dialect nothing is lost on the way through the canonical call."""
    assert json.loads(OPENAI_PROVIDER.build_chat(read(json.dumps(FULL).encode()))) == FULL


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [
        *([name] for name in FULL),
        *(["messages", index] for index in range(len(FULL["messages"]))),
        *(["messages", index, key] for index in range(7) for key in ("role", "content", "name", "tool_calls", "audio")),
        *(
            ["messages", 1, "content", index, key]
            for index in range(4)
            for key in ("type", "text", "image_url", "file")
        ),
        ["messages", 2, "tool_calls", 0, "function"],
        ["messages", 2, "tool_calls", 0, "extra_content"],
        ["messages", 2, "thinking_blocks"],
        ["messages", 2, "function_call"],
        ["messages", 3, "tool_call_id"],
        ["tools", 0, "function"],
        ["tools", 0, "function", "parameters"],
        ["tools", 1, "custom"],
        ["tool_choice", "custom"],
        ["response_format", "json_schema"],
        ["stream_options", "include_usage"],
    ]
)


def put(value: Any, path: list[Any], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    if isinstance(copy, dict) and path[0] not in copy:
        copy[path[0]] = {}
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


@given(PATHS, JSON)
def test_whatever_stands_in_a_field_is_read_or_refused(path: list[Any], value: Any) -> None:
    """Any value in any place is a call that can be built or refused by name: never another failure."""
    try:
        call = read(json.dumps(put(FULL, path, value)).encode())
        json.loads(OPENAI_PROVIDER.build_chat(call))
    except BadRequestError:
        return


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_call_are_refused(body: bytes) -> None:
    """Whatever the bytes, the answer is a 400."""
    with pytest.raises(BadRequestError):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":' + b"[" * 100_000,
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"seed":' + b"9" * 400 + b"}",
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"seed":' + b"9" * 5000 + b"}",
        b'{"model":"m","messages":[{"role":"user","content":[' + b'{"type":"text","text":' * 500 + b"]}]}",
    ],
    ids=["deep", "surrogate", "huge", "absurd", "nested"],
)
def test_hostile_bodies_are_refused(body: bytes) -> None:
    """Depth, half characters and numbers without end are a 400."""
    with pytest.raises(BadRequestError):
        read(body)


@pytest.mark.parametrize("depth", [10, 300, 900, 990])
def test_a_deep_schema_is_kept_or_refused(depth: int) -> None:
    """A schema as deep as JSON may be is either carried whole or a 400."""
    schema = '{"a":' * depth + "{}" + "}" * depth
    tool = f'{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}'
    try:
        call = read(f'{{"model": "m", "messages": [{{"role": "user", "content": "a"}}], "tools": [{tool}]}}'.encode())
    except BadRequestError:
        assert depth > 300
    else:
        assert schema.encode() in OPENAI_PROVIDER.build_chat(call)


def test_calls_with_the_same_id_are_passed_on() -> None:
    """Whether ids may repeat is the provider's to say."""
    one = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [one, one]}]
    body = json.loads(OPENAI_PROVIDER.build_chat(read(json.dumps({**BASE, "messages": messages}).encode())))
    assert body["messages"] == messages
