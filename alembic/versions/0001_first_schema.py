"""first schema

Revision ID: 0001
Revises: 
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None

SNAPSHOTS = """
INSERT INTO snapshot_versions (name) VALUES ('access'), ('config'), ('prices');

CREATE FUNCTION relaycore_bump(snapshot text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE raised bigint;
BEGIN
    UPDATE snapshot_versions SET version = version + 1 WHERE name = snapshot RETURNING version INTO raised;
    PERFORM pg_notify('relaycore', snapshot || ' ' || raised);
    RETURN raised;
END $$;

-- Rows of the access snapshot carry the version that last changed them, so that a process reads only what is new.
CREATE FUNCTION relaycore_stamp_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := relaycore_bump('access');
    RETURN NEW;
END $$;
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();

CREATE FUNCTION relaycore_bump_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM relaycore_bump(TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE TRIGGER bump_config AFTER INSERT OR UPDATE OR DELETE ON config_versions
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('config');
CREATE TRIGGER bump_config AFTER INSERT OR UPDATE OR DELETE ON secrets
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('config');
CREATE TRIGGER bump_prices AFTER INSERT OR UPDATE OR DELETE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('prices');
"""

PARTITIONS = """
-- Catches rows of days that have no partition, so that a wrong clock never loses one.
CREATE TABLE requests_pdefault PARTITION OF requests DEFAULT;

-- Makes the daily partitions (UTC) from yesterday to `ahead` days from now; says how many were missing.
CREATE FUNCTION relaycore_ensure_request_partitions(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('relaycore_request_partitions'));
    FOR day IN SELECT d::date FROM generate_series(today - 1, today + ahead, interval '1 day') d LOOP
        IF to_regclass('requests_p' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF requests FOR VALUES FROM (%L) TO (%L)',
                'requests_p' || to_char(day, 'YYYYMMDD'), day || ' 00:00+00', (day + 1) || ' 00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

-- Drops the daily partitions that lie wholly before `keep` days ago and says how many.
CREATE FUNCTION relaycore_drop_request_partitions(keep integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    oldest text := 'requests_p' || to_char((now() AT TIME ZONE 'UTC')::date - keep, 'YYYYMMDD');
    partition text;
    dropped integer := 0;
BEGIN
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'requests'::regclass AND c.relname ~ '^requests_p[0-9]{8}$' AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM requests_pdefault WHERE request_time < now() - make_interval(days => keep);
    RETURN dropped;
END $$;

SELECT relaycore_ensure_request_partitions(7);
"""

FUNCTIONS = (
    "relaycore_stamp_access()",
    "relaycore_bump_snapshot()",
    "relaycore_bump(text)",
    "relaycore_ensure_request_partitions(integer)",
    "relaycore_drop_request_partitions(integer)",
)


def upgrade() -> None:
    op.execute('CREATE EXTENSION IF NOT EXISTS vector')
    op.create_table('cache_entries',
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('endpoint', sa.Text(), nullable=False),
    sa.Column('streamed', sa.Boolean(), nullable=False),
    sa.Column('content_type', sa.Text(), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('usage', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_cache_entries'))
    )
    op.create_index(op.f('ix_cache_entries_expires_at'), 'cache_entries', ['expires_at'], unique=False)
    op.create_index('ix_cache_entries_scope', 'cache_entries', ['scope'], unique=False)
    op.create_table('config_versions',
    sa.Column('version', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('document', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('origin', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('version', name=op.f('pk_config_versions'))
    )
    op.create_table('installation',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('value', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_installation'))
    )
    op.create_table('prices',
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('token_class', sa.Text(), nullable=False),
    sa.Column('from_input_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('usd_per_unit', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint('usd_per_unit >= 0', name=op.f('ck_prices_not_negative')),
    sa.PrimaryKeyConstraint('provider', 'model', 'token_class', 'from_input_tokens', name=op.f('pk_prices'))
    )
    op.create_table('requests',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('request_time', sa.DateTime(timezone=True), nullable=False),
    sa.Column('response_time', sa.DateTime(timezone=True), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=True),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('requested_model', sa.Text(), nullable=True),
    sa.Column('endpoint', sa.Text(), nullable=False),
    sa.Column('streamed', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('status_code', sa.Integer(), nullable=False),
    sa.Column('error_type', sa.Text(), nullable=True),
    sa.Column('input_tokens', sa.BigInteger(), nullable=True),
    sa.Column('cache_read_tokens', sa.BigInteger(), nullable=True),
    sa.Column('cache_write_5m_tokens', sa.BigInteger(), nullable=True),
    sa.Column('cache_write_1h_tokens', sa.BigInteger(), nullable=True),
    sa.Column('input_audio_tokens', sa.BigInteger(), nullable=True),
    sa.Column('output_tokens', sa.BigInteger(), nullable=True),
    sa.Column('reasoning_tokens', sa.BigInteger(), nullable=True),
    sa.Column('output_audio_tokens', sa.BigInteger(), nullable=True),
    sa.Column('web_searches', sa.BigInteger(), nullable=True),
    sa.Column('service_tier', sa.Text(), nullable=True),
    sa.Column('estimated_cost', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('saved_cost', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('cache_status', sa.Text(), nullable=False),
    sa.Column('cache_key', sa.LargeBinary(), nullable=True),
    sa.Column('optimizations_applied', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('latency', sa.Float(precision=53), nullable=False),
    sa.Column('overhead_ms', sa.Float(precision=53), nullable=True),
    sa.Column('first_byte_ms', sa.Float(precision=53), nullable=True),
    sa.Column('upstream_ms', sa.Float(precision=53), nullable=True),
    sa.Column('attempts', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('upstream_request_id', sa.Text(), nullable=True),
    sa.Column('session_id', sa.Text(), nullable=True),
    sa.Column('retry_count', sa.Integer(), nullable=True),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('request_bytes', sa.BigInteger(), nullable=True),
    sa.Column('response_bytes', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', 'request_time', name=op.f('pk_requests')),
    postgresql_partition_by='RANGE (request_time)'
    )
    op.create_index('ix_requests_request_id', 'requests', ['request_id'], unique=False)
    op.create_index('ix_requests_request_time', 'requests', ['request_time'], unique=False)
    op.create_index('ix_requests_user_id_request_time', 'requests', ['user_id', 'request_time'], unique=False)
    op.create_table('secrets',
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('key_id', sa.Text(), nullable=False),
    sa.Column('ciphertext', sa.LargeBinary(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('purpose', 'name', name=op.f('pk_secrets'))
    )
    op.create_table('snapshot_versions',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_snapshot_versions'))
    )
    op.create_table('users',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('role', sa.Text(), server_default=sa.text("'user'"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.CheckConstraint("role IN ('user', 'admin')", name=op.f('ck_users_role')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users'))
    )
    op.create_index('uq_users_email_live', 'users', [sa.literal_column('lower(email)')], unique=True, postgresql_where=sa.text('deleted_at IS NULL'))
    op.create_table('api_keys',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('public_id', sa.Text(), nullable=False),
    sa.Column('secret_hash', sa.LargeBinary(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('models', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_api_keys_user_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_keys')),
    sa.UniqueConstraint('public_id', name=op.f('uq_api_keys_public_id'))
    )
    op.create_index(op.f('ix_api_keys_user_id'), 'api_keys', ['user_id'], unique=False)
    op.create_index(op.f('ix_api_keys_version'), 'api_keys', ['version'], unique=False)
    op.execute(SNAPSHOTS)
    op.execute(PARTITIONS)
    op.execute('ALTER TABLE cache_entries ALTER COLUMN body SET STORAGE EXTERNAL')


def downgrade() -> None:
    op.drop_index(op.f('ix_api_keys_version'), table_name='api_keys')
    op.drop_index(op.f('ix_api_keys_user_id'), table_name='api_keys')
    op.drop_table('api_keys')
    op.drop_index('uq_users_email_live', table_name='users', postgresql_where=sa.text('deleted_at IS NULL'))
    op.drop_table('users')
    op.drop_table('snapshot_versions')
    op.drop_table('secrets')
    op.drop_index('ix_requests_user_id_request_time', table_name='requests')
    op.drop_index('ix_requests_request_time', table_name='requests')
    op.drop_index('ix_requests_request_id', table_name='requests')
    op.drop_table('requests')
    op.drop_table('prices')
    op.drop_table('installation')
    op.drop_table('config_versions')
    op.drop_index('ix_cache_entries_scope', table_name='cache_entries')
    op.drop_index(op.f('ix_cache_entries_expires_at'), table_name='cache_entries')
    op.drop_table('cache_entries')
    for function in FUNCTIONS:
        op.execute(f'DROP FUNCTION {function}')
