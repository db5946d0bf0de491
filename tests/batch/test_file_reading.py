"""Files of batches that workers read: taken over from the dead, and ended where nobody can read them."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.batch.desk import Desk
from app.batch.stopping_store import cancel_batch
from app.batch.types import Item
from app.batch.vendors.file_store import find_new
from app.errors import ConflictError
from app.wire.ids import make_uuid7
from tests.acceptance.support import fresh, query, wait_until
from tests.gateway_process import Gateway

CHAT = "/v1/chat/completions"
INSERT = """
INSERT INTO batches (id, shape, user_id, api_key_id, path, state, input_file_id, expires_at, attempt, lease_until)
SELECT %s, 'openai', user_id, coalesce(%s, api_key_id), %s, 'validating', id, now() + interval '1 day', %s,
       now() + %s * interval '1 second'
FROM batch_files WHERE id = %s
"""
STRAY = """
INSERT INTO batch_requests (batch_id, position, custom_id, path, state) VALUES (%s, 0, 'stray', '/v1/x', 'queued')
"""


@pytest.fixture
def client(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    """A client of a gateway whose only provider is the mock."""
    with shared_gateway.client() as client:
        yield client


def upload(client: httpx.Client, count: int) -> UUID:
    """Upload a file of so many requests and return its id."""
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": {"model": "mock/echo", "messages": ask(n)}}
        for n in range(count)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    reply = client.post("/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "batch"})
    return UUID(reply.json()["id"].removeprefix("file-"))


def ask(number: int) -> list[dict[str, str]]:
    """Return the messages of one request."""
    return [{"role": "user", "content": fresh(str(number))}]


def insert(gateway: Gateway, file_id: UUID, *, attempt: int = 0, lease: float = -1, key_id: UUID | None = None) -> UUID:
    """Store a batch whose file somebody began to read; their claim ends in so many seconds."""
    batch_id = make_uuid7()
    query(gateway, INSERT, batch_id, key_id, CHAT, attempt, lease, file_id)
    return batch_id


def wait(client: httpx.Client, batch_id: UUID) -> dict[str, Any]:
    """Return a batch once it is over."""
    return wait_until(
        lambda: client.get(f"/v1/batches/batch_{batch_id.hex}").json(),
        lambda batch: batch["status"] in {"completed", "failed"},
        30,
    )


def test_a_dead_reader_is_replaced(shared_gateway: Gateway, client: httpx.Client) -> None:
    """Once its claim is over another begins anew; what the dead one stored is not counted."""
    batch_id = insert(shared_gateway, upload(client, 3), attempt=1)
    query(shared_gateway, STRAY, batch_id)
    batch = wait(client, batch_id)
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 3, "completed": 3, "failed": 0})
    results = client.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == ["r0", "r1", "r2"]


def test_a_living_reader_is_left_alone(shared_gateway: Gateway, client: httpx.Client) -> None:
    """While a claim holds, nobody else reads."""
    batch_id = insert(shared_gateway, upload(client, 1), attempt=1, lease=4)
    other = insert(shared_gateway, upload(client, 1))
    assert wait(client, other)["status"] == "completed"
    assert client.get(f"/v1/batches/batch_{batch_id.hex}").json()["status"] == "validating"
    assert wait(client, batch_id)["status"] == "completed"


def test_cancelling_what_is_being_read(shared_gateway: Gateway, client: httpx.Client) -> None:
    """A batch whose file is not read yet is cancelled at once."""
    batch_id = insert(shared_gateway, upload(client, 1), attempt=1, lease=60)
    batch = client.post(f"/v1/batches/batch_{batch_id.hex}/cancel").json()
    assert (batch["status"], batch["request_counts"]["total"]) == ("cancelled", 0)


@pytest.mark.anyio
async def test_nothing_is_left_of_what_was_cancelled_while_it_was_read(
    shared_gateway: Gateway, client: httpx.Client
) -> None:
    """What a reader stored after its batch was cancelled is taken back; what another reader has read is not."""
    desk = Desk(shared_gateway.database_url, shared_gateway.parts)
    left: dict[bool, list[dict[str, Any]]] = {}
    for cancelled in (True, False):
        batch_id = insert(shared_gateway, upload(client, 1), attempt=1, lease=60)
        new = await desk.read(partial(find_new, batch_id=batch_id))
        assert new is not None
        caller = shared_gateway.parts.directory.find_holder(new.user_id, new.api_key_id)
        assert caller is not None
        intake = desk.open_intake(new, caller, strict=False)
        await intake.add(Item(custom_id="a", path=CHAT, body=json.dumps({"model": "mock/echo"}).encode()))
        if cancelled:
            await desk.change(partial(cancel_batch, batch_id=batch_id))
        with pytest.raises(ConflictError):
            await intake.accept(1 if cancelled else 0)
        left[cancelled] = query(shared_gateway, "SELECT custom_id FROM batch_requests WHERE batch_id = %s", batch_id)
        query(shared_gateway, "DELETE FROM batches WHERE id = %s", batch_id)
    await desk.close()
    assert left == {True: [], False: [{"custom_id": "a"}]}


@pytest.mark.parametrize(
    ("changes", "code"), [({"attempt": 10}, "file_unreadable"), ({"key_id": make_uuid7()}, "key_revoked")]
)
def test_what_nobody_can_read(
    shared_gateway: Gateway, client: httpx.Client, changes: dict[str, Any], code: str
) -> None:
    """A file that many readers came to no end with, or whose sender may not call any more, fails its batch."""
    batch = wait(client, insert(shared_gateway, upload(client, 1), **changes))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", code)


def test_a_file_that_is_gone(shared_gateway: Gateway, client: httpx.Client) -> None:
    """A file that is deleted before it is read fails its batch."""
    file_id = upload(client, 1)
    batch_id = insert(shared_gateway, file_id, attempt=1, lease=1)
    assert client.delete(f"/v1/files/file-{file_id.hex}").json()["deleted"]
    batch = wait(client, batch_id)
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "file_not_found")


def test_who_leaves_is_not_read_for(shared_gateway: Gateway, client: httpx.Client) -> None:
    """A client that leaves in the middle of a file ends its call, and nobody else notices."""
    content = b"x" * (40 * 2**20)
    reply = client.post("/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "batch"})
    for _ in range(5):
        with client.stream("GET", f"/v1/files/{reply.json()['id']}/content") as download:
            assert download.status_code == 200
            parts = download.iter_bytes()  # kept: an iterator that nobody holds closes its connection
            next(parts)
            assert shared_gateway.parts.traffic.calls >= 1
        assert [client.get("/v1/batches").status_code for _ in range(20)] == [200] * 20
    wait_until(lambda: shared_gateway.parts.traffic.calls, lambda calls: calls == 0, 10)
