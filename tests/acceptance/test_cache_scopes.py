"""Who shares an answer: as narrow as was asked for, and never anybody who was not meant."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from tests.acceptance.support import chat, fresh

CHAT = "/v1/chat/completions"
NAMESPACES = {
    "faq": {"shared_by": "everyone"},
    "desk": {"shared_by": "team", "ttl": 60},
}


class World:
    """Two teams of an organization: anna (two keys) and bert in the first, carl in the second, dora in none."""

    def __init__(self, gateway) -> None:
        self.gateway = gateway
        self.admin = gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"})
        organization = self.make("/admin/organizations", name=fresh("org"))
        teams = [self.make("/admin/teams", name=fresh("team"), organization_id=organization) for _ in range(2)]
        self.users = {
            name: self.make(
                "/admin/users", email=f"{fresh(name).replace(' ', '.')}@example.org", name=name, role="user"
            )
            for name in ("anna", "bert", "carl", "dora")
        }
        for name, team in (("anna", 0), ("bert", 0), ("carl", 1)):
            self.admin.put(
                f"/admin/users/{self.users[name]}", json={"organization_id": organization}
            ).raise_for_status()
            self.admin.put(f"/admin/teams/{teams[team]}/members/{self.users[name]}").raise_for_status()
        of = {"anna": teams[0], "anna2": teams[0], "bert": teams[0], "carl": teams[1], "dora": None}
        self.keys = {name: self.make_key(name[:4], team_id=team) for name, team in of.items()}

    def make(self, path: str, **fields: object) -> str:
        answer = self.admin.post(path, json=fields)
        answer.raise_for_status()
        return answer.json()["id"]

    def make_key(self, user: str, **fields: object) -> str:
        answer = self.admin.post("/admin/api-keys", json={"user_id": self.users[user], "name": "k", **fields})
        answer.raise_for_status()
        return answer.json()["key"]

    def ask(self, who: str, text: str, key: str | None = None, **headers: str) -> httpx.Response:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client(key or self.keys[who]) as client:
            return client.post(CHAT, json=chat(text), headers=lines)

    def status(self, who: str, text: str, **headers: str) -> str:
        answer = self.ask(who, text, **headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-aihub-cache-status"]

    @contextmanager
    def client(self, key: str) -> Iterator[httpx.Client]:
        with closing(self.gateway.client(headers={"authorization": f"Bearer {key}"})) as client:
            yield client


@pytest.fixture(scope="module")
def world(shared_gateway) -> Iterator[World]:
    shared_gateway.configure(cache={"namespaces": NAMESPACES})
    made = World(shared_gateway)
    yield made
    made.admin.close()


@pytest.mark.parametrize(
    ("scope", "shared"),
    [
        (None, {"anna2"}),
        ("user", {"anna2"}),
        ("key", set()),
        ("team", {"anna2", "bert"}),
        ("organization", {"anna2", "bert", "carl"}),
        ("organisation", {"anna2", "bert", "carl"}),
        ("namespace:faq", {"anna2", "bert", "carl", "dora"}),
        ("namespace:desk", {"anna2", "bert"}),
        ("namespace:unheard-of", {"anna2"}),
    ],
)
def test_who_shares(world, scope, shared):
    """An answer is a hit for those of the scope that was asked for, and for nobody else."""
    headers = {"x_relay_cache_scope": scope} if scope else {}
    text = fresh(f"shared by {scope}")
    assert world.status("anna", text, **headers) == "miss"
    assert world.status("anna", text, **headers) == "hit"
    for other in ("anna2", "bert", "carl", "dora"):
        member = scope not in {"team", "organization", "organisation"} or other != "dora"
        if member:
            assert world.status(other, text, **headers) == ("hit" if other in shared else "miss"), other


def test_sharing_is_opt_in_on_both_sides(world):
    """What one shares with a team is not given to a member that did not ask for the team's answers, nor the reverse."""
    text = fresh("who opted in")
    assert world.status("anna", text, x_relay_cache_scope="team") == "miss"
    assert world.status("bert", text) == "miss"
    assert world.status("anna", text) == "miss"
    assert world.status("bert", text, x_relay_cache_scope="team") == "hit"


def test_the_same_name_in_different_hands(world):
    """A namespace that nobody configured is a part of what its user has; another gateway's header names one too."""
    text = fresh("my corner")
    assert world.status("anna", text, x_portkey_cache_namespace="corner") == "miss"
    assert world.status("anna", text, x_relay_cache_scope="namespace:corner") == "hit"
    assert world.status("anna", text) == "miss"
    assert world.status("bert", text, x_relay_cache_scope="namespace:corner") == "miss"


def test_a_key_that_is_set_to_a_scope(world):
    """A key's own scope holds for its calls that say nothing, and can be changed and taken back."""
    key = world.make_key("bert", team_id=None, cache_scope="namespace:faq")
    text = fresh("set by the key")
    assert world.status("dora", text, x_relay_cache_scope="namespace:faq") == "miss"
    assert world.status("bert", text, key=key) == "hit"
    assert world.status("bert", text, key=key, x_relay_cache_scope="user") == "miss"
    answer = world.admin.post("/admin/api-keys", json={"user_id": world.users["bert"], "cache_scope": "planet"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cache_scope")


@pytest.mark.parametrize("scope", ["planet", "namespace:", "namespace:a/b", "team:1", ""])
def test_what_is_no_scope(world, scope):
    """A scope that makes no sense is a 400 that names the header; an empty one is none."""
    answer = world.ask("anna", fresh(), x_relay_cache_scope=scope)
    if not scope:
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-relay-cache-scope")


def test_scopes_that_one_is_not_in(world):
    """Who is in no team cannot share with one: that is said rather than kept quiet."""
    answer = world.ask("dora", fresh(), x_relay_cache_scope="team")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-relay-cache-scope")


def test_how_wide_may_be_held(world):
    """An administrator bounds what calls may ask for; what is wider is refused, what is narrower is not."""
    world.gateway.configure(cache={"widest_scope": "user"})
    try:
        refused = world.ask("anna", fresh(), x_relay_cache_scope="team")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cache_scope_not_allowed")
        assert world.status("anna", fresh(), x_relay_cache_scope="key") == "miss"
    finally:
        world.gateway.configure(cache={"widest_scope": "organization"})


def test_a_namespace_has_its_own_time_to_live(world):
    """The time to live of a namespace holds for its answers unless the call names one."""
    answer = world.ask("anna", fresh(), x_relay_cache_scope="namespace:desk")
    key = answer.headers["x-aihub-cache-key"]
    entry = world.gateway.parts.cache.local.find(bytes.fromhex(key))
    assert round(entry.expires_at - entry.created_at) == 60


def test_the_row_tells_the_scope(world):
    """The record says who shared the answer, so that savings can be told apart by it."""
    answer = world.ask("anna", fresh(), x_relay_cache_scope="namespace:faq")
    world.gateway.flush()
    found = world.admin.get("/v1/analytics/requests", params={"limit": "50"}).json()["requests"]
    row = next(row for row in found if row["request_id"] == answer.headers["x-request-id"])
    assert row["cache_scope"] == "namespace:faq"
