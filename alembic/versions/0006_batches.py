"""batches

Revision ID: 0006
Revises: 0005
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

# What Postgres itself does is written in SQL, beside a file that takes it back.
HERE = Path(__file__).parents[1] / 'sql'


def run_file(name: str) -> None:
    """Run all statements of a file as they stand."""
    op.get_bind().exec_driver_sql((HERE / name).read_text().replace('%', '%%'))


def upgrade() -> None:
    op.create_table('batch_files',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('filename', sa.Text(), nullable=False),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('complete', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batch_files'))
    )
    op.create_index('ix_batch_files_user_id', 'batch_files', ['user_id', 'created_at'], unique=False)
    op.create_table('batches',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('shape', sa.Text(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('team_id', sa.UUID(), nullable=True),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('path', sa.Text(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('priority', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('native', sa.Text(), server_default=sa.text("'auto'"), nullable=False),
    sa.Column('options', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('total', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('succeeded', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('errored', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('cancelled', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('expired', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('input_file_id', sa.UUID(), nullable=True),
    sa.Column('metadata', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('errors', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('webhook_url', sa.Text(), nullable=True),
    sa.Column('webhook_secret', sa.LargeBinary(), nullable=True),
    sa.Column('idempotency_key', sa.Text(), nullable=True),
    sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('deadline_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancel_asked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('claimed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('worker_id', sa.UUID(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.CheckConstraint("shape IN ('relay', 'openai', 'anthropic', 'call')", name=op.f('ck_batches_shape')),
    sa.CheckConstraint("state IN ('validating', 'queued', 'processing', 'cancelling', 'completed', 'failed', 'cancelled', 'expired')", name=op.f('ck_batches_state')),
    sa.CheckConstraint('succeeded + errored + cancelled + expired <= total', name=op.f('ck_batches_counts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batches')),
    sa.UniqueConstraint('user_id', 'idempotency_key', name='uq_batches_idempotency_key')
    )
    op.create_index('ix_batches_created_at', 'batches', ['created_at'], unique=False)
    op.create_index('ix_batches_open', 'batches', ['claimed_at'], unique=False, postgresql_where=sa.text("state IN ('validating', 'queued', 'processing', 'cancelling')"))
    op.create_index('ix_batches_user_id', 'batches', ['user_id', 'created_at'], unique=False)
    op.create_table('native_batches',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('protocol', sa.Text(), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default=sa.text("'planned'"), nullable=False),
    sa.Column('requests', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('key_place', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('remote_id', sa.Text(), nullable=True),
    sa.Column('remote_files', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('tries', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('worker_id', sa.UUID(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('look_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('give_up_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('cancel_asked', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('planned', 'sending', 'sent', 'ended', 'done', 'lost', 'refused', 'cancelled')", name=op.f('ck_native_batches_state')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_native_batches'))
    )
    op.create_index('ix_native_batches_look_at', 'native_batches', ['look_at'], unique=False, postgresql_where=sa.text('finished_at IS NULL'))
    op.create_table('batch_file_pieces',
    sa.Column('file_id', sa.UUID(), nullable=False),
    sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('encoding', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('size', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['file_id'], ['batch_files.id'], name=op.f('fk_batch_file_pieces_file_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('file_id', 'position', name=op.f('pk_batch_file_pieces'))
    )
    op.create_table('batch_requests',
    sa.Column('batch_id', sa.UUID(), nullable=False),
    sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('custom_id', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('encoding', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('size', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=True),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('tries', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('rescues', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('not_before', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('worker_id', sa.UUID(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('native_id', sa.UUID(), nullable=True),
    sa.Column('sent', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('hold_id', sa.UUID(), nullable=True),
    sa.Column('held_usd', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.CheckConstraint("state IN ('queued', 'running', 'pooled', 'native', 'done')", name=op.f('ck_batch_requests_state')),
    sa.ForeignKeyConstraint(['batch_id'], ['batches.id'], name=op.f('fk_batch_requests_batch_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('batch_id', 'position', name=op.f('pk_batch_requests')),
    sa.UniqueConstraint('batch_id', 'custom_id', name='uq_batch_requests_custom_id')
    )
    op.create_index('ix_batch_requests_native', 'batch_requests', ['native_id'], unique=False, postgresql_where=sa.text("state = 'native'"))
    op.create_index('ix_batch_requests_pooled', 'batch_requests', ['not_before'], unique=False, postgresql_where=sa.text("state = 'pooled'"))
    op.create_index('ix_batch_requests_queued', 'batch_requests', ['batch_id', 'not_before', 'position'], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index('ix_batch_requests_suspect', 'batch_requests', ['not_before'], unique=False, postgresql_where=sa.text("state = 'queued' AND rescues >= 2"))
    op.create_index('ix_batch_requests_running', 'batch_requests', ['lease_until'], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.create_table('webhook_deliveries',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('batch_id', sa.UUID(), nullable=False),
    sa.Column('event', sa.Text(), nullable=False),
    sa.Column('payload', sa.LargeBinary(), nullable=False),
    sa.Column('tries', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('next_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('given_up_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('status_code', sa.Integer(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['batch_id'], ['batches.id'], name=op.f('fk_webhook_deliveries_batch_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_deliveries'))
    )
    op.create_index(op.f('ix_webhook_deliveries_batch_id'), 'webhook_deliveries', ['batch_id'], unique=False)
    op.create_index('ix_webhook_deliveries_next_at', 'webhook_deliveries', ['next_at'], unique=False, postgresql_where=sa.text('delivered_at IS NULL AND given_up_at IS NULL'))
    op.create_table('batch_results',
    sa.Column('batch_id', sa.UUID(), nullable=False),
    sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('status_code', sa.Integer(), nullable=True),
    sa.Column('code', sa.Text(), nullable=True),
    sa.Column('encoding', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('size', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('request_id', sa.UUID(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('cache_status', sa.Text(), nullable=True),
    sa.Column('native', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('tries', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cost_usd', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('saved_usd', sa.Numeric(precision=24, scale=15), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("outcome IN ('succeeded', 'errored', 'cancelled', 'expired', 'parked')", name=op.f('ck_batch_results_outcome')),
    sa.ForeignKeyConstraint(['batch_id', 'position'], ['batch_requests.batch_id', 'batch_requests.position'], name='fk_batch_results_request', ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('batch_id', 'position', name=op.f('pk_batch_results'))
    )
    op.create_table('worker_deaths',
    sa.Column('worker_id', sa.UUID(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('worker_id', name=op.f('pk_worker_deaths'))
    )
    op.create_table('provider_files',
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('file_id', sa.Text(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('provider', 'file_id', name=op.f('pk_provider_files'))
    )
    run_file('0006_batch.sql')


def downgrade() -> None:
    run_file('0006_batch.down.sql')
    op.drop_table('provider_files')
    op.drop_table('worker_deaths')
    op.drop_table('batch_results')
    op.drop_table('webhook_deliveries')
    op.drop_table('batch_requests')
    op.drop_table('batch_file_pieces')
    op.drop_table('native_batches')
    op.drop_table('batches')
    op.drop_table('batch_files')
