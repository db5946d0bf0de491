"""Reading Responses calls: docs/translation/from-responses.md is the table."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.translation.responses import RESPONSES_CLIENT
from app.wire.chat import ChatCall, Text, ToolUse

PAGE = Path(__file__).parents[2] / "docs/translation/from-responses.md"
BASE = {"model": "m", "input": "hi"}
_CODE = re.compile(r"`([^`]*)`")
_UNCOMPARED = {"echo", "names"}
_DEFAULTS = [
    ("custom", False),
    ("is_error", False),
    ("adaptive", False),
    ("enabled", True),
    ("text", ""),
    ("parts", []),
]


def list_rows() -> list[tuple[str, str, str]]:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3 and row[1].startswith("`")]


def write_body(*parts: dict[str, Any]) -> bytes:
    whole: dict[str, Any] = {}
    for part in parts:
        whole |= part
    return json.dumps(whole).encode()


def read(*parts: dict[str, Any]) -> ChatCall:
    return RESPONSES_CLIENT.read_call(write_body(BASE, *parts))


def add_raw(sample: str) -> bytes:
    """The body as text, so that the digits of the sample stay as they are."""
    fields = {name: json.dumps(value) for name, value in BASE.items()}
    fields |= {k: bytes(v).decode() for k, v in msgspec.json.decode(sample, type=dict[str, msgspec.Raw]).items()}
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}").encode()


def refuse(body: bytes) -> str | None:
    with pytest.raises(BadRequestError) as caught:
        RESPONSES_CLIENT.read_call(body)
    return caught.value.param


@pytest.mark.parametrize(("field", "sample", "outcome"), list_rows())
def test_every_row_of_the_page_is_what_happens(field: str, sample: str, outcome: str) -> None:
    """A field becomes what the page says, is dropped where it says so, or is refused under the name it says."""
    body = add_raw(sample.strip("`"))
    if outcome.startswith("**400**"):
        assert refuse(body) == _CODE.search(outcome)[1], field
        return
    call, plain = RESPONSES_CLIENT.read_call(body), read()
    expected = show({} if outcome.startswith("**dropped**") else _CODE.search(outcome)[1])
    for name in ChatCall.__struct_fields__:
        if name not in _UNCOMPARED:
            wanted = expected[name] if name in expected else show(getattr(plain, name))
            assert show(getattr(call, name)) == wanted, (field, name)


def show(value: object) -> Any:
    """A canonical value as JSON without what it does not say; numbers keep their digits."""
    text = value if isinstance(value, str) and value.startswith("{") else msgspec.json.encode(value)
    return leave_out_defaults(json.loads(text, parse_float=str))


def leave_out_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [leave_out_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    said = {key: leave_out_defaults(item) for key, item in value.items() if item is not None}
    return {key: item for key, item in said.items() if (key, item) not in _DEFAULTS}


def test_json_that_only_travels_keeps_its_bytes() -> None:
    """Schemas keep the order of their keys and the digits of their numbers."""
    schema = '{"z":9007199254740993,"a":1.10,"m":1e3,"text":"\\u00e9"}'
    body = f'{{"model":"m","input":"x","tools":[{{"type":"function","name":"f","parameters":{schema}}}]}}'
    call = RESPONSES_CLIENT.read_call(body.encode())
    assert bytes(call.tools[0].parameters).decode() == schema.replace("\\u00e9", "é")


def test_the_page_covers_every_field_of_the_sdk() -> None:
    """No parameter of the official SDK is forgotten: each is on the page or is left to the provider as unknown."""
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    known = set(ResponseCreateParamsBase.__annotations__) | {"stream"}
    named = {name for _, sample, _ in list_rows() for name in json.loads(sample.strip("`"))}
    left_to_the_provider = {"access_programs", "background_options", "image", "prompt_cache_options"}
    assert known - named == left_to_the_provider


CODEX: dict[str, Any] = {
    "model": "anthropic/claude",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "sandbox"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list files"}]},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "I look."}],
            "content": None,
            "encrypted_content": 'relaycore:{"signature":"sig"}',
        },
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "toolu_1"},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["pwd"]}', "call_id": "toolu_2"},
        {"type": "function_call_output", "call_id": "toolu_2", "output": "/"},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "a.py"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {"type": "object", "properties": {"command": {"type": "array"}}, "required": ["command"]},
        }
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-session",
    "text": {"verbosity": "medium"},
    "client_metadata": {"installation": "i"},
}


def test_what_codex_sends_is_read() -> None:
    """The body of Codex CLI is understood whole; only its book-keeping is left to the provider's builder."""
    call = RESPONSES_CLIENT.read_call(write_body(CODEX))
    assert [message.role for message in call.messages] == ["system", "developer", "user", "assistant", "user"]
    assert [part.__struct_config__.tag for part in call.messages[3].parts] == ["thinking", "tool_use", "tool_use"]
    assert (call.tools[0].name, call.parallel_tool_calls, call.stream) == ("shell", False, True)
    assert set(call.extras) == {"prompt_cache_key", "client_metadata"}


def test_errors_name_the_clients_own_fields() -> None:
    """What a provider refuses by a canonical name is told under the name that Responses has for it."""
    call = read({"max_output_tokens": 5})
    assert [call.names[name] for name in ("messages", "max_tokens", "format", "verbosity")] == [
        "input",
        "max_output_tokens",
        "text.format",
        "text.verbosity",
    ]
    assert read({"top_logprobs": 1}).names["logprobs"] == "top_logprobs"
    assert read({"include": ["message.output_text.logprobs"]}).names["logprobs"] == "include"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"model":"m","input":"\\ud800"}',
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","input":"x","tools":[' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}",
        b'{"model":"m","input":"x","temperature":1e999}',
        b'{"model":"m","input":"x","max_output_tokens":1' + b"0" * 400 + b"}",
        b'{"model":1,"input":"x"}',
        b'{"model":"m","input":[1]}',
        b'{"model":"m","input":[{"role":"user","content":[1]}]}',
        b'{"model":"m","input":"x","include":[1]}',
        b'{"model":"m","input":"x","text":[]}',
        b'{"model":"m","input":"x","reasoning":"high"}',
        b'{"model":"m","input":"x","tools":{}}',
    ],
)
def test_hostile_bodies_are_refused(body: bytes) -> None:
    """Whatever is no such call is the client's mistake, never ours."""
    refuse(body)


def test_odd_but_valid_text_is_kept() -> None:
    """NUL, repeated call ids and huge conversations are read as they are."""
    repeated = [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}] * 2
    call = read({"input": [{"role": "user", "content": "a\0b"}, *repeated]})
    assert call.messages[0].parts == (Text(text="a\0b"),)
    assert call.messages[1].parts == (ToolUse(id="a", name="f", arguments="{}"),) * 2
    assert len(read({"input": repeated * 20_000}).messages[0].parts) == 40_000


def list_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        found += [one for key, item in value.items() for one in list_paths(item, (*path, key))]
    elif isinstance(value, list):
        found += [one for place, item in enumerate(value) for one in list_paths(item, (*path, place))]
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return value | {head: put(value[head], rest, new)}
    return [put(item, rest, new) if place == head else item for place, item in enumerate(value)]


WHOLE: dict[str, Any] = {}
for _, _sample, _outcome in list_rows():
    if _outcome.startswith("`"):
        _fields = json.loads(_sample.strip("`"))
        for _name in ("input", "tools"):
            if isinstance(_fields.get(_name), list):
                WHOLE[_name] = WHOLE.get(_name, []) + _fields.pop(_name)
        _fields.pop("input", None)
        WHOLE |= _fields
WHOLE |= {"model": "m"}
PATHS = list_paths(WHOLE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(path=st.sampled_from(PATHS), new=JSON)
def test_any_value_anywhere_is_read_or_refused(path: tuple[Any, ...], new: Any) -> None:
    """Whatever stands in whatever place of a call that has everything: it is read, or it is a 400."""
    body = json.dumps(put(WHOLE, path, new), ensure_ascii=False).encode(errors="replace")
    with suppress(BadRequestError):
        assert RESPONSES_CLIENT.read_call(body).model


def test_the_call_that_has_everything_is_read() -> None:
    """The sample of the test above is valid before something is put into it."""
    assert RESPONSES_CLIENT.read_call(write_body(WHOLE)).tools
