"""Reading the fields of a client's JSON, by type and with their paths."""

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import BadRequestError
from app.providers.exact_json import Fields, parse_exact
from app.translation import reading

VALUES = {
    "text": b'"a"',
    "true": b"true",
    "integer": b"3",
    "whole": b"3.0",
    "decimal": b"1.10",
    "negative": b"-2",
    "huge": b"9223372036854775808",
    "infinite": b"1e999",
    "list": b"[1]",
    "object": b'{"b":1}',
}
ACCEPTED: list[tuple[Callable[..., Any], dict[str, object]]] = [
    (reading.get_text, {"text": "a"}),
    (reading.get_flag, {"true": True}),
    (reading.get_integer, {"integer": 3, "whole": 3, "negative": -2}),
    (reading.get_number, {"integer": 3, "whole": 3.0, "decimal": 1.1, "negative": -2}),
    (reading.get_list, {"list": [1]}),
    (reading.get_object, {"object": {"b": 1}}),
]


def read(value: bytes) -> Fields:
    return reading.read_object(b'{"a":' + value + b"}")


@pytest.mark.parametrize(("get", "accepted"), ACCEPTED)
def test_each_reader_takes_its_own_type_only(get: Callable[..., Any], accepted: dict[str, object]) -> None:
    """A value of another type is a 400 with the field's path; missing and null are None."""
    for name, value in VALUES.items():
        if name in accepted:
            assert get(read(value), "a") == accepted[name]
            continue
        with pytest.raises(BadRequestError) as refusal:
            get(read(value), "a", "messages[2]")
        assert refusal.value.param == "messages[2].a"
        assert refusal.value.message.startswith("messages[2].a: must be ")
    assert get(read(b"null"), "a") is None
    assert get({}, "a") is None


@pytest.mark.parametrize("need", [reading.need_text, reading.need_list, reading.need_object])
def test_what_is_needed_must_be_there(need: Callable[..., Any]) -> None:
    """Missing and null are refused alike where a field is needed."""
    for fields in ({}, {"a": None}):
        with pytest.raises(BadRequestError, match=r"x\.a: is missing"):
            need(fields, "a", "x")


def test_numbers_have_bounds() -> None:
    """Both bounds belong to what is taken."""
    assert reading.get_number(read(b"2"), "a", least=2, most=2) == 2
    assert reading.get_integer(read(b"1"), "a", least=1) == 1
    for bounds in ({"least": 3}, {"most": 1}):
        with pytest.raises(BadRequestError):
            reading.get_number(read(b"2"), "a", **bounds)
    with pytest.raises(BadRequestError):
        reading.get_integer(read(b"0"), "a", least=1)


def test_a_choice_is_one_of_its_words() -> None:
    """Other words are refused with those that would do."""
    assert reading.get_choice(read(b'"x"'), "a", ["x", "y"]) == "x"
    with pytest.raises(BadRequestError, match="a: must be one of x, y"):
        reading.get_choice(read(b'"z"'), "a", ["x", "y"])


def test_json_that_only_travels_keeps_its_digits() -> None:
    """Raw values come out with the digits and the order of keys they had."""
    json = b'{"z":9007199254740993,"a":1.10,"b":[1E5]}'
    raw = reading.get_json(read(json), "a")
    assert raw is not None
    assert bytes(raw) == json
    assert reading.get_json(read(b"null"), "a") is None


def test_extras_are_what_nobody_knows() -> None:
    """Unknown fields are kept raw; a null says nothing."""
    extras = reading.read_extras(parse_exact(b'{"a":1,"b":1.10,"c":null}'), {"a"})
    assert {key: bytes(value) for key, value in extras.items()} == {"b": b"1.10"}
    with pytest.raises(BadRequestError) as refusal:
        reading.expect_only({"a": 1, "c": None, "b": 2}, {"a"}, "x[0]")
    assert refusal.value.param == "x[0].b"


def test_json_that_is_too_deep_is_refused() -> None:
    """Values too deep to be written again are a 400."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadRequestError, match="x: is nested too deeply"):
        reading.as_json(deep, "x")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":', b"\xff", b'{"a":' * 100_000])
def test_a_body_is_an_object(body: bytes) -> None:
    """Anything else is a 400."""
    with pytest.raises(BadRequestError):
        reading.read_object(body)
