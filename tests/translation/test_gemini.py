"""Calls to Gemini: docs/translation/to-gemini.md is the table."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given

from app.errors import BadRequestError
from app.translation.gemini import GEMINI_PROVIDER
from app.wire.chat import ChatCall, Message, Part
from tests.translation.canonical_calls import MESSAGES, build_call, check_row, list_rows, show

MODEL = "gemini-2.5-pro"
ROWS = list_rows("to-gemini.md")


@pytest.mark.parametrize(("field", "sample", "outcome"), ROWS, ids=[row[0] for row in ROWS])
def test_every_row_of_the_page_is_what_happens(field: str, sample: str, outcome: str) -> None:
    """A field is sent as the page says, dropped where it says so, or refused under the name it says."""
    check_row(GEMINI_PROVIDER.build_chat, MODEL, sample, outcome)


def test_the_page_speaks_of_every_field_and_every_part() -> None:
    """No field of the canonical call and no kind of part is without a row."""
    samples = [json.loads(sample) for _, sample, _ in ROWS]
    fields = {name for sample in samples for name in sample}
    assert set(ChatCall.__struct_fields__) - fields == {"names", "echo"}
    text = "".join(sample for _, sample, _ in ROWS)
    for kind in get_args(Part):
        assert f'"type": "{kind.__struct_config__.tag}"' in text


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-2.5-pro", False, "/models/gemini-2.5-pro:generateContent"),
        ("models/gemini-2.5-pro", True, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("tunedModels/a", False, "/tunedModels/a:generateContent"),
        ("a/../b?c#d:e f", False, "/models/a%2F..%2Fb%3Fc%23d%3Ae%20f:generateContent"),
        ("..", False, "/models/..:generateContent"),
        ("é", False, "/models/%C3%A9:generateContent"),
    ],
)
def test_a_model_is_one_segment_of_the_path(model: str, stream: bool, path: str) -> None:
    """Whatever a model is called, it cannot lead to another path, query or host."""
    assert GEMINI_PROVIDER.path(model, stream) == path


def test_a_model_that_no_path_can_hold_is_refused() -> None:
    """Half a surrogate pair is a 400, not a crash."""
    with pytest.raises(BadRequestError) as caught:
        GEMINI_PROVIDER.path("\ud83d", False)
    assert caught.value.param == "model"


def test_an_error_names_the_clients_own_field() -> None:
    """The client hears of the field it sent, not of the canonical one."""
    call = build_call(MODEL, '{"temperature": 3, "names": {"temperature": "the_temperature"}}')
    with pytest.raises(BadRequestError, match="the_temperature") as caught:
        GEMINI_PROVIDER.build_chat(call)
    assert caught.value.param == "the_temperature"


def test_a_description_needs_a_schema_that_can_hold_it() -> None:
    """A schema that is no object is the provider's to judge, unless a description has to go into it."""
    call = build_call(MODEL, '{"format": {"kind": "json_schema", "schema": [1.10]}}')
    assert b'"responseJsonSchema":[1.10]' in GEMINI_PROVIDER.build_chat(call)
    call = build_call(MODEL, '{"format": {"kind": "json_schema", "schema": [1.10], "description": "d"}}')
    with pytest.raises(BadRequestError) as caught:
        GEMINI_PROVIDER.build_chat(call)
    assert caught.value.param == "format"


@given(MESSAGES)
def test_any_conversation_is_a_body_or_a_bad_request(messages: list[dict[str, Any]]) -> None:
    """Whatever parts stand in whatever order, the outcome is JSON or a 400, never a crash."""
    call = msgspec.structs.replace(build_call(MODEL), messages=msgspec.convert(messages, tuple[Message, ...]))
    refused: BadRequestError | None = None
    try:
        body = show(GEMINI_PROVIDER.build_chat(call))
    except BadRequestError as error:
        refused = error
    assert refused.param == "messages" if refused else all(turn["parts"] for turn in body["contents"])
