"""Health shared between processes: what one finds out, the others go by."""

import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from app.routing.health import Health, Rules
from app.routing.sharing import HealthSharing
from tests.conftest import prepare
from tests.gateway_process import run_gateway

pytestmark = pytest.mark.anyio
RULES = Rules(eject_after=1)
A = ("p", "a")


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[tuple[HealthSharing, HealthSharing]]:
    shares = HealthSharing(database_url, Health()), HealthSharing(database_url, Health())
    yield shares
    for share in shares:
        await share.close()


async def exchange(url: str, teller: HealthSharing, hearer: HealthSharing) -> None:
    await teller.tell()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await hearer.load(connection, 0)


async def test_an_ejection_is_heard_of_and_so_is_its_end(
    database_url: str, two: tuple[HealthSharing, HealthSharing]
) -> None:
    """What one process puts out the other leaves alone; when it is back it is back for both; echoes do not go round."""
    one, other = two
    one._health.fail(A, time.monotonic(), RULES)
    await exchange(database_url, one, other)
    assert other._health.is_out(A, time.monotonic() + 29)
    assert not other._health.is_out(A, time.monotonic() + 31)
    assert other.find_changes(time.monotonic()) == []
    one._health.succeed(A, time.monotonic() + 40, 0.1)
    await exchange(database_url, one, other)
    assert not other._health.is_out(A, time.monotonic())
    assert one.find_changes(time.monotonic()) == []


async def test_what_cannot_be_told_is_told_later() -> None:
    """Without a database nothing is lost: the change is still to be told."""
    share = HealthSharing("postgresql://postgres@127.0.0.1:1/none", Health())
    share._health.fail(A, time.monotonic(), RULES)
    await share.tell()
    assert [report.deployment for report in share.find_changes(time.monotonic())] == [A]
    await share.close()


def test_two_gateways_share_their_health(database_url: str, tmp_path) -> None:
    """A deployment that one gateway process puts out is out in the other within a second."""
    with (
        run_gateway(prepare(database_url, tmp_path / "a")) as one,
        run_gateway(prepare(database_url, tmp_path / "b")) as other,
    ):
        now = time.monotonic()
        one.parts.routing.health.fail(A, now, RULES)
        while not other.parts.routing.health.is_out(A, time.monotonic()):
            assert time.monotonic() - now < 3
            time.sleep(0.05)
