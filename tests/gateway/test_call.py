"""Reading the few fields of a body, and patching it without touching the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.gateway.call import patch_body, read_fields
from tests.gateway.builders import build_call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"{} {}", None),
        (b'{"model":5}', "model"),
        (b'{"stream":"yes"}', "stream"),
        (b'{"background":1}', "background"),
        (b'{"stream_options":[]}', None),
        (b'{"stream_options":{"include_usage":1}}', "include_usage"),
        (b'{"model":"\xff"}', None),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_do_not_fit(body, param):
    """What cannot be read is a 400 that names the field where there is one."""
    with pytest.raises(BadRequestError) as caught:
        read_fields(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("path", "body", "streamed", "hides", "stateful"),
    [
        ("/v1/chat/completions", {}, False, True, False),
        ("/v1/chat/completions", {"stream": True}, True, True, False),
        ("/v1/chat/completions", {"stream": None, "stream_options": None}, False, True, False),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}, True, False, False),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": None}}, True, True, False),
        ("/v1/embeddings", {"stream": True}, False, True, False),
        ("/v1/responses", {"background": True}, False, True, True),
        ("/v1/responses", {"conversation": "c"}, False, True, True),
        ("/v1/responses", {"conversation": None}, False, True, False),
    ],
)
def test_what_a_call_wants(path, body, streamed, hides, stateful):
    """A stream is wanted where there are streams; usage is hidden unless asked for; some calls leave a trace."""
    call = build_call(path, body)
    assert (call.streamed, call.hides_usage, call.stateful) == (streamed, hides, stateful)


@pytest.mark.parametrize(
    ("body", "patched"),
    [
        (b'{"a":1.10,"model":"x","b":9007199254740993}', b'{"a":1.10,"model":"new","b":9007199254740993}'),
        (b'{ "model" : "x", "a" : [ 1,  2 ] }', b'{"model":"new","a":[ 1,  2 ]}'),
        (b'{"a":"\\u00e9\\/"}', b'{"a":"\\u00e9\\/","model":"new"}'),
    ],
)
def test_renaming(body, patched):
    """Only the model's name changes: every other value is the bytes that came, in its place."""
    assert patch_body(body, model="new", ask_usage=False) == patched


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_renaming_keeps_meaning(fields):
    """Whatever the body, it says the same but for the model."""
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        patched = patch_body(body, model="new", ask_usage=False)
    except BadRequestError:
        return
    assert json.loads(patched) == {**fields, "model": "new"}


@pytest.mark.parametrize("body", [b'{"\xff":1}', b'{"\\ud800":1}', b'{"stream_options":{"\xff":1}}'])
def test_names_that_are_no_text(body):
    """A field whose name cannot be read is the client's mistake."""
    with pytest.raises(BadRequestError):
        patch_body(body, model="new", ask_usage=True)
