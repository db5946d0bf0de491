"""Checks of similar answers: what is compared, what is sampled, and that no failure of one reaches anybody."""

import asyncio
import logging

import msgspec
import pytest

from app.gateway.checks import MAX_CHECKS, Checks, Shadow
from app.gateway.paths import find_route
from app.providers.registry import VENDORS
from app.semantic.embedding import LocalVectors
from app.semantic.lookup import SemanticCache
from app.semantic.types import Evidence
from app.wire.caching import SemanticConfig
from tests.gateway.builders import build_call
from tests.semantic.samples import make_answer, make_decision, make_key, query

pytestmark = pytest.mark.anyio

CHAT = find_route("/v1/chat/completions", VENDORS.keys()).endpoint
STORED = "The Rhine is 1,345 km long."
SAME = ["The Rhine is 1,345 km long.", "the rhine is 1,345 km long", "It's the Rhine: 1,345 km long."]
DIFFERENT = ["The Rhine is 99 miles long.", "I do not know.", "Cats like to sleep on warm windowsills all day long."]
SSE = "".join(
    f'data: {{"id":"c","object":"chat.completion.chunk","model":"echo","choices":[{{"index":0,"delta":{delta},'
    f'"finish_reason":{reason}}}]}}\n\n'
    for delta, reason in [
        ('{"role":"assistant","content":"The Rhine is"}', "null"),
        ('{"content":" 1,345 km long."}', "null"),
        ("{}", '"stop"'),
    ]
).encode()
STREAM = SSE + b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def local():
    """The packaged model, loaded once."""
    return LocalVectors()


@pytest.fixture
async def semantic(database_url, local):
    opened = SemanticCache(database_url, local, lambda _: None)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def checks(semantic):
    opened = Checks(semantic)
    yield opened
    await opened.close()


def make_shadow(*, text=STORED, share=1.0, evidence=None, **changes):
    return Shadow(
        decision=make_decision(**changes),
        entry=make_answer(make_key(1), text),
        evidence=evidence or Evidence(),
        rules=SemanticConfig(check_share=share),
    )


def body_of(text):
    return make_answer(b"", text).body


def answer(body):
    """Return an `ask` that answers with `body`, and the calls it was asked."""
    asked = []

    async def ask(call):
        asked.append(call)
        await asyncio.sleep(0)
        return body

    return ask, asked


async def settle(checks):
    """Wait until no check is under way and all is written."""
    async with asyncio.timeout(20):
        while checks._running:
            await asyncio.sleep(0.01)
        while checks._semantic.log._decisions or checks._semantic.log._verdicts:
            await asyncio.sleep(0.01)


def list_decisions(database_url):
    return query(database_url, "SELECT id, served, verdict FROM semantic_decisions ORDER BY request_id")


@pytest.mark.parametrize(("text", "verdict"), [(t, "same") for t in SAME] + [(t, "different") for t in DIFFERENT])
async def test_what_was_kept_is_compared(checks, database_url, text, verdict):
    """An answer that was not served is compared with the one the client got: the decision comes with its verdict."""
    shadow = make_shadow(served=False)
    checks.compare_kept(shadow, make_answer(make_key(2), text), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, False, verdict)]


async def test_streams_are_compared_as_what_they_say(checks, database_url):
    """It makes no difference whether the stored answer or the new one was a stream."""
    stored = make_answer(make_key(1), STORED)
    streamed = msgspec.structs.replace(stored, streamed=True, body=STREAM)
    shadows = [
        msgspec.structs.replace(make_shadow(served=False, request_id=f"{n}"), entry=entry)
        for n, entry in enumerate((stored, streamed, streamed))
    ]
    for shadow, kept in zip(shadows, (streamed, stored, streamed), strict=True):
        checks.compare_kept(shadow, kept, CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, False, "same") for shadow in shadows]


async def test_nothing_to_compare_with_is_no_verdict(checks, database_url):
    """When nothing was kept of the provider's answer, or the stored one is no words, the decision has no verdict."""
    nothing, wordless = make_shadow(served=False, request_id="1"), make_shadow(served=False, request_id="2")
    wordless = msgspec.structs.replace(wordless, entry=msgspec.structs.replace(wordless.entry, body=b"{}"))
    checks.compare_kept(nothing, None, CHAT)
    checks.compare_kept(wordless, make_answer(make_key(2), STORED), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(nothing.decision.id, False, None), (wordless.decision.id, False, None)]
    assert query(database_url, "SELECT count(*) FROM semantic_evidence") == [(0,)]


async def test_an_answer_that_is_no_words_is_different(checks, database_url):
    """Where the stored answer is plain words, one that is a call of a tool says something else."""
    shadow = make_shadow(served=False)
    tool = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
    body = msgspec.json.encode({"id": "c", "choices": [{"index": 0, "message": tool, "finish_reason": "tool_calls"}]})
    checks.compare_kept(shadow, msgspec.structs.replace(make_answer(make_key(2)), body=body), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, False, "different")]


@pytest.mark.parametrize(("text", "verdict"), [(SAME[1], "same"), (DIFFERENT[0], "different")])
async def test_what_was_served_is_checked(checks, database_url, text, verdict):
    """A served answer of the sample is asked for again with the same call, and its decision gets the verdict."""
    checks.ask, asked = answer(body_of(text))
    shadow, call = make_shadow(tier=0), build_call()
    checks.note_served(shadow, call, CHAT)
    await settle(checks)
    assert asked == [call]
    assert list_decisions(database_url) == [(shadow.decision.id, True, verdict)]
    evidence = query(database_url, "SELECT checked, wrong FROM semantic_evidence WHERE tier = 0")
    assert evidence == [(1, int(verdict == "different"))]


async def test_a_streamed_call_is_answered_with_a_stream(checks, database_url):
    """What is asked for as a stream is read as one."""
    checks.ask, _ = answer(STREAM)
    shadow = make_shadow()
    checks.note_served(shadow, build_call(body={"model": "gpt-4o", "stream": True}), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, True, "same")]


@pytest.mark.parametrize(
    ("share", "evidence", "least", "most"),
    [
        (0.0, Evidence(), 0, 0),
        (0.0, Evidence(checked=(500, 0, 0)), 0, 0),
        (0.0, Evidence(checked=(500, 0, 0), wrong=(1, 0, 0), newest_wrong=(1, 0, 0)), 60, 140),
        (0.25, Evidence(), 20, 85),
        (1.0, Evidence(), 200, 200),
    ],
)
async def test_how_many_are_checked(checks, database_url, share, evidence, least, most):
    """The configured share of what is served is checked, half of it where something was wrong lately; all is noted."""
    checks.ask, asked = answer(None)
    for turn in range(200):
        checks.note_served(make_shadow(share=share, evidence=evidence, request_id=f"{turn}"), build_call(), CHAT)
        if turn % 10 == 9:
            async with asyncio.timeout(10):
                while checks._running:
                    await asyncio.sleep(0)
    await settle(checks)
    assert least <= len(asked) <= most
    assert query(database_url, "SELECT count(*), count(verdict) FROM semantic_decisions") == [(200, 0)]


async def test_an_answer_that_does_not_come_is_no_verdict(checks, database_url):
    """When the provider does not answer the check, nothing is known of the stored answer."""
    checks.ask, asked = answer(None)
    shadow = make_shadow()
    checks.note_served(shadow, build_call(), CHAT)
    await settle(checks)
    assert len(asked) == 1
    assert list_decisions(database_url) == [(shadow.decision.id, True, None)]
    assert query(database_url, "SELECT count(*) FROM semantic_evidence") == [(0,)]


async def test_before_anybody_can_be_asked(checks, database_url):
    """Without a way to the providers what is served is noted all the same."""
    shadow = make_shadow()
    checks.note_served(shadow, build_call(), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, True, None)]


async def test_a_check_that_fails_is_logged(checks, database_url, caplog):
    """A check that breaks is one line in the log, with what broke; the decision stays, and so do the checks."""

    async def fail(call):
        raise RuntimeError("it broke")

    checks.ask = fail
    shadow = make_shadow(request_id="1")
    with caplog.at_level(logging.ERROR):
        checks.note_served(shadow, build_call(), CHAT)
        await settle(checks)
    assert ["it broke" in record.exc_text for record in caplog.records if record.exc_info] == [True]
    checks.ask, _ = answer(body_of(STORED))
    later = make_shadow(request_id="2")
    checks.note_served(later, build_call(), CHAT)
    await settle(checks)
    assert list_decisions(database_url) == [(shadow.decision.id, True, None), (later.decision.id, True, "same")]


async def test_so_many_at_a_time(checks, database_url):
    """More checks than may be under way are left out, not queued; their decisions are noted, compared ones as well."""
    over, asked = asyncio.Event(), []

    async def ask(call):
        asked.append(call)
        await over.wait()
        return body_of(STORED)

    checks.ask = ask
    for turn in range(MAX_CHECKS + 10):
        checks.note_served(make_shadow(request_id=f"{turn:02}"), build_call(), CHAT)
    shadow = make_shadow(request_id="z", served=False)
    checks.compare_kept(shadow, make_answer(make_key(2), STORED), CHAT)
    await asyncio.sleep(0.05)
    assert len(asked) == len(checks._running) == MAX_CHECKS
    over.set()
    await settle(checks)
    lines = list_decisions(database_url)
    assert [verdict for _, _, verdict in lines] == ["same"] * MAX_CHECKS + [None] * 11
    assert lines[-1] == (shadow.decision.id, False, None)
    checks.compare_kept(make_shadow(served=False), make_answer(make_key(2), STORED), CHAT)
    await settle(checks)
    assert query(database_url, "SELECT count(verdict) FROM semantic_decisions") == [(MAX_CHECKS + 1,)]


async def test_checks_end_with_the_process(semantic, database_url, caplog):
    """What is under way when the process ends is given up at once, without a word in the log."""
    checks = Checks(semantic)
    started = []

    async def ask(call):
        started.append(call)
        await asyncio.Event().wait()

    checks.ask = ask
    for turn in range(3):
        checks.note_served(make_shadow(request_id=f"{turn}"), build_call(), CHAT)
    await asyncio.sleep(0.02)
    assert len(started) == 3
    async with asyncio.timeout(5):
        await checks.close()
    assert checks._running == set()
    assert caplog.records == []
    await settle(checks)
    assert query(database_url, "SELECT count(*), count(verdict) FROM semantic_decisions") == [(3, 0)]


async def test_without_a_model_words_decide(database_url, tmp_path):
    """Where the local model is missing answers are compared by their words, and nothing fails."""
    semantic = SemanticCache(database_url, LocalVectors(tmp_path), lambda _: None)
    semantic.start()
    checks = Checks(semantic)
    for turn, text in enumerate((STORED, DIFFERENT[0])):
        checks.compare_kept(make_shadow(served=False, request_id=f"{turn}"), make_answer(make_key(2), text), CHAT)
    await settle(checks)
    await checks.close()
    await semantic.close()
    assert [verdict for _, _, verdict in list_decisions(database_url)] == ["same", "different"]
