"""money

Revision ID: 0004
Revises: 0003
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

# What Postgres itself does is written in SQL: one file a subject, and one beside it that takes it back.
SUBJECTS = ('access', 'prices', 'budgets', 'ledger', 'limits', 'analytics')
HERE = Path(__file__).parents[1] / 'sql'


def run_file(name: str) -> None:
    """Run all statements of a file as they stand."""
    op.get_bind().exec_driver_sql((HERE / name).read_text().replace('%', '%%'))


def upgrade() -> None:
    op.execute('CREATE EXTENSION IF NOT EXISTS btree_gist')
    op.create_table('audit_log',
    sa.Column('sequence', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('actor_user_id', sa.UUID(), nullable=True),
    sa.Column('actor_key_id', sa.UUID(), nullable=True),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('object_kind', sa.Text(), nullable=False),
    sa.Column('object_id', sa.Text(), nullable=False),
    sa.Column('before', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('after', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('request_id', sa.Text(), nullable=True),
    sa.Column('previous_hash', sa.LargeBinary(), nullable=False),
    sa.Column('hash', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('sequence', name=op.f('pk_audit_log'))
    )
    op.create_index('ix_audit_log_object', 'audit_log', ['object_kind', 'object_id'], unique=False)
    op.create_table('budgets',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('ref', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('amount_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('soft_limit_usd', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('period', sa.Text(), nullable=False),
    sa.Column('rolling', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('override_usd', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('override_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("NOT (rolling AND period = 'total')", name=op.f('ck_budgets_rolling')),
    sa.CheckConstraint("period IN ('day', 'week', 'month', 'quarter', 'total')", name=op.f('ck_budgets_period')),
    sa.CheckConstraint("scope IN ('key', 'user', 'team', 'organization', 'model', 'tag')", name=op.f('ck_budgets_scope')),
    sa.CheckConstraint('(override_usd IS NULL) = (override_until IS NULL)', name=op.f('ck_budgets_override')),
    sa.CheckConstraint('amount_usd >= 0 AND soft_limit_usd >= 0 AND override_usd >= 0', name=op.f('ck_budgets_not_negative')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_budgets'))
    )
    op.create_index('ix_budgets_scope_ref', 'budgets', ['scope', 'ref'], unique=False)
    op.create_table('idempotent_calls',
    sa.Column('scope', sa.LargeBinary(), nullable=False),
    sa.Column('key_hash', sa.LargeBinary(), nullable=False),
    sa.Column('body_hash', sa.LargeBinary(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('process_id', sa.UUID(), nullable=False),
    sa.Column('token', sa.UUID(), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('headers', sa.LargeBinary(), nullable=True),
    sa.Column('body', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("state IN ('running', 'done', 'unknown', 'too_large')", name=op.f('ck_idempotent_calls_state')),
    sa.PrimaryKeyConstraint('scope', 'key_hash', name=op.f('pk_idempotent_calls'))
    )
    op.create_index(op.f('ix_idempotent_calls_expires_at'), 'idempotent_calls', ['expires_at'], unique=False)
    op.create_table('keyring',
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('wrapped_by', sa.Text(), nullable=False),
    sa.Column('wrapped', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('purpose', 'version', 'wrapped_by', name=op.f('pk_keyring'))
    )
    op.create_table('ledger',
    sa.Column('request_id', sa.UUID(), nullable=False),
    sa.Column('request_time', sa.DateTime(timezone=True), nullable=False),
    sa.Column('entry', sa.SmallInteger(), nullable=False),
    sa.Column('token_class', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('booked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('posted_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=True),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('team_id', sa.UUID(), nullable=True),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('requested_model', sa.Text(), nullable=True),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('quantity', sa.Numeric(precision=24, scale=6), nullable=False),
    sa.Column('usd_per_unit', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('factor', sa.Numeric(precision=12, scale=6), server_default=sa.text('1'), nullable=False),
    sa.Column('amount_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.CheckConstraint("kind IN ('usage', 'estimated', 'ceiling', 'adjustment')", name=op.f('ck_ledger_kind')),
    sa.PrimaryKeyConstraint('request_id', 'request_time', 'entry', 'token_class', name=op.f('pk_ledger')),
    postgresql_partition_by='RANGE (request_time)'
    )
    op.create_index('ix_ledger_booked_at', 'ledger', ['booked_at'], unique=False)
    op.create_index('ix_ledger_request_time', 'ledger', ['request_time'], unique=False, postgresql_using='brin')
    op.create_table('organizations',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('models', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('routes', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('rpm', sa.Integer(), nullable=True),
    sa.Column('tpm', sa.BigInteger(), nullable=True),
    sa.Column('max_parallel', sa.Integer(), nullable=True),
    sa.Column('blocked', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_organizations'))
    )
    op.create_index('uq_organizations_name_live', 'organizations', [sa.literal_column('lower(name)')], unique=True, postgresql_where=sa.text('deleted_at IS NULL'))
    op.create_table('parallel_calls',
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('process_id', sa.UUID(), nullable=False),
    sa.Column('calls', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('scope', 'process_id', name=op.f('pk_parallel_calls'))
    )
    op.create_table('price_versions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('token_class', sa.Text(), nullable=False),
    sa.Column('from_input_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('origin', sa.Text(), nullable=False),
    sa.Column('usd_per_unit', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('note', sa.Text(), nullable=True),
    sa.Column('valid', postgresql.TSTZRANGE(), nullable=False),
    sa.Column('known', postgresql.TSTZRANGE(), nullable=False),
    postgresql.ExcludeConstraint((sa.column('provider'), '='), (sa.column('model'), '='), (sa.column('token_class'), '='), (sa.column('from_input_tokens'), '='), (sa.column('origin'), '='), (sa.column('valid'), '&&'), (sa.column('known'), '&&'), using='gist', name='ex_price_versions_one_truth'),
    sa.CheckConstraint("origin IN ('catalogue', 'admin')", name=op.f('ck_price_versions_origin')),
    sa.CheckConstraint('NOT isempty(valid) AND NOT isempty(known)', name=op.f('ck_price_versions_not_empty')),
    sa.CheckConstraint('usd_per_unit >= 0', name=op.f('ck_price_versions_not_negative')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_price_versions'))
    )
    op.create_index('ix_price_versions_current', 'price_versions', ['provider', 'model'], unique=False, postgresql_where=sa.text('upper_inf(known)'))
    op.create_table('processes',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=False),
    sa.Column('turns_over', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_processes'))
    )
    op.create_table('rate_events',
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('requests', sa.Integer(), nullable=False),
    sa.Column('tokens', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('scope', 'id', name=op.f('pk_rate_events'))
    )
    op.create_index('ix_rate_events_scope_at', 'rate_events', ['scope', 'at'], unique=False)
    op.create_table('rate_windows',
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('requests', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pruned_to', sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False),
    sa.PrimaryKeyConstraint('scope', name=op.f('pk_rate_windows'))
    )
    op.create_table('reservations',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('process_id', sa.UUID(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('amount_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('budget_ids', postgresql.ARRAY(sa.UUID()), nullable=False),
    sa.Column('period_starts', postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=False),
    sa.Column('reserved_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.CheckConstraint("kind IN ('call', 'escrow')", name=op.f('ck_reservations_kind')),
    sa.CheckConstraint('amount_usd >= 0', name=op.f('ck_reservations_not_negative')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reservations'))
    )
    op.create_index(op.f('ix_reservations_expires_at'), 'reservations', ['expires_at'], unique=False)
    op.create_index(op.f('ix_reservations_process_id'), 'reservations', ['process_id'], unique=False)
    op.create_table('usage_hourly',
    sa.Column('hour', sa.DateTime(timezone=True), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=True),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('team_id', sa.UUID(), nullable=True),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('endpoint', sa.Text(), nullable=False),
    sa.Column('cache_status', sa.Text(), nullable=False),
    sa.Column('status_code', sa.Integer(), nullable=False),
    sa.Column('requests', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('input_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cache_read_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cache_write_5m_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cache_write_1h_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('input_audio_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('input_image_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('output_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('reasoning_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('output_audio_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('output_image_tokens', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('web_searches', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('unknown_usage', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('estimated_cost', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.Column('saved_cost', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.Column('unknown_cost', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('unknown_saving', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('latency_ms', sa.Float(precision=53), server_default=sa.text('0'), nullable=False)
    )
    op.create_index('ix_usage_hourly_user_id_hour', 'usage_hourly', ['user_id', 'hour'], unique=False)
    op.create_index('uq_usage_hourly', 'usage_hourly', ['hour', 'user_id', 'api_key_id', 'team_id', 'organization_id', 'provider', 'model', 'endpoint', 'cache_status', 'status_code'], unique=True, postgresql_nulls_not_distinct=True)
    op.create_table('budget_alerts',
    sa.Column('budget_id', sa.UUID(), nullable=False),
    sa.Column('period_start', sa.DateTime(timezone=True), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('soft_limit_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('spent_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.ForeignKeyConstraint(['budget_id'], ['budgets.id'], name=op.f('fk_budget_alerts_budget_id')),
    sa.PrimaryKeyConstraint('budget_id', 'period_start', 'at', name=op.f('pk_budget_alerts'))
    )
    op.create_table('budget_counters',
    sa.Column('budget_id', sa.UUID(), nullable=False),
    sa.Column('period_start', sa.DateTime(timezone=True), nullable=False),
    sa.Column('period_end', sa.DateTime(timezone=True), nullable=False),
    sa.Column('limit_usd', sa.Numeric(precision=24, scale=15), nullable=False),
    sa.Column('spent_usd', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.Column('reserved_usd', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.Column('overrun_usd', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.Column('alerted_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('reserved_usd >= 0 AND overrun_usd >= 0', name=op.f('ck_budget_counters_not_negative')),
    sa.CheckConstraint('spent_usd + reserved_usd <= limit_usd + overrun_usd', name=op.f('ck_budget_counters_within_limit')),
    sa.ForeignKeyConstraint(['budget_id'], ['budgets.id'], name=op.f('fk_budget_counters_budget_id')),
    sa.PrimaryKeyConstraint('budget_id', 'period_start', name=op.f('pk_budget_counters'))
    )
    op.create_table('budget_slices',
    sa.Column('budget_id', sa.UUID(), nullable=False),
    sa.Column('slice_start', sa.DateTime(timezone=True), nullable=False),
    sa.Column('spent_usd', sa.Numeric(precision=24, scale=15), server_default=sa.text('0'), nullable=False),
    sa.ForeignKeyConstraint(['budget_id'], ['budgets.id'], name=op.f('fk_budget_slices_budget_id')),
    sa.PrimaryKeyConstraint('budget_id', 'slice_start', name=op.f('pk_budget_slices'))
    )
    op.create_table('teams',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('models', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('routes', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('rpm', sa.Integer(), nullable=True),
    sa.Column('tpm', sa.BigInteger(), nullable=True),
    sa.Column('max_parallel', sa.Integer(), nullable=True),
    sa.Column('blocked', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('version', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id'], ['organizations.id'], name=op.f('fk_teams_organization_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_teams'))
    )
    op.create_index(op.f('ix_teams_organization_id'), 'teams', ['organization_id'], unique=False)
    op.create_table('team_members',
    sa.Column('team_id', sa.UUID(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['team_id'], ['teams.id'], name=op.f('fk_team_members_team_id')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_team_members_user_id')),
    sa.PrimaryKeyConstraint('team_id', 'user_id', name=op.f('pk_team_members'))
    )
    op.create_index(op.f('ix_team_members_user_id'), 'team_members', ['user_id'], unique=False)
    op.add_column('api_keys', sa.Column('team_id', sa.UUID(), nullable=True))
    op.add_column('api_keys', sa.Column('routes', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('api_keys', sa.Column('rpm', sa.Integer(), nullable=True))
    op.add_column('api_keys', sa.Column('tpm', sa.BigInteger(), nullable=True))
    op.add_column('api_keys', sa.Column('max_parallel', sa.Integer(), nullable=True))
    op.add_column('api_keys', sa.Column('blocked', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('api_keys', sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column('api_keys', sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('api_keys', sa.Column('tags', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column('api_keys', sa.Column('priority', sa.Text(), server_default=sa.text("'interactive'"), nullable=False))
    op.add_column('api_keys', sa.Column('previous_public_id', sa.Text(), nullable=True))
    op.add_column('api_keys', sa.Column('previous_secret_hash', sa.LargeBinary(), nullable=True))
    op.add_column('api_keys', sa.Column('previous_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('api_keys', sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.create_index(op.f('ix_api_keys_team_id'), 'api_keys', ['team_id'], unique=False)
    op.create_unique_constraint(op.f('uq_api_keys_previous_public_id'), 'api_keys', ['previous_public_id'])
    op.create_foreign_key(op.f('fk_api_keys_team_id'), 'api_keys', 'teams', ['team_id'], ['id'])
    op.add_column('requests', sa.Column('team_id', sa.UUID(), nullable=True))
    op.add_column('requests', sa.Column('organization_id', sa.UUID(), nullable=True))
    op.add_column('requests', sa.Column('input_image_tokens', sa.BigInteger(), nullable=True))
    op.add_column('requests', sa.Column('output_image_tokens', sa.BigInteger(), nullable=True))
    op.create_index('ix_requests_optimized', 'requests', ['request_time'], unique=False, postgresql_where=sa.text("optimizations_applied <> '[]'::jsonb"))
    op.add_column('users', sa.Column('organization_id', sa.UUID(), nullable=True))
    op.add_column('users', sa.Column('models', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('users', sa.Column('routes', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('users', sa.Column('rpm', sa.Integer(), nullable=True))
    op.add_column('users', sa.Column('tpm', sa.BigInteger(), nullable=True))
    op.add_column('users', sa.Column('max_parallel', sa.Integer(), nullable=True))
    op.add_column('users', sa.Column('blocked', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('users', sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.create_index(op.f('ix_users_organization_id'), 'users', ['organization_id'], unique=False)
    op.create_foreign_key(op.f('fk_users_organization_id'), 'users', 'organizations', ['organization_id'], ['id'])
    op.create_check_constraint(op.f('ck_api_keys_priority'), 'api_keys', "priority IN ('interactive', 'batch')")
    for subject in SUBJECTS:
        run_file(f'0004_{subject}.sql')


def downgrade() -> None:
    for subject in reversed(SUBJECTS):
        run_file(f'0004_{subject}.down.sql')
    op.drop_constraint(op.f('ck_api_keys_priority'), 'api_keys', type_='check')
    op.drop_constraint(op.f('fk_users_organization_id'), 'users', type_='foreignkey')
    op.drop_index(op.f('ix_users_organization_id'), table_name='users')
    op.drop_column('users', 'metadata')
    op.drop_column('users', 'blocked')
    op.drop_column('users', 'max_parallel')
    op.drop_column('users', 'tpm')
    op.drop_column('users', 'rpm')
    op.drop_column('users', 'routes')
    op.drop_column('users', 'models')
    op.drop_column('users', 'organization_id')
    op.drop_index('ix_requests_optimized', table_name='requests')
    op.drop_column('requests', 'output_image_tokens')
    op.drop_column('requests', 'input_image_tokens')
    op.drop_column('requests', 'organization_id')
    op.drop_column('requests', 'team_id')
    op.drop_constraint(op.f('fk_api_keys_team_id'), 'api_keys', type_='foreignkey')
    op.drop_constraint(op.f('uq_api_keys_previous_public_id'), 'api_keys', type_='unique')
    op.drop_index(op.f('ix_api_keys_team_id'), table_name='api_keys')
    op.drop_column('api_keys', 'updated_at')
    op.drop_column('api_keys', 'previous_until')
    op.drop_column('api_keys', 'previous_secret_hash')
    op.drop_column('api_keys', 'previous_public_id')
    op.drop_column('api_keys', 'priority')
    op.drop_column('api_keys', 'tags')
    op.drop_column('api_keys', 'scopes')
    op.drop_column('api_keys', 'metadata')
    op.drop_column('api_keys', 'blocked')
    op.drop_column('api_keys', 'max_parallel')
    op.drop_column('api_keys', 'tpm')
    op.drop_column('api_keys', 'rpm')
    op.drop_column('api_keys', 'routes')
    op.drop_column('api_keys', 'team_id')
    op.drop_index(op.f('ix_team_members_user_id'), table_name='team_members')
    op.drop_table('team_members')
    op.drop_index(op.f('ix_teams_organization_id'), table_name='teams')
    op.drop_table('teams')
    op.drop_table('budget_slices')
    op.drop_table('budget_counters')
    op.drop_table('budget_alerts')
    op.drop_index('uq_usage_hourly', table_name='usage_hourly', postgresql_nulls_not_distinct=True)
    op.drop_index('ix_usage_hourly_user_id_hour', table_name='usage_hourly')
    op.drop_table('usage_hourly')
    op.drop_index(op.f('ix_reservations_process_id'), table_name='reservations')
    op.drop_index(op.f('ix_reservations_expires_at'), table_name='reservations')
    op.drop_table('reservations')
    op.drop_table('rate_windows')
    op.drop_index('ix_rate_events_scope_at', table_name='rate_events')
    op.drop_table('rate_events')
    op.drop_table('processes')
    op.drop_index('ix_price_versions_current', table_name='price_versions', postgresql_where=sa.text('upper_inf(known)'))
    op.drop_table('price_versions')
    op.drop_table('parallel_calls')
    op.drop_index('uq_organizations_name_live', table_name='organizations', postgresql_where=sa.text('deleted_at IS NULL'))
    op.drop_table('organizations')
    op.drop_index('ix_ledger_booked_at', table_name='ledger')
    op.drop_table('ledger')
    op.drop_table('keyring')
    op.drop_index(op.f('ix_idempotent_calls_expires_at'), table_name='idempotent_calls')
    op.drop_table('idempotent_calls')
    op.drop_index('ix_budgets_scope_ref', table_name='budgets')
    op.drop_table('budgets')
    op.drop_index('ix_audit_log_object', table_name='audit_log')
    op.drop_table('audit_log')
    op.execute('DROP EXTENSION btree_gist')
