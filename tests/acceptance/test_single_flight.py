"""Single flight: of identical calls at the same moment one goes up, and nobody suffers from somebody else's fate."""

import asyncio
import json

import httpx
import pytest

from tests.acceptance.support import chat, data_of, fresh, make_key, message, query, wait_until
from tests.gateway_process import TLS

pytestmark = pytest.mark.anyio
MANY = 30
CHAT = "/v1/chat/completions"


@pytest.fixture
async def http(shared_gateway):
    limits = httpx.Limits(max_connections=100)
    headers = {"authorization": f"Bearer {shared_gateway.key}"}
    async with httpx.AsyncClient(
        base_url=shared_gateway.url, headers=headers, timeout=20, limits=limits, trust_env=False, verify=TLS
    ) as client:
        yield client


def text_of(reply):
    if reply.headers["content-type"].startswith("application/json"):
        answer = reply.json()
        return answer["choices"][0]["message"]["content"] if "choices" in answer else answer["content"][0]["text"]
    events = [json.loads(line) for line in data_of(reply.text) if line != "[DONE]"]
    if "choices" not in events[0]:
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("forms", [[False], [True], [False, True]], ids=["whole", "streams", "mixed"])
@pytest.mark.parametrize(("path", "build"), [(CHAT, chat), ("/v1/messages", message)])
async def test_one_call_for_all(shared_gateway, http, mock, path, build, forms):
    """Thirty identical misses at once make one call, and everybody gets the whole answer."""
    text = fresh("thirty want this")
    body = build(f"[[mock delay_ms=150 chunk_ms=5]] {text}")
    replies = await asyncio.gather(
        *(http.post(path, json=body | {"stream": forms[i % len(forms)]}) for i in range(MANY))
    )
    assert {text_of(reply) for reply in replies} == {text}
    assert mock.count() == 1
    statuses = [reply.headers["x-aihub-cache-status"] for reply in replies]
    assert sorted(statuses) == ["hit"] * (MANY - 1) + ["miss"]
    shared_gateway.flush()
    ids = [reply.headers["x-request-id"] for reply in replies]
    rows = query(shared_gateway, "SELECT cache_status, estimated_cost FROM requests WHERE request_id = ANY(%s)", ids)
    assert len(rows) == MANY
    assert sum(row["cache_status"] == "miss" for row in rows) == 1


async def test_a_burst_with_no_delay(http, mock):
    """Identical calls make one call, however their look-ups and the answer fall together."""
    body = chat(fresh())
    for _ in range(3):
        await asyncio.gather(*(http.post(CHAT, json=body) for _ in range(20)))
    assert mock.count() == 1


async def test_followers_of_a_stream_get_it_as_it_comes(http, mock):
    """Who joins a stream under way gets its beginning at once, not at its end."""
    body = chat(fresh("[[mock chunk_ms=100 tokens=12]]"), stream=True)

    async def first_event():
        async with http.stream("POST", CHAT, json=body) as reply:
            await anext(reply.aiter_raw())
            return mock.stats()["in_flight"]

    leader = asyncio.create_task(http.post(CHAT, json=body))
    await asyncio.sleep(0.4)
    assert await first_event() == 1
    assert "[DONE]" in (await leader).text
    assert mock.count() == 1


async def test_usage_is_shown_to_those_who_asked(http, mock):
    """Followers see usage as they asked, whatever the leader asked."""
    body = chat(fresh("[[mock delay_ms=150]]"), stream=True)
    wishes = [{}, {"stream_options": {"include_usage": True}}] * 4
    replies = await asyncio.gather(*(http.post(CHAT, json=body | wish) for wish in wishes))
    assert [('"usage"' in reply.text) for reply in replies] == [False, True] * 4
    assert mock.count() == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failing_leader(http, mock, streamed):
    """Those who followed a call that failed do not fail with it: one of them makes the next call for the others."""
    body = chat(fresh("[[mock delay_ms=150 status=500 times=1]]"), stream=streamed)
    replies = await asyncio.gather(*(http.post(CHAT, json=body) for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [200] * 5 + [500]
    assert mock.count() == 2


async def test_a_stream_that_breaks_for_all(http, mock):
    """Who followed a stream that broke midway is told so; it does not look finished."""
    body = chat(fresh("[[mock chunk_ms=50 cut_after=4 text=lorem]]"), stream=True)
    leader = asyncio.create_task(http.post(CHAT, json=body))
    await asyncio.sleep(0.1)
    replies = [await http.post(CHAT, json=body), await leader]
    for reply in replies:
        assert "[DONE]" not in reply.text
        assert "error" in json.loads(data_of(reply.text)[-1])


@pytest.mark.parametrize("leads", [False, True], ids=["whole leads", "stream leads"])
@pytest.mark.parametrize("follows", [False, True], ids=["whole follows", "stream follows"])
async def test_a_leader_that_leaves(shared_gateway, http, mock, leads, follows):
    """A call whose own client has left goes on for those who wait for it."""
    text = fresh("goes on")
    body = chat(f"[[mock delay_ms=300 chunk_ms=20]] {text}")
    leader = asyncio.create_task(
        http.post(CHAT, json=body | {"stream": leads}, headers={"x-request-id": text.replace(" ", "-")})
    )
    await asyncio.sleep(0.1)
    follower = asyncio.create_task(http.post(CHAT, json=body | {"stream": follows}))
    await asyncio.sleep(0.1)
    leader.cancel()
    reply = await follower
    assert text_of(reply) == text
    assert mock.count() == 1
    rows = wait_until(
        lambda: (
            shared_gateway.flush(),
            query(shared_gateway, "SELECT status_code FROM requests WHERE request_id = %s", text.replace(" ", "-")),
        )[1],
        bool,
    )
    assert rows == [{"status_code": 499}]


@pytest.mark.parametrize("streamed", [False, True])
async def test_when_all_leave(shared_gateway, http, mock, streamed):
    """A call that nobody waits for any more is given up."""
    body = chat(fresh("[[mock delay_ms=200 chunk_ms=100 tokens=100]]"), stream=streamed)
    tasks = [asyncio.create_task(http.post(CHAT, json=body)) for _ in range(4)]
    if not streamed:
        body["messages"][0]["content"] += "[[mock fault=hang]]"
    await asyncio.sleep(0.3 if streamed else 0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    mock.wait_for(lambda stats: stats["aborted"] == 1 and stats["in_flight"] == 0, seconds=1.5)
    assert mock.count() == 1
    wait_until(lambda: shared_gateway.parts.flights._flights, lambda flights: not flights)


async def test_a_follower_that_leaves(http, mock):
    """Who leaves while others wait does not take the call along."""
    text = fresh("stays")
    body = chat(f"[[mock delay_ms=300]] {text}")
    leader = asyncio.create_task(http.post(CHAT, json=body))
    await asyncio.sleep(0.1)
    follower = asyncio.create_task(http.post(CHAT, json=body))
    await asyncio.sleep(0.05)
    follower.cancel()
    assert text_of(await leader) == text


async def test_callers_are_not_merged(shared_gateway, http, mock):
    """Identical calls of different users go up for each of them."""
    keys = [make_key(shared_gateway, f"caller{i}@example.org") for i in range(5)]
    body = chat(fresh("[[mock delay_ms=150]]"))
    await asyncio.gather(*(http.post(CHAT, json=body, headers={"authorization": f"Bearer {key}"}) for key in keys))
    assert mock.count() == 5


async def test_a_bypass_is_not_merged(http, mock):
    """Calls that keep out of the cache go up each for itself."""
    body = chat(fresh("[[mock delay_ms=100]]"))
    await asyncio.gather(*(http.post(CHAT, json=body, headers={"x-aihub-cache": "bypass"}) for _ in range(5)))
    assert mock.count() == 5
