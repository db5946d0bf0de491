"""What calls ask, and which calls ask nothing that another one could be answered like."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.semantic.asking import ENDPOINTS, UnlikeError, build_identity, read_asking
from app.wire.caching import SemanticConfig

COOL = SemanticConfig(max_temperature=1.0)
"""Takes calls that say nothing of a temperature."""

STRICT = SemanticConfig()
SEVERAL = SemanticConfig(max_temperature=1.0, max_turns=2)
TOOLS = SemanticConfig(max_temperature=1.0, max_turns=3, allow_tools=True)
IMAGES = SemanticConfig(max_temperature=1.0, allow_images=True)
SEVERAL_IMAGES = SemanticConfig(max_temperature=1.0, max_turns=2, allow_images=True)
ODD = [[], {}, ["text"], {"type": "text"}, 7, 0, True, None, "\0"]
"""What is no word, though it stands where one is wanted."""

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
INPUT_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
FILE = {"type": "input_file", "file_id": "f"}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
TOOL_CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function", "function": {}}]}


def user(content="Q"):
    return {"role": "user", "content": content}


def text(value="Q", kind="text", **others):
    return {"type": kind, "text": value, **others}


def ask(*turns, place="messages", **fields):
    return {"model": "m", place: list(turns), **fields}


def read(endpoint, body, rules=COOL, *, asked_for=False):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_asking(endpoint, content, rules, asked_for=asked_for)


def reason(endpoint, body, rules=COOL, *, asked_for=False):
    """Return why a call is unlike all others; None when it asks something."""
    try:
        assert read(endpoint, body, rules, asked_for=asked_for).question
    except UnlikeError as why:
        return str(why)
    return None


BARE = ask(user())
SYSTEM = {"role": "system", "content": "S"}
DEVELOPER = {"role": "developer", "content": [text("S")]}
ASSISTANT = {"role": "assistant", "content": "A"}
INPUT = ask(user(), place="input")


@pytest.mark.parametrize(
    ("endpoint", "body", "rules"),
    [
        ("chat", BARE, COOL),
        ("chat", ask(user([text()])), COOL),
        ("chat", ask(SYSTEM, user()), COOL),
        ("chat", ask(DEVELOPER, SYSTEM, user([text()])), COOL),
        ("chat", ask(SYSTEM, user("before"), ASSISTANT, user()), SEVERAL),
        ("chat", ask(user("before"), user()), SEVERAL),
        ("chat", ask(user("before"), TOOL_CALL, {"role": "tool", "content": "r"}, user()), TOOLS),
        ("chat", ask(user([text(), IMAGE])), IMAGES),
        ("chat", ask(user([IMAGE, IMAGE, text()])), IMAGES),
        ("chat", ask(user([IMAGE]), ASSISTANT, user()), SEVERAL_IMAGES),
        ("chat", ask({"role": "system", "content": [IMAGE]}, user()), IMAGES),
        ("responses", ask(user([FILE]), ASSISTANT, user([text(kind="input_text")]), place="input"), SEVERAL_IMAGES),
        ("chat", ask(user(), web_search_options={}), TOOLS),
        ("chat", ask(user(), web_search_options=None, mcp_servers=[]), COOL),
        ("chat", ask(user(), tools=[], functions=None, tool_choice="none"), COOL),
        ("chat", ask(user(), tools=[{"type": "function"}]), TOOLS),
        ("chat", ask(user(), response_format={"type": "json_object"}), COOL),
        ("chat", ask(user(), stream=True, stream_options={"include_usage": True}), COOL),
        ("chat", ask(user(), n=1, best_of=1, seed=None, logprobs=False, top_logprobs=None), COOL),
        ("chat", ask(user(), n=3), SemanticConfig(max_temperature=1.0, allow_n=True)),
        ("chat", ask(user(), unknown={"deep": [1]}, stop=["x"], max_tokens=5, user="u"), COOL),
        ("messages", BARE, COOL),
        ("messages", ask(user(), system="S", max_tokens=9), COOL),
        ("messages", ask(user([text(cache_control={"type": "ephemeral"})]), system=[text("S")]), COOL),
        ("messages", ask(user([PICTURE, DOCUMENT, text()])), IMAGES),
        ("messages", ask(user("before"), ASSISTANT, user([text()])), SEVERAL),
        ("messages", ask(user(), thinking={"type": "enabled", "budget_tokens": 1024}), COOL),
        ("responses", {"model": "m", "input": "Q"}, COOL),
        ("responses", {"model": "m", "input": "Q", "instructions": "S", "store": True}, COOL),
        ("responses", INPUT, COOL),
        ("responses", ask(DEVELOPER, user([text(kind="input_text")]), place="input"), COOL),
        ("responses", ask({"type": "message", **user([text(kind="input_text")])}, place="input"), COOL),
        ("responses", ask(user([text(kind="input_text"), INPUT_IMAGE, FILE]), place="input"), IMAGES),
        ("responses", ask(user("a"), {"type": "reasoning", "summary": []}, user(), place="input"), SEVERAL),
        ("responses", {"input": "Q", "previous_response_id": None, "conversation": None}, COOL),
    ],
)
def test_questions(endpoint, body, rules):
    """The question is the text of the user's last turn, in whichever form it comes."""
    asking = read(endpoint, body, rules)
    assert asking.question == "Q"
    assert b'"Q"' not in asking.rest


@pytest.mark.parametrize(
    ("endpoint", "body", "rules", "why"),
    [
        ("completions", {"prompt": "Q"}, COOL, "endpoint"),
        ("embeddings", {"input": "Q"}, COOL, "endpoint"),
        ("count_tokens", BARE, COOL, "endpoint"),
        ("", BARE, COOL, "endpoint"),
        ("chat", {}, COOL, "no_question"),
        ("chat", ask(), COOL, "no_question"),
        ("chat", {"messages": None}, COOL, "no_question"),
        ("chat", {"messages": "Q"}, COOL, "no_question"),
        ("chat", {"messages": user()}, COOL, "no_question"),
        ("chat", {"input": "Q"}, COOL, "no_question"),
        ("responses", BARE, COOL, "no_question"),
        ("chat", ask(user(""), place="messages"), COOL, "no_question"),
        ("chat", ask(user(" \n\u3000")), COOL, "no_question"),
        ("chat", ask(user("a\0b")), COOL, "no_question"),
        ("chat", ask(user([text("a\0b")])), COOL, "no_question"),
        ("chat", ask(user([text("")])), COOL, "no_question"),
        ("chat", ask(user([text(None)])), COOL, "no_question"),
        ("chat", ask(user([{"type": "text"}])), COOL, "no_question"),
        ("chat", ask(user(None)), COOL, "no_question"),
        ("chat", ask({"role": "user"}), COOL, "no_question"),
        ("chat", ask(user(7)), COOL, "no_question"),
        ("chat", ask(user({"type": "text", "text": "Q"})), COOL, "no_question"),
        ("chat", ask(user(["Q"])), COOL, "no_question"),
        ("chat", ask(user([[text()]])), COOL, "no_question"),
        ("chat", ask(user(), None), COOL, "no_question"),
        ("chat", ask(None, user()), COOL, "no_question"),
        ("chat", ask("x", user()), COOL, "no_question"),
        ("chat", ask([user()]), COOL, "no_question"),
        ("chat", ask(user(), SYSTEM), SEVERAL, "no_question"),
        ("chat", ask(user(), ASSISTANT), SEVERAL, "no_question"),
        ("chat", ask({"content": "Q"}), COOL, "no_question"),
        ("chat", ask({"role": None, "content": "Q"}), COOL, "no_question"),
        ("chat", ask(user([])), COOL, "several_texts"),
        ("chat", ask(user([text("a"), text("b")])), COOL, "several_texts"),
        ("chat", ask(user([text(), text("")])), COOL, "several_texts"),
        ("chat", ask(user([IMAGE])), IMAGES, "several_texts"),
        ("chat", ask(user([text(), IMAGE])), COOL, "images"),
        ("messages", ask(user([text(), DOCUMENT])), COOL, "images"),
        ("responses", ask(user([text(kind="input_text"), INPUT_IMAGE]), place="input"), COOL, "images"),
        ("chat", ask(user([IMAGE]), user()), SEVERAL, "images"),
        ("chat", ask(user([text(), IMAGE]), ASSISTANT, user()), SEVERAL, "images"),
        ("chat", ask(user([text(), IMAGE]), ASSISTANT, user("b"), user()), SEVERAL, "images"),
        ("chat", ask({"role": "system", "content": [IMAGE]}, user()), COOL, "images"),
        ("chat", ask({"role": "assistant", "content": [text(), IMAGE]}, user()), SEVERAL, "images"),
        ("messages", ask(user([DOCUMENT, text("before")]), ASSISTANT, user()), SEVERAL, "images"),
        ("responses", ask(user([INPUT_IMAGE]), ASSISTANT, user(), place="input"), SEVERAL, "images"),
        ("responses", ask(user([FILE]), ASSISTANT, user(), place="input"), SEVERAL, "images"),
        ("chat", ask(user([text(), IMAGE, SOUND])), COOL, "images"),
        ("chat", ask(user([IMAGE])), COOL, "images"),
        *[("chat", ask(user([text(), {"type": kind}])), COOL, "parts") for kind in ODD],
        *[("chat", ask(user([{"type": kind, "text": "Q"}])), IMAGES, "parts") for kind in ODD],
        *[("chat", ask({"role": role, "content": "S"}, user()), COOL, "turns") for role in ODD],
        *[("chat", ask(user(), {"role": role, "content": "Q"}), SEVERAL, "no_question") for role in ODD],
        *[("responses", ask({"type": kind, **user()}, place="input"), COOL, "tools") for kind in ODD],
        *[("chat", ask({"role": "assistant", "content": [{"type": kind}]}, user()), COOL, "turns") for kind in ODD],
        ("chat", ask({"role": "user", "content": {"type": []}}, user()), COOL, "turns"),
        ("chat", ask(user([text(), SOUND])), COOL, "parts"),
        ("chat", ask(user([text(), SOUND])), IMAGES, "parts"),
        ("chat", ask(user([text(), IMAGE, {"type": "vendor_part"}])), IMAGES, "parts"),
        ("chat", ask(user([{"text": "Q"}])), COOL, "parts"),
        ("chat", ask(user("a"), ASSISTANT, user()), COOL, "turns"),
        ("chat", ask(user("a"), user()), COOL, "turns"),
        ("chat", ask(ASSISTANT, user()), COOL, "turns"),
        ("chat", ask({"content": "S"}, user()), COOL, "turns"),
        ("chat", ask(user("a"), user("b"), user()), SEVERAL, "turns"),
        ("chat", ask(user("a"), ASSISTANT, user("b"), ASSISTANT, user()), SEVERAL, "turns"),
        ("responses", ask(user("a"), ASSISTANT, user(), place="input"), COOL, "turns"),
        ("chat", ask(user(), tools=[{"type": "function"}]), COOL, "tools"),
        ("chat", ask(user(), functions=[{"name": "f"}]), COOL, "tools"),
        ("messages", ask(user(), mcp_servers=[{"url": "http://x"}]), COOL, "tools"),
        ("chat", ask(user(), web_search_options={"search_context_size": "low"}), COOL, "tools"),
        ("chat", ask(user(), web_search_options={}), COOL, "tools"),
        ("chat", ask(user(), tools={}), COOL, "tools"),
        ("chat", ask(user(), tools=[{}]), COOL, "tools"),
        ("chat", ask(user(), tools=False), COOL, "tools"),
        ("chat", ask(user(), tools=0), COOL, "tools"),
        ("chat", ask(user(), functions=""), COOL, "tools"),
        ("responses", {"input": "Q", "tools": [{"type": "web_search"}]}, COOL, "tools"),
        ("chat", ask(TOOL_CALL, {"role": "tool", "content": "r"}, user()), SEVERAL, "tools"),
        ("chat", ask({"role": "tool", "content": "r"}, user()), SEVERAL, "tools"),
        ("chat", ask({"role": "function", "name": "f", "content": "r"}, user()), SEVERAL, "tools"),
        ("chat", ask({"role": "assistant", "function_call": {"name": "f"}}, user()), SEVERAL, "tools"),
        ("messages", ask({"role": "assistant", "content": [{"type": "tool_use"}]}, user()), SEVERAL, "tools"),
        ("messages", ask(user([{"type": "tool_result", "tool_use_id": "t"}])), SEVERAL, "tools"),
        ("messages", ask(user([{"type": "tool_result", "tool_use_id": "t"}, text()])), SEVERAL, "tools"),
        ("messages", ask({"role": "assistant", "content": [{"type": "server_tool_use"}]}, user()), SEVERAL, "tools"),
        ("responses", ask({"type": "function_call", "name": "f"}, user(), place="input"), SEVERAL, "tools"),
        ("responses", ask({"type": "function_call_output"}, user(), place="input"), SEVERAL, "tools"),
        ("responses", ask({"type": "item_reference", "id": "i"}, user(), place="input"), SEVERAL, "tools"),
        ("chat", ask(TOOL_CALL, {"role": "tool", "content": "r"}, user()), IMAGES, "tools"),
        ("messages", ask(user([{"type": "tool_result", "tool_use_id": "t"}, text()])), TOOLS, "parts"),
        ("responses", {"input": "Q", "previous_response_id": "r"}, COOL, "stored_state"),
        ("responses", {"input": "Q", "previous_response_id": ""}, COOL, "stored_state"),
        ("responses", {"input": "Q", "conversation": {"id": "c"}}, COOL, "stored_state"),
        ("responses", {"input": "Q", "prompt": {"id": "p"}}, COOL, "stored_state"),
        ("chat", ask(user(), seed=7), COOL, "particular_parameters"),
        ("chat", ask(user(), seed=0), COOL, "particular_parameters"),
        ("chat", ask(user(), seed=0.0), COOL, "particular_parameters"),
        ("chat", ask(user(), seed=""), COOL, "particular_parameters"),
        ("chat", ask(user(), seed=[]), COOL, "particular_parameters"),
        ("chat", ask(user(), top_logprobs=0), COOL, "particular_parameters"),
        ("chat", ask(user(), logprobs=0), COOL, "particular_parameters"),
        ("chat", ask(user(), audio={}), COOL, "particular_parameters"),
        ("chat", ask(user(), prediction={}), COOL, "particular_parameters"),
        ("chat", ask(user(), logprobs=True), COOL, "particular_parameters"),
        ("chat", ask(user(), top_logprobs=3), COOL, "particular_parameters"),
        ("chat", ask(user(), audio={"voice": "alloy"}), COOL, "particular_parameters"),
        ("chat", ask(user(), prediction={"type": "content", "content": "x"}), COOL, "particular_parameters"),
        ("chat", ask(user(), n=2), COOL, "several_answers"),
        ("chat", ask(user(), n=0), COOL, "several_answers"),
        ("chat", ask(user(), n="1"), COOL, "several_answers"),
        ("chat", ask(user(), best_of=2), COOL, "several_answers"),
        ("chat", ask(user(), n=[]), COOL, "several_answers"),
        ("chat", ask(user(), n={}), COOL, "several_answers"),
        ("chat", ask(user(), n=False), COOL, "several_answers"),
    ],
)
def test_unlike(endpoint, body, rules, why):
    """Calls with anything but one question in words say so, in a word, and never ask something by accident."""
    assert reason(endpoint, body, rules) == why


ABSENT = object()


@pytest.mark.parametrize(
    ("temperature", "asked_for", "limit", "takes_part"),
    [
        (ABSENT, False, 0.0, False),
        (ABSENT, True, 0.0, True),
        (ABSENT, False, 0.99, False),
        (ABSENT, False, 1.0, True),
        (None, False, 0.0, False),
        (None, True, 0.0, True),
        (0, False, 0.0, True),
        (0.0, False, 0.0, True),
        (-0.0, False, 0.0, True),
        (1e-9, False, 0.0, False),
        (1e-9, True, 0.0, False),
        (1, False, 0.0, False),
        (1, True, 0.0, False),
        (1, True, 1.0, True),
        (0.7, False, 0.7, True),
        (0.3, False, 0.3, True),
        (0.71, False, 0.7, False),
        (2, False, 2.0, True),
        (10**30, True, 2.0, False),
        ("x", False, 0.0, False),
        ("x", True, 0.0, False),
        ("0", False, 0.0, False),
        ("0", True, 0.0, False),
        (True, False, 0.0, False),
        (True, True, 0.0, False),
        ([], True, 0.0, False),
        ({}, True, 0.0, False),
    ],
)
def test_temperatures(temperature, asked_for, limit, takes_part):
    """A call that names no temperature has the providers' default, unless it asked for similar answers itself.

    One that names a temperature is held to it all the same, and nonsense counts as the default.
    """
    fields = {} if temperature is ABSENT else {"temperature": temperature}
    why = reason("chat", ask(user(), **fields), SemanticConfig(max_temperature=limit), asked_for=asked_for)
    assert why == (None if takes_part else "temperature")


QUESTIONS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
FORMS = [
    ("chat", lambda question: ask(SYSTEM, user(question))),
    ("chat", lambda question: ask(user([text(question)]))),
    ("messages", lambda question: ask(user([text(question)]), system="S")),
    ("responses", lambda question: {"input": question}),
    ("responses", lambda question: ask(user([text(question, kind="input_text")]), place="input")),
]


@given(st.sampled_from(FORMS), QUESTIONS, QUESTIONS)
def test_the_question_and_the_rest(form, one, other):
    """The question comes back letter by letter, and is no part of the rest, which it shares with any other."""
    endpoint, build = form
    left, right = read(endpoint, build(one)), read(endpoint, build(other))
    assert (left.question, right.question) == (one, other)
    assert left.rest == right.rest


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


def put(document, path, value):
    """Return a copy of a document with another value at a path."""
    if not path:
        return value
    copied = list(document) if isinstance(document, list) else dict(document)
    copied[path[0]] = put(copied[path[0]] if len(path) > 1 else None, path[1:], value)
    return copied


RICH = ask(
    {"role": "system", "content": "S", "name": "s"},
    {"role": "user", "content": "before"},
    {"role": "assistant", "content": [text("A")]},
    {"role": "user", "content": [text(), IMAGE], "name": "u"},
    max_tokens=5,
    user="u",
    response_format={"type": "json_schema", "json_schema": {"name": "x"}},
    temperature=0.5,
    stop=["a", "b"],
    metadata={"a": 1},
)
RICH_RULES = SemanticConfig(max_temperature=1.0, max_turns=2, allow_images=True)
PLACES = [
    ("model",),
    ("max_tokens",),
    ("user",),
    ("response_format", "json_schema", "name"),
    ("temperature",),
    ("stop",),
    ("stop", 1),
    ("metadata", "a"),
    ("anything_new",),
    ("messages", 0, "content"),
    ("messages", 0, "name"),
    ("messages", 1, "content"),
    ("messages", 2, "content", 0, "text"),
    ("messages", 3, "name"),
    ("messages", 3, "anything_new"),
    ("messages", 3, "content", 0, "cache_control"),
    ("messages", 3, "content", 1, "image_url", "url"),
]


@settings(deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_everything_else_is_rest(path, value):
    """Whatever else of a call differs, its rest differs: only its question may."""
    changed = put(RICH, path, value)
    if reason("chat", changed, RICH_RULES) is not None:
        return
    same = json.dumps(changed, sort_keys=True) == json.dumps(RICH, sort_keys=True)
    assert (read("chat", changed, RICH_RULES).rest == read("chat", RICH, RICH_RULES).rest) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"input":"Q","a":1,"b":2}', b'{ "b" : 2,\n"a":1, "input":"R"}', True),
        (b'{"input":"Q","stream":true}', b'{"input":"Q"}', True),
        (b'{"input":"Q","stream":false,"stream_options":{"x":1}}', b'{"input":"Q"}', True),
        (b'{"input":"Q","a":{"stream":true}}', b'{"input":"Q","a":{}}', False),
        (b'{"input":"Q","a":1}', b'{"input":"Q","a":1.0}', False),
        (b'{"input":"Q","a":0.1}', b'{"input":"Q","a":0.10000000000000000001}', False),
        (b'{"input":"Q","a":9007199254740993}', b'{"input":"Q","a":9007199254740992}', False),
        (b'{"input":"Q","a":null}', b'{"input":"Q"}', False),
        (b'{"input":"Q"}', b'{"input":[{"role":"user","content":"Q"}]}', False),
        (
            b'{"input":[{"role":"user","content":"Q"}]}',
            b'{"input":[{"role":"user","content":[{"type":"input_text","text":"Q"}]}]}',
            False,
        ),
    ],
)
def test_the_form_of_the_rest(one, other, same):
    """The rest is in canonical form: order, white space and how the answer is sent do not count, numbers do."""
    assert (read("responses", one).rest == read("responses", other).rest) is same


WORDS = st.sampled_from(
    ["user", "system", "assistant", "tool", "text", "input_text", "message", "tool_use", "image", ""]
)
PART = JSON | st.fixed_dictionaries({}, optional={"type": WORDS | JSON, "text": JSON, "tool_calls": JSON})
TURN = JSON | st.fixed_dictionaries(
    {},
    optional={"role": WORDS | JSON, "type": WORDS | JSON, "content": JSON | st.lists(PART, max_size=3)},
)
SAID = JSON | st.lists(TURN, max_size=4)
RULES = st.builds(
    SemanticConfig,
    max_temperature=st.sampled_from([0.0, 1.0, 2.0]),
    max_turns=st.integers(1, 3),
    allow_tools=st.booleans(),
    allow_images=st.booleans(),
    allow_n=st.booleans(),
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *(
                "tools",
                "functions",
                "mcp_servers",
                "web_search_options",
                "conversation",
                "prompt",
                "previous_response_id",
            ),
            *(
                "temperature",
                "n",
                "best_of",
                "seed",
                "logprobs",
                "top_logprobs",
                "audio",
                "prediction",
                "stream",
                "model",
            ),
        ]
    ),
    JSON,
    max_size=3,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(ENDPOINTS)), SAID, FIELDS, RULES, st.booleans())
def test_any_call(endpoint, said, fields, rules, asked_for):
    """Whatever stands in a body, a call asks something in words or is unlike all others; it is never an error."""
    content = json.dumps({**fields, "messages": said, "input": said}).encode("utf-8", "surrogatepass")
    why = reason(endpoint, content, rules, asked_for=asked_for)
    if why is None:
        asking = read(endpoint, content, rules, asked_for=asked_for)
        assert asking.question.strip()
        assert json.loads(asking.rest)
    else:
        assert re.fullmatch(r"[a-z_]+", why)


HEADERS = st.lists(st.binary(max_size=4), max_size=3).map(tuple)
IDENTITIES = st.tuples(st.text("ab/", max_size=3), st.text("ab", max_size=3), st.text("ab", max_size=3), HEADERS)


@given(IDENTITIES, st.binary(max_size=4), IDENTITIES, st.binary(max_size=4))
def test_identities(one, rest, other, others):
    """Calls have the same identity only if scope, provider, endpoint, headers and rest are all the same.

    All calls of an endpoint have as many headers that count; with more of them in one call, parts do not shift either.
    """
    left, right = build_identity(*one, rest), build_identity(*other, others)
    assert len(left) == 32
    assert (left == right) is ((one, rest) == (other, others))
