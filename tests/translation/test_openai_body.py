"""Building chat completions: docs/translation/to-openai.md is the table."""

import json
from typing import Any

import pytest

from app.errors import BadRequestError
from app.translation.openai import OPENAI_PROVIDER, build_provider
from app.translation.openai_body import name_limit_field
from app.wire.chat import ChatCall, Message, Text, ToolResult, ToolUse
from tests.translation.canonical_calls import build_call, check_row, list_rows


def build(call: ChatCall) -> dict[str, Any]:
    return json.loads(OPENAI_PROVIDER.build_chat(call))


@pytest.mark.parametrize(("field", "sample", "outcome"), list_rows("to-openai.md"))
def test_every_row_of_the_page_is_what_happens(field: str, sample: str, outcome: str) -> None:
    """A field is sent as the page says, dropped where it says so, or refused under the name it says."""
    check_row(OPENAI_PROVIDER.build_chat, "gpt-4o", sample, outcome)


@pytest.mark.parametrize(
    ("sample", "field"),
    [
        ('{"top_k": 1, "names": {"top_k": "k"}}', "k"),
        ('{"temperature": 3, "names": {"temperature": "heat"}}', "heat"),
        (
            '{"messages": [{"role": "user", "parts": [{"type": "refusal", "text": ""}]}], "names": {"messages": "in"}}',
            "in",
        ),
    ],
)
def test_a_refusal_names_the_clients_field(sample: str, field: str) -> None:
    """What this provider has no words for is refused in the words of the client."""
    with pytest.raises(BadRequestError) as caught:
        OPENAI_PROVIDER.build_chat(build_call("gpt-4o", sample))
    assert caught.value.param == field
    assert caught.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("o1", "max_completion_tokens"),
        ("o3-mini-2025-01-31", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.6-codex", "max_completion_tokens"),
        ("gpt-6-astra", "max_completion_tokens"),
        ("gpt-10", "max_completion_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
        ("ft:o4-mini-2025-04-16:org::id", "max_completion_tokens"),
        ("codex-mini-latest", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("ft:gpt-4o-mini:org::id", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("olmo-2", "max_tokens"),
        ("llama3.3", "max_tokens"),
        ("deepseek-chat", "max_tokens"),
    ],
)
def test_the_limit_stands_where_the_model_reads_it(model: str, field: str) -> None:
    """OpenAI's reasoning models refuse `max_tokens`; everybody else knows it."""
    assert name_limit_field(model) == field


def test_who_builds_the_provider_says_where_the_limit_stands() -> None:
    """The field is a parameter, for vendors that want another."""
    provider = build_provider(limit_field=lambda _: "max_new_tokens")
    assert json.loads(provider.build_chat(build_call("gpt-4o", '{"max_tokens": 3}')))["max_new_tokens"] == 3
    assert provider.path("gpt-4o", True) == "/chat/completions"


def test_raw_json_and_arguments_are_sent_digit_for_digit() -> None:
    """Schemas keep their bytes and arguments their text."""
    schema = '{"z":9007199254740993,"a":1.10}'
    call = build_call("gpt-4o", f'{{"tools": [{{"name": "f", "parameters": {schema}}}], "metadata": {schema}}}')
    body = OPENAI_PROVIDER.build_chat(call)
    assert body.count(schema.encode()) == 2


def test_a_long_id_is_the_same_in_the_call_and_its_result() -> None:
    """Two long ids stay two, and a result still points at its call."""
    ids = [f"chatcmpl-tool-{'0' * 40}{number}" for number in (1, 2)]
    uses = tuple(ToolUse(id=use_id, name="f", arguments="{}") for use_id in ids)
    results = tuple(ToolResult(tool_use_id=use_id) for use_id in reversed(ids))
    call = ChatCall(model="m", messages=(Message(role="assistant", parts=uses), Message(role="user", parts=results)))
    asked, second, first = build(call)["messages"]
    assert [use["id"] for use in asked["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert first["tool_call_id"] != second["tool_call_id"]
    assert len(first["tool_call_id"]) <= 40


def test_turns_that_only_follow_one_another_stay_apart() -> None:
    """Messages of one role are put together only where calls and results have to be."""
    turns = (
        Message(role="user", parts=(Text(text="a"),)),
        Message(role="user", parts=(Text(text="b"),)),
        Message(role="assistant", parts=(Text(text="c"),)),
        Message(role="assistant", parts=(Text(text="d"),)),
    )
    assert [item["content"] for item in build(ChatCall(model="m", messages=turns))["messages"]] == ["a", "b", "c", "d"]
