"""deployment health

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment_health",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("out_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ejections", sa.Integer(), nullable=False),
        sa.Column("reporter", sa.UUID(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("provider", "model", name=op.f("pk_deployment_health")),
    )
    op.execute("INSERT INTO snapshot_versions (name) VALUES ('health')")
    op.execute(
        "CREATE TRIGGER bump_health AFTER INSERT OR UPDATE OR DELETE ON deployment_health "
        "FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('health')"
    )


def downgrade() -> None:
    op.drop_table("deployment_health")
    op.execute("DELETE FROM snapshot_versions WHERE name = 'health'")
