"""The configuration: files, environment, secrets, and what the hot path sees of it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from sqlalchemy import Connection

from app.catalog.secrets import SecretUnreadableError, Vault
from app.catalog.seed import ConfigError, check_document, read_config_file, read_environment_providers
from app.catalog.snapshot import Snapshot, build_snapshot
from app.catalog.start import seed_config
from app.catalog.store import find_newest_document, find_provider_keys, load_config
from app.db.audit import Auditor
from app.db.engine import open_blocking_engine
from app.errors import Dialect

pytestmark = pytest.mark.anyio
VAULT = Vault(b"k" * 32)
AUDITOR = Auditor(b"a" * 32)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


async def snapshot(url: str, vault: Vault = VAULT) -> Snapshot:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as hot:
        return build_snapshot(await load_config(hot), vault, "http://127.0.0.1:1/v1")


def test_a_secret_opens_only_where_it_was_sealed() -> None:
    """A ciphertext is bound to its purpose and name, and to the key."""
    sealed = VAULT.seal("provider key", "openai", "sk-1")
    assert VAULT.open("provider key", "openai", sealed) == "sk-1"
    assert b"sk-1" not in sealed
    for vault, purpose, name, data in (
        (VAULT, "provider key", "other", sealed),
        (VAULT, "webhook", "openai", sealed),
        (Vault(b"x" * 32), "provider key", "openai", sealed),
        (VAULT, "provider key", "openai", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (VAULT, "provider key", "openai", b""),
    ):
        with pytest.raises(SecretUnreadableError):
            vault.open(purpose, name, data)


def test_the_environment_configures_its_vendors() -> None:
    """A key in the environment is a provider; a base URL goes with it; an empty value is none."""
    found = read_environment_providers(
        {
            "OPENAI_API_KEY": "a",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1/",
            "ANTHROPIC_API_KEY": "",
            "XAI_API_KEY": "c",
        }
    )
    assert {name: (entry.base_url, entry.api_key) for name, entry in found.items()} == {
        "openai": ("http://127.0.0.1:1/v1", "a"),
        "xai": (None, "c"),
    }
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        read_environment_providers({"OPENAI_API_KEY": "a", "OPENAI_BASE_URL": "ftp://x"})


def test_a_file_takes_values_from_the_environment(tmp_path: Path) -> None:
    """`${NAME}` and `${NAME:-default}` are replaced in every text of the file."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "providers:\n  a: {type: openai, api_key: '${KEY}', base_url: 'http://${HOST:-h}/v1'}\n"
        "cache: {default_ttl: 5}\n"
    )
    document = read_config_file(path, {"KEY": "k"})
    assert (document.providers["a"].api_key, document.providers["a"].base_url) == ("k", "http://h/v1")
    assert document.cache.default_ttl == 5
    with pytest.raises(ConfigError, match="KEY is not set"):
        read_config_file(path, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: [", "c.yaml"),
        ("provider: {}", "unknown field `provider`"),
        ("providers: {a: {type: nobody}}", r"Unknown type 'nobody' - at `\$\.providers\.a\.type`"),
        ("providers: {a: {type: openai-compatible}}", "base_url"),
        ("providers: {a: {type: openai, base_url: x}}", "base_url"),
        ("providers: {'A b': {type: openai}}", "providers"),
        ("cache: {default_ttl: -1}", r"cache\.default_ttl"),
        ("cache: {default_ttl: soon}", r"cache\.default_ttl"),
        ("- 1", "c.yaml"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    """Whatever does not fit is refused whole, saying where."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config_file(path, {})


async def test_an_empty_configuration_has_the_mock(database_url: str) -> None:
    """Without any provider the mock is active, in both dialects."""
    found = await snapshot(database_url)
    assert found.providers["mock"].base_urls == {
        Dialect.OPENAI: "http://127.0.0.1:1/v1",
        Dialect.ANTHROPIC: "http://127.0.0.1:1",
    }


async def test_keys_of_the_environment_are_followed(connection: Connection, database_url: str) -> None:
    """The environment fills an empty configuration and is followed later; keys are stored encrypted only."""
    assert seed_config(connection, VAULT, AUDITOR, None, {}) is None
    assert seed_config(connection, VAULT, AUDITOR, None, {"OPENAI_API_KEY": "sk-first"}) == "environment"
    assert seed_config(connection, VAULT, AUDITOR, None, {"OPENAI_API_KEY": "sk-first"}) is None
    assert seed_config(connection, VAULT, AUDITOR, None, {"OPENAI_API_KEY": "sk-second"}) == "environment"
    connection.commit()
    assert (await snapshot(database_url)).providers["openai"].api_key == "sk-second"
    assert find_provider_keys(connection, VAULT, "openai") == ("sk-second",)
    text = str(connection.exec_driver_sql("SELECT c, s FROM config_versions c, secrets s").all())
    assert "sk-first" not in text
    assert "sk-second" not in text
    assert seed_config(connection, VAULT, AUDITOR, None, {}) is None
    assert seed_config(connection, VAULT, AUDITOR, None, {"XAI_API_KEY": "x"}) == "environment"
    connection.commit()
    found = (await snapshot(database_url)).providers
    assert {name: provider.api_key for name, provider in found.items()} == {"openai": "sk-second", "xai": "x"}


async def test_a_file_is_imported_when_it_says_something_new(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    """The same file twice is one version; a changed file or key is the next; the environment then has no say."""
    path = tmp_path / "c.yaml"
    path.write_text("providers: {a: {type: openai, api_key: '${K}'}}")
    assert seed_config(connection, VAULT, AUDITOR, path, {"K": "1"}) == "file"
    assert seed_config(connection, VAULT, AUDITOR, path, {"K": "1"}) is None
    assert seed_config(connection, VAULT, AUDITOR, path, {"K": "2"}) == "file"
    assert seed_config(connection, VAULT, AUDITOR, None, {"XAI_API_KEY": "x"}) is None
    connection.commit()
    found = await snapshot(database_url)
    assert {name: provider.api_key for name, provider in found.providers.items()} == {"a": "2"}
    newest = find_newest_document(connection)
    assert newest is not None
    assert newest[1].providers["a"].api_key is None


async def test_another_secret_key_loses_only_the_provider(connection: Connection, database_url: str) -> None:
    """A provider whose key does not open is left out and named, not used without a key."""
    seed_config(connection, VAULT, AUDITOR, None, {"OPENAI_API_KEY": "sk-first"})
    connection.commit()
    found = await snapshot(database_url, Vault(b"y" * 32))
    assert (dict(found.providers), found.unreadable) == ({}, ("openai",))


def test_a_document_survives_its_own_writing() -> None:
    """What is written of a document is read as the same document."""
    document = check_document({"providers": {"a": {"type": "openai"}}, "cache": {"default_ttl": 7}})
    assert check_document(msgspec.to_builtins(document)) == document
