"""What can be called and what it costs: configuration, secrets, prices and the health of deployments."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, UUID, ExcludeConstraint

from app.db.tables.columns import INSTANT, MONEY, NOW, created_at, metadata

config_versions = Table(
    "config_versions",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSONB, nullable=False),
    Column("origin", Text, nullable=False),
    created_at(),
)

# AES-256-GCM ciphertexts; the additional data binds each to its table, name and purpose, so none can be moved.
secrets = Table(
    "secrets",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
)

# Bitemporal: `valid` is when a price held in the world, `known` when we held it for true. A row is never changed but
# for the end of `known`; the view `prices` shows what is valid and known now. `origin` is `admin` for what people set
# and `catalogue` for what came with a catalogue, whose rows count only where nobody set one.
price_versions = Table(
    "price_versions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("token_class", Text, nullable=False),
    Column("from_input_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("origin", Text, nullable=False),
    Column("usd_per_unit", MONEY, nullable=False),
    Column("source", Text, nullable=False),
    Column("note", Text),
    Column("valid", TSTZRANGE, nullable=False),
    Column("known", TSTZRANGE, nullable=False),
    CheckConstraint("usd_per_unit >= 0", name="not_negative"),
    CheckConstraint("origin IN ('catalogue', 'admin')", name="origin"),
    CheckConstraint("NOT isempty(valid) AND NOT isempty(known)", name="not_empty"),
    ExcludeConstraint(
        ("provider", "="),
        ("model", "="),
        ("token_class", "="),
        ("from_input_tokens", "="),
        ("origin", "="),
        ("valid", "&&"),
        ("known", "&&"),
        name="ex_price_versions_one_truth",
        using="gist",
    ),
)
Index(
    "ix_price_versions_current",
    price_versions.c.provider,
    price_versions.c.model,
    postgresql_where=text("upper_inf(known)"),
)

# Deployments out of rotation, so that every process leaves alone what one of them found out.
deployment_health = Table(
    "deployment_health",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("out_until", INSTANT, nullable=False),
    Column("ejections", Integer, nullable=False),
    Column("reporter", UUID(as_uuid=True), nullable=False),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
)
