"""Calls for later: batches, their requests and results, the vendors' batches behind them, files and webhooks."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.columns import EMPTY, INSTANT, MONEY, NOTHING, NOW, created_at, metadata

NO = text("false")
ID = UUID(as_uuid=True)

# Uploaded files, in pieces, so that neither a reader nor a writer ever holds one whole.
batch_files = Table(
    "batch_files",
    metadata,
    Column("id", ID, primary_key=True),
    Column("user_id", ID, nullable=False),
    Column("api_key_id", ID),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("size", BigInteger, nullable=False, server_default=NOTHING),
    Column("complete", Boolean, nullable=False, server_default=NO),
    Column("expires_at", INSTANT),
    created_at(),
    Index("ix_batch_files_user_id", "user_id", "created_at"),
)

batch_file_pieces = Table(
    "batch_file_pieces",
    metadata,
    Column("file_id", ID, ForeignKey("batch_files.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("encoding", SmallInteger, nullable=False, server_default=NOTHING),
    Column("size", Integer, nullable=False, server_default=NOTHING),
    Column("data", LargeBinary, nullable=False),
)

# Which of a provider's own files came through the gateway, and whose they are: its key there reaches everybody's.
provider_files = Table(
    "provider_files",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("file_id", Text, primary_key=True),
    Column("user_id", ID, nullable=False),
    created_at(),
)

# One row for a batch, in whatever shape it came. `state` counts: validating (its requests are being read, and nobody
# was told that they are accepted, unless a file holds them), queued, processing, cancelling, and the ends completed,
# failed (as a whole), cancelled and expired. The counts are kept by whoever writes results, under a lock of the row.
batches = Table(
    "batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("shape", Text, nullable=False),
    Column("user_id", ID, nullable=False),
    Column("api_key_id", ID),
    Column("team_id", ID),
    Column("organization_id", ID),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("path", Text),
    Column("provider", Text),
    Column("model", Text),
    Column("state", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=NOTHING),
    Column("native", Text, nullable=False, server_default=text("'auto'")),
    Column("options", JSONB, nullable=False, server_default=EMPTY),
    Column("total", Integer, nullable=False, server_default=NOTHING),
    Column("succeeded", Integer, nullable=False, server_default=NOTHING),
    Column("errored", Integer, nullable=False, server_default=NOTHING),
    Column("cancelled", Integer, nullable=False, server_default=NOTHING),
    Column("expired", Integer, nullable=False, server_default=NOTHING),
    Column("input_file_id", ID),
    Column("metadata", JSONB),
    Column("errors", JSONB),
    Column("webhook_url", Text),
    Column("webhook_secret", LargeBinary),
    Column("idempotency_key", Text),
    Column("fingerprint", LargeBinary),
    created_at(),
    Column("deadline_at", INSTANT),
    Column("expires_at", INSTANT, nullable=False),
    Column("started_at", INSTANT),
    Column("cancel_asked_at", INSTANT),
    Column("finished_at", INSTANT),
    Column("claimed_at", INSTANT),
    Column("worker_id", ID),
    Column("lease_until", INSTANT),
    Column("attempt", Integer, nullable=False, server_default=NOTHING),
    CheckConstraint("shape IN ('relay', 'openai', 'anthropic', 'call')", name="shape"),
    CheckConstraint(
        "state IN ('validating', 'queued', 'processing', 'cancelling', 'completed', 'failed', 'cancelled', 'expired')",
        name="state",
    ),
    CheckConstraint("succeeded + errored + cancelled + expired <= total", name="counts"),
    UniqueConstraint("user_id", "idempotency_key", name="uq_batches_idempotency_key"),
    Index("ix_batches_user_id", "user_id", "created_at"),
    Index("ix_batches_created_at", "created_at"),
    Index(
        "ix_batches_open",
        "claimed_at",
        postgresql_where=text("state IN ('validating', 'queued', 'processing', 'cancelling')"),
    ),
)

# What is asked. `state`: queued (to be called), running (a worker calls), pooled (waits to be put into a vendor's
# batch), native (is in one) and done. `attempt` is the fencing token: whoever claims adds one, and every effect is
# made under the attempt that was claimed. `tries` counts calls that failed and may help again, `rescues` workers that
# died over it. `held_usd` is its share of a reservation of the batch. The body is let go of with the result.
batch_requests = Table(
    "batch_requests",
    metadata,
    Column("batch_id", ID, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("custom_id", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("provider", Text),
    Column("model", Text),
    Column("encoding", SmallInteger, nullable=False, server_default=NOTHING),
    Column("size", Integer, nullable=False, server_default=NOTHING),
    Column("body", LargeBinary),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=NOTHING),
    Column("tries", SmallInteger, nullable=False, server_default=NOTHING),
    Column("rescues", SmallInteger, nullable=False, server_default=NOTHING),
    Column("not_before", INSTANT, nullable=False, server_default=NOW),
    Column("worker_id", ID),
    Column("lease_until", INSTANT),
    Column("native_id", ID),
    Column("sent", Boolean, nullable=False, server_default=NO),
    Column("hold_id", ID),
    Column("held_usd", MONEY),
    UniqueConstraint("batch_id", "custom_id", name="uq_batch_requests_custom_id"),
    CheckConstraint("state IN ('queued', 'running', 'pooled', 'native', 'done')", name="state"),
    Index("ix_batch_requests_queued", "batch_id", "not_before", "position", postgresql_where=text("state = 'queued'")),
    Index("ix_batch_requests_suspect", "not_before", postgresql_where=text("state = 'queued' AND rescues >= 2")),
    Index("ix_batch_requests_running", "lease_until", postgresql_where=text("state = 'running'")),
    Index("ix_batch_requests_pooled", "not_before", postgresql_where=text("state = 'pooled'")),
    Index("ix_batch_requests_native", "native_id", postgresql_where=text("state = 'native'")),
)

# What came of it, once: the key is the batch and the request, and the row is written in the transaction that posts its
# cost. `request_id` is the id of its line of `requests`. `saved_usd` is what it would have cost beyond `cost_usd`.
batch_results = Table(
    "batch_results",
    metadata,
    Column("batch_id", ID, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("outcome", Text, nullable=False),
    Column("status_code", Integer),
    Column("code", Text),
    Column("encoding", SmallInteger, nullable=False, server_default=NOTHING),
    Column("size", Integer, nullable=False, server_default=NOTHING),
    Column("body", LargeBinary, nullable=False),
    Column("request_id", ID),
    Column("provider", Text),
    Column("model", Text),
    Column("cache_status", Text),
    Column("native", Boolean, nullable=False, server_default=NO),
    Column("tries", SmallInteger, nullable=False, server_default=NOTHING),
    Column("cost_usd", MONEY),
    Column("saved_usd", MONEY),
    Column("finished_at", INSTANT, nullable=False, server_default=NOW),
    ForeignKeyConstraint(
        ["batch_id", "position"],
        ["batch_requests.batch_id", "batch_requests.position"],
        ondelete="CASCADE",
        name="fk_batch_results_request",
    ),
    CheckConstraint("outcome IN ('succeeded', 'errored', 'cancelled', 'expired', 'parked')", name="outcome"),
)

# The workers that died over requests: one that many died over is only to blame when few died over others.
worker_deaths = Table(
    "worker_deaths",
    metadata,
    Column("worker_id", ID, primary_key=True),
    Column("at", INSTANT, nullable=False, server_default=NOW),
)

# A batch at a vendor, which may hold requests of several of ours. `attempt` and the lease are as for requests. It is
# planned (its requests are chosen), sending (the vendor may have it or not), sent, ended (its results are being
# read), and over: done, lost, refused or cancelled.
native_batches = Table(
    "native_batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("protocol", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'planned'")),
    Column("requests", Integer, nullable=False, server_default=NOTHING),
    Column("key_place", SmallInteger, nullable=False, server_default=NOTHING),
    Column("remote_id", Text),
    Column("remote_files", JSONB, nullable=False, server_default=EMPTY),
    Column("tries", SmallInteger, nullable=False, server_default=NOTHING),
    Column("attempt", Integer, nullable=False, server_default=NOTHING),
    Column("worker_id", ID),
    Column("lease_until", INSTANT),
    Column("look_at", INSTANT, nullable=False, server_default=NOW),
    Column("give_up_at", INSTANT, nullable=False),
    Column("cancel_asked", Boolean, nullable=False, server_default=NO),
    Column("error", Text),
    created_at(),
    Column("sent_at", INSTANT),
    Column("finished_at", INSTANT),
    CheckConstraint(
        "state IN ('planned', 'sending', 'sent', 'ended', 'done', 'lost', 'refused', 'cancelled')", name="state"
    ),
    Index("ix_native_batches_look_at", "look_at", postgresql_where=text("finished_at IS NULL")),
)

# The outbox: a line is written with what it tells of, and sent until somebody takes it or there is no use any more.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", ID, primary_key=True),
    Column("batch_id", ID, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("tries", SmallInteger, nullable=False, server_default=NOTHING),
    Column("next_at", INSTANT, nullable=False, server_default=NOW),
    Column("delivered_at", INSTANT),
    Column("given_up_at", INSTANT),
    Column("status_code", Integer),
    Column("error", Text),
    created_at(),
    Index(
        "ix_webhook_deliveries_next_at",
        "next_at",
        postgresql_where=text("delivered_at IS NULL AND given_up_at IS NULL"),
    ),
)
