"""Clearing the cache, deleting entries and tags: what goes, for whom, and in which process."""

import uuid
from contextlib import contextmanager

import pytest

from tests.acceptance.support import chat, fresh, make_key, query, wait_until

CHAT = "/v1/chat/completions"


@contextmanager
def open_client(gateway, key):
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        yield client


@pytest.fixture
def own(shared_gateway):
    """A user's client."""
    with open_client(shared_gateway, make_key(shared_gateway, f"{uuid.uuid4().hex}@example.org")) as client:
        yield client


@pytest.fixture
def other(shared_gateway):
    """Another user's client."""
    with open_client(shared_gateway, make_key(shared_gateway, f"{uuid.uuid4().hex}@example.org")) as client:
        yield client


@pytest.fixture
def admin(shared_gateway):
    with open_client(shared_gateway, shared_gateway.admin_key) as client:
        yield client


def ask(client, text, **headers):
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post(CHAT, json=chat(text), headers=lines)
    assert answer.status_code == 200, answer.text
    return answer


def status(client, text, **headers):
    return ask(client, text, **headers).headers["x-aihub-cache-status"]


def keep(gateway, client, text, **headers):
    """Have an answer in memory and in Postgres, and return its key."""
    key = ask(client, text, **headers).headers["x-aihub-cache-key"]
    find = "SELECT 1 FROM cache_entries WHERE key = %s"
    wait_until(lambda: query(gateway, find, bytes.fromhex(key)), bool)
    return key


def test_clearing_ones_own(shared_gateway, own, other):
    """`clear` takes all that the caller's user has, counts it, and leaves others alone."""
    texts = [fresh() for _ in range(3)]
    for text in texts:
        keep(shared_gateway, own, text)
        keep(shared_gateway, other, text)
    answer = own.post("/v1/cache/clear")
    assert (answer.status_code, answer.json()) == (200, {"cleared": 3})
    assert [status(own, text) for text in texts] == ["miss"] * 3
    assert [status(other, text) for text in texts] == ["hit"] * 3


def test_what_is_still_being_written_is_cleared_too(own):
    """An answer of a moment ago, not in Postgres yet, does not come back after a clearing."""
    text = fresh()
    assert status(own, text) == "miss"
    own.post("/v1/cache/clear", json={}).raise_for_status()
    assert status(own, text) == "miss"


@pytest.mark.parametrize("by", [{"tags": ["red"]}, {"tag": "red"}, {"tags": ["absent", "red"]}])
@pytest.mark.parametrize("header", ["x-relay-cache-tags", "x-relay-tags"])
def test_clearing_by_tag(shared_gateway, own, by, header):
    """Entries with a tag go, by one of the tags that are named; those without stay."""
    red, blue, plain = fresh("red"), fresh("blue"), fresh("plain")
    keep(shared_gateway, own, red, **{header: "red, warm"})
    keep(shared_gateway, own, blue, **{header: "blue"})
    keep(shared_gateway, own, plain)
    assert own.post("/v1/cache/clear", json=by).json() == {"cleared": 1}
    assert [status(own, text) for text in (red, blue, plain)] == ["miss", "hit", "hit"]


def test_clearing_by_what_was_called(shared_gateway, own):
    """Model, provider and endpoint narrow what is cleared, all of them together."""
    text = fresh()
    keep(shared_gateway, own, text)
    for nothing in ({"model": "gpt-4o"}, {"provider": "openai"}, {"endpoint": "messages"}, {"tags": ["x"]}):
        assert own.post("/v1/cache/clear", json=nothing).json() == {"cleared": 0}
    assert status(own, text) == "hit"
    what = {"model": "echo", "provider": "mock", "endpoint": "chat"}
    assert own.post("/v1/cache/clear", json=what).json() == {"cleared": 1}
    assert status(own, text) == "miss"


@pytest.mark.parametrize("scope", ["user", "key", "namespace:mine"])
def test_clearing_by_the_scope_that_was_asked_for(shared_gateway, own, other, scope):
    """What a header names is cleared by the same word: the caller's own, and no more of it."""
    text, elsewhere, header = fresh(), fresh(), {"x_relay_cache_scope": scope}
    for client in (own, other):
        keep(shared_gateway, client, text, **header)
    keep(shared_gateway, own, elsewhere, x_relay_cache_scope="namespace:else")
    assert own.post("/v1/cache/clear", json={"scope": scope}).json() == {"cleared": 1}
    assert status(own, text, **header) == "miss"
    assert status(other, text, **header) == "hit"
    assert status(own, elsewhere, x_relay_cache_scope="namespace:else") == "hit"


def test_clearing_by_anothers_key(own, other, admin):
    """A key that is another's, or nobody's, is refused."""
    for key_id in (admin.get("/admin/api-keys").json()["api_keys"][-1]["id"], str(uuid.uuid4())):
        assert own.post("/v1/cache/clear", json={"api_key_id": key_id}).status_code == 403


def test_an_administrator_clears_anything(shared_gateway, admin, own, other):
    """An administrator clears one user's entries, one scope's, or everything; who is none gets a 403 for others'."""
    text = fresh()
    keep(shared_gateway, own, text)
    keep(shared_gateway, other, text)
    me = query(shared_gateway, "SELECT user_id FROM cache_entries ORDER BY created_at DESC LIMIT 1")[0]["user_id"]
    assert own.post("/v1/cache/clear", json={"scope": "all"}).status_code == 403
    assert own.post("/v1/cache/clear", json={"user_id": str(me)}).status_code == 403
    assert own.post("/v1/cache/clear", json={"scope": f"user:{me}"}).status_code == 403
    assert admin.post("/v1/cache/clear", json={"user_id": str(me)}).json() == {"cleared": 1}
    assert (status(own, text), status(other, text)) == ("hit", "miss")
    keep(shared_gateway, other, text)
    assert admin.post("/v1/cache/clear", json={"scope": f"user:{me}"}).json() == {"cleared": 1}
    assert (status(own, text), status(other, text)) == ("hit", "miss")
    keep(shared_gateway, other, text)
    assert admin.post("/v1/cache/clear").json()["cleared"] >= 2
    assert (status(own, text), status(other, text)) == ("miss", "miss")
    entries = admin.get("/admin/audit", params={"limit": "5"}).json()["audit"]
    assert entries[0]["action"] == "cache.clear"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tagz": ["a"]}, "tagz"),
        ({"tags": []}, "tags"),
        ({"tags": "a"}, "tags"),
        ({"user_id": "x"}, "user_id"),
        ({"tag": "a", "tags": ["b"]}, "tag"),
        ({"tag": "\0"}, "tag"),
        ({"scope": "planet"}, "scope"),
        ({"scope": "user:1"}, "scope"),
        ({"scope": "namespace:a/b"}, "scope"),
        ({"scope": "team"}, "scope"),
    ],
)
def test_what_cannot_be_cleared(own, body, param):
    """A request that does not fit is a 400 that names the field, and nothing goes."""
    answer = own.post("/v1/cache/clear", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_deleting_an_entry(shared_gateway, own, other, admin):
    """One's own entry goes by its key, once; another's is as unknown as none at all, but to an administrator."""
    text = fresh()
    key = keep(shared_gateway, own, text)
    assert other.delete(f"/v1/cache/{key}").status_code == 404
    assert status(own, text) == "hit"
    assert own.delete(f"/v1/cache/{key}").status_code == 204
    assert own.delete(f"/v1/cache/{key}").status_code == 404
    assert status(own, text) == "miss"
    keep(shared_gateway, own, text)
    assert admin.delete(f"/v1/cache/{key}").status_code == 204
    assert status(own, text) == "miss"


@pytest.mark.parametrize("key", ["0" * 64, "x" * 64, "00", "a" * 63, "A" * 64, str(uuid.UUID(int=9)), "%00", "clear2"])
def test_keys_that_nobody_has(own, key):
    """A key that is none, or that no entry has, is a 404 in OpenAI's shape."""
    answer = own.delete(f"/v1/cache/{key}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "cache_entry_not_found")


def test_a_shared_entry_goes_for_all(shared_gateway, own, other):
    """Who made a shared entry may delete it; who only used it may not."""
    shared_gateway.configure(cache={"namespaces": {"open": {"shared_by": "everyone"}}})
    text, scope = fresh(), {"x_relay_cache_scope": "namespace:open"}
    key = keep(shared_gateway, own, text, **scope)
    assert status(other, text, **scope) == "hit"
    assert other.delete(f"/v1/cache/{key}").status_code == 404
    assert other.post("/v1/cache/clear", json={"scope": "namespace:open"}).json() == {"cleared": 0}
    assert own.post("/v1/cache/clear", json={"scope": "namespace:open"}).json() == {"cleared": 1}
    assert status(other, text, **scope) == "miss"


def test_a_new_answer_takes_the_place_of_the_old_one(shared_gateway, own):
    """A refresh with another time to live leaves one entry: the old answer does not come back when the new one ends."""
    text = fresh()
    key = keep(shared_gateway, own, text, x_aihub_cache_ttl="100000")
    ask(own, text, x_aihub_cache="refresh", x_aihub_cache_ttl="60")
    find = "SELECT slot, extract(epoch FROM expires_at - created_at)::int AS ttl FROM cache_entries WHERE key = %s"
    found = wait_until(lambda: query(shared_gateway, find, bytes.fromhex(key)), lambda rows: rows[0]["ttl"] == 60)
    assert len(found) == 1


def test_routes_may_be_held_to_what_is_asked_in_a_fixed_way(shared_gateway, own):
    """A route's rules decide by temperature, tools, number of answers and seed; `only` then has no answer."""
    rules = {"max_temperature": 0.3, "tools": False, "max_n": 1, "seeded": "never", "ttl": 77}
    shared_gateway.configure(cache={"routes": {"chat": rules}})
    try:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        outside = [{}, {"temperature": 1}, {"tools": [tool]}, {"n": 2}, {"seed": 7}, {"temperature": "hot"}]
        for fields in outside:
            body = chat(fresh()) | {"temperature": 0} | fields if fields else chat(fresh())
            answer = own.post(CHAT, json=body)
            assert answer.headers["x-aihub-cache-status"] == "disabled", fields
            refused = own.post(CHAT, json=body, headers={"x-aihub-cache": "only"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (504, "cache_miss")
        body = chat(fresh()) | {"temperature": 0.3, "tools": [], "n": 1, "seed": None}
        key = own.post(CHAT, json=body).headers["x-aihub-cache-key"]
        assert own.post(CHAT, json=body).headers["x-aihub-cache-status"] == "hit"
        entry = shared_gateway.parts.cache.local.find(bytes.fromhex(key))
        assert round(entry.expires_at - entry.created_at) == 77
    finally:
        shared_gateway.configure(cache={"routes": {}})


def test_deleting_what_was_kept_a_moment_ago(own):
    """An entry can be deleted as soon as its key is known, though it may not be in Postgres yet."""
    for _ in range(5):
        text = fresh()
        key = ask(own, text).headers["x-aihub-cache-key"]
        assert own.delete(f"/v1/cache/{key}").status_code == 204
        assert status(own, text) == "miss"


def test_a_large_answer_is_kept_small_and_given_whole(shared_gateway, own):
    """A body of megabytes is compressed in Postgres, and comes back byte for byte from either tier, and as a stream."""
    shared_gateway.configure(cache={"max_entry_bytes": 8 * 2**20})
    body = chat(f"[[mock big=2000000]] {fresh()}")
    first = own.post(CHAT, json=body)
    key = bytes.fromhex(first.headers["x-aihub-cache-key"])
    find = "SELECT size, octet_length(body) AS kept FROM cache_entries WHERE key = %s"
    row = wait_until(lambda: query(shared_gateway, find, key), bool)[0]
    assert row["size"] == len(first.content) > 2_000_000 > row["kept"] * 4
    again = own.post(CHAT, json=body)
    shared_gateway.parts.cache.local.discard(key)
    stored = own.post(CHAT, json=body)
    assert first.content == again.content == stored.content
    assert [one.headers["x-aihub-cache-status"] for one in (first, again, stored)] == ["miss", "hit", "hit"]
    stream = own.post(CHAT, json=body | {"stream": True})
    assert stream.headers["x-aihub-cache-status"] == "hit"
    assert stream.text.endswith("data: [DONE]\n\n")
