"""What a start needs before it can serve: a database at the right schema, keys, a first configuration and prices."""

import os
import secrets
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
from sqlalchemy import Connection, func, select

from app.access.keys import derive, find_public_id, hash_key, make_key
from app.access.store import (
    ADMIN_EMAIL,
    ADMIN_HASH,
    count_keys,
    find_fact,
    find_user,
    insert_key,
    insert_user,
    keep_fact,
    list_key_lines,
    mark_key_revoked,
)
from app.access.types import NewKey, NewUser
from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_store import replace_prices
from app.catalog.secrets import Vault
from app.catalog.start import seed_config
from app.catalog.store import find_newest_document
from app.db.embedded import EmbeddedPostgres, probe_vector
from app.db.engine import open_blocking_engine
from app.db.schema import migrate
from app.settings import HOW_TO_MAKE_A_KEY, Settings, SettingsError, get_database_url, get_secret_key

FIRST_EMAIL = "user@localhost"
MADE_WITH = "secret key id"
DEFAULT_CONFIG = Path("relaycore.config.yaml")

Say = Callable[[str], None]


class Ready(msgspec.Struct, kw_only=True):
    """A prepared start. Keys are here only when they were made just now; they are shown once and kept nowhere."""

    settings: Settings
    embedded: EmbeddedPostgres | None
    admin_key: str | None = None
    first_key: str | None = None
    providers: tuple[str, ...] = ()

    def close(self) -> None:
        """Let go of the embedded server, which stops when nobody else uses it."""
        if self.embedded is not None:
            self.embedded.close()


def prepare(settings: Settings, say: Say) -> Ready:
    """Return a start that can serve: database, schema, keys, configuration and prices are in place. Blocking."""
    complete = provide_secret_key(settings)
    embedded = open_embedded(settings, say) if settings.embedded else None
    try:
        if embedded is not None:
            complete = msgspec.structs.replace(complete, database_url=embedded.url)
        url = get_database_url(complete)
        migrate(url, say)
        probe_vector(url)
        return fill(complete, embedded)
    except BaseException:
        if embedded is not None:
            embedded.close()
        raise


def open_embedded(settings: Settings, say: Say) -> EmbeddedPostgres:
    """Start or join the embedded Postgres of the data folder."""
    return EmbeddedPostgres.open(settings.data_dir / "postgres", binaries=settings.postgres_binaries, say=say)


def fill(settings: Settings, embedded: EmbeddedPostgres | None) -> Ready:
    """Put in place what a first start makes, and bring configuration and prices up to date."""
    ready = Ready(settings=settings, embedded=embedded)
    engine = open_blocking_engine(get_database_url(settings))
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore start"))))
            check_secret_key(connection, settings)
            replace_prices(connection, build_catalogue_rows(datetime.now(UTC)), CATALOGUE)
            replace_prices(connection, build_mock_rows(), MOCK)
            ready.admin_key = provide_admin_key(connection, settings)
            ready.first_key = provide_first_key(connection, settings)
            vault = Vault(derive(get_secret_key(settings), "provider keys"))
            path = settings.config_path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
            seed_config(connection, vault, path, settings.provider_environment)
            newest = find_newest_document(connection)
            ready.providers = tuple(newest[1].providers) if newest is not None else ()
    finally:
        engine.dispose()
    return ready


@contextmanager
def open_database(settings: Settings, say: Say) -> Generator[Settings, None, None]:
    """Yield settings with a database URL, for commands; the embedded server runs meanwhile if it is the one."""
    if not settings.embedded:
        yield settings
        return
    embedded = open_embedded(settings, say)
    try:
        yield msgspec.structs.replace(settings, database_url=embedded.url)
    finally:
        embedded.close()


@contextmanager
def open_prepared(settings: Settings, say: Say) -> Generator[tuple[Settings, Connection], None, None]:
    """Yield complete settings and a connection in one transaction, the schema being up to date."""
    with open_database(provide_secret_key(settings), say) as complete:
        migrate(get_database_url(complete), say)
        engine = open_blocking_engine(get_database_url(complete))
        try:
            with engine.begin() as connection:
                check_secret_key(connection, complete)
                yield complete, connection
        finally:
            engine.dispose()


def provide_secret_key(settings: Settings) -> Settings:
    """Return the settings with a secret key: the given one, or with the embedded database one kept in a file."""
    if settings.secret_key is not None:
        return settings
    if not settings.embedded:
        raise SettingsError("With DATABASE_URL, RELAYCORE_SECRET_KEY must be set; " + HOW_TO_MAKE_A_KEY)
    path = settings.data_dir / "secret.key"
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return msgspec.structs.replace(settings, secret_key=read_or_make(path))
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.data_dir} cannot be used: {error.strerror}. Set RELAYCORE_DATA_DIR to one that "
            "can be written, or DATABASE_URL to a Postgres."
        ) from error


def check_secret_key(connection: Connection, settings: Settings) -> None:
    """Keep the id of the first secret key, and refuse every other: with it no key would be accepted any more."""
    mine = Vault(derive(get_secret_key(settings), "provider keys")).key_id.encode()
    if keep_fact(connection, MADE_WITH, mine) != mine:
        raise SettingsError(
            "This database was made with another secret key: with this one no stored API key or provider key works. "
            "Start with the first RELAYCORE_SECRET_KEY again (or the file secret.key of the first data folder)."
        )


def read_or_make(path: Path) -> str:
    """Return the secret in the file at `path`, made with mode 0600 when there is none; several starts may race."""
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            Path(temporary).unlink()
    text = path.read_text().strip()
    if not text:
        raise SettingsError(f"{path} is empty; restore it, or delete it to have a new one made (stored keys are lost)")
    return text


def provide_admin_key(connection: Connection, settings: Settings) -> str | None:
    """Make the admin user, and the random admin key when none is given; return the key only when it is new."""
    if find_user(connection, ADMIN_EMAIL) is None:
        insert_user(connection, NewUser(email=ADMIN_EMAIL, name="Administrator", role="admin"))
    if settings.admin_key is not None or find_fact(connection, ADMIN_HASH) is not None:
        return None
    key = f"rk-admin-{secrets.token_urlsafe(32)}"
    made = hash_key(derive(get_secret_key(settings), "key pepper"), key)
    return key if keep_fact(connection, ADMIN_HASH, made) == made else None


def provide_first_key(connection: Connection, settings: Settings) -> str | None:
    """Make a first user with a key in an installation that never had one; return the key only when it is new."""
    if count_keys(connection) > 0:
        return None
    user_id = find_user(connection, FIRST_EMAIL)
    if user_id is None:
        user_id = insert_user(connection, NewUser(email=FIRST_EMAIL, name="First user"))
    return store_new_key(connection, settings, user_id, name="first key")


def create_key(
    settings: Settings,
    say: Say,
    *,
    email: str | None,
    name: str,
    models: tuple[str, ...] | None,
    expires_days: int | None,
) -> str:
    """Make a key for the user with that address (made when unknown) and return it."""
    address = email or FIRST_EMAIL
    with open_prepared(settings, say) as (complete, connection):
        user_id = find_user(connection, address)
        if user_id is None:
            user_id = insert_user(connection, NewUser(email=address))
        expires_at = datetime.now(UTC) + timedelta(days=expires_days) if expires_days is not None else None
        return store_new_key(connection, complete, user_id, name=name, models=models, expires_at=expires_at)


def list_keys(settings: Settings, say: Say) -> list[tuple[str, str, str]]:
    """Return (public id, name, owner's address) of the live keys."""
    with open_prepared(settings, say) as (_, connection):
        return list(list_key_lines(connection))


def revoke_key(settings: Settings, say: Say, public_id: str) -> bool:
    """Revoke a key, named by its public id or by itself; False when there is no such live key."""
    with open_prepared(settings, say) as (_, connection):
        return mark_key_revoked(connection, find_public_id(public_id) or public_id)


def store_new_key(
    connection: Connection,
    settings: Settings,
    user_id: UUID,
    *,
    name: str,
    models: tuple[str, ...] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key, store what is kept of it and return it."""
    key = make_key()
    pepper = derive(get_secret_key(settings), "key pepper")
    new = NewKey(
        user_id=user_id,
        public_id=find_public_id(key) or "",
        secret_hash=hash_key(pepper, key),
        name=name,
        models=models,
        expires_at=expires_at,
    )
    insert_key(connection, new)
    return key
