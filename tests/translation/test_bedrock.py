"""Calls to Bedrock: docs/translation/to-bedrock.md is the table."""

import json
from typing import Any, get_args
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given

from app.errors import BadRequestError
from app.translation.bedrock import BEDROCK_ANTHROPIC, BEDROCK_CONVERSE
from app.wire.chat import ChatCall, Message, Part
from tests.translation.canonical_calls import MESSAGES, build_call, check_row, list_rows, show

MODEL = "us.anthropic.claude-opus-4-6-v1"
ROWS = list_rows("to-bedrock.md")
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"


@pytest.mark.parametrize(("field", "sample", "outcome"), ROWS, ids=[row[0] for row in ROWS])
def test_every_row_of_the_page_is_what_happens(field: str, sample: str, outcome: str) -> None:
    """A field is sent as the page says, dropped where it says so, or refused under the name it says."""
    check_row(BEDROCK_CONVERSE.build_chat, MODEL, sample, outcome)


def test_the_page_speaks_of_every_field_and_every_part() -> None:
    """No field of the canonical call and no kind of part is without a row."""
    samples = [json.loads(sample) for _, sample, _ in ROWS]
    fields = {name for sample in samples for name in sample}
    assert set(ChatCall.__struct_fields__) - fields == {"names", "echo"}
    text = "".join(sample for _, sample, _ in ROWS)
    for kind in get_args(Part):
        assert f'"type": "{kind.__struct_config__.tag}"' in text


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2%3A0"),
        (ARN, ARN.replace(":", "%3A").replace("/", "%2F")),
        ("../x?y#z;p", "..%2Fx%3Fy%23z%3Bp"),
        ("a b\0\r\né", "a%20b%00%0D%0A%C3%A9"),
        ("%2e%2e", "%252e%252e"),
    ],
)
def test_a_model_is_one_segment_of_the_path(model: str, segment: str) -> None:
    """Whatever a model is called, ARN or not, it cannot lead to another path, query or host."""
    assert BEDROCK_CONVERSE.path(model, False) == f"/model/{segment}/converse"
    assert BEDROCK_CONVERSE.path(model, True) == f"/model/{segment}/converse-stream"
    assert BEDROCK_ANTHROPIC.path(model, False) == f"/model/{segment}/invoke"
    assert BEDROCK_ANTHROPIC.path(model, True) == f"/model/{segment}/invoke-with-response-stream"
    assert unquote(segment) == model


@pytest.mark.parametrize("model", ["", ".", "..", "\ud83d"])
def test_a_model_that_is_no_segment_is_refused(model: str) -> None:
    """What would change the path, or cannot be in one, is a 400."""
    for dialect in (BEDROCK_CONVERSE, BEDROCK_ANTHROPIC):
        with pytest.raises(BadRequestError) as caught:
            dialect.path(model, False)
        assert caught.value.param == "model"


@given(MESSAGES)
def test_any_conversation_is_a_body_or_a_bad_request(messages: list[dict[str, Any]]) -> None:
    """Whatever parts stand in whatever order, the outcome is JSON or a 400, never a crash."""
    call = msgspec.structs.replace(build_call(MODEL), messages=msgspec.convert(messages, tuple[Message, ...]))
    for dialect in (BEDROCK_CONVERSE, BEDROCK_ANTHROPIC):
        refused: BadRequestError | None = None
        try:
            body = show(dialect.build_chat(call))
        except BadRequestError as error:
            refused = error
        assert refused.param == "messages" if refused else all(turn["content"] for turn in body["messages"])


def test_claude_by_invoke_is_the_messages_body_of_bedrock() -> None:
    """The model and the stream are in the path, the version in the body, and there is no service tier."""
    call = build_call(MODEL, '{"stream": true, "service_tier": "auto", "max_tokens": 300, "top_k": 3}')
    assert show(BEDROCK_ANTHROPIC.build_chat(call)) == {
        "max_tokens": 300,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "top_k": 3,
        "anthropic_version": "bedrock-2023-05-31",
    }


def test_claude_by_invoke_refuses_what_anthropic_has_no_words_for() -> None:
    """The same call is refused by both ways to Claude."""
    with pytest.raises(BadRequestError) as caught:
        BEDROCK_ANTHROPIC.build_chat(build_call(MODEL, '{"n": 2}'))
    assert caught.value.param == "n"
