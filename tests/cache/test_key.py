"""What makes two calls the same."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.key import IGNORED_FIELDS, build_key
from app.wire.digest import hash_parts

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=6)


def key(body, scope=b"s", provider="p", endpoint="e", headers=(b"a", b"b")):
    content = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    return build_key(scope, provider, endpoint, headers, content)


def shuffle(value):
    """Return the same value with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {name: shuffle(value[name]) for name in reversed(value)}
    return [shuffle(item) for item in value] if isinstance(value, list) else value


@given(OBJECTS, st.booleans() | st.none(), st.integers(0, 4))
def test_form_does_not_count(body, stream, indent):
    """Order of keys, white space, escapes and how the answer is sent make no other call."""
    fields = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    other = shuffle({**fields, "stream": stream, "stream_options": {"include_usage": True}})
    spaced = json.dumps(other, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert key(fields) == key(other) == key(spaced)


@given(OBJECTS, OBJECTS)
def test_content_counts(left, right):
    """Different bodies are different calls, and equal ones equal."""
    drop = {"stream", "stream_options"}
    one, two = ({name: value for name, value in body.items() if name not in drop} for body in (left, right))
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (key(one) == key(two)) is same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1.10}', b'{"a":1.11}'),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}'),
        (b'{"a":0.1}', b'{"a":0.10000000000000000001}'),
        (b'{"a":"1"}', b'{"a":1}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":{"stream":true}}', b'{"a":{"stream":false}}'),
        (b'{"a":true}', b'{"a":1}'),
    ],
)
def test_small_differences(left, right):
    """Numbers are compared as written, and only the fields at the top say how the answer is sent."""
    assert key(left) != key(right)


def test_everything_else_counts():
    """Scope, provider, endpoint and every header are part of the call, each in its own place."""
    keys = {
        key({}),
        key({}, scope=b"t"),
        key({}, provider="q"),
        key({}, endpoint="f"),
        key({}, headers=(b"ab", b"")),
        key({}, headers=(b"", b"ab")),
        key({}, headers=(b"b", b"a")),
        key({}, scope=b"sp", provider=""),
    }
    assert len(keys) == 8


@pytest.mark.parametrize("body", [b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":1e99999999999999999999}', b"{"])
def test_what_has_no_canonical_form(body):
    """A body that is no JSON, or has a number beyond all bounds, is an error and never the key of another one."""
    with pytest.raises((ValueError, ArithmeticError)):
        key(body)


def test_a_key_is_32_bytes():
    """A key is a SHA-256."""
    assert len(key({})) == 32


@given(OBJECTS, st.data())
def test_every_field_counts(body, data):
    """A field that is left out or has another value makes another call, unless it says how the answer is sent."""
    body = {**body, "stream": True, "stream_options": {}}
    field = data.draw(st.sampled_from(sorted(body)))
    value = data.draw(JSON)
    without = {name: given for name, given in body.items() if name != field}
    changed = {**body, field: value}
    if field in IGNORED_FIELDS:
        assert key(body) == key(without) == key(changed)
    else:
        assert key(body) != key(without)
        same = json.dumps(value, sort_keys=True) == json.dumps(body[field], sort_keys=True)
        assert (key(body) == key(changed)) is same


PARTS = st.lists(st.binary(max_size=9), max_size=5)


@given(PARTS, PARTS)
def test_lists_do_not_run_into_each_other(left, right):
    """Two lists of parts have the same hash only if they are the same list."""
    assert (hash_parts(left) == hash_parts(right)) is (left == right)


@given(st.binary(min_size=1, max_size=20), st.lists(st.integers(0, 20), max_size=4), st.lists(st.integers(0, 20)))
def test_cuts_count(whole, some, others):
    """The same bytes cut at other places are other parts, however many of them are empty."""
    left, right = (cut(whole, places) for places in (some, others))
    assert b"".join(left) == b"".join(right) == whole
    assert (hash_parts(left) == hash_parts(right)) is (left == right)


def cut(whole, places):
    bounds = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    return [whole[start:end] for start, end in pairwise(bounds)]


def test_a_part_may_look_like_a_length():
    """A part that is written like the length before another one is still a part."""
    length = (1).to_bytes(8, "big")
    hashes = {hash_parts(parts) for parts in ([length, b"a"], [length + b"a"], [b"", length, b"a"], [b"a"], [], [b""])}
    assert len(hashes) == 6
    assert {len(value) for value in hashes} == {32}
