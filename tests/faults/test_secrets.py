"""Providers at start, and where their secrets never show up."""

import re
import signal
from pathlib import Path

import anyio.to_thread
import psycopg
import pytest

from app.mock.server import MockServer
from tests.conftest import ADMIN_KEY, SECRET_KEY
from tests.faults.serving import Served, chat, run_command

pytestmark = pytest.mark.anyio

OPENAI_KEY = "sk-provider-secret-openai-1111"
ANTHROPIC_KEY = "sk-ant-provider-secret-2222"
FILE_KEY = "sk-provider-secret-from-yaml-3333"
SECRETS = (OPENAI_KEY, ANTHROPIC_KEY, FILE_KEY, SECRET_KEY, ADMIN_KEY)


def dump(url: str) -> str:
    """Return every row of every table, as text and with bytes as they are."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "".join(str(connection.execute(f"TABLE {name}").fetchall()) for (name,) in names)


def read_command_lines() -> str:
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return b"\n".join(lines).decode("utf-8", "replace")


@pytest.fixture
async def provider():
    """Another process's provider: the mock on a port of its own."""
    server = MockServer()
    await server.start()
    yield server
    await server.stop()


def build_environment(url: str, provider: MockServer) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "RELAYCORE_SECRET_KEY": SECRET_KEY,
        "RELAYCORE_ADMIN_KEY": ADMIN_KEY,
        "OPENAI_API_KEY": OPENAI_KEY,
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
        "ANTHROPIC_BASE_URL": provider.url,
    }


async def ask(one: Served, path: str, body: dict[str, object]) -> tuple[int, str, str]:
    client = one.client(ADMIN_KEY)
    answer = await anyio.to_thread.run_sync(lambda: client.post(path, json=body))
    return answer.status_code, answer.text, str(answer.headers)


def find_sent_keys(provider: MockServer) -> set[str]:
    """Return the credentials that reached the provider."""
    found = set()
    for request in provider.app.state.build_stats()["last"]:
        headers = dict(request["headers"])
        found.add(headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer "))
    return found


async def test_providers_of_the_environment(serve, folder, database_url, provider):
    """Keys and base URLs of the environment seed the configuration, and are followed by later starts.

    They reach the provider and nobody else: no table, log, error, command line, document or answer has them.
    """
    environment = build_environment(database_url, provider)
    one = serve(**environment)
    await wait(one)
    messages = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    answers = [
        await ask(one, "/v1/chat/completions", chat("Hello", "openai/gpt-4o-mini")),
        await ask(one, "/v1/messages", messages),
        await ask(one, "/v1/chat/completions", chat("[[mock status=401]]", "openai/gpt-4o-mini")),
        await ask(one, "/v1/chat/completions", chat("[[mock status=400]]", "openai/gpt-4o-mini")),
    ]
    assert [status for status, _, _ in answers] == [200, 200, 502, 400]
    assert find_sent_keys(provider) == {OPENAI_KEY, ANTHROPIC_KEY}
    seen = one.said + str(answers) + read_command_lines() + dump(database_url)
    seen += "".join(one.client(ADMIN_KEY).get(path).text for path in ("/openapi.json", "/v1/config", "/metrics"))
    assert not [secret for secret in SECRETS if secret in seen]
    assert await stop(one) == 0

    changed = serve(**{**environment, "OPENAI_API_KEY": "sk-rotated"})
    await wait(changed)
    assert (await ask(changed, "/v1/chat/completions", chat("Hello again", "openai/gpt-4o-mini")))[0] == 200
    assert "sk-rotated" in find_sent_keys(provider)
    assert await stop(changed) == 0


async def test_providers_of_a_file(serve, folder, database_url, provider):
    """A YAML file in the folder is imported, `${NAME}` and `${NAME:-default}` replaced from the environment."""
    (folder / "relaycore.config.yaml").write_text(
        "providers:\n  mine:\n    type: openai\n    base_url: ${MY_URL}/v1\n    api_key: ${MY_KEY:-" + FILE_KEY + "}\n"
    )
    environment = {
        name: value for name, value in build_environment(database_url, provider).items() if "_API_" not in name
    }
    one = serve(**environment, MY_URL=provider.url)
    await wait(one)
    assert (await ask(one, "/v1/chat/completions", chat("Hello", "mine/gpt-4o-mini")))[0] == 200
    assert find_sent_keys(provider) == {FILE_KEY}
    assert FILE_KEY not in one.said + dump(database_url)
    assert await stop(one) == 0


async def wait(one: Served) -> None:
    await anyio.to_thread.run_sync(one.wait_until_ready)


async def stop(one: Served) -> int:
    return (await anyio.to_thread.run_sync(lambda: one.stop(signal.SIGTERM)))[0]


def test_another_secret_key_is_refused(folder, database_url):
    """A start with another secret key than the database was made with says so; nothing is half usable."""
    environment = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY}
    made = run_command(folder, "keys", "create", **environment)
    assert made.returncode == 0, made.stderr
    other = {**environment, "RELAYCORE_SECRET_KEY": "another-secret-key-0123456789"}
    for words in (("serve", "--port", "0"), ("worker",)):
        done = run_command(folder, *words, **other)
        assert done.returncode == 1
        assert re.fullmatch(r"Error: This database was made with another secret key: .+\n", done.stderr), done.stderr
