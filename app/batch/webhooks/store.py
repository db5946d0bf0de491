"""The outbox of webhooks in Postgres: who takes a message to send it has it for a while, by the database's clock."""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast
from uuid import UUID

import msgspec
from msgspec import structs
from sqlalchemy import Connection as ControlConnection
from sqlalchemy import select, update

from app.batch.webhooks.telling import PURPOSE, Verdict
from app.catalog.secrets import SecretUnreadableError, Vault
from app.db.connection import Connection
from app.db.tables import batches

CLAIM = """
UPDATE webhook_deliveries AS d SET tries = d.tries + 1, next_at = now() + make_interval(secs => %(seconds)s)
FROM batches AS b
WHERE b.id = d.batch_id AND d.id = (
    SELECT w.id FROM webhook_deliveries AS w JOIN batches AS o ON o.id = w.batch_id
    WHERE w.delivered_at IS NULL AND w.given_up_at IS NULL AND w.next_at <= now()
    AND lower(substring(o.webhook_url FROM '://([^/?]+)')) <> ALL (%(busy)s::text[])
    ORDER BY w.next_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED)
RETURNING d.id, d.batch_id, d.payload, d.tries, b.webhook_url, b.webhook_secret,
          lower(substring(b.webhook_url FROM '://([^/?]+)'))
"""
CONCLUDE = """
UPDATE webhook_deliveries SET
    delivered_at = CASE WHEN %(outcome)s = 'delivered' THEN now() END,
    given_up_at = CASE WHEN %(outcome)s = 'given up' THEN now() END,
    next_at = now() + make_interval(secs => %(wait_seconds)s),
    status_code = %(status_code)s, error = %(error)s
WHERE id = %(id)s AND tries = %(tries)s AND delivered_at IS NULL AND given_up_at IS NULL
RETURNING batch_id
"""
FORGET = """
UPDATE batches SET webhook_secret = NULL
WHERE id = %(batch_id)s AND NOT EXISTS (
    SELECT FROM webhook_deliveries
    WHERE batch_id = %(batch_id)s AND delivered_at IS NULL AND given_up_at IS NULL)
"""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is ours to send; `tries` counts this try as well. `host` is whom it goes to, with the port."""

    id: UUID
    batch_id: UUID
    payload: bytes
    tries: int
    url: str
    secret: bytes | None
    host: str


async def claim_delivery(connection: Connection, busy: Sequence[str], seconds: float) -> Delivery | None:
    """Return a message that is due and goes to none of the `busy` hosts; nobody else has it for so many seconds."""
    line = await (await connection.execute(CLAIM, {"busy": list(busy), "seconds": seconds})).fetchone()
    if line is None:
        return None
    message_id, batch_id, payload, tries, url, secret, host = cast(
        tuple[UUID, UUID, bytes, int, str, bytes | None, str], line
    )
    return Delivery(id=message_id, batch_id=batch_id, payload=payload, tries=tries, url=url, secret=secret, host=host)


async def conclude(connection: Connection, delivery: Delivery, verdict: Verdict) -> bool:
    """Write what came of a try; False when somebody else has it by now. A secret that is done with is forgotten."""
    values = {**structs.asdict(verdict), "id": delivery.id, "tries": delivery.tries, "batch_id": delivery.batch_id}
    async with connection.transaction():
        ours = await (await connection.execute(CONCLUDE, values)).fetchone() is not None
        if ours and verdict.outcome != "again":
            await connection.execute(FORGET, values)
    return ours


def reseal_webhook_secrets(connection: ControlConnection, vault: Vault) -> int:
    """Encrypt the secrets of all webhooks with the vault's newest key, and return how many those are."""
    kept = select(batches.c.id, batches.c.webhook_secret).where(batches.c.webhook_secret.is_not(None))
    lines = connection.execute(kept.order_by(batches.c.id).with_for_update(key_share=True)).all()
    for batch_id, sealed in lines:
        with suppress(SecretUnreadableError):  # one that did not open before does not open after
            secret = vault.open(PURPOSE, str(batch_id), sealed)
            anew = vault.seal(PURPOSE, str(batch_id), secret)
            connection.execute(update(batches).where(batches.c.id == batch_id).values(webhook_secret=anew))
    return len(lines)
