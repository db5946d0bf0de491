"""docs/upstream-faults.md, row by row: what a misbehaving provider does and what becomes of it."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.settings import UpstreamSettings
from tests.acceptance.support import chat, data_of, find_rows, fresh, message
from tests.conftest import prepare
from tests.gateway_process import Gateway, run_gateway
from tests.routing.misbehaving import BEHAVIOURS, behave, run_full_port, run_server
from tests.upstream.faulty import answer_all, make_tls

TABLE = Path(__file__).parents[2] / "docs" / "upstream-faults.md"
LIMITS = UpstreamSettings(
    connect_seconds=0.6, first_byte_seconds=0.6, idle_seconds=0.6, total_seconds=2.0, max_answer_bytes=2**20
)
OUTSIDE = {"refused", "hang-at-connect", "tls-untrusted", "dns-failure"}
"""Behaviours of whole addresses: each is a provider of its own."""

FINAL = {"429-quota", "429-spend-limit", "401", "402", "403-credential"}
"""What no retry mends, be it ours or the client's."""

PATHS = {"openai": ("/v1/chat/completions", chat), "anthropic": ("/v1/messages", message)}


class Row(NamedTuple):
    """One row of the table, cell by cell."""

    name: str
    what: str
    call: str
    status: str
    code: str
    retried: str
    failed_over: str
    cached: str
    recorded: str
    tokens: str


def read_table() -> list[Row]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [Row(*(cell.strip().strip("`") for cell in line.strip().strip("|").split("|"))) for line in lines]


@pytest.fixture(scope="module")
def gateway(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with short limits and one retry, in front of everything that misbehaves."""
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        bad = stack.enter_context(run_server(behave))
        tls, _ = make_tls(folder)
        urls = {
            "tls-untrusted": stack.enter_context(run_server(answer_all, tls=tls)).url,
            "hang-at-connect": stack.enter_context(run_full_port()),
            "refused": "http://127.0.0.1:1",
            "dns-failure": "http://no-such-host.invalid",
        }
        ready = prepare(module_database_url, folder / "data", upstream=LIMITS)
        running = stack.enter_context(run_gateway(ready))
        providers = {"mock": {"type": "mock"}}
        for name, url in {"bad": bad.url, **urls}.items():
            providers[f"{name}-o"] = {
                "type": "openai-compatible",
                "base_url": f"{url}/v1",
                "api_key": "sk-of-the-house",
            }
            providers[f"{name}-a"] = {"type": "anthropic-compatible", "base_url": url, "api_key": "sk-of-the-house"}
        running.configure(
            providers=providers,
            routing={"max_retries": 1, "backoff": 0.02, "max_wait": 1, "retry_budget": 1, "eject_after": 1000},
        )
        yield running


class Seen(NamedTuple):
    """What one call became, in the table's words."""

    status: int
    code: str
    retried: str
    failed_over: str
    cached: str
    recorded: str
    tokens: str
    ended: bool


def send(gateway: Gateway, dialect: str, model: str, text: str, *, streamed: bool, **headers: str) -> httpx.Response:
    path, build = PATHS[dialect]
    body = build(text, model, stream=True) if streamed else build(text, model)
    with gateway.client(headers={name.replace("_", "-"): value for name, value in headers.items()}) as client:
        return client.post(path, json=body)


def look(gateway: Gateway, name: str, dialect: str, *, streamed: bool) -> Seen:
    """Return what becomes of a call that the provider does `name` to."""
    provider = name if name in OUTSIDE else "bad"
    model = f"{provider}-{dialect[0]}/{name}"
    text = fresh(name)
    reply = send(gateway, dialect, model, text, streamed=streamed)
    error = find_error(reply, dialect)
    kept = send(gateway, dialect, model, text, streamed=streamed, x_aihub_cache="only")
    spare = send(gateway, dialect, model, fresh(name), streamed=streamed, x_relay_fallback="mock/echo")
    row = find_rows(gateway, reply.headers["x-request-id"])[0]
    assert str(row["attempts"]) == reply.headers["x-relay-attempts"]
    final = reply.status_code >= 400 and (row["attempts"] > 1 or name in FINAL)
    assert (reply.headers.get("x-should-retry") == "false") == final
    assert "sk-" not in reply.text
    return Seen(
        status=reply.status_code,
        code=error,
        retried="yes" if row["attempts"] > 1 else "no",
        failed_over="yes" if spare.headers["x-relay-provider"] == "mock" else "no",
        cached="yes" if kept.status_code == 200 else "no",
        recorded=row["error_type"] or "success",
        tokens="yes" if row["input_tokens"] else "no",
        ended="[DONE]" in reply.text or "message_stop" in reply.text,
    )


def find_error(reply: httpx.Response, dialect: str) -> str:
    """Return the code (OpenAI) or the type (Anthropic) of the error that the client reads, "-" for none."""
    if reply.status_code == 200 and not reply.headers["content-type"].startswith("text/event-stream"):
        return "-"
    last = reply.text if reply.status_code != 200 else data_of(reply.text)[-1]
    try:
        error: Any = httpx.Response(200, text=last).json().get("error")
    except ValueError:
        return "-"
    if not error:
        return "-"
    return str(error["code"] if dialect == "openai" else error["type"])


ROWS = read_table()


def pick(cell: str, dialect: str) -> str:
    """Return a dialect's half of a cell."""
    first, _, second = cell.partition(" / ")
    return second if second and dialect == "anthropic" else first


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.call}")
def test_each_row_is_true(gateway: Gateway, row: Row) -> None:
    """Status, code, retry, failover, caching and record of every call are what the table says."""
    ways = {"whole": [False], "streamed": [True], "both": [False, True]}[row.call]
    with ThreadPoolExecutor(4) as pool:
        cells = list(itertools.product(PATHS, ways))
        seen = pool.map(lambda cell: look(gateway, row.name, cell[0], streamed=cell[1]), cells)
    for (dialect, streamed), found in zip(cells, seen, strict=True):
        expected = Seen(
            status=int(pick(row.status, dialect)),
            code={"null": "None"}.get(pick(row.code, dialect), pick(row.code, dialect)),
            retried=row.retried,
            failed_over=row.failed_over,
            cached=row.cached,
            recorded=pick(row.recorded, dialect),
            tokens=pick(row.tokens, dialect),
            ended=row.recorded == "success" and streamed,
        )
        assert found == expected, dialect


def test_the_table_is_complete() -> None:
    """Every behaviour that can be made has its rows, each once, and there are at least 33."""
    named = {row.name for row in ROWS}
    assert named == BEHAVIOURS.keys() | OUTSIDE
    assert len({(row.name, row.call) for row in ROWS}) == len(ROWS)
    assert len(named - {"good", "gzip"}) >= 33
