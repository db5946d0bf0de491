"""The longest answer of a call, and limiting it."""

import json

import pytest

from app.catalog.asked import MOST_TOKENS, Asked
from app.catalog.contents import read_contents
from app.catalog.output_limits import cap_output, find_model_limit, find_output_limit


def asked(**fields):
    return read_contents(json.dumps(fields).encode()).asked


@pytest.mark.parametrize(
    ("fields", "limit", "answers"),
    [
        ({}, None, 1),
        ({"max_tokens": 7}, 7, 1),
        ({"max_completion_tokens": 8, "n": 3}, 8, 3),
        ({"max_output_tokens": 9}, 9, 1),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6, 1),
        ({"max_tokens": 5, "n": 2, "best_of": 4}, 5, 4),
        ({"max_tokens": None, "n": None}, None, 1),
        ({"max_tokens": "7", "n": True}, None, 1),
        ({"max_tokens": -1, "n": 0}, None, 1),
        ({"max_tokens": 10**30, "n": 10**9}, MOST_TOKENS, 128),
        ({"max_tokens": 0}, 0, 1),
    ],
)
def test_a_call_names_its_limit(fields, limit, answers):
    """Whichever field an endpoint has for it, the limit is read; nonsense is none."""
    found = asked(**fields)
    assert (found.limit, found.answers) == (limit, answers)


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("ft:gpt-4o-mini:acme::1", 16_384),
        ("gpt-4.1-nano", 32_768),
        ("gpt-4-turbo", 4_096),
        ("gpt-4-0613", 8_192),
        ("gpt-3.5-turbo", 4_096),
        ("gpt-5", 128_000),
        ("gpt-5.2-codex", 128_000),
        ("gpt-5-pro", 272_000),
        ("o1-mini", 65_536),
        ("o3", 100_000),
        ("o4-mini", 100_000),
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("claude-opus-4-5", 128_000),
        ("anthropic/claude-opus-4.8", 128_000),
        ("gemini-2.0-flash", 8_192),
        ("gemini-3-pro-preview", 65_536),
        ("echo", None),
        ("", None),
    ],
)
def test_known_models_have_known_limits(model, limit):
    """A model's own limit is found by its name, with and without a date, a vendor or a fine-tune."""
    assert find_model_limit(model) == limit


@pytest.mark.parametrize(
    ("endpoint", "vendor", "model", "named", "expected"),
    [
        ("chat", "openai", "gpt-4o", Asked(limit=5, answers=2), (5, 2, "call")),
        ("chat", "openai", "gpt-4o", Asked(answers=2), (16_384, 2, "model")),
        ("chat", "other", "mystery", Asked(), (4_096, 1, "assumed")),
        ("completions", "openai", "davinci-002", Asked(), (16, 1, "call")),
        ("completions", "other", "mystery", Asked(), (4_096, 1, "assumed")),
        ("embeddings", "openai", "text-embedding-3-small", Asked(), (0, 1, "call")),
        ("count_tokens", "anthropic", "claude-opus-4-8", Asked(limit=5), (0, 1, "call")),
    ],
)
def test_the_limit_is_the_calls_else_the_models_else_an_assumption(endpoint, vendor, model, named, expected):
    """What the call says counts; without it the model's limit, and the configured one where that is not known."""
    found = find_output_limit(endpoint, vendor, model, named, 4_096)
    assert (found.tokens, found.answers, found.source) == expected
    assert found.total == expected[0] * expected[1]


@pytest.mark.parametrize(
    ("endpoint", "vendor", "name"),
    [
        ("chat", "openai", "max_completion_tokens"),
        ("chat", "azure", "max_completion_tokens"),
        ("chat", "groq", "max_tokens"),
        ("completions", "openai", "max_tokens"),
        ("responses", "openai", "max_output_tokens"),
        ("messages", "anthropic", "max_tokens"),
    ],
)
def test_a_cap_goes_where_the_endpoint_takes_it(endpoint, vendor, name):
    """The limit goes into the field of the endpoint, a null in its place gives way, and all else keeps its bytes."""
    body = b'{ "model":"m", "temperature": 1.50, "x":{"b":1,"a":[ ]}, "%s":null}' % name.encode()
    capped = cap_output(body, endpoint, vendor, 99)
    assert json.loads(capped) == {"model": "m", "temperature": 1.5, "x": {"b": 1, "a": []}, name: 99}
    assert b'"temperature":1.50' in capped
    assert b'{"b":1,"a":[ ]}' in capped


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_that_is_there_stays(field):
    """A body that names a limit is not touched, whichever of the two names it uses."""
    body = b'{"messages": [], "%s": 5}' % field.encode()
    assert cap_output(body, "chat", "openai", 99) == body
    assert cap_output(body, "chat", "groq", 99) == body


def test_what_has_no_output_is_not_capped():
    """Embeddings take no limit."""
    assert cap_output(b'{"input":"a"}', "embeddings", "openai", 99) == b'{"input":"a"}'
