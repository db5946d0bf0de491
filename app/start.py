"""What a start needs before it can serve: a database at the right schema, keys, a first configuration and prices."""

import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Connection, func, select

from app.access.bodies import KeyCreation, UserCreation
from app.access.key_edits import create_key as add_key
from app.access.key_edits import revoke_key as end_key
from app.access.key_edits import rotate_key as renew_key
from app.access.keys import find_public_id, hash_key, make_secret
from app.access.principal_store import find_key, get_team, lock_access
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
)
from app.access.types import NewKey, NewUser
from app.access.user_edits import create_user
from app.catalog.price_data import CATALOGUE, MOCK, build_catalogue_rows, build_mock_rows
from app.catalog.price_store import replace_prices
from app.catalog.secrets import Vault
from app.catalog.start import seed_config
from app.catalog.store import find_newest_document
from app.db.audit import COMMAND_LINE, Auditor
from app.db.control import Change
from app.db.embedded import EmbeddedPostgres, probe_vector
from app.db.engine import open_blocking_engine
from app.db.keyring import Keyring
from app.db.keyring_store import provide_keyring
from app.db.schema import migrate
from app.secret_file import NAME, read_or_make
from app.settings import HOW_TO_MAKE_A_KEY, Settings, SettingsError, get_database_url, get_secret_key

FIRST_EMAIL = "user@localhost"
DEFAULT_CONFIG = Path("relaycore.config.yaml")

Say = Callable[[str], None]
B = TypeVar("B", bound=msgspec.Struct)


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


def fill(settings: Settings, embedded: EmbeddedPostgres | None, *, prices: bool = True) -> Ready:
    """Put in place what a first start makes, and bring configuration and prices up to date.

    Without `prices` they are taken to be those of this release already: comparing them all takes most of a start.
    """
    ready = Ready(settings=settings, embedded=embedded)
    engine = open_blocking_engine(get_database_url(settings))
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore start"))))
            keyring = get_keyring(connection, settings)
            if prices:
                replace_prices(connection, build_catalogue_rows(datetime.now(UTC)), CATALOGUE)
                replace_prices(connection, build_mock_rows(), MOCK)
            ready.admin_key = provide_admin_key(connection, settings)
            ready.first_key = provide_first_key(connection, settings)
            vault, auditor = Vault(*keyring.vault_keys), Auditor(keyring.audit_key)
            path = settings.config_path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
            seed_config(connection, vault, auditor, path, settings.provider_environment)
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
                get_keyring(connection, complete)
                yield complete, connection
        finally:
            engine.dispose()


def provide_secret_key(settings: Settings) -> Settings:
    """Return the settings with a secret key: the given one, or with the embedded database one kept in a file."""
    if settings.secret_key is not None:
        return settings
    if not settings.embedded:
        raise SettingsError("With DATABASE_URL, RELAYCORE_SECRET_KEY must be set; " + HOW_TO_MAKE_A_KEY)
    path = settings.data_dir / NAME
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return msgspec.structs.replace(settings, secret_key=read_or_make(path))
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.data_dir} cannot be used: {error.strerror}. Set RELAYCORE_DATA_DIR to one that "
            "can be written, or DATABASE_URL to a Postgres."
        ) from error


def get_keyring(connection: Connection, settings: Settings) -> Keyring:
    """Return the installation's keys; SettingsError with a secret key under which no stored key would be accepted."""
    return provide_keyring(connection, get_secret_key(settings))


def get_auditor(connection: Connection, settings: Settings) -> Auditor:
    """Return what writes the audit log of a command's changes."""
    return Auditor(get_keyring(connection, settings).audit_key)


def provide_admin_key(connection: Connection, settings: Settings) -> str | None:
    """Make the admin user, and the random admin key when none is given; return the key only when it is new."""
    if find_user(connection, ADMIN_EMAIL) is None:
        insert_user(connection, NewUser(email=ADMIN_EMAIL, name="Administrator", role="admin"))
    if settings.admin_key is not None or find_fact(connection, ADMIN_HASH) is not None:
        return None
    key = f"rk-admin-{secrets.token_urlsafe(32)}"
    made = hash_key(get_keyring(connection, settings).pepper, key)
    return key if keep_fact(connection, ADMIN_HASH, made) == made else None


def provide_first_key(connection: Connection, settings: Settings) -> str | None:
    """Make a first user with a key in an installation that never had one; return the key only when it is new."""
    if count_keys(connection) > 0:
        return None
    user_id = find_user(connection, FIRST_EMAIL)
    if user_id is None:
        user_id = insert_user(connection, NewUser(email=FIRST_EMAIL, name="First user"))
    return store_new_key(connection, settings, user_id, name="first key")


@contextmanager
def open_change(settings: Settings, say: Say) -> Generator[tuple[Change, bytes], None, None]:
    """Yield a change that a command makes, all of it done or nothing, and the pepper of keys."""
    with open_prepared(settings, say) as (complete, connection):
        keyring = get_keyring(connection, complete)
        yield Change(connection, COMMAND_LINE, Auditor(keyring.audit_key)), keyring.pepper


def create_key(
    settings: Settings,
    say: Say,
    *,
    email: str | None,
    name: str,
    models: tuple[str, ...] | None,
    expires_days: int | None,
    team: str | None = None,
    **fields: object,
) -> str:
    """Make a key for the user with that address (made when unknown) and return it; `fields` are those of the API."""
    with open_change(settings, say) as (change, pepper):
        lock_access(change.connection)
        user_id = find_user(change.connection, email or FIRST_EMAIL)
        if user_id is None:
            user_id = create_user(change, read_words(UserCreation, {"email": email or FIRST_EMAIL})).id
        team_id = get_team(change.connection, team) if team is not None else None
        expires_at = datetime.now(UTC) + timedelta(days=expires_days) if expires_days is not None else None
        words = {**fields, "user_id": user_id, "team_id": team_id, "models": models, "expires_at": expires_at}
        given = {field: value for field, value in words.items() if value is not None}
        return add_key(change, read_words(KeyCreation, {"name": name, **given}), make_secret(pepper)).key


def list_keys(settings: Settings, say: Say) -> list[tuple[str, str, str]]:
    """Return (public id, name, owner's address) of the live keys."""
    with open_prepared(settings, say) as (_, connection):
        return list(list_key_lines(connection))


def revoke_key(settings: Settings, say: Say, public_id: str) -> bool:
    """Revoke a key, named by its public id or by itself; False when there is no such live key."""
    with open_change(settings, say) as (change, _):
        key_id = find_key(change.connection, find_public_id(public_id) or public_id)
        if key_id is not None:
            end_key(change, key_id)
        return key_id is not None


def rotate_key(settings: Settings, say: Say, public_id: str, grace_seconds: int) -> str | None:
    """Give a key another secret and return the key; None when there is no such live one."""
    with open_change(settings, say) as (change, pepper):
        key_id = find_key(change.connection, find_public_id(public_id) or public_id)
        return renew_key(change, key_id, make_secret(pepper), grace_seconds).key if key_id is not None else None


def read_words(kind: type[B], words: Mapping[str, object]) -> B:
    """Return what a command was told, checked as the API does. Raises SettingsError."""
    try:
        return msgspec.convert(words, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error


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
    key, public_id, secret_hash = make_secret(get_keyring(connection, settings).pepper)
    new = NewKey(
        user_id=user_id, public_id=public_id, secret_hash=secret_hash, name=name, models=models, expires_at=expires_at
    )
    insert_key(connection, new)
    return key
