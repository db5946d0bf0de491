"""Counting input tokens before a call: exact where the rule is published, never too few elsewhere."""

import base64
import hashlib
import json
import socket
import subprocess
import sys
import time

import msgspec
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog import vocabulary
from app.catalog.tokens import INLINE_BYTES, count_input, count_inputs
from app.catalog.vocabulary import FOLDER
from app.mock import chat, prompt_cache, responses
from app.mock.calls import count_text
from app.mock.message_bodies import CountBody

PICTURE = base64.b64encode(bytes(200_000)).decode()


def write(**fields):
    return json.dumps(fields).encode()


def talk(*texts, **fields):
    return write(messages=[{"role": "user", "content": text} for text in texts], **fields)


def count(body, model="gpt-4o", vendor="openai"):
    return count_input(body, model, vendor).tokens


def published(model, messages):
    """OpenAI's published rule: three for each message beside the tokens of its values, one for a name, three more."""
    encoding = tiktoken.encoding_for_model(model)
    tokens = 3
    for message in messages:
        tokens += 3 + sum(len(encoding.encode(value)) for value in message.values()) + ("name" in message)
    return tokens


CHATS = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Wie heißt du?"}],
    [
        {"role": "system", "content": "Translate corporate jargon into plain English.\n"},
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {"role": "assistant", "content": "Things working well together will increase revenue."},
        {"role": "user", "content": "日本語のテキスト 🎄 \n\n\n   and code: for(i=0;i<10;i++){}"},
    ],
]


@pytest.mark.parametrize("messages", CHATS, ids=[1, 2, 4])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "o3-mini", "gpt-5", "gpt-4", "gpt-3.5-turbo"])
def test_a_chat_counts_as_openai_says(model, messages):
    """Plain chats at OpenAI come to exactly what the published rule gives, with each model's own vocabulary."""
    assert count(write(model=model, messages=messages, temperature=0, user="me"), model) == published(model, messages)


def test_parts_count_as_their_texts():
    """A message in parts has the tokens of its texts, not of the JSON around them."""
    parts = [{"type": "text", "text": "How do you do?"}]
    assert count(write(messages=[{"role": "user", "content": parts}])) == count(talk("How do you do?"))


@pytest.mark.parametrize(
    ("value", "tokens"),
    [("hello world", 2), (["hello world", "hello"], 3), ([1, 2, 3, 4], 4), ([[1, 2], [3]], 3), ([], 0)],
)
def test_embedding_inputs_count_as_texts_or_as_tokens(value, tokens):
    """Embedding inputs have no overhead, and numbers are tokens already."""
    assert count(write(model="text-embedding-3-small", input=value), "text-embedding-3-small") == tokens


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}", "detail": "high"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "mp3"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PICTURE}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PICTURE}"}},
    ],
    ids=lambda part: part["type"],
)
def test_pictures_and_files_count_at_an_allowance(part):
    """What is no text counts at an allowance: something, and far less than its base64."""
    tokens = count(write(messages=[{"role": "user", "content": [part]}]))
    assert 100 < tokens < 60_000


def test_low_detail_is_cheap():
    """A picture asked for in low detail has a small allowance, and the small 4o counts more for each."""
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}]
    body = write(messages=[{"role": "user", "content": parts}])
    assert count(body) < 500
    assert count(body, "gpt-4o-mini") > 2_833


def test_audio_is_told_apart():
    """Recordings are counted apart, for they have a price of their own."""
    part = {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}}
    found = count_input(write(messages=[{"role": "user", "content": [part]}]), "gpt-4o-audio-preview", "openai")
    assert 0 < found.audio_tokens < found.tokens


def test_a_document_of_text_counts_as_its_text():
    """A document that is plain text is counted, not guessed."""
    source = {"type": "text", "media_type": "text/plain", "data": "one two three four"}
    body = write(messages=[{"role": "user", "content": [{"type": "document", "source": source, "title": "Numbers"}]}])
    assert count(body) < 40


def test_tools_and_formats_count_as_their_json():
    """Tools and the schema of an answer are part of the prompt."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    plain, with_tools = count(talk("hi")), count(talk("hi", tools=[tool]))
    assert with_tools - plain >= len(
        tiktoken.get_encoding("o200k_base").encode(json.dumps(tool, separators=(",", ":")))
    )
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert count(talk("hi", response_format=schema)) > plain + 10
    assert count(talk("hi", tools=[{"type": "web_search"}])) > with_tools + 5 * 8_000


def test_what_the_provider_keeps_counts_at_an_allowance():
    """A conversation that is only named has an unknown length, which is not taken for none."""
    assert count(write(input="hi", previous_response_id="resp_1")) > 30_000
    assert count(write(input="hi", conversation="conv_1")) > 30_000


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-4-5", "gemini-3-pro", "llama-3.3-70b", "other"])
def test_another_tokenizer_counts_more(model):
    """For tokenizers that are not published the count is on the safe side of OpenAI's."""
    text = "The quick brown fox jumps over the lazy dog. " * 20 + "Ein süßes Wörtchen. हिन्दी"
    assert 1.15 * count(talk(text)) <= count(talk(text), model, "any") <= 2.5 * count(talk(text))


BODIES = [
    b"",
    b"{",
    b"null",
    b"[1]",
    b'"x"',
    b"\xff\xfe",
    b'{"messages": 7}',
    b'{"messages": [null, 3, "a", {"role": 5, "content": {"a": [1.5, true]}}], "tools": "x", "n": "many"}',
    b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"messages":' + b"[" * 5000,
    b'{"input": [1, "a", {}, [2, null]], "max_tokens": -4, "tools": [{"type": null}, [{"type": []}]]}',
    b'{"messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"messages":[{"role":"user","content":"<|endoftext|>"}]}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_odd_bodies_are_counted_all_the_same(body):
    """Nothing that a client sends makes counting fail; what cannot be read has at most a token a byte."""
    assert 0 <= count(body) <= len(body) + 40


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "content", "source"]), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["messages", "input", "tools", "system", "n", "x", "max_tokens"]), JSON))
@settings(max_examples=200, deadline=None)
def test_counting_never_raises(fields):
    """Any JSON object is counted, whatever is where."""
    assert count(json.dumps(fields).encode()) >= 0
    assert count(json.dumps(fields).encode(), "claude-opus-4-8", "anthropic") >= 0


TEXTS = st.text(max_size=300) | st.text(alphabet=" \n\tab", max_size=2000) | st.sampled_from(["word " * 300, "x" * 999])
TURNS = st.lists(TEXTS, min_size=1, max_size=5)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


@given(TURNS, st.booleans(), TEXTS)
@settings(max_examples=150, deadline=None)
def test_the_mock_never_counts_more(texts, tools, system):
    """For any prompt the count is at least what the mock provider reports, on each of its endpoints."""
    extra = {"tools": TOOLS} if tools else {}
    body = talk(*texts, model="mock/echo", **extra)
    assert count(body, "echo", "mock") >= chat._count_input(msgspec.json.decode(body, type=chat.ChatBody))
    body = talk(*texts, model="mock/echo", system=system, **extra)
    assert count(body, "echo", "mock") >= prompt_cache.count_input(msgspec.json.decode(body, type=CountBody))
    items = [{"type": "message", "role": "user", "content": text} for text in texts]
    body = write(model="mock/echo", input=items, instructions=system, **extra)
    read = msgspec.json.decode(body, type=responses.ResponseBody)
    assert count(body, "echo", "mock") >= responses._count_input(read, items)
    body = write(model="mock/embed", input=texts)
    assert count(body, "embed", "mock") >= sum(count_text(len(text), 0, None) for text in texts)


@given(TEXTS, TEXTS)
@settings(max_examples=100, deadline=None)
def test_more_text_is_never_fewer_tokens(one, other):
    """Another message never makes a prompt cheaper."""
    assert count(talk(one, other)) >= count(talk(one))


@pytest.mark.anyio
async def test_large_bodies_are_counted_beside_the_loop():
    """A large body gives the same count by way of a thread, one for each model that may answer."""
    body = talk("word " * INLINE_BYTES)
    targets = [("gpt-4o", "openai"), ("claude-opus-4-8", "anthropic"), ("gpt-4o", "openai")]
    found = await count_inputs(body, targets)
    assert found == [count_input(body, *target) for target in targets]
    assert await count_inputs(talk("hi"), [("gpt-4o", "openai")]) == [count_input(talk("hi"), "gpt-4o", "openai")]


@pytest.mark.parametrize("text", ["a", "😀", " ", "अ", "\n", "ab!"])
def test_no_text_takes_long(text):
    """Texts without words, which encode slowly, are counted in bounded time."""
    body = talk(text * (2_000_000 // len(text)))
    started = time.monotonic()
    assert count(body) > 10_000
    assert time.monotonic() - started < 8


def test_beyond_a_size_bytes_are_counted(monkeypatch):
    """What goes beyond the size that is encoded counts at a token a byte."""
    monkeypatch.setattr("app.catalog.tokens.COUNTED_CHARS", 1_000)
    assert count(talk("word " * 1_000)) > 4_000


def test_vocabularies_are_the_shipped_ones():
    """The files are where tiktoken looks for them, and are the ones whose digests we know."""
    for name, digest in vocabulary._FILES.values():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_nothing_is_fetched():
    """A process without a network counts, whatever its environment says about tiktoken."""
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from app.catalog.vocabulary import count_text\n"
        "assert [count_text('hello world', name) for name in ('o200k_base', 'cl100k_base')] == [2, 2]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"TIKTOKEN_CACHE_DIR": "/nonexistent", "PATH": ""})


def test_without_its_file_a_vocabulary_counts_bytes(monkeypatch, tmp_path):
    """A damaged installation counts bytes rather than fetching anything."""

    def refuse(*_, **__):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(vocabulary, "FOLDER", tmp_path)
    vocabulary._find_encoding.cache_clear()
    try:
        assert vocabulary.count_text("hällo", "o200k_base") == 6
    finally:
        vocabulary._find_encoding.cache_clear()
