"""Telling of batches that are over: who is told, what, how often, and who never is."""

import asyncio
import base64
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from app.batch.ending_store import note_end
from app.batch.intake_store import fail_batch, insert_batch
from app.batch.stopping_store import cancel_batch, end_late
from app.batch.types import NewBatch
from app.batch.webhooks.sender import WebhookSender
from app.batch.webhooks.store import claim_delivery, conclude, reseal_webhook_secrets
from app.batch.webhooks.telling import AGAIN_SECONDS, Verdict, agree, build_headers, find_key, judge
from app.catalog.secrets import SecretUnreadableError, Vault
from app.catalog.snapshot import Catalog, Snapshot
from app.catalog.types import BatchConfig, CacheConfig
from app.db.audit import COMMAND_LINE, Auditor
from app.db.connection import Connection, open_connection
from app.db.control import Change
from app.db.engine import open_blocking_engine
from app.db.keyring_store import provide_keyring
from app.errors import BadRequestError, UpstreamFailure
from app.gateway.parts import Parts
from app.rotation import finish, rotate
from app.upstream import Limits, Outgoing, Upstream
from app.wire.ids import make_uuid7
from tests.batch.certificates import make_contexts
from tests.batch.receivers import Receiver, open_receiver, say
from tests.gateway_process import Gateway

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
VAULT = Vault(b"v" * 32)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver() as running:
        yield running


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Connection]:
    connection = await open_connection(database_url, application_name="test", connect_timeout=5)
    yield connection
    await connection.close()


def build_parts(*hosts: str, **changes: Any) -> Parts:
    catalog = Catalog(VAULT, None)
    config = BatchConfig(webhook_hosts=hosts, **changes)
    catalog.current = Snapshot(version=1, providers={}, cache=CacheConfig(), batch=config)
    return cast(Parts, SimpleNamespace(catalog=catalog))


async def store(database: Connection, url: str, secret: str = SECRET) -> UUID:
    """Store a batch that is being read, of which somebody wants to be told."""
    batch_id = make_uuid7()
    new = NewBatch(id=batch_id, shape="relay", user_id=make_uuid7(), api_key_id=None, webhook_url=url)
    sealed = VAULT.seal("webhook secret", str(batch_id), secret)
    await insert_batch(database, NewBatch(**{**_fields(new), "webhook_secret": sealed}))
    return batch_id


def _fields(new: NewBatch) -> dict[str, Any]:
    return {name: getattr(new, name) for name in new.__struct_fields__}


async def end(database: Connection, url: str, count: int = 1) -> list[UUID]:
    """Store batches that are over."""
    ids = [await store(database, url) for _ in range(count)]
    for batch_id in ids:
        await database.execute("UPDATE batches SET state = 'completed', finished_at = now() WHERE id = %s", (batch_id,))
        await note_end(database, batch_id)
    return ids


def query(url: str, statement: str = "SELECT * FROM webhook_deliveries ORDER BY created_at") -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def wait_for(url: str, column: str, count: int = 1, seconds: float = 10) -> list[dict[str, Any]]:
    until = time.monotonic() + seconds
    while True:
        found = [row for row in query(url) if row[column] is not None]
        if len(found) >= count:
            return found
        assert time.monotonic() < until, query(url)
        await asyncio.sleep(0.02)


@asynccontextmanager
async def sending(url: str, parts: Parts, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(WebhookSender(url, parts, VAULT, **options).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def submit(gateway: Gateway, **options: Any) -> httpx.Response:
    requests = [{"id": f"r{n}", "messages": [{"role": "user", "content": f"hello {n}"}]} for n in range(3)]
    with gateway.client() as client:
        return client.post(
            "/v1/batch", json={"provider": "mock", "model": "echo", "requests": requests, "options": options}
        )


def test_whoever_asked_is_told(gateway: Gateway, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The end of a batch is told once, signed; neither secret nor address is shown or logged anywhere."""
    gateway.configure(batch={"webhook_hosts": [receiver.host]})
    caplog.set_level(logging.DEBUG)
    answer = submit(gateway, webhook=receiver.url)
    assert answer.status_code == 202, answer.text
    secret = answer.json()["webhook_secret"]
    (message,) = receiver.wait(1, 30)
    assert message.path == "/told?token=t0psecret"
    assert message.is_signed_with(secret)
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"] == "RelayCore"
    assert message.headers["host"] == receiver.host
    assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 60
    told = json.loads(message.body)
    assert told["type"] == "batch.completed"
    assert told["data"] == {
        "batch_id": answer.json()["batch_id"],
        "status": "completed",
        "request_counts": {"total": 3, "succeeded": 3, "errored": 0, "cancelled": 0, "expired": 0},
    }
    with gateway.client() as client:
        shown = client.get(f"/v1/batch/{told['data']['batch_id']}").text + client.get("/v1/batch").text
    asyncio.run(wait_for(gateway.database_url, "delivered_at"))
    (row,) = query(gateway.database_url)
    assert (str(row["id"]), row["tries"], row["status_code"], row["error"]) == (message.id, 1, 204, None)
    (batch,) = query(gateway.database_url, "SELECT webhook_secret FROM batches")
    assert batch["webhook_secret"] is None
    for text in (shown, caplog.text):
        assert "t0psecret" not in text
        assert secret not in text


def test_a_secret_of_ones_own(gateway: Gateway, receiver: Receiver) -> None:
    """A given secret signs and is not repeated; at rest it is sealed."""
    gateway.configure(batch={"webhook_hosts": ["127.0.0.1"], "concurrency": 1})
    receiver.answer = say(500)
    answer = submit(gateway, webhook=receiver.url, webhook_secret=SECRET)
    assert "webhook_secret" not in answer.json()
    (message,) = receiver.wait(1, 30)
    assert message.is_signed_with(SECRET)
    (batch,) = query(gateway.database_url, "SELECT id, webhook_secret FROM batches")
    assert SECRET.encode() not in batch["webhook_secret"]
    vault = gateway.parts.catalog.vault
    assert vault.open("webhook secret", str(batch["id"]), batch["webhook_secret"]) == SECRET


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"webhook": "http://127.0.0.1:1/t0psecret"}, "options.webhook"),
        ({"webhook": "http://example.com/t0psecret"}, "options.webhook"),
        ({"webhook": "https://t0psecret:x@example.com/"}, "options.webhook"),
        ({"webhook": "https://169.254.169.254/t0psecret"}, "options.webhook"),
        ({"webhook": "https://example.com/" + "t0psecret" * 300}, "options.webhook"),
        ({"webhook": "https://example.com/", "webhook_secret": "whsec_" + "t0psecret" * 3}, "options.webhook_secret"),
        ({"webhook": "https://example.com/", "webhook_secret": "t0psecret" * 4}, "options.webhook_secret"),
        ({"webhook_secret": SECRET}, "options.webhook_secret"),
    ],
)
def test_what_cannot_be_is_refused(shared_gateway: Gateway, options: dict[str, str], param: str) -> None:
    """A webhook that may not be, or a secret that is none, refuses the batch by its name and repeats nothing."""
    answer = submit(shared_gateway, **options)
    assert answer.status_code == 400
    assert param in answer.text
    assert "t0psecret" not in answer.text
    assert query(shared_gateway.database_url, "SELECT FROM batches") == []


def test_where_nothing_is_public(shared_gateway: Gateway) -> None:
    """An administrator can have only listed hosts told."""
    shared_gateway.configure(batch={"webhook_public": False})
    assert submit(shared_gateway, webhook="https://example.com/").status_code == 400
    with pytest.raises(BadRequestError):
        agree("https://example.com/", None, make_uuid7(), BatchConfig(webhook_public=False), VAULT)
    shared_gateway.configure(batch={"webhook_public": True})


async def test_every_way_to_end_is_told(database: Connection, database_url: str) -> None:
    """Completed, cancelled while it waits or is read, expired, and failed as a whole: each is told, once."""
    url = "https://example.com/"
    queued, late, read, failed = [await store(database, url) for _ in range(4)]
    quiet = make_uuid7()
    await insert_batch(database, NewBatch(id=quiet, shape="openai", user_id=quiet, api_key_id=None))
    for batch_id in (queued, late):
        await database.execute(
            "INSERT INTO batch_requests (batch_id, position, custom_id, path, state) "
            "VALUES (%s, 0, 'a', '/', 'queued')",
            (batch_id,),
        )
        await database.execute("UPDATE batches SET state = 'queued', total = 1 WHERE id = %s", (batch_id,))
    await database.execute("UPDATE batches SET expires_at = now() - interval '1 s' WHERE id = %s", (late,))
    for batch_id in (queued, read, quiet):
        assert await cancel_batch(database, batch_id)
        await cancel_batch(database, batch_id)
    assert await end_late(database) == 1
    assert await fail_batch(database, failed, 0, [{"message": "no"}])
    assert not await fail_batch(database, failed, 0, [{"message": "no"}])
    told = {
        row["batch_id"]: (row["event"], json.loads(row["payload"])["data"]["status"]) for row in query(database_url)
    }
    assert told == {
        queued: ("batch.cancelled", "cancelled"),
        read: ("batch.cancelled", "cancelled"),
        late: ("batch.expired", "expired"),
        failed: ("batch.failed", "failed"),
    }
    assert len(query(database_url)) == 4


async def test_again_until_it_is_heard(database: Connection, database_url: str, receiver: Receiver) -> None:
    """A message that failed is sent again later under the same id, with a fresh time that is signed anew."""
    receiver.answer = say(503, body=b"t0psecret")
    await end(database, receiver.url)
    async with sending(database_url, build_parts(receiver.host)):
        (row,) = await wait_for(database_url, "error")
        wait = (row["next_at"] - query(database_url, "SELECT now() AS now")[0]["now"]).total_seconds()
        assert 3 < wait <= 6.25
        assert (row["tries"], row["status_code"], row["error"]) == (1, 503, "It was answered with 503.")
        receiver.answer = say(200, body=b"ok")
        await asyncio.sleep(1.2)
        assert len(receiver.messages) == 1
        query(database_url, "UPDATE webhook_deliveries SET next_at = now()")
        (row,) = await wait_for(database_url, "delivered_at")
    assert (row["tries"], row["status_code"], row["error"]) == (2, 200, None)
    first, second = receiver.messages
    assert first.id == second.id == str(row["id"])
    assert first.is_signed_with(SECRET)
    assert second.is_signed_with(SECRET)
    assert first.body == second.body


async def test_given_up_at_last(database: Connection, database_url: str, receiver: Receiver) -> None:
    """After the last try nobody is told any more, and the secret is forgotten."""
    receiver.answer = say(500)
    await end(database, receiver.url)
    query(database_url, f"UPDATE webhook_deliveries SET tries = {len(AGAIN_SECONDS)}")
    async with sending(database_url, build_parts(receiver.host)):
        (row,) = await wait_for(database_url, "given_up_at")
    assert row["tries"] == 9
    assert query(database_url, "SELECT webhook_secret FROM batches") == [{"webhook_secret": None}]


def test_the_waits_between_tries() -> None:
    """Five seconds, then longer and longer; never earlier than said, and up to a quarter later."""
    waits = [judge(tries, 500, lambda: 0.0).wait_seconds for tries in range(1, 9)]
    assert waits == [5, 30, 120, 600, 1800, 7200, 18000, 36000]
    assert judge(1, 500, lambda: 1.0).wait_seconds == 6.25
    assert [judge(9, status, lambda: 0.0).outcome for status in (500, 200)] == ["given up", "delivered"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "delivered"), (299, "delivered"), (410, "given up"), (302, "again"), (304, "again"), (400, "again")],
)
def test_what_an_answer_means(status: int, outcome: str) -> None:
    """Any 2xx is heard, 410 is unwanted, and everything else is tried again."""
    assert judge(1, status, lambda: 0.0).outcome == outcome


async def test_unwanted(database: Connection, database_url: str, receiver: Receiver) -> None:
    """410 ends it at once."""
    receiver.answer = say(410)
    await end(database, receiver.url)
    async with sending(database_url, build_parts(receiver.host)):
        (row,) = await wait_for(database_url, "given_up_at")
    assert (row["tries"], row["status_code"]) == (1, 410)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    database: Connection, database_url: str, receiver: Receiver, status: int
) -> None:
    """A redirect is a failure like any other, wherever it leads."""
    with open_receiver() as other:
        receiver.answer = say(status, ("location", other.url))
        await end(database, receiver.url)
        async with sending(database_url, build_parts("127.0.0.1")):
            (row,) = await wait_for(database_url, "error")
            await asyncio.sleep(0.2)
        assert row["status_code"] == status
        assert other.messages == []


async def test_a_slow_host_holds_up_nobody(database: Connection, database_url: str, receiver: Receiver) -> None:
    """A host that does not answer has two messages at a time waiting for it; others are told meanwhile."""
    receiver.answer = say(204, after=3)
    await end(database, receiver.url, 12)
    with open_receiver() as quick:
        await end(database, quick.url, 12)
        began = time.monotonic()
        async with sending(database_url, build_parts("127.0.0.1")):
            await asyncio.to_thread(quick.wait, 12)
            assert time.monotonic() - began < 3
        assert receiver.most <= 2
        assert quick.most <= 2


async def test_an_answer_without_end(database: Connection, database_url: str, receiver: Receiver) -> None:
    """Once the status is there, what else is said may be as long and as slow as it likes: nobody listens."""

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b"x" * 4096)
            time.sleep(0.01)

    receiver.answer = drip
    await end(database, receiver.url)
    async with sending(database_url, build_parts(receiver.host)):
        (row,) = await wait_for(database_url, "delivered_at", seconds=5)
    assert row["status_code"] == 200


async def test_two_senders_send_once(database: Connection, database_url: str, receiver: Receiver) -> None:
    """Processes share the messages; each is sent by one."""
    await end(database, receiver.url, 30)
    parts = build_parts(receiver.host)
    async with sending(database_url, parts), sending(database_url, parts):
        await wait_for(database_url, "delivered_at", 30, 20)
    assert len({message.id for message in receiver.messages}) == len(receiver.messages) == 30


async def test_a_killed_sender_is_replaced(database: Connection, database_url: str, receiver: Receiver) -> None:
    """What a sender that dies had in hand is sent by another once its lease is over, and not before."""
    receiver.answer = say(204, after=30)
    await end(database, receiver.url)
    parts = build_parts(receiver.host)
    async with sending(database_url, parts):
        await asyncio.to_thread(receiver.wait)
    receiver.answer = say(204)
    (row,) = query(database_url, "SELECT *, next_at > now() + interval '15 s' AS leased FROM webhook_deliveries")
    assert (row["tries"], row["leased"], row["delivered_at"]) == (1, True, None)
    async with sending(database_url, parts):
        await asyncio.sleep(1.3)
        assert len(receiver.messages) == 1
        query(database_url, "UPDATE webhook_deliveries SET next_at = now()")
        (row,) = await wait_for(database_url, "delivered_at")
    first, second = receiver.messages
    assert first.id == second.id


async def test_whoever_was_replaced_changes_nothing(database: Connection, database_url: str) -> None:
    """A sender that comes back after its lease finds the message in other hands, and leaves it alone."""
    await end(database, "https://example.com/")
    mine = await claim_delivery(database, [], 0)
    other = await claim_delivery(database, [], 30)
    assert mine is not None
    assert other is not None
    assert (mine.id, mine.tries, other.tries) == (other.id, 1, 2)
    assert await claim_delivery(database, [], 30) is None
    assert not await conclude(database, mine, Verdict(outcome="given up"))
    assert await conclude(database, other, Verdict(outcome="delivered", status_code=200))
    assert not await conclude(database, other, Verdict(outcome="given up"))
    (row,) = query(database_url)
    assert row["given_up_at"] is None


async def test_a_name_is_looked_up_once(database: Connection, database_url: str, receiver: Receiver) -> None:
    """What was judged is what is dialled: a name server that changes its mind has no second word."""
    asked: list[tuple[str, int]] = []

    async def find(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    port = receiver.host.partition(":")[2]
    await end(database, f"http://Hooks.example.com:{port}/x")
    async with sending(database_url, build_parts("hooks.example.com"), find=find):
        await wait_for(database_url, "delivered_at")
    assert asked == [("hooks.example.com", int(port))]
    assert receiver.messages[0].headers["host"] == f"hooks.example.com:{port}"


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["::1"], []]
)
async def test_a_public_name_with_an_inner_address(
    database: Connection, database_url: str, found: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A name that leads inwards is not dialled; the row says so without saying where."""

    async def find(host: str, port: int) -> list[str]:
        return found

    with open_receiver() as receiver:
        port = receiver.host.partition(":")[2]
        await end(database, f"https://rebinding.example.com:{port}/t0psecret")
        async with sending(database_url, build_parts(), find=find):
            (row,) = await wait_for(database_url, "error")
        assert receiver.messages == []
    assert row["status_code"] is None
    assert "example" not in row["error"] + caplog.text


async def test_a_host_that_is_listed_no_more(database: Connection, database_url: str, receiver: Receiver) -> None:
    """What counts is the configuration at the time of sending."""
    await end(database, receiver.url)
    parts = build_parts(receiver.host)
    parts.catalog.current = build_parts().catalog.current
    async with sending(database_url, parts):
        (row,) = await wait_for(database_url, "error")
    assert row["error"] == "The host has an address that webhooks may not go to."
    assert receiver.messages == []


@pytest.mark.parametrize(("name", "fine"), [("hooks.example.com", True), ("other.example.com", False)])
async def test_tls_is_for_the_name(
    database: Connection, database_url: str, tmp_path: Path, name: str, fine: bool
) -> None:
    """The certificate must be the named host's, though an address is dialled."""
    server, client = make_contexts(tmp_path, name)

    async def find(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    with open_receiver(server) as receiver:
        port = receiver.host.partition(":")[2]
        await end(database, f"https://hooks.example.com:{port}/x")
        async with sending(database_url, build_parts("hooks.example.com"), find=find, tls=client):
            (row,) = await wait_for(database_url, "delivered_at" if fine else "error")
        assert len(receiver.messages) == (1 if fine else 0)
    assert row["error"] == (None if fine else "The TLS connection could not be trusted or set up.")


async def test_nothing_but_the_chosen_address_is_dialled(receiver: Receiver) -> None:
    """A pinned connection goes to the chosen address under any name, and to none that stands in the URL."""
    port = receiver.host.partition(":")[2]

    async def post(url: str, *addresses: str) -> int:
        upstream = Upstream(addresses=addresses)
        try:
            sent = Outgoing(method="POST", url=url, headers=[], body=b"{}", limits=Limits(connect_seconds=2))
            incoming = await upstream.send(sent)
            await incoming.read()
            return incoming.status
        finally:
            await upstream.close()

    assert await post(f"http://anything.example.com:{port}/", "127.0.0.1") == 204
    for url in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
        with pytest.raises(UpstreamFailure):
            await post(url, "127.0.0.3")
    assert len(receiver.messages) == 1


async def test_a_secret_that_does_not_open(database: Connection, database_url: str, receiver: Receiver) -> None:
    """Without its secret a message is not sent; it waits for a process that can sign it."""
    await end(database, receiver.url)
    query(database_url, "UPDATE batches SET webhook_secret = 'gone'")
    async with sending(database_url, build_parts(receiver.host)):
        (row,) = await wait_for(database_url, "error")
    assert row["error"] == "The secret of this webhook does not open."
    assert receiver.messages == []


async def test_secrets_are_sealed_anew(database: Connection, database_url: str) -> None:
    """A rotation of the secret key seals what still waits with the newest vault key, which is enough from then on."""
    batch_id, broken = await store(database, "https://example.com/"), await store(database, "https://example.com/")
    await database.execute("UPDATE batches SET webhook_secret = 'x' WHERE id = %s", (broken,))
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        assert reseal_webhook_secrets(connection, Vault(b"w" * 32, b"v" * 32)) == 2
        connection.commit()
    engine.dispose()
    line = await (await database.execute("SELECT webhook_secret FROM batches WHERE id = %s", (batch_id,))).fetchone()
    sealed = cast(tuple[bytes], line)[0]
    assert Vault(b"w" * 32).open("webhook secret", str(batch_id), sealed) == SECRET
    with pytest.raises(SecretUnreadableError):
        VAULT.open("webhook secret", str(batch_id), sealed)


async def test_a_rotation_takes_webhooks_along(database: Connection, database_url: str) -> None:
    """Once a rotation is finished, and the old vault key forgotten, the secret still opens."""
    old, new = "the-old-secret-key-00", "the-new-secret-key-11"
    engine = open_blocking_engine(database_url)
    batch_id = await store(database, "https://example.com/")
    with engine.connect() as connection:
        before = Vault(*provide_keyring(connection, old).vault_keys)
        sealed = before.seal("webhook secret", str(batch_id), SECRET)
        await database.execute("UPDATE batches SET webhook_secret = %s WHERE id = %s", (sealed, batch_id))
        change = Change(connection, COMMAND_LINE, Auditor(b"a" * 32))
        assert rotate(change, old, new) == 1
        assert finish(change, new).forgotten == 1
        connection.commit()
        after = Vault(*provide_keyring(connection, new).vault_keys)
    engine.dispose()
    (row,) = query(database_url, "SELECT webhook_secret FROM batches")
    assert after.open("webhook secret", str(batch_id), row["webhook_secret"]) == SECRET
    with pytest.raises(SecretUnreadableError):
        before.open("webhook secret", str(batch_id), row["webhook_secret"])


def test_the_receiver_in_the_documentation() -> None:
    """The receiver that docs/webhooks.md shows takes our messages, and no others."""
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    code = page.partition("```python\n")[2].partition("class Receiver")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    lines = build_headers(SECRET, make_uuid7(), 1000, b"{}")
    headers = {name.decode(): value.decode() for name, value in lines}
    genuine = names["is_genuine"]
    assert genuine(headers, b"{}", SECRET, 1100.0)
    assert not genuine(headers, b"{ }", SECRET, 1100.0)
    assert not genuine(headers, b"{}", SECRET, 1301.0)
    assert not genuine(headers, b"{}", "whsec_" + base64.b64encode(b"x" * 32).decode(), 1100.0)
    assert not genuine({**headers, "webhook-id": "other"}, b"{}", SECRET, 1100.0)
    assert not genuine({}, b"{}", SECRET, 1100.0)


@pytest.mark.parametrize(
    ("secret", "fine"),
    [
        (SECRET, True),
        ("whsec_" + base64.b64encode(b"k" * 24).decode(), True),
        ("whsec_" + base64.b64encode(b"k" * 64).decode(), True),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), False),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), False),
        (SECRET.removeprefix("whsec_"), False),
        (SECRET[:-1], False),
        (SECRET + "\n", False),
        ("whsec_" + "é" * 40, False),
        ("whsec_" + "-_" * 22, False),
    ],
)
def test_what_a_secret_is(secret: str, fine: bool) -> None:
    """A secret has the form of Standard Webhooks: a prefix, and the base64 of 24 to 64 bytes."""
    assert (find_key(secret) is not None) is fine


def test_tls_contexts_are_strict(tmp_path: Path) -> None:
    """The test's own authority does not weaken the checks that are tested with it."""
    _, client = make_contexts(tmp_path, "a.example.com")
    assert client.check_hostname
    assert client.verify_mode is ssl.CERT_REQUIRED
