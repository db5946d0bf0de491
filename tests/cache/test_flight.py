"""Single flight without any HTTP: leaders, followers and who leaves when."""

import asyncio

import pytest

from app.cache.flight import Flights
from tests.cache.samples import make_entry

pytestmark = pytest.mark.anyio
KEY = b"k"


async def collect(flight):
    return [piece async for piece in flight.follow()]


async def test_waiting_for_an_answer():
    """All who wait get the answer that the leader lands with, and the next call finds no flight."""
    flights = Flights()
    flight = flights.open(KEY, streamed=False)
    waiters = [asyncio.create_task(flights.find(KEY).wait()) for _ in range(5)]
    await asyncio.sleep(0)
    assert flight.followers == 5
    entry = make_entry()
    flights.close(KEY, flight, entry)
    assert await asyncio.gather(*waiters) == [entry] * 5
    assert (flights.find(KEY), flight.followers) == (None, 0)


async def test_a_flight_that_fails():
    """Who waits for a flight that came to nothing is told so."""
    flights = Flights()
    flight = flights.open(KEY, streamed=False)
    waiter = asyncio.create_task(flight.wait())
    await asyncio.sleep(0)
    flights.close(KEY, flight, None)
    assert await waiter is None


async def test_following_a_stream():
    """A follower gets the stream from its beginning, whenever it joins, and its end with the flight's."""
    flights = Flights()
    flight = flights.open(KEY, streamed=True)
    early = asyncio.create_task(collect(flight))
    await asyncio.sleep(0)
    flight.add(b"1")
    await asyncio.sleep(0)
    flight.add(b"2")
    late = asyncio.create_task(collect(flight))
    await asyncio.sleep(0)
    flight.add(b"3")
    flights.close(KEY, flight, make_entry())
    assert await early == await late == await collect(flight) == [b"1", b"2", b"3"]


async def lead(flights, started):
    """Lead a flight for ever."""
    flight = flights.open(KEY, streamed=True)
    started.set_result(flight)
    try:
        await asyncio.sleep(60)
    finally:
        flights.close(KEY, flight, None)


async def take_off(flights):
    started = asyncio.get_running_loop().create_future()
    leader = asyncio.create_task(lead(flights, started))
    return leader, await started


async def test_a_leader_alone_may_go():
    """A leader whom nobody follows takes its call along."""
    leader, flight = await take_off(Flights())
    assert flight.leader_leaves()
    leader.cancel()
    assert isinstance((await asyncio.gather(leader, return_exceptions=True))[0], asyncio.CancelledError)


async def test_the_last_follower_takes_an_abandoned_call_along():
    """The call of a leader that left goes on while it is followed, and ends with the last follower."""
    flights = Flights()
    leader, flight = await take_off(flights)
    followers = [asyncio.create_task(collect(flight)), asyncio.create_task(flight.wait())]
    await asyncio.sleep(0)
    assert not flight.leader_leaves()
    followers[0].cancel()
    await asyncio.gather(followers[0], return_exceptions=True)
    assert not leader.cancelling()
    followers[1].cancel()
    await asyncio.gather(*followers, leader, return_exceptions=True)
    assert leader.cancelled()
    assert flights.find(KEY) is None


async def test_followers_may_go_while_the_leader_stays():
    """Followers that leave do not end a call whose own client still waits."""
    leader, flight = await take_off(Flights())
    follower = asyncio.create_task(flight.wait())
    await asyncio.sleep(0)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    assert (flight.followers, leader.cancelling()) == (0, 0)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)


async def test_a_newer_flight_is_not_closed_by_an_older_one():
    """Where two lead at once the newer one is found, whichever ends first."""
    flights = Flights()
    older, newer = flights.open(KEY, streamed=False), flights.open(KEY, streamed=False)
    flights.close(KEY, older, None)
    assert flights.find(KEY) is newer
    flights.close(KEY, newer, None)
    assert flights.find(KEY) is None
