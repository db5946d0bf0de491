"""Values made from JSON schemas."""

import pytest
from jsonschema import Draft202012Validator

from app.mock.schema import build_value

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["v", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 30},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "uuid"},
        {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{3}$"},
        {"type": "integer", "minimum": 5, "maximum": 6},
        {"type": "integer", "exclusiveMinimum": 5},
        {"type": "integer", "exclusiveMaximum": -5},
        {"type": "integer", "maximum": -3},
        {"type": "number", "multipleOf": 7, "minimum": 10},
        {"type": ["null", "boolean"]},
        {"type": "null"},
        {"enum": ["b", "a"]},
        {"const": {"a": [1]}},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": {"type": "null"}},
        {"items": {"type": "string"}, "maxItems": 0, "type": "array"},
        {
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}}},
            ]
        },
        {"oneOf": [{"type": "object", "properties": {"k": {"const": "x"}}, "required": ["k"]}, {"type": "null"}]},
        {"type": "object", "required": ["loose"]},
        {"properties": {"a": True, "b": {}}},
        NODE,
        {},
    ],
)
def test_a_value_satisfies_its_schema(schema):
    """Whatever the schema asks for, the value validates against it."""
    Draft202012Validator(schema).validate(build_value(schema))


def test_a_recursive_schema_without_an_end_stops():
    """Optional recursion is left out deep down, so it comes to an end."""
    schema = {
        "type": "object",
        "properties": {"child": {"$ref": "#"}, "list": {"type": "array", "items": {"$ref": "#"}}},
    }
    Draft202012Validator(schema).validate(build_value(schema))


def test_a_pattern_nobody_can_guess_still_gives_text():
    """Unreadable or unusual patterns are answered with plain text rather than a failure."""
    assert build_value({"type": "string", "pattern": "("}) == "value"
