"""Who is calling, from the snapshot of keys."""

import asyncio
import hmac
import time
from uuid import UUID, uuid4

import msgspec
import pytest

from app.access import directory as module
from app.access.directory import STALE_AFTER_SECONDS, Directory
from app.access.keys import find_public_id, hash_key, make_key
from app.access.types import Caller, KeyRecord
from app.db.connection import DatabaseAwayError
from app.errors import UnauthenticatedError, UnavailableError

pytestmark = pytest.mark.anyio

PEPPER = b"p" * 32
ADMIN_KEY = "rk-admin-key-for-tests"
ADMIN = Caller(user_id=UUID(int=1), key_id=None, admin=True, scope=b"admin")


def record(key: str, *, live: bool = True, expires_at: float | None = None) -> KeyRecord:
    user = uuid4()
    caller = Caller(user_id=user, key_id=uuid4(), admin=False, scope=user.bytes)
    public_id = find_public_id(key) or ""
    return KeyRecord(
        public_id=public_id, secret_hash=hash_key(PEPPER, key), caller=caller, live=live, expires_at=expires_at
    )


@pytest.fixture
def directory() -> Directory:
    directory = Directory(PEPPER)
    directory.load_admin(ADMIN, hash_key(PEPPER, ADMIN_KEY))
    return directory


async def away() -> None:
    raise DatabaseAwayError


async def test_a_known_key_is_its_callers(directory):
    """A key in the snapshot is answered without a look at the database."""
    key = make_key()
    directory.load([record(key)])
    directory.follow(away, lambda: 0.0)
    assert (await directory.admit(key)).admin is False
    assert await directory.admit(ADMIN_KEY) is ADMIN


@pytest.mark.parametrize("changes", [{"live": False}, {"expires_at": 1.0}])
async def test_revoked_and_expired_keys_are_refused(directory, changes):
    """A key that was revoked or whose time is over is refused, also when it was good a moment ago."""
    key = make_key()
    directory.load([record(key)])
    directory.load([record(key, **changes)])
    with pytest.raises(UnauthenticatedError):
        await directory.admit(key)


async def test_a_right_id_with_a_wrong_secret_is_refused(directory):
    """The public id finds the row, the secret decides; nothing is asked of the database."""
    key, other = make_key(), make_key()
    directory.load([record(key)])
    directory.load([msgspec.structs.replace(record(key), public_id=find_public_id(other))])
    directory.follow(away, lambda: 0.0)
    with pytest.raises(UnauthenticatedError):
        await directory.admit(other)


async def test_no_key_is_refused(directory):
    """A request without a key is told how to send one."""
    with pytest.raises(UnauthenticatedError, match="Authorization"):
        await directory.admit(None)


async def test_an_unknown_key_is_looked_for_once(directory):
    """A well-formed key that is not known is looked for before it is refused, and accepted when it is there by then."""
    key = make_key()

    async def refresh() -> None:
        directory.load([record(key)])

    directory.follow(refresh, lambda: 0.0)
    assert await directory.admit(key)
    with pytest.raises(UnauthenticatedError):
        await directory.admit(make_key())


@pytest.mark.parametrize("seconds", [0, 30])
async def test_an_unknown_key_waits_for_nobody(directory, seconds):
    """While the database is away or silent an unknown key gets a 503 with Retry-After, within a second."""

    async def refresh() -> None:
        await asyncio.sleep(seconds)
        raise DatabaseAwayError

    directory.follow(refresh, lambda: 10.0)
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        await directory.admit(make_key())
    assert time.monotonic() - began < 0.9
    assert caught.value.status == 503
    assert (b"retry-after", b"1") in caught.value.headers


async def test_an_old_snapshot_is_not_trusted(directory):
    """Known keys and the admin's are served from a snapshot of a minute ago, and from an older one nobody is."""
    key = make_key()
    directory.load([record(key)])
    directory.follow(away, lambda: STALE_AFTER_SECONDS - 1)
    assert await directory.admit(key)
    directory.follow(away, lambda: STALE_AFTER_SECONDS + 1)
    for one in (key, ADMIN_KEY, "not a key"):
        with pytest.raises(UnavailableError):
            await directory.admit(one)


async def test_nothing_is_admitted_before_anything_was_loaded():
    """An empty directory admits nobody, an empty hash included."""
    directory = Directory(PEPPER)
    directory.follow(away, lambda: float("inf"))
    for key in ("", ADMIN_KEY, make_key()):
        with pytest.raises(UnavailableError):
            await directory.admit(key)


async def test_everything_replaces_what_was_there(directory):
    """A load of everything forgets the keys that are not in it."""
    old, new = make_key(), make_key()
    directory.load([record(old)])
    directory.load([record(new)], everything=True)
    assert directory.find(old) is None
    assert directory.find(new) is not None


def secrets_of(*keys: str) -> list[KeyRecord]:
    """Return the records of one key that has these secrets."""
    caller = record(keys[0]).caller
    return [msgspec.structs.replace(record(key), caller=caller) for key in keys]


async def test_a_key_has_the_secrets_that_came_last(directory):
    """What is loaded of a key replaces all its secrets: one that is not among them is refused, and others stay."""
    first, second, third, other = (make_key() for _ in range(4))
    caller = record(first).caller
    directory.load([msgspec.structs.replace(record(first), caller=caller), record(other)])
    for pair in ((second, first), (third, second)):
        directory.load([msgspec.structs.replace(record(key), caller=caller) for key in pair])
        assert [directory.find(key) for key in pair] == [caller, caller]
    assert directory.find(first) is None
    assert directory.find(other) is not None
    directory.load(secrets_of(first, second), everything=True)
    assert directory.find(third) is None
    assert directory.find(first) is directory.find(second) is not None


def test_a_made_secret_is_accepted(directory):
    """A key made by the directory is found once what is kept of it is loaded."""
    secret = directory.make_secret()
    assert directory.find(secret.key) is None
    directory.load([record(secret.key)])
    assert record(secret.key).secret_hash == secret.secret_hash
    assert secret.public_id == find_public_id(secret.key)
    assert directory.find(secret.key) is not None


def test_secrets_are_compared_in_constant_time(directory, monkeypatch):
    """Every comparison of a secret goes through the standard library's constant-time one."""
    compared = []

    class Watched:
        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

    key = make_key()
    known = record(key)
    directory.load([known])
    monkeypatch.setattr(module, "hmac", Watched)
    assert directory.find(key) is known.caller
    assert compared == [(known.secret_hash, hash_key(PEPPER, ADMIN_KEY)), (known.secret_hash, known.secret_hash)]
