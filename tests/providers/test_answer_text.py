"""The words of whole answers, and which answers have none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.answer_text import REFUSAL, read_answer_text
from tests.providers.samples import CHAT, CHAT_TOOLS, COMPLETION, EMBEDDING, MESSAGE, RESPONSE, compact


def choose(finish="stop", **message):
    return {"choices": [{"message": message, "finish_reason": finish}]}


def block(*content, stop="end_turn"):
    return {"content": list(content), "stop_reason": stop}


def respond(*output, status="completed"):
    return {"output": list(output), "status": status}


def item(*content, kind="message"):
    return {"type": kind, "content": list(content)}


def text(value):
    return {"type": "text", "text": value}


def said(value):
    return {"type": "output_text", "text": value}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REASONING = {"type": "reasoning", "id": "rs", "summary": []}
TABLE = {
    "chat": ("chat", choose(content="Paris."), "Paris."),
    "chat with empty fields": (
        "chat",
        choose(content="Paris.", refusal=None, tool_calls=[], function_call=None, audio=None, annotations=[]),
        "Paris.",
    ),
    "chat with reasoning beside it": ("chat", choose(content="Paris.", reasoning_content="Hm, sorry."), "Paris."),
    "spaces are kept": ("chat", choose(content="  Paris.\n"), "  Paris.\n"),
    "chat that was cut off": ("chat", choose("length", content="Par"), None),
    "chat that was filtered": ("chat", choose("content_filter", content="Par"), None),
    "chat without an end": ("chat", choose(None, content="Par"), None),
    "chat for a tool": ("chat", choose("tool_calls", content=None, tool_calls=[CALL]), None),
    "a tool under another name of the end": ("chat", choose(content="Let me see.", tool_calls=[CALL]), None),
    "an old function": ("chat", choose(content="x", function_call={"name": "f", "arguments": ""}), None),
    "audio": ("chat", choose(content="x", audio={"id": "a"}), None),
    "a refusal in its own field": ("chat", choose(content="x", refusal="No."), None),
    "several choices": ("chat", {"choices": choose(content="a")["choices"] * 2}, None),
    "no choices": ("chat", {"choices": []}, None),
    "no content": ("chat", choose(content=None), None),
    "empty content": ("chat", choose(content=""), None),
    "white space": ("chat", choose(content=" \n\u2003"), None),
    "content in parts": ("chat", choose(content=[text("x")]), None),
    "a message that is none": ("chat", {"choices": [{"message": None, "finish_reason": "stop"}]}, None),
    "an error": ("chat", {"error": {"message": "x"}}, None),
    "a vendor's chat": ("chat", CHAT_TOOLS, None),
    "message": ("messages", block(text("Paris.")), "Paris."),
    "message in parts": ("messages", block(text("Par"), text("is.")), "Paris."),
    "message that was cut off": ("messages", block(text("Par"), stop="max_tokens"), None),
    "message that met a stop": ("messages", block(text("Par"), stop="stop_sequence"), None),
    "message that was refused": ("messages", block(text("Par"), stop="refusal"), None),
    "message that pauses": ("messages", block(text("Par"), stop="pause_turn"), None),
    "message without an end": ("messages", block(text("Par"), stop=None), None),
    "message for a tool": ("messages", block(text("x"), {"type": "tool_use", "id": "t", "input": {}}), None),
    "message with a search": ("messages", block(text("x"), {"type": "server_tool_use", "id": "t"}), None),
    "message with an unknown block": ("messages", block(text("x"), {"type": "vendor_block"}), None),
    "empty message": ("messages", block(), None),
    "a vendor's message": ("messages", MESSAGE, None),
    "response": ("responses", respond(item(said("Paris."))), "Paris."),
    "response in parts": ("responses", respond(item(said("Par"), said("is."))), "Paris."),
    "response after reasoning": ("responses", respond(REASONING, item(said("Paris."))), "Paris."),
    "response that was cut off": ("responses", respond(item(said("Par")), status="incomplete"), None),
    "response that failed": ("responses", respond(item(said("Par")), status="failed"), None),
    "response with a refusal": ("responses", respond(item({"type": "refusal", "refusal": "No."})), None),
    "response with half a refusal": (
        "responses",
        respond(item(said("x"), {"type": "refusal", "refusal": "No."})),
        None,
    ),
    "response for a tool": ("responses", respond(item(said("x")), {"type": "function_call", "name": "f"}), None),
    "response with a search": ("responses", respond({"type": "web_search_call"}, item(said("x"))), None),
    "two messages": ("responses", respond(item(said("x")), item(said("y"))), None),
    "only reasoning": ("responses", respond(REASONING), None),
    "empty response": ("responses", respond(), None),
    "an item without a type": ("responses", respond({"content": [said("x")]}), None),
    "a vendor's response": ("responses", RESPONSE, None),
    "completions": ("completions", COMPLETION, None),
    "embeddings": ("embeddings", EMBEDDING, None),
    "an unknown endpoint": ("songs", choose(content="Paris."), None),
    "another endpoint's answer": ("messages", choose(content="Paris."), None),
}


@pytest.mark.parametrize("name", TABLE)
def test_words(name):
    """Words are read from an answer that is one finished text, and from no other."""
    endpoint, answer, words = TABLE[name]
    assert read_answer_text(endpoint, compact(answer)) == words


def test_a_vendors_own_answer():
    """Reasoning, annotations and log probabilities beside the words do not matter."""
    one = {**CHAT, "choices": CHAT["choices"][:1]}
    assert one["choices"][0]["finish_reason"] == "stop"
    assert read_answer_text("chat", compact(one)) == "Hello, 世界!"


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I can\u2019t.",
        "I'm very sorry.",
        "Sorry, no.",
        "  \n sorry",
        "I apologize for that.",
        "I apologise.",
        "I cannot do this.",
        "I can't do this.",
        "I cant do this.",
        "I'm unable to say.",
        "I'm not able to say.",
        "As an AI language model, I have no opinion.",
        "AS AN AI, no.",
    ],
)
def test_refusals(answer):
    """An answer that begins like a refusal has no words for anybody else."""
    assert REFUSAL.match(answer)
    assert read_answer_text("chat", compact(choose(content=answer))) is None


@pytest.mark.parametrize(
    "answer",
    [
        "I can do this.",
        "As an aide, he wrote letters.",
        "Sorrow is a feeling.",
        "The word for it is 'sorry'.",
        "I'm surely right.",
        "You cannot do this.",
        "No.",
    ],
)
def test_no_refusals(answer):
    """What only looks a little like a refusal is an answer, and so is a plain no."""
    assert read_answer_text("chat", compact(choose(content=answer))) == answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["stop", "end_turn", "text", "completed", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "finish_reason", "output", "status", "type", "text", "stop_reason"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["chat", "messages", "responses"]), JSON)
def test_any_json(endpoint, answer):
    """Whatever a provider answers, reading it gives words or none and never an error."""
    words = read_answer_text(endpoint, compact(answer))
    assert words is None or words.strip()


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b'"\xff"', b"[" * 100_000, b'{"choices":' + b"[" * 100_000])
def test_no_json(endpoint, body):
    """Bytes that are no JSON have no words."""
    assert read_answer_text(endpoint, body) is None
