"""How alembic reaches the database: by the connection it is handed, else by DATABASE_URL."""

from alembic import context
from sqlalchemy import Connection, create_engine

from app.db.engine import alchemy_url
from app.db.schema import include_name
from app.db.tables import metadata
from app.db.tables.vectors import HalfVector
from app.settings import read_settings


def run(connection: Connection) -> None:
    connection.dialect.ischema_names["halfvec"] = HalfVector
    context.configure(
        connection=connection, target_metadata=metadata, include_name=include_name, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    url = read_settings().database_url
    if url is None:
        raise SystemExit("set DATABASE_URL to the database to migrate")
    with create_engine(alchemy_url(url)).connect() as connection:
        run(connection)
