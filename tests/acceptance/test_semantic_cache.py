"""Answers to similar questions over HTTP: when they are given, to whom, what is said of them, and what ends them."""

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.acceptance.support import fresh, make_key, query, wait_until

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ON = {"x-aihub-semantic": "on"}


@pytest.fixture(scope="module", autouse=True)
def unchecked(shared_gateway):
    """No hit of these tests is checked by chance."""
    shared_gateway.configure(cache={"semantic": {"check_share": 0}})


@pytest.fixture
def own(shared_gateway):
    """The client of a new user: what others of this module asked is nowhere near."""
    key = make_key(shared_gateway, f"{fresh('u').replace(' ', '.')}@example.org")
    with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        yield client


def build(question, path=CHAT, **fields):
    """Return a call that asks `question` and nothing else."""
    if path == RESPONSES:
        return {"model": "mock/echo", "input": question, "temperature": 0} | fields
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": question}], "temperature": 0}
    return body | ({"max_tokens": 100} if path == MESSAGES else {}) | fields


def ask(client, question, path=CHAT, headers=ON, **fields):
    answer = client.post(path, json=build(question, path, **fields), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def status(*words, **fields):
    return ask(*words, **fields).headers["x-aihub-cache-status"]


def teach(gateway, client, question, path=CHAT, headers=ON, **fields):
    """Have a question and its answer stored, and return its key."""
    key = ask(client, question, path, headers, **fields).headers["x-aihub-cache-key"]
    find = "SELECT 1 FROM semantic_entries WHERE key = %s"
    wait_until(lambda: query(gateway, find, bytes.fromhex(key)), bool)
    return key


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("streams", [(False, False), (True, False), (False, True), (True, True)])
def test_the_same_in_other_words(shared_gateway, own, mock, path, streams):
    """A question with the same words is answered without the provider, stored and asked in either form."""
    first, second = streams
    key = teach(shared_gateway, own, "What is the capital of France?", path, stream=first)
    answer = ask(own, "what's the capital of france", path, stream=second)
    assert answer.headers["x-aihub-cache-status"] == "semantic-hit"
    assert answer.headers["x-relay-semantic-entry"] == key
    assert answer.headers["x-aihub-cache-key"] != key
    assert second is answer.headers["content-type"].startswith("text/event-stream")
    assert second or "capital" in answer.text
    assert "age" in answer.headers
    assert mock.count() == 1


def test_the_evidence_is_named(shared_gateway, own):
    """Every similar answer says how near it was, which entry it is, and the bound on the namespace's wrong answers."""
    teach(shared_gateway, own, "How do I reset a forgotten password?")
    lines = ask(own, "How can I reset a forgotten password").headers
    assert lines["x-relay-semantic-mode"] == "serving"
    assert 0.92 <= float(lines["x-relay-semantic-similarity"]) <= 1
    assert 0 < float(lines["x-relay-semantic-bound"]) <= 0.01
    assert lines["x-relay-semantic-namespace"].startswith("user:")
    assert lines["x-relay-semantic-checks"].count("/") == 1


def test_a_hit_saves_and_is_recorded(shared_gateway, own):
    """A similar answer costs nothing, its row says what it is, and its decision is there to be audited."""
    key = teach(shared_gateway, own, "Where is the Eiffel Tower?")
    answer = ask(own, "where's the Eiffel Tower?")
    shared_gateway.flush()
    row = query(
        shared_gateway,
        "SELECT cache_status, estimated_cost, attempts FROM requests WHERE request_id = %s",
        answer.headers["x-request-id"],
    )[0]
    assert row == {"cache_status": "semantic-hit", "estimated_cost": 0, "attempts": 0}
    find = "SELECT entry_key, served, tier FROM semantic_decisions WHERE request_id = %s"
    found = wait_until(lambda: query(shared_gateway, find, answer.headers["x-request-id"]), bool)
    assert found == [{"entry_key": bytes.fromhex(key), "served": True, "tier": 0}]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("What is the capital of France?", "What is the capital of Germany?"),
        ("How do I enable dark mode?", "How do I disable dark mode?"),
        ("Is 5 mg of melatonin safe?", "Is 50 mg of melatonin safe?"),
        ("Flights from Paris to Rome", "Flights from Rome to Paris"),
        ("Is the clinic open on Sundays?", "Is the clinic not open on Sundays?"),
        ("Who wrote Hamlet?", "When was Hamlet written?"),
        ("How do I convert dollars to euros?", "How do I convert euros to dollars?"),
    ],
)
def test_near_and_not_the_same(shared_gateway, own, stored, asked):
    """Names, numbers, units, negations, directions and what is asked for must agree, however near the vectors are."""
    teach(shared_gateway, own, stored)
    assert status(own, asked, headers={"x-aihub-semantic": "0.80"}) == "miss"


def test_off_unless_switched_on(shared_gateway, own):
    """Without header, key or configuration nothing similar is stored or served; `off` wins over a key that says on."""
    teach(shared_gateway, own, "What is the boiling point of water?")
    assert status(own, "what's the boiling point of water", headers={}) == "miss"
    assert status(own, "what's the boiling point of water?", headers={"x-aihub-semantic": "off"}) == "miss"


def test_a_question_without_likeness_is_not_stored(shared_gateway, own):
    """A call that did not ask for likeness leaves no question behind."""
    key = ask(own, fresh("what is this"), headers={}).headers["x-aihub-cache-key"]
    wait_until(lambda: query(shared_gateway, "SELECT 1 FROM cache_entries WHERE key = %s", bytes.fromhex(key)), bool)
    assert query(shared_gateway, "SELECT 1 FROM semantic_entries WHERE key = %s", bytes.fromhex(key)) == []


@pytest.mark.parametrize("value", ["yes", "0.79", "1.01", "2", "-1", "0,9", "nan", "1e0"])
def test_what_the_header_takes(own, value):
    """on, off or a number from 0.80 to 1.0; anything else is a 400 that names the header."""
    answer = own.post(CHAT, json=build("x"), headers={"x-aihub-semantic": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-AIHub-Semantic")


def test_a_floor_of_ones_own_is_strict(shared_gateway, own):
    """A number in the header is the least cosine; what is below is not served, whatever the policy says."""
    teach(shared_gateway, own, "What is the tallest mountain on Earth?")
    asked = "tell me what the tallest mountain on Earth is, please"
    assert status(own, asked, headers={"x-aihub-semantic": "1.0"}) == "miss"
    own.post("/v1/cache/clear")
    teach(shared_gateway, own, "What is the tallest mountain on Earth?")
    assert status(own, asked, headers={"x-aihub-semantic": "0.80"}) == "semantic-hit"


OTHERWISE = {
    "another system prompt": {"messages": [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": None}]},
    "another model": {"model": "mock/lorem"},
    "another parameter": {"top_p": 0.5},
    "another form": {"response_format": {"type": "json_object"}},
    "an unknown field": {"novelty": 1},
    "an earlier turn": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": None},
        ]
    },
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    "several answers": {"n": 2},
    "a high temperature": {"temperature": 0.9},
    "a seed": {"seed": 1},
}


@pytest.mark.parametrize("fields", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_identity_first(shared_gateway, own, fields):
    """Everything but the words of the question must be the same, and some calls are never like any other."""
    stored, asked = "How tall is the Matterhorn?", "how tall is the matterhorn"
    teach(shared_gateway, own, stored)
    turns = [turn | {"content": turn["content"] or asked} for turn in fields.get("messages", [])]
    body = build(asked) | fields | ({"messages": turns} if turns else {})
    answer = own.post(CHAT, json=body, headers=ON)
    assert answer.headers["x-aihub-cache-status"] == "miss"
    assert "x-relay-semantic-entry" not in answer.headers


def test_turns_that_a_key_allows(shared_gateway, own):
    """With more turns allowed, a conversation is compared within the very same turns before it."""
    shared_gateway.configure(cache={"semantic": {"max_turns": 3}})
    try:

        def talk(earlier, last):
            return {
                "messages": [
                    {"role": "user", "content": earlier},
                    {"role": "assistant", "content": "Paris"},
                    {"role": "user", "content": last},
                ]
            }

        teach(shared_gateway, own, "", **talk("Capital of France?", "How many people live there?"))
        assert status(own, "", **talk("Capital of France?", "how many people live there")) == "semantic-hit"
        assert status(own, "", **talk("Capital of Spain?", "how many people live there")) == "miss"
    finally:
        shared_gateway.configure(cache={"semantic": {"max_turns": 1}})


def test_nobody_elses(shared_gateway, own):
    """Another user's question is never near, with the same words and settings; a shared namespace is, for all of it."""
    shared_gateway.configure(cache={"namespaces": {"help": {"shared_by": "everyone"}}})
    key = make_key(shared_gateway, f"{fresh('other').replace(' ', '.')}@example.org")
    scope = ON | {"x-relay-cache-scope": "namespace:help"}
    with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as other:
        teach(shared_gateway, own, "What are the opening hours?")
        assert status(other, "what're the opening hours?") == "miss"
        teach(shared_gateway, own, "Which cards do you accept?", headers=scope)
        assert status(other, "which cards do you accept", headers=scope) == "semantic-hit"
        ask(own, "Why was my card refused?", headers=scope)
        assert status(other, "why was my card refused", headers=scope) == "miss"  # it is another one's card


def test_only_and_bypass_and_refresh(shared_gateway, own, mock):
    """`only` is content with a similar answer, `bypass` and `refresh` are not; without one, `only` is a 504."""
    teach(shared_gateway, own, "What colour is the sky?")
    asked = "what colour's the sky"
    assert status(own, asked, headers=ON | {"x-aihub-cache": "only"}) == "semantic-hit"
    assert status(own, asked, headers=ON | {"x-aihub-cache": "bypass"}) == "bypass"
    assert status(own, asked, headers=ON | {"x-aihub-cache": "refresh"}) == "refresh"
    refused = own.post(CHAT, json=build("Why is snow white?"), headers=ON | {"x-aihub-cache": "only"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "cache_miss")
    assert mock.count() == 3


def test_identical_calls_share_a_similar_answer(shared_gateway, own, mock):
    """Calls that are the same and come at once all get the similar answer, and all say so."""
    teach(shared_gateway, own, "What is the speed of light?")
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: status(own, "what's the speed of light"), range(20)))
    assert set(statuses) == {"semantic-hit"}
    assert mock.count() == 1


@pytest.mark.parametrize(
    "question",
    [
        "What is the weather today?",
        "What is 12 * 37?",
        "What does this video show?",
        "Summarize https://example.org/a",
        "word " * 300,
        " ",
    ],
)
def test_questions_that_have_no_likeness(shared_gateway, own, question):
    """What depends on the moment, on numbers, on what is meant by 'this', or is no question, is never stored as one."""
    key = ask(own, question).headers["x-aihub-cache-key"]
    wait_until(lambda: query(shared_gateway, "SELECT 1 FROM cache_entries WHERE key = %s", bytes.fromhex(key)), bool)
    assert query(shared_gateway, "SELECT 1 FROM semantic_entries WHERE key = %s", bytes.fromhex(key)) == []


@pytest.mark.parametrize(
    "how", ["stop=length", "stop=content_filter", "text='I am sorry, I cannot do that.'", "tool=*"]
)
def test_answers_that_suit_no_other_question(shared_gateway, own, how):
    """Unfinished answers, refusals and calls of tools are kept for the same call alone."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    fields = {"tools": [tool]} if how.startswith("tool") else {}
    body = build(f"[[mock {how}]] Who is the king?", **fields)
    own.post(CHAT, json=body, headers=ON).raise_for_status()
    asked = build(f"[[mock {how}]] who's the king", **fields)
    assert own.post(CHAT, json=asked, headers=ON).headers["x-aihub-cache-status"] == "miss"


def test_a_wrong_answer_is_reported(shared_gateway, own):
    """A report removes the entry, counts once, and ends the advance that the namespace had."""
    key = teach(shared_gateway, own, "How long is the Nile?")
    teach(shared_gateway, own, "How deep is Lake Baikal?")
    served = ask(own, "how long's the Nile")
    request_id = served.headers["x-request-id"]
    find = "SELECT verdict FROM semantic_decisions WHERE request_id = %s"
    wait_until(lambda: query(shared_gateway, find, request_id), bool)
    report = own.post("/v1/cache/wrong", json={"request_id": request_id})
    assert report.status_code == 200
    assert report.json() == {
        "request_id": request_id,
        "entry": key,
        "namespace": served.headers["x-relay-semantic-namespace"],
        "removed": True,
    }
    assert own.post("/v1/cache/wrong", json={"request_id": request_id}).json()["removed"] is False
    assert status(own, "how long's the Nile") == "miss"
    shadow = ask(own, "how deep's Lake Baikal").headers
    assert (shadow["x-aihub-cache-status"], shadow["x-relay-semantic-mode"]) == ("miss", "shadow")
    assert shadow["x-relay-semantic-checks"] == "1/1"


def test_a_shared_similar_answer_is_reported(shared_gateway, own):
    """Who got a similar answer that another identical call had found can report it as well."""
    teach(shared_gateway, own, "Who discovered penicillin?")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(own, "who discovered penicillin"), range(6)))
    assert {answer.headers["x-aihub-cache-status"] for answer in answers} == {"semantic-hit"}
    find = "SELECT 1 FROM semantic_decisions WHERE request_id = %s AND served"
    for answer in answers:
        request_id = answer.headers["x-request-id"]
        wait_until(lambda found=request_id: query(shared_gateway, find, found), bool)
        assert own.post("/v1/cache/wrong", json={"request_id": request_id}).status_code == 200


def test_only_asks_nobody(shared_gateway, own, mock):
    """A call that wants a kept answer or none has no similar answer checked behind its back."""
    shared_gateway.configure(cache={"semantic": {"check_share": 1}})
    try:
        teach(shared_gateway, own, "Who discovered oxygen?")
        answer = ask(own, "who discovered oxygen", headers=ON | {"x-aihub-cache": "only"})
        assert answer.headers["x-aihub-cache-status"] == "semantic-hit"
        find = "SELECT verdict FROM semantic_decisions WHERE request_id = %s"
        assert wait_until(lambda: query(shared_gateway, find, answer.headers["x-request-id"]), bool) == [
            {"verdict": None}
        ]
        assert mock.count() == 1
    finally:
        shared_gateway.configure(cache={"semantic": {"check_share": 0}})


def test_reports_of_others_and_of_nothing(shared_gateway, own):
    """Nobody reports another's answer, one that was not similar, or none; fields that do not fit are named."""
    teach(shared_gateway, own, "Who painted the Mona Lisa?")
    served = ask(own, "who painted the mona lisa").headers["x-request-id"]
    plain = ask(own, fresh("plain")).headers["x-request-id"]
    find = "SELECT 1 FROM semantic_decisions WHERE request_id = %s"
    wait_until(lambda: query(shared_gateway, find, served), bool)
    key = make_key(shared_gateway, f"{fresh('other').replace(' ', '.')}@example.org")
    with shared_gateway.client(headers={"authorization": f"Bearer {key}"}) as other:
        assert other.post("/v1/cache/wrong", json={"request_id": served}).status_code == 404
    for unknown in (plain, "no-such-request"):
        assert own.post("/v1/cache/wrong", json={"request_id": unknown}).status_code == 404
    misfit = own.post("/v1/cache/wrong", json={"request": served})
    assert (misfit.status_code, misfit.json()["error"]["param"]) == (400, "request")


def answer_with(text):
    """Return a chat completion that says `text`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return json.dumps({"id": "c", "object": "chat.completion", "model": "echo", "choices": [choice], "usage": usage})


@pytest.mark.parametrize(("second", "verdict"), [("It is 1,345 km long.", "same"), ("About 99 miles.", "different")])
def test_a_shadow_is_compared(shared_gateway, own, mock, second, verdict):
    """What is not proven goes to the provider, and the two answers are compared at no extra call."""
    shared_gateway.configure(cache={"semantic": {"unproven": "nothing"}})
    try:
        mock.answer_next(answer_with("It is 1,345 km long.").encode())
        teach(shared_gateway, own, "How long is the Rhine?")
        mock.answer_next(answer_with(second).encode())
        answer = ask(own, "how long's the Rhine")
        assert (answer.headers["x-aihub-cache-status"], answer.headers["x-relay-semantic-mode"]) == ("miss", "shadow")
        assert second in answer.text
        find = "SELECT served, verdict FROM semantic_decisions WHERE request_id = %s"
        found = wait_until(lambda: query(shared_gateway, find, answer.headers["x-request-id"]), bool)
        assert found == [{"served": False, "verdict": verdict}]
        assert mock.count() == 2
    finally:
        shared_gateway.configure(cache={"semantic": {"unproven": "same_words"}})


@pytest.mark.parametrize(("way", "stream"), [("direct", False), ("batch", False), ("batch", True)])
def test_a_sample_of_hits_is_checked(shared_gateway, own, mock, way, stream):
    """A share of served answers is asked for again behind the client's back, recorded apart, and judged.

    By a batch it is the same, only later.
    """
    shared_gateway.configure(cache={"semantic": {"check_share": 1.0, "checks": way}})
    try:
        mock.answer_next(answer_with("Seven.").encode())
        teach(shared_gateway, own, "How many seas are there?")
        mock.answer_next(answer_with("There are 5 of them.").encode())
        answer = ask(own, "How many seas are there, please?", stream=stream)
        assert answer.headers["x-aihub-cache-status"] == "semantic-hit"
        assert "Seven" in answer.text
        find = "SELECT served, verdict FROM semantic_decisions WHERE request_id = %s"
        wait_until(
            lambda: query(shared_gateway, find, answer.headers["x-request-id"]),
            lambda rows: rows == [{"served": True, "verdict": "different"}],
        )
        shared_gateway.flush()
        rows = query(
            shared_gateway,
            "SELECT r.cache_status, r.estimated_cost FROM requests r JOIN semantic_decisions d USING (user_id) "
            "WHERE d.request_id = %s AND 'relaycore:semantic-check' = ANY(r.tags)",
            answer.headers["x-request-id"],
        )
        assert [row["cache_status"] for row in rows] == ["bypass"]
        shadow = ask(own, "how many seas are there")
        assert shadow.headers["x-relay-semantic-mode"] == "shadow"
        [batches] = query(shared_gateway, "SELECT count(*) FROM batches WHERE 'relaycore:semantic-check' = ANY(tags)")
        assert (batches["count"] > 0) == (way == "batch")
    finally:
        shared_gateway.configure(cache={"semantic": {"check_share": 0, "checks": "direct"}})


def test_proven_namespaces_serve_more(shared_gateway, own):
    """When enough checks found nothing wrong, similar answers beyond the same words are served too."""
    stored, asked = "How old is the universe?", "What is the age of the universe?"
    teach(shared_gateway, own, stored)
    first = ask(own, asked).headers
    assert (first["x-aihub-cache-status"], first["x-relay-semantic-mode"]) == ("miss", "shadow")
    find = "SELECT namespace, policy FROM semantic_decisions WHERE request_id = %s"
    found = wait_until(lambda: query(shared_gateway, find, first["x-request-id"]), bool)[0]
    with psycopg.connect(shared_gateway.database_url) as connection:
        connection.execute(
            "INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) "
            "SELECT %s, %s, tier, 400, 0 FROM generate_series(0, 2) AS tier "
            "ON CONFLICT (namespace, policy, tier) DO UPDATE SET checked = 400, wrong = 0",
            (found["namespace"], found["policy"]),
        )
    own.post("/v1/cache/clear")
    teach(shared_gateway, own, stored)
    again = ask(own, asked).headers
    assert again["x-aihub-cache-status"] == "semantic-hit"
    assert float(again["x-relay-semantic-bound"]) <= 0.01
    assert 0.8 <= float(again["x-relay-semantic-probability"]) <= 1


def test_a_key_that_has_it_on(shared_gateway):
    """A key may have likeness on with rules of its own; its calls need no header, and `off` still wins."""
    admin = shared_gateway.client(headers={"authorization": f"Bearer {shared_gateway.admin_key}"})
    with admin:
        user = admin.post("/admin/users", json={"email": f"{fresh('k').replace(' ', '.')}@example.org"}).json()["id"]
        rules = {"enabled": True, "max_temperature": 1.0}
        made = admin.post("/admin/api-keys", json={"user_id": user, "semantic": rules}).json()
        assert made["semantic"] == rules
        bad = admin.put(f"/admin/api-keys/{made['id']}", json={"semantic": {"floor": 0.5}})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "semantic.floor")
    with shared_gateway.client(headers={"authorization": f"Bearer {made['key']}"}) as client:
        teach(shared_gateway, client, "What is the largest ocean?", headers={}, temperature=None)
        assert status(client, "what's the largest ocean", headers={}, temperature=None) == "semantic-hit"
        assert status(client, "what's the largest ocean?", headers={"x-aihub-semantic": "off"}) == "miss"


def test_a_model_of_vectors_through_the_gateway(shared_gateway, own, mock):
    """A configured embeddings model makes the vectors, is recorded like any call, and starts with no others."""
    teach(shared_gateway, own, "What is the smallest country?")
    shared_gateway.configure(cache={"semantic": {"embedder": "mock/embed"}})
    try:
        assert status(own, "what's the smallest country") == "miss"
        teach(shared_gateway, own, "What is the oldest city?")
        assert status(own, " What is the oldest city? ") == "semantic-hit"
        shared_gateway.flush()
        rows = query(
            shared_gateway,
            "SELECT endpoint, model FROM requests WHERE 'relaycore:embedding' = ANY(tags) ORDER BY request_time DESC",
        )
        assert rows[0] == {"endpoint": "embeddings", "model": "embed"}
    finally:
        shared_gateway.configure(cache={"semantic": {"embedder": "local"}})


def test_a_streamed_hit_is_checked_too(shared_gateway, own):
    """The provider's stream behind a streamed hit is read to its end and compared."""
    shared_gateway.configure(cache={"semantic": {"check_share": 1.0}})
    try:
        for path in (CHAT, MESSAGES, RESPONSES):
            teach(shared_gateway, own, "Which river flows through Cologne?", path, stream=True)
            answer = ask(own, "which river flows through Cologne", path, stream=True)
            assert answer.headers["x-aihub-cache-status"] == "semantic-hit"
            find = "SELECT verdict FROM semantic_decisions WHERE request_id = %s"
            wait_until(
                lambda: query(shared_gateway, find, answer.headers["x-request-id"]),  # noqa: B023 - called at once
                lambda rows: rows == [{"verdict": "same"}],
            )
    finally:
        shared_gateway.configure(cache={"semantic": {"check_share": 0}})
