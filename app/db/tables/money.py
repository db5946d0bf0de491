"""Money and limits: the ledger, budgets and what is reserved of them, and how often somebody calls."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.columns import EMPTY, INSTANT, MONEY, NOTHING, NOW, created_at, metadata

# Appended to and never changed (a trigger sees to it). A request has a line for each token class it used (`entry` 0);
# later corrections are further entries. `booked_at` is when the money was held or, where none was, when the call came:
# it decides which period of a budget the line counts in. Monthly partitions by `request_time`, that of the request.
ledger = Table(
    "ledger",
    metadata,
    Column("request_id", UUID(as_uuid=True), primary_key=True),
    Column("request_time", INSTANT, primary_key=True),
    Column("entry", SmallInteger, primary_key=True),
    Column("token_class", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("booked_at", INSTANT, nullable=False),
    Column("posted_at", INSTANT, nullable=False, server_default=NOW),
    Column("user_id", UUID(as_uuid=True)),
    Column("api_key_id", UUID(as_uuid=True)),
    Column("team_id", UUID(as_uuid=True)),
    Column("organization_id", UUID(as_uuid=True)),
    Column("provider", Text),
    Column("model", Text),
    Column("requested_model", Text),
    Column("tags", ARRAY(Text)),
    Column("quantity", Numeric(24, 6), nullable=False),
    Column("usd_per_unit", MONEY),
    Column("factor", Numeric(12, 6), nullable=False, server_default=text("1")),
    Column("amount_usd", MONEY, nullable=False),
    CheckConstraint("kind IN ('usage', 'estimated', 'ceiling', 'adjustment')", name="kind"),
    Index("ix_ledger_booked_at", "booked_at"),
    Index("ix_ledger_request_time", "request_time", postgresql_using="brin"),
    postgresql_partition_by="RANGE (request_time)",
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("scope", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("amount_usd", MONEY, nullable=False),
    Column("soft_limit_usd", MONEY),
    Column("period", Text, nullable=False),
    Column("rolling", Boolean, nullable=False, server_default=text("false")),
    Column("override_usd", MONEY),
    Column("override_until", INSTANT),
    created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT),
    CheckConstraint("scope IN ('key', 'user', 'team', 'organization', 'model', 'tag')", name="scope"),
    CheckConstraint("period IN ('day', 'week', 'month', 'quarter', 'total')", name="period"),
    CheckConstraint("NOT (rolling AND period = 'total')", name="rolling"),
    CheckConstraint("amount_usd >= 0 AND soft_limit_usd >= 0 AND override_usd >= 0", name="not_negative"),
    CheckConstraint("(override_usd IS NULL) = (override_until IS NULL)", name="override"),
    Index("ix_budgets_scope_ref", "scope", "ref"),
)

# One row for a budget and period (a rolling budget has one in all). `overrun_usd` is what calls cost beyond what was
# held for them: known only after the fact, it is the one way over the limit, and it is on record.
budget_counters = Table(
    "budget_counters",
    metadata,
    Column("budget_id", UUID(as_uuid=True), ForeignKey("budgets.id"), primary_key=True),
    Column("period_start", INSTANT, primary_key=True),
    Column("period_end", INSTANT, nullable=False),
    Column("limit_usd", MONEY, nullable=False),
    Column("spent_usd", MONEY, nullable=False, server_default=NOTHING),
    Column("reserved_usd", MONEY, nullable=False, server_default=NOTHING),
    Column("overrun_usd", MONEY, nullable=False, server_default=NOTHING),
    Column("alerted_at", INSTANT),
    CheckConstraint("spent_usd + reserved_usd <= limit_usd + overrun_usd", name="within_limit"),
    CheckConstraint("reserved_usd >= 0 AND overrun_usd >= 0", name="not_negative"),
)

# What a rolling budget spent, by slices of its period; those that are over leave the counter.
budget_slices = Table(
    "budget_slices",
    metadata,
    Column("budget_id", UUID(as_uuid=True), ForeignKey("budgets.id"), primary_key=True),
    Column("slice_start", INSTANT, primary_key=True),
    Column("spent_usd", MONEY, nullable=False, server_default=NOTHING),
)

budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("budget_id", UUID(as_uuid=True), ForeignKey("budgets.id"), primary_key=True),
    Column("period_start", INSTANT, primary_key=True),
    Column("at", INSTANT, primary_key=True, server_default=NOW),
    Column("soft_limit_usd", MONEY, nullable=False),
    Column("spent_usd", MONEY, nullable=False),
)

# The web processes that live: who lets its lease run out is dead, and what it held is settled by the others. What a
# process asked for in a turn up to `turns_over` it takes no more answer to, and gets none.
processes = Table(
    "processes",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("started_at", INSTANT, nullable=False, server_default=NOW),
    Column("lease_until", INSTANT, nullable=False),
    Column("turns_over", BigInteger, nullable=False, server_default=NOTHING),
)

# Money held for a call (`call`), or leased to a process for many (`escrow`). `facts` is what a row of `requests` needs
# should the process die; `budget_ids` and `period_starts` name the counters, side by side.
reservations = Table(
    "reservations",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("process_id", UUID(as_uuid=True), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("amount_usd", MONEY, nullable=False),
    Column("budget_ids", ARRAY(UUID(as_uuid=True)), nullable=False),
    Column("period_starts", ARRAY(INSTANT), nullable=False),
    Column("reserved_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False, index=True),
    Column("facts", JSONB, nullable=False, server_default=EMPTY),
    CheckConstraint("kind IN ('call', 'escrow')", name="kind"),
    CheckConstraint("amount_usd >= 0", name="not_negative"),
)

# The sums of the events of a scope ("key:…", "user:…", "team:…", "model:…") in the window, and when the last one was
# added; the row is the lock. There are no events up to `pruned_to`: who reads them need not pass over deleted ones.
rate_windows = Table(
    "rate_windows",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False, server_default=NOTHING),
    Column("tokens", BigInteger, nullable=False, server_default=NOTHING),
    Column("last_at", INSTANT),
    Column("pruned_to", INSTANT, nullable=False, server_default=text("'-infinity'")),
)

rate_events = Table(
    "rate_events",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("at", INSTANT, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Index("ix_rate_events_scope_at", "scope", "at"),
)

# Calls under way by scope and process; those of a dead process do not count.
parallel_calls = Table(
    "parallel_calls",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("process_id", UUID(as_uuid=True), primary_key=True),
    Column("calls", Integer, nullable=False),
)
