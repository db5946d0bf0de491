"""The tables of docs/translation: each row is a test."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import BadRequestError
from app.providers.exact_json import parse_exact, write_exact
from app.translation.anthropic import ANTHROPIC_CLIENT, ANTHROPIC_PROVIDER, build_provider
from app.wire.chat import ChatCall
from tests.translation.canonical_calls import build_call

DOCS = Path(__file__).parents[2] / "docs" / "translation"
ROW = re.compile(r"^\| (?P<field>.*?) \| `(?P<sample>\{.*?\})` \| (?P<outcome>.*) \|$")
DROPPED, REFUSED = "**dropped**", "**400** "


def read_rows(name: str) -> list[Any]:
    lines = (DOCS / name).read_text().splitlines()
    rows = [row for line in lines if (row := ROW.match(line))]
    told = [line for line in lines if line.startswith("|") and not line.startswith(("| field |", "|---"))]
    assert len(rows) == len(told)
    return [pytest.param(row["sample"], row["outcome"], id=row["field"]) for row in rows]


def merge(base: str, addition: str) -> dict[str, Any]:
    """Add fields to an object; null takes one away. Numbers keep their digits."""
    fields: dict[str, Any] = parse_exact(base.encode()) | parse_exact(addition.encode())
    return {key: value for key, value in fields.items() if value is not None}


def normal(value: object) -> object:
    """Return JSON as values that can be compared, with decimals as their text."""
    return msgspec.json.Decoder(float_hook=str).decode(write_exact(value))


def read_sample(sample: str, **defaults: Any) -> ChatCall:
    fields = parse_exact(sample.encode())
    model = str(fields.pop("model", "claude-sonnet-5"))
    return build_call(model, write_exact(defaults | fields).decode())


def as_json(call: ChatCall) -> dict[str, Any]:
    fields = normal({name: getattr(call, name) for name in call.__struct_fields__})
    assert isinstance(fields, dict)
    return {key: value for key, value in fields.items() if key not in UNCOMPARED}


UNCOMPARED = {"names", "echo"}
SENT = (
    '{"model": "claude-sonnet-5", "max_tokens": 100, '
    '"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}'
)
FROM = '{"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}'


@pytest.mark.parametrize(("sample", "outcome"), read_rows("to-anthropic.md"))
def test_a_call_becomes_the_body_its_row_says(sample: str, outcome: str) -> None:
    """docs/translation/to-anthropic.md is what build_chat does, row by row."""
    call = read_sample(sample, max_tokens=100)
    if outcome.startswith(REFUSED):
        with pytest.raises(BadRequestError) as refusal:
            ANTHROPIC_PROVIDER.build_chat(call)
        assert f"`{refusal.value.param}`" == outcome.removeprefix(REFUSED)
        assert refusal.value.message.startswith(refusal.value.param or "?")
        return
    sent = "{}" if outcome.startswith(DROPPED) else outcome.removeprefix("**sent as** ").strip("`")
    expected = merge(SENT, sent) | {"model": call.model}
    assert normal(parse_exact(ANTHROPIC_PROVIDER.build_chat(call))) == normal(expected)


@pytest.mark.parametrize(("sample", "outcome"), read_rows("from-anthropic.md"))
def test_a_body_becomes_the_call_its_row_says(sample: str, outcome: str) -> None:
    """docs/translation/from-anthropic.md is what read_call does, row by row."""
    body = write_exact(merge(FROM, sample))
    if outcome.startswith(REFUSED):
        with pytest.raises(BadRequestError) as refusal:
            ANTHROPIC_CLIENT.read_call(body)
        assert f"`{refusal.value.param}`" == outcome.removeprefix(REFUSED)
        assert refusal.value.message.startswith(refusal.value.param or "?")
        return
    plain = as_json(ANTHROPIC_CLIENT.read_call(FROM.encode()))
    changes = merge("{}", "{}" if outcome.startswith(DROPPED) else outcome.strip("`"))
    expected = as_json(read_sample(write_exact(changes).decode()))
    told = {key: expected[key] for key in changes}
    assert as_json(ANTHROPIC_CLIENT.read_call(body)) == plain | told


def test_the_default_limit_is_the_gateways_and_at_least_256() -> None:
    """A call without a limit gets the one that the provider's dialect was built with, never fewer than 256 tokens."""
    call = build_call("claude-sonnet-5")
    limits = [parse_exact(build_provider(limit).build_chat(call))["max_tokens"] for limit in (1, 1000)]
    assert limits == [256, 1000]


def test_whole_and_streamed_answers_have_one_address() -> None:
    """The path is relative to the provider's base URL, which has no /v1 of its own."""
    assert {ANTHROPIC_PROVIDER.path("claude-sonnet-5", stream) for stream in (True, False)} == {"/v1/messages"}
