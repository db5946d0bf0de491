"""The schema: up, down and up again, and the same as the tables in the code."""

import tomllib
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import ProgrammingError

from app.db import schema
from app.db.engine import open_blocking_engine
from app.db.schema import build_alembic_config, migrate, migrations_folder

REPOSITORY = Path(__file__).parents[2]
OBJECTS = """
SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'type', typname::text FROM pg_type WHERE typnamespace = 'public'::regnamespace
"""
OF_EXTENSIONS = "SELECT objid FROM pg_depend WHERE deptype = 'e'"


def list_objects(url: str) -> set[tuple[str, str]]:
    """Return what is in the public schema, but for alembic's own table and the daily partitions."""
    with psycopg.connect(url) as connection:
        found = connection.execute(OBJECTS).fetchall()
        extensions = connection.execute(f"SELECT proname::text FROM pg_proc WHERE oid IN ({OF_EXTENSIONS})").fetchall()
        extensions += connection.execute(f"SELECT typname::text FROM pg_type WHERE oid IN ({OF_EXTENSIONS})").fetchall()
    foreign = {name for (name,) in extensions} | {f"_{name}" for (name,) in extensions}
    return {
        (kind, name)
        for kind, name in found
        if name not in foreign
        and "alembic_version" not in name
        and "requests_p2" not in name
        and "_entries_s" not in name
    }


@pytest.fixture
def engine(bare_database_url):
    engine = open_blocking_engine(bare_database_url)
    yield engine
    engine.dispose()


def test_up_down_up(bare_database_url, engine) -> None:
    """Taking every migration back leaves nothing, and applying them again makes the same as before."""
    before = list_objects(bare_database_url)
    with engine.connect() as connection:
        command.downgrade(build_alembic_config(connection), "base")
        connection.commit()
    assert list_objects(bare_database_url) == set()
    count = len(list(ScriptDirectory.from_config(build_alembic_config()).walk_revisions()))
    assert migrate(bare_database_url) == count
    assert list_objects(bare_database_url) == before
    assert migrate(bare_database_url) == 0


def test_the_schema_is_what_the_code_says(engine) -> None:
    """`alembic check` finds no difference between the migrated database and app/db/tables.py."""
    with engine.connect() as connection:
        command.check(build_alembic_config(connection))


def test_the_tables_in_the_code_are_really_compared(engine) -> None:
    """The check above can fail: a column more in the database is found."""
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE users ADD COLUMN surplus text")
        with pytest.raises(Exception, match="New upgrade operations detected"):
            command.check(build_alembic_config(connection))


def test_a_migration_that_fails_leaves_the_old_schema(bare_database_url, engine, monkeypatch, tmp_path) -> None:
    """A migration is applied whole or not at all, and the next attempt begins where this one did."""
    folder = tmp_path / "alembic"
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "script.py.mako"):
        (folder / name).write_text((migrations_folder() / name).read_text())
    for path in (migrations_folder() / "versions").glob("*.py"):
        (folder / "versions" / path.name).write_text(path.read_text())
    heads = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
    (folder / "versions" / "9999_bad.py").write_text(
        f'"""bad"""\nfrom alembic import op\nrevision = "9999"\ndown_revision = "{heads}"\n'
        'def upgrade():\n    op.execute("CREATE TABLE half (id int)")\n    op.execute("nonsense")\n'
    )
    monkeypatch.setattr(schema, "migrations_folder", lambda: folder)
    for _ in range(2):
        with pytest.raises(ProgrammingError, match="nonsense"):
            migrate(bare_database_url)
        assert ("relation", "half") not in list_objects(bare_database_url)


def test_the_package_carries_the_migrations() -> None:
    """A built package has the migrations where the code looks for them first; a checkout has them at its root."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    looked_for = Path(schema.__file__).parent / "migrations"
    assert included == {"alembic": str(looked_for.relative_to(REPOSITORY))}
    assert migrations_folder() in {looked_for, REPOSITORY / "alembic"}
    assert (migrations_folder() / "env.py").is_file()
