"""caches

Revision ID: 0005
Revises: 0004
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

# What Postgres itself does is written in SQL, beside a file that takes it back.
HERE = Path(__file__).parents[1] / 'sql'


class HalfVector(UserDefinedType):
    cache_ok = True

    def get_col_spec(self, **_):
        return 'halfvec'


HALF_VECTOR = HalfVector()


def run_file(name: str) -> None:
    """Run all statements of a file as they stand."""
    op.get_bind().exec_driver_sql((HERE / name).read_text().replace('%', '%%'))


def upgrade() -> None:
    # What is cached under keys of an earlier form is never asked for again: nothing is carried over.
    op.drop_table('cache_entries')
    op.create_table('cache_entries',
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('slot', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('api_key_id', sa.UUID(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('endpoint', sa.Text(), nullable=False),
    sa.Column('streamed', sa.Boolean(), nullable=False),
    sa.Column('content_type', sa.Text(), nullable=False),
    sa.Column('encoding', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('usage', sa.LargeBinary(), nullable=True),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', 'slot', name=op.f('pk_cache_entries')),
    postgresql_partition_by='LIST (slot)'
    )
    op.create_index(op.f('ix_cache_entries_expires_at'), 'cache_entries', ['expires_at'], unique=False)
    op.create_index('ix_cache_entries_scope', 'cache_entries', ['scope'], unique=False)
    op.create_index('ix_cache_entries_tags', 'cache_entries', ['tags'], unique=False, postgresql_using='gin', postgresql_where=sa.text("tags <> '{}'"))
    op.create_index('ix_cache_entries_user_id', 'cache_entries', ['user_id'], unique=False)
    op.create_table('cache_clearings',
    sa.Column('version', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('what', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('version', name=op.f('pk_cache_clearings'))
    )
    op.create_table('cache_leases',
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=False),
    sa.Column('until', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_cache_leases')),
    prefixes=['UNLOGGED']
    )
    op.create_table('cache_slots',
    sa.Column('slot', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('class', sa.SmallInteger(), nullable=False),
    sa.Column('opened_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('slot', name=op.f('pk_cache_slots'))
    )
    op.create_index('uq_cache_slots_open', 'cache_slots', ['class'], unique=True, postgresql_where=sa.text('closed_at IS NULL'))
    op.create_table('semantic_decisions',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('namespace', sa.Text(), nullable=False),
    sa.Column('policy', sa.Text(), nullable=False),
    sa.Column('tier', sa.SmallInteger(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('entry_key', sa.LargeBinary(), nullable=False),
    sa.Column('similarity', sa.REAL(), nullable=False),
    sa.Column('probability', sa.REAL(), nullable=True),
    sa.Column('served', sa.Boolean(), nullable=False),
    sa.Column('verdict', sa.Text(), nullable=True),
    sa.Column('judged_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("verdict IN ('same', 'different', 'reported')", name=op.f('ck_semantic_decisions_verdict')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_semantic_decisions'))
    )
    op.create_index('ix_semantic_decisions_decided_at', 'semantic_decisions', ['decided_at'], unique=False)
    op.create_index('ix_semantic_decisions_judged', 'semantic_decisions', ['namespace', 'policy', 'tier', 'judged_at'], unique=False, postgresql_include=['verdict'])
    op.create_index('ix_semantic_decisions_request_id', 'semantic_decisions', ['request_id'], unique=False)
    op.create_table('semantic_entries',
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('slot', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('scope_id', sa.BigInteger(), nullable=False),
    sa.Column('user_id', sa.UUID(), nullable=False),
    sa.Column('question', sa.Text(), nullable=False),
    sa.Column('echoes', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('embedding', HALF_VECTOR, nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', 'slot', name=op.f('pk_semantic_entries')),
    postgresql_partition_by='LIST (slot)'
    )
    op.create_index('ix_semantic_entries_scope_id', 'semantic_entries', ['scope_id'], unique=False)
    op.create_table('semantic_evidence',
    sa.Column('namespace', sa.Text(), nullable=False),
    sa.Column('policy', sa.Text(), nullable=False),
    sa.Column('tier', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.Column('checked', sa.Integer(), nullable=False),
    sa.Column('wrong', sa.Integer(), nullable=False),
    sa.Column('recent_checked', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('recent_wrong', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('newest_wrong', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('namespace', 'policy', 'tier', name=op.f('pk_semantic_evidence'))
    )
    op.create_table('semantic_scopes',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('identity', sa.LargeBinary(), nullable=False),
    sa.Column('embedder', sa.Text(), nullable=False),
    sa.Column('namespace', sa.Text(), nullable=False),
    sa.Column('indexed', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_semantic_scopes')),
    sa.UniqueConstraint('identity', 'embedder', name='uq_semantic_scopes_identity')
    )
    op.add_column('api_keys', sa.Column('cache_scope', sa.Text(), nullable=True))
    op.add_column('api_keys', sa.Column('semantic', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column('requests', sa.Column('cache_scope', sa.Text(), nullable=True))
    run_file('0005_cache.sql')


def downgrade() -> None:
    run_file('0005_cache.down.sql')
    op.drop_column('requests', 'cache_scope')
    op.drop_column('api_keys', 'semantic')
    op.drop_column('api_keys', 'cache_scope')
    op.drop_table('semantic_scopes')
    op.drop_table('semantic_evidence')
    op.drop_table('semantic_entries')
    op.drop_table('semantic_decisions')
    op.drop_table('cache_slots')
    op.drop_table('cache_leases')
    op.drop_table('cache_clearings')
    op.drop_table('cache_entries')
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
