"""A stored answer in the form that is asked for."""

import json
from uuid import UUID

import pytest

from app.cache.types import Entry
from app.gateway.replay import render
from app.providers.endpoints import ENDPOINTS

WHOLE = {
    "id": "x",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
EVENTS = (
    b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"hi"},"finish_reason":null}],"usage":null}\n\n'
    b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
    b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


def entry(body, *, streamed):
    return Entry(
        key=b"k",
        scope="user:u",
        user_id=UUID(int=1),
        api_key_id=None,
        provider="p",
        model="m",
        endpoint="chat",
        streamed=streamed,
        content_type="application/json",
        body=body,
        usage=None,
        created_at=0,
        expires_at=1,
    )


def show(stored, *, streamed, hide):
    return render(stored, ENDPOINTS["chat"], streamed=streamed, hide_usage=hide)


@pytest.mark.parametrize("hide", [False, True])
def test_the_stored_form_is_kept(hide):
    """Asked for as it was stored, an answer has the bytes it had, but for usage that was not asked for."""
    body = json.dumps(WHOLE, indent=1).encode()
    assert show(entry(body, streamed=False), streamed=False, hide=hide) == body
    shown = show(entry(EVENTS, streamed=True), streamed=True, hide=hide)
    assert (b"usage" in shown) is not hide
    assert (shown == EVENTS) is not hide


@pytest.mark.parametrize("hide", [False, True])
def test_whole_to_stream(hide):
    """A whole answer becomes a stream with an end marker, and with usage where asked for."""
    shown = show(entry(json.dumps(WHOLE).encode(), streamed=False), streamed=True, hide=hide)
    assert shown.endswith(b"data: [DONE]\n\n")
    assert b"hi" in shown
    assert (b'"prompt_tokens"' in shown) is not hide


def test_stream_to_whole():
    """A stream becomes the whole answer with its usage."""
    whole = json.loads(show(entry(EVENTS, streamed=True), streamed=False, hide=True))
    assert whole["choices"][0]["message"]["content"] == "hi"
    assert whole["usage"]["total_tokens"] == 2


@pytest.mark.parametrize("body", [b"", b"data: x\n\n", EVENTS[:80]])
def test_what_cannot_be_turned(body):
    """A stored stream that is not complete is a ValueError, which counts as no answer at all."""
    with pytest.raises(ValueError, match=r"\w"):
        show(entry(body, streamed=True), streamed=False, hide=False)
