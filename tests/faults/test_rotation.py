"""A new secret key for an installation that serves: nothing fails, and what is stored gives nothing away."""

import base64
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from app.db.engine import open_blocking_engine
from app.db.keyring_store import provide_keyring
from tests.acceptance.support import Provider, fresh, run_mock
from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.faults.serving import Served, chat, note, run_command

NEW_SECRET_KEY = "the-next-secret-key-for-tests-9876543210"
FIRST_KEY, SECOND_KEY, THIRD_KEY = "sk-provider-first-111", "sk-provider-second-222", "sk-provider-third-333"


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider in another process's place."""
    with run_mock() as url:
        yield Provider(url)


def give_key(one: Served, provider: Provider, key: str) -> None:
    """Store a provider key, as an administrator does."""
    entry = {"type": "openai-compatible", "base_url": f"{provider.url}/v1", "api_key": key}
    with one.client(ADMIN_KEY) as client:
        client.put("/v1/config/providers/mine", json=entry).raise_for_status()


def sent_key(one: Served, provider: Provider) -> str:
    """Return the provider key that a call through a gateway goes up with."""
    text = fresh("whose key is it")
    with one.client(ADMIN_KEY) as client:
        client.post("/v1/chat/completions", json=chat(text, "mine/echo")).raise_for_status()
    arrived = next(call for call in reversed(provider.arrivals()) if text.encode() in call.body)
    return arrived.headers["authorization"].removeprefix("Bearer ")


@contextmanager
def calling(one: Served, key: str) -> Iterator[Callable[[], list[int]]]:
    """Call a gateway all the while; what is yielded returns the statuses so far."""
    statuses: list[int] = []
    stop = threading.Event()

    def call(number: int) -> None:
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=one.url, headers=headers, timeout=30, trust_env=False) as client:
            while not stop.wait(0.01):
                body = chat(f"call {number} {len(statuses)}", "mine/echo")
                statuses.append(client.post("/v1/chat/completions", json=body).status_code)

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def read_dump(url: str) -> bytes:
    """Return all that is stored: text as it is, bytes raw."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        cells = (cell for (name,) in names for row in connection.execute(f'TABLE "{name}"') for cell in row)
        return b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in cells)


def find_leaks(dump: bytes, secrets: dict[str, bytes]) -> list[str]:
    """Return the names of the secrets that a dump has in it, in any of the usual ways of writing them."""
    ways = (bytes, lambda one: one.hex().encode(), base64.b64encode, base64.urlsafe_b64encode)
    return [name for name, secret in secrets.items() if any(way(secret).rstrip(b"=") in dump for way in ways)]


def read_data_keys(url: str, secret_key: str) -> dict[str, bytes]:
    engine = open_blocking_engine(url)
    with engine.begin() as connection:
        keys = provide_keyring(connection, secret_key).keys
    engine.dispose()
    return {f"{one.purpose} {one.version}": one.key for one in keys}


def test_a_rotation_while_it_serves(serve, folder, database_url, provider):
    """Rotate, start beside it with the new key, change provider keys on either side, stop the old one, finish.

    No request fails; the end is refused while somebody needs the old key, and then the old key opens nothing.
    """
    old = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY, "RELAYCORE_ADMIN_KEY": ADMIN_KEY}
    new = {**old, "RELAYCORE_SECRET_KEY": NEW_SECRET_KEY}
    first = serve(**old).wait_until_ready()
    key = first.keys[0]
    give_key(first, provider, FIRST_KEY)
    data_keys = read_data_keys(database_url, SECRET_KEY)
    with calling(first, key) as so_far:
        done = run_command(folder, "secret", "rotate", **old, RELAYCORE_NEW_SECRET_KEY=NEW_SECRET_KEY)
        assert (done.returncode, done.stdout, NEW_SECRET_KEY in done.stderr) == (0, "", False), done.stderr
        second = serve(**new).wait_until_ready()
        check_both_follow(first, second, provider)
        refused = run_command(folder, "secret", "finish", **new)
        assert (refused.returncode, "run with the old secret key: 1" in refused.stderr) == (1, True), refused.stderr
        data_keys |= read_data_keys(database_url, NEW_SECRET_KEY)
    with calling(second, key) as later:
        assert first.stop(signal.SIGTERM)[0] == 0
        finished = run_command(folder, "secret", "finish", **new)
        assert finished.stdout == "Only this secret key works now.\n", finished.stderr
        assert sent_key(second, provider) == THIRD_KEY
        give_key(second, provider, FIRST_KEY)
        assert sent_key(second, provider) == FIRST_KEY
    assert set(so_far() + later()) == {200}
    late = run_command(folder, "serve", "--port", "0", **old)
    assert (late.returncode, "another secret key" in late.stderr) == (1, True)
    assert run_command(folder, "audit", "verify", **new).returncode == 0
    check_nothing_usable(database_url, key, data_keys, first.said.replace(key, "") + second.said)
    note(f"{len(so_far() + later())} requests during the rotation, none failed")


def check_both_follow(first: Served, second: Served, provider: Provider) -> None:
    """A provider key that is changed through either process is used by both."""
    assert sent_key(first, provider) == sent_key(second, provider) == FIRST_KEY
    for one, other, key in ((second, first, SECOND_KEY), (first, second, THIRD_KEY)):
        give_key(one, provider, key)
        assert sent_key(one, provider) == key
        wait_for(lambda other=other, key=key: sent_key(other, provider) == key)


def check_nothing_usable(url: str, key: str, data_keys: dict[str, bytes], said: str) -> None:
    """No secret is in what is stored, nor in what the processes have said."""
    sent = (key, ADMIN_KEY, FIRST_KEY, SECOND_KEY, THIRD_KEY, SECRET_KEY, NEW_SECRET_KEY)
    secrets = {one: one.encode() for one in sent} | {"of the key": key.split("-")[2].encode()} | data_keys
    assert len(data_keys) == 4
    assert find_leaks(read_dump(url), secrets) == []
    assert not [one for one in sent if one in said]


def wait_for(check: Callable[[], bool]) -> None:
    """Wait until the other process has followed."""
    pause = threading.Event()
    for _ in range(50):
        if check():
            return
        pause.wait(0.1)
    pytest.fail("the other process did not follow within 5 s")


def test_the_file_of_the_embedded_database(serve, folder):
    """Beside the embedded database the command replaces the file, and in the end the old key is no good."""
    path: Path = folder / "data" / "secret.key"
    one = serve().wait_until_ready()
    old, key = path.read_text(), one.keys[1]
    done = run_command(folder, "secret", "rotate")
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stderr
    assert (path.stat().st_mode & 0o777, path.read_text() != old) == (0o600, True)
    assert path.read_text() not in done.stdout + done.stderr
    assert [other.name for other in path.parent.glob("secret.key*")] == [path.name]
    assert one.client(key).post("/v1/chat/completions", json=chat("still here")).status_code == 200
    assert run_command(folder, "secret", "finish").returncode == 1
    assert one.stop()[0] == 0
    again = serve().wait_until_ready()
    assert again.client(key).post("/v1/chat/completions", json=chat("and again")).status_code == 200
    assert run_command(folder, "secret", "finish").returncode == 0
    assert run_command(folder, "secret", "finish").stdout == "No rotation is under way.\n"
    assert again.stop()[0] == 0
    assert run_command(folder, "keys", "list", RELAYCORE_SECRET_KEY=old).returncode == 1
    assert run_command(folder, "keys", "list").returncode == 0


def test_a_key_is_made_where_none_is_given(folder, database_url):
    """On an operator's own database a new key is printed once, alone on stdout, with the next step on stderr."""
    old = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY}
    made = run_command(folder, "secret", "rotate", **old)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert (len(key), key in made.stderr) == (64, False)
    assert "set RELAYCORE_SECRET_KEY to the new key" in made.stderr
    for secret_key in (SECRET_KEY, key):
        assert run_command(folder, "keys", "list", **{**old, "RELAYCORE_SECRET_KEY": secret_key}).returncode == 0
    assert run_command(folder, "secret", "finish", **old).returncode == 1
    assert run_command(folder, "secret", "finish", **{**old, "RELAYCORE_SECRET_KEY": key}).returncode == 0
    assert run_command(folder, "keys", "list", **old).returncode == 1
