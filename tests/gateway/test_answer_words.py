"""The words of stored answers, whole and streamed."""

import msgspec
import pytest

from app.gateway.answer_words import complete_likeness, read_text
from app.providers.endpoints import ENDPOINTS
from app.semantic.types import Likeness
from tests.cache.samples import make_entry
from tests.providers.samples import CHAT_STREAM, MESSAGE_STREAM, compact, named, sse

CHAT, MESSAGES, RESPONSES = (ENDPOINTS[name] for name in ("chat", "messages", "responses"))
LIKENESS = Likeness(
    identity=b"i" * 32,
    embedder="e",
    namespace="user:u",
    question="When did Ada Lovelace meet Charles Babbage, in 1833 or later?",
    vector="[1]",
)


def chat(**message):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "choices": [choice]}


def message(*content):
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def response(*output):
    return {"id": "r", "object": "response", "status": "completed", "output": list(output), "model": "gpt-4o"}


def say(text):
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": content}


TEXT = 'Zwei, "drei"\n \U0001f389'
WORDS = {
    "chat": (CHAT, chat(content=TEXT)),
    "messages": (MESSAGES, message({"type": "text", "text": TEXT})),
    "responses": (RESPONSES, response(say(TEXT))),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_whole_and_streamed(name):
    """The same words are read from a whole answer and from the stream that it would have been."""
    endpoint, answer = WORDS[name]
    whole = compact(answer)
    assert read_text(endpoint, whole, streamed=False) == TEXT
    assert read_text(endpoint, endpoint.write_stream(whole, True), streamed=True) == TEXT


@pytest.mark.parametrize(
    ("endpoint", "body", "text"),
    [
        (CHAT, CHAT_STREAM, 'Zażółć "usage":{"a":1} 🎉 [DONE] "error": "finish_reason":"stop"'),
        (MESSAGES, MESSAGE_STREAM, None),  # it was cut off at max_tokens
        (MESSAGES, MESSAGE_STREAM.replace(b"max_tokens", b"end_turn"), "message_stop error \n żółw"),
        (RESPONSES, named({"type": "response.completed", "response": response(say("Six."))}), "Six."),
    ],
    ids=["chat", "messages that were cut off", "messages", "responses"],
)
def test_streams_as_providers_send_them(endpoint, body, text):
    """A vendor's own stream is read; one that ended before its time has no words."""
    assert read_text(endpoint, body, streamed=True) == text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, RESPONSES], ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b"data: {", b"data: [DONE]\n\n", b"\xff", b"{" * 5000, b"data: []\n\n", sse({})],
)
def test_what_is_no_answer(endpoint, streamed, body):
    """Bytes that are no answer have no words, and are no error either."""
    assert read_text(endpoint, body, streamed=streamed) is None


@pytest.mark.parametrize("name", ["completions", "embeddings", "count_tokens"])
def test_endpoints_without_words(name):
    """Endpoints that hold no conversation have no answers for other questions."""
    assert read_text(ENDPOINTS[name], compact(chat(content="hi")), streamed=False) is None


def complete(answer, likeness=LIKENESS):
    return complete_likeness(likeness, make_entry(body=compact(answer)), CHAT)


def test_the_answers_echoes_are_kept():
    """Names and numbers of the question that the answer repeats are kept beside it, in one order."""
    kept = complete(chat(content="Lovelace first met Babbage in June 1833, at a party."))
    assert kept == msgspec.structs.replace(LIKENESS, echoes=("1833", "babbage", "lovelace"))


def test_an_answer_without_echoes():
    """An answer that repeats nothing of its question is kept for every question like it."""
    assert complete(chat(content="In June.")).echoes == ()


@pytest.mark.parametrize(
    "answer",
    [
        chat(content=None, tool_calls=[{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
        chat(content="I'm sorry, I can't help with that."),
        chat(content=""),
        {"choices": []},
    ],
    ids=["tools", "refusal", "nothing", "no choices"],
)
def test_answers_that_suit_no_other_question(answer):
    """Nothing is kept of a question whose answer is no words, or says that there is none."""
    assert complete(answer) is None


def test_a_call_without_a_question():
    """Where a call has no question there is nothing to complete."""
    assert complete(chat(content="Yes."), likeness=None) is None
