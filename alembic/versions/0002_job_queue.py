"""job queue

Revision ID: 0002
Revises: 0001
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The queue library (procrastinate) names all that it makes with its own prefix.
REMOVE = """
DO $$
DECLARE object record;
BEGIN
    FOR object IN SELECT format('%I', tablename) AS name FROM pg_tables
        WHERE schemaname = current_schema() AND tablename LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP TABLE IF EXISTS ' || object.name || ' CASCADE';
    END LOOP;
    FOR object IN SELECT oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP FUNCTION IF EXISTS ' || object.name || ' CASCADE';
    END LOOP;
    FOR object IN SELECT format('%I', typname) AS name FROM pg_type
        WHERE typnamespace = current_schema()::regnamespace AND typtype IN ('e', 'c') AND typname LIKE 'procrastinate\\_%' LOOP
        EXECUTE 'DROP TYPE IF EXISTS ' || object.name || ' CASCADE';
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def downgrade() -> None:
    op.get_bind().exec_driver_sql(REMOVE.replace("%", "%%"))
