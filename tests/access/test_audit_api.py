"""The audit log over HTTP and on the command line: who changed what, without secrets."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner

from app.cli import main
from app.commands.audit import make_printable
from app.settings import read_settings
from app.start import fill
from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.gateway_process import Gateway

PROVIDER_KEYS = ("sk-provider-secret-one", "sk-provider-secret-two")


@pytest.fixture
def admin(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"}) as client:
        yield client


def read(admin: httpx.Client, **query: Any) -> dict[str, Any]:
    return admin.get("/admin/audit", params=query).raise_for_status().json()


def put_provider(admin: httpx.Client, key: str | None = None, **fields: Any) -> None:
    entry = {"type": "openai", **fields, **({"api_key": key} if key is not None else {})}
    admin.put("/v1/config/providers/openai", json=entry).raise_for_status()


def test_a_change_of_the_configuration_is_in_it(gateway: Gateway, admin: httpx.Client) -> None:
    """The line says what became different, before and after; that a key was replaced, and never which."""
    put_provider(admin, PROVIDER_KEYS[0])
    put_provider(admin, PROVIDER_KEYS[1], discount=0.1)
    admin.put("/v1/config", json={"cache": {"default_ttl": 7}}).raise_for_status()
    cache, rekeyed, created = read(admin, action="config.change")["audit"]
    assert (cache["object_kind"], cache["before"]["cache"]["default_ttl"]) == ("config", 3600)
    assert (cache["after"]["cache"]["default_ttl"], set(cache["after"])) == (7, {"version", "cache"})
    assert rekeyed["before"]["providers"]["openai"]["api_key"] == "********"
    assert rekeyed["after"]["providers"]["openai"]["api_key"] == "******** (replaced)"
    assert (rekeyed["after"]["providers"]["openai"]["discount"], created["before"]["providers"]) == (0.1, {})
    assert created["sequence"] < rekeyed["sequence"] < cache["sequence"]
    assert cache["actor_user_id"] == rekeyed["actor_user_id"] is not None


def test_nothing_changed_is_no_line(gateway: Gateway, admin: httpx.Client) -> None:
    """What is put back as it was, or refused, leaves no line."""
    put_provider(admin, PROVIDER_KEYS[0])
    before = read(admin)["total"]
    put_provider(admin, PROVIDER_KEYS[0])
    admin.put("/v1/config", json=admin.get("/v1/config").json()).raise_for_status()
    assert admin.put("/v1/config", json={"cache": {"default_ttl": "soon"}}).status_code == 400
    assert read(admin)["total"] == before


def test_a_start_is_in_it(gateway: Gateway, tmp_path: Any) -> None:
    """What a start imports from a file has a line as well."""
    path = tmp_path / "relaycore.config.yaml"
    path.write_text(f"providers: {{mine: {{type: openai, api_key: {PROVIDER_KEYS[0]}}}}}\n")
    settings = read_settings(
        {"DATABASE_URL": gateway.database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_CONFIG": str(path)},
        data_dir=tmp_path,
    )
    fill(settings, None)
    with psycopg.connect(gateway.database_url) as connection:
        lines = connection.execute("SELECT actor, action, after::text FROM audit_log ORDER BY sequence").fetchall()
    assert [line[:2] for line in lines] == [("config file", "config.change")]
    assert "(replaced)" in lines[0][2]
    assert PROVIDER_KEYS[0] not in lines[0][2]


def test_pages_go_back_to_the_first_line(admin: httpx.Client) -> None:
    """Newest first; `next` leads on without a gap or a repetition, though lines are added meanwhile."""
    for number in range(7):
        admin.put("/v1/config", json={"cache": {"default_ttl": number}}).raise_for_status()
    page = read(admin, limit=3)
    seen = [line["sequence"] for line in page["audit"]]
    admin.put("/v1/config", json={"cache": {"default_ttl": 99}}).raise_for_status()
    while page["next"] is not None:
        page = read(admin, limit=3, cursor=page["next"])
        seen += [line["sequence"] for line in page["audit"]]
    assert seen == list(range(7, 0, -1))
    assert page["total"] == 8


def test_filters(gateway: Gateway, admin: httpx.Client) -> None:
    """Lines are found by actor (label, user or key), action, object and time."""
    for number in range(3):
        admin.put("/v1/config", json={"cache": {"default_ttl": number}}).raise_for_status()
    first, *_, last = reversed(read(admin)["audit"])
    assert read(admin, actor=first["actor_user_id"].upper())["total"] == 3
    assert read(admin, actor=first["actor"])["total"] == 3
    assert read(admin, actor="nobody")["audit"] == []
    assert read(admin, action="config.change", object_kind="config", object_id=first["object_id"])["total"] == 1
    assert [line["sequence"] for line in read(admin, start=last["at"])["audit"]] == [last["sequence"]]
    assert read(admin, end=first["at"])["total"] == 0
    assert read(admin, start="2026-01-01", end="2126-01-01")["total"] == 3


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "many"},
        {"cursor": "x"},
        {"cursor": "-1"},
        {"cursor": "9" * 30},
        {"cursor": "¼"},
        {"start": "yesterday"},
        {"end": "2026-13-01T00:00:00Z"},
        {"actor": "a\0b"},
        {"action": "\x1b[2J"},
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_a_400(admin: httpx.Client, query: dict[str, Any]) -> None:
    """A query that does not fit is a 400 which names the parameter."""
    reply = admin.get("/admin/audit", params=query)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == next(iter(query))


def test_no_secret_is_in_it(gateway: Gateway, admin: httpx.Client) -> None:
    """Of all keys that were sent or made on the way none is in the log."""
    user = admin.post("/admin/users", json={"email": "a@example.org", "name": "A"}).raise_for_status().json()
    made = admin.post("/admin/api-keys", json={"user_id": user["id"], "name": "k"}).raise_for_status().json()
    again = admin.post(f"/admin/api-keys/{made['id']}/rotate", json={}).raise_for_status().json()
    put_provider(admin, PROVIDER_KEYS[0])
    admin.delete(f"/admin/api-keys/{made['id']}").raise_for_status()
    with psycopg.connect(gateway.database_url) as connection:
        text = str(connection.execute("TABLE audit_log").fetchall())
    made_here = (made["key"], again["key"], gateway.key)
    secrets = (*made_here, *(key.split("-")[2] for key in made_here), ADMIN_KEY, SECRET_KEY, *PROVIDER_KEYS)
    assert not [secret for secret in secrets if secret in text]
    actions = [line["action"] for line in read(admin)["audit"]]
    assert len(actions) == len(set(actions)) == 5, actions


def run(gateway: Gateway, tmp_path: Any, *words: str) -> Any:
    environ = {
        "DATABASE_URL": gateway.database_url,
        "RELAYCORE_SECRET_KEY": SECRET_KEY,
        "RELAYCORE_DATA_DIR": str(tmp_path),
    }
    return CliRunner().invoke(main, ["audit", *words], env=environ)


def test_verify(gateway: Gateway, admin: httpx.Client, tmp_path: Any) -> None:
    """`relaycore audit verify` says how many lines there are and the last hash, or names the broken line and fails."""
    assert "0 lines" in run(gateway, tmp_path, "verify").stdout
    for number in range(3):
        admin.put("/v1/config", json={"cache": {"default_ttl": number}}).raise_for_status()
    whole = run(gateway, tmp_path, "verify")
    head = read(admin)["audit"][0]["hash"]
    assert (whole.exit_code, whole.stdout) == (0, f"3 lines, unbroken; the last hash is {head}\n")
    with psycopg.connect(gateway.database_url) as connection:
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        connection.execute("UPDATE audit_log SET action = 'config.read' WHERE sequence = 2")
    broken = run(gateway, tmp_path, "verify")
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert broken.stderr == "Error: line 2 of the audit log is not as it was written\n"


def test_list_cannot_be_made_to_lie(gateway: Gateway, tmp_path: Any) -> None:
    """Control and direction characters in what others wrote are shown as escapes; a line stays a line."""
    evil = "\x1b]0;owned\x07\r\n2  2026-01-01 00:00:00Z  admin  \u202euser.delete\u2066\x00\x9b2J\u2028"
    with psycopg.connect(gateway.database_url) as connection:
        connection.execute(
            """INSERT INTO audit_log (sequence, at, actor, action, object_kind, object_id, previous_hash, hash)
               VALUES (1, now(), %s, 'user.create', 'user', %s, '', '')""",
            (evil.replace("\0", ""), "né-日本"),
        )
    listed = run(gateway, tmp_path, "list")
    assert listed.exit_code == 0
    assert listed.stdout.count("\n") == 1
    assert listed.stdout.strip("\n").isprintable()
    assert "né-日本" in listed.stdout
    assert "\\x1b]0;owned\\x07\\r\\n2" in listed.stdout
    assert make_printable(evil).isprintable()
    assert run(gateway, tmp_path, "list", "--actor", "nobody", "--limit", "1").stdout == ""
