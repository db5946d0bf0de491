"""Bringing the database to the schema this version of the code expects."""

from collections.abc import Callable, Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.db.engine import open_blocking_engine

FOREIGN = ("requests_p", "ledger_p", "cache_entries_s", "semantic_entries_s", "procrastinate_")
"""How the names of tables begin that are no part of the schema in the code: partitions, and the queue library's."""

MIGRATION_LOCK = 0x72656C6179  # "relay": two processes that start together migrate one after the other


def include_name(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Return whether alembic should look at an object: not at partitions, nor at the queue library's own tables."""
    table = name if kind == "table" else parents.get("table_name")
    return not (table or "").startswith(FOREIGN)


def migrations_folder() -> Path:
    """Return the folder of the migrations: inside the installed package, or at the root of a source checkout."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "alembic"


def build_alembic_config(connection: Connection | None = None) -> Config:
    """Return the configuration for alembic's commands, which work on `connection` when one is given."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def find_pending(connection: Connection) -> list[str]:
    """Return the first lines of the migrations that `connection`'s database lacks, oldest first."""
    script = ScriptDirectory.from_config(build_alembic_config())
    current = MigrationContext.configure(connection).get_current_heads()
    pending = script.iterate_revisions("heads", current or "base", implicit_base=True)
    return [revision.doc for revision in reversed(list(pending)) if revision.revision not in current]


def migrate(url: str, say: Callable[[str], None] = lambda _: None) -> int:
    """Bring the database at `url` to the newest schema and return how many migrations that took.

    Blocking. Processes that start together wait for each other on an advisory lock.
    """
    engine = open_blocking_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()
            pending = find_pending(connection)
            connection.commit()
            if pending:
                say(f"Bringing the database schema up to date ({len(pending)} migrations) …")
                command.upgrade(build_alembic_config(connection), "head")
                connection.commit()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()
            return len(pending)
    finally:
        engine.dispose()
