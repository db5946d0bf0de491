"""A migrated database per test on an embedded server, until tests/conftest.py provides the fixture."""

import uuid

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from app.db.embedded import EmbeddedPostgres
from app.db.schema import migrate


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    hold = EmbeddedPostgres.open(tmp_path_factory.mktemp("server"), fast_and_unsafe=True, say=lambda _: None)
    yield hold.url
    hold.close()


@pytest.fixture
def database_url(server_url):
    name = f"test_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = server_url.replace("/" + str(conninfo_to_dict(server_url)["dbname"]), "/" + name, 1)
    migrate(url)
    yield url
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
