"""Who calls: organizations, teams, users, keys, the audit log and what this installation keeps of itself."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.columns import EMPTY, INSTANT, NOW, created_at, metadata

FALSE = text("false")


def _version() -> Column[int]:
    """Return the column that carries the version of the access snapshot that last changed a row."""
    return Column("version", BigInteger, nullable=False, server_default=text("0"))


def _rights() -> list[Column[object]]:
    """Return the columns that narrow what somebody may do: NULL is no narrowing."""
    return [
        Column("models", ARRAY(Text)),
        Column("routes", ARRAY(Text)),
        Column("rpm", Integer),
        Column("tpm", BigInteger),
        Column("max_parallel", Integer),
        Column("blocked", Boolean, nullable=False, server_default=FALSE),
        Column("metadata", JSONB, nullable=False, server_default=EMPTY),
    ]


# One row per local snapshot (access, config, prices). Whoever changes what a snapshot is made of raises its version in
# the same transaction (triggers do it), which also puts the writers of one snapshot in order of commit.
snapshot_versions = Table(
    "snapshot_versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
)

# Facts of this installation that are made once, such as the hash of the random admin key.
installation = Table(
    "installation",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    created_at(),
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False),
    *_rights(),
    created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT),
    _version(),
)
Index(
    "uq_organizations_name_live",
    text("lower(name)"),
    unique=True,
    postgresql_where=organizations.c.deleted_at.is_(None),
    _table=organizations,
)

teams = Table(
    "teams",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("organization_id", UUID(as_uuid=True), ForeignKey("organizations.id"), index=True),
    Column("name", Text, nullable=False),
    *_rights(),
    created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT),
    _version(),
)

users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=text("''")),
    Column("role", Text, nullable=False, server_default=text("'user'")),
    Column("organization_id", UUID(as_uuid=True), ForeignKey("organizations.id"), index=True),
    *_rights(),
    created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("deleted_at", INSTANT),
    _version(),
    CheckConstraint("role IN ('user', 'admin')", name="role"),
)
Index(
    "uq_users_email_live",
    text("lower(email)"),
    unique=True,
    postgresql_where=users.c.deleted_at.is_(None),
    _table=users,
)

# A key of a user may act for a team only while the user is a member of it.
team_members = Table(
    "team_members",
    metadata,
    Column("team_id", UUID(as_uuid=True), ForeignKey("teams.id"), primary_key=True),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), primary_key=True, index=True),
    created_at(),
)

# `scopes` NULL: everything the owner may do; `cache_scope`, `semantic` NULL: as configured. The previous secret works
# until `previous_until` after a rotation.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), nullable=False, index=True),
    Column("team_id", UUID(as_uuid=True), ForeignKey("teams.id"), index=True),
    Column("name", Text, nullable=False, server_default=text("''")),
    *_rights(),
    Column("scopes", ARRAY(Text)),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("priority", Text, nullable=False, server_default=text("'interactive'")),
    Column("cache_scope", Text),
    Column("semantic", JSONB(none_as_null=True)),
    Column("previous_public_id", Text, unique=True),
    Column("previous_secret_hash", LargeBinary),
    Column("previous_until", INSTANT),
    created_at(),
    Column("updated_at", INSTANT, nullable=False, server_default=NOW),
    Column("expires_at", INSTANT),
    Column("revoked_at", INSTANT),
    Column("version", BigInteger, nullable=False, server_default=text("0"), index=True),
    CheckConstraint("priority IN ('interactive', 'batch')", name="priority"),
)

# Appended to and never changed (a trigger sees to it); each line's hash covers the one before.
audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", INSTANT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_user_id", UUID(as_uuid=True)),
    Column("actor_key_id", UUID(as_uuid=True)),
    Column("action", Text, nullable=False),
    Column("object_kind", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("request_id", Text),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_audit_log_object", "object_kind", "object_id"),
)

# The keys that this installation works with, each wrapped by a key made from RELAYCORE_SECRET_KEY (`wrapped_by`).
keyring = Table(
    "keyring",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("wrapped_by", Text, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    created_at(),
)
