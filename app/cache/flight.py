"""Single flight: of identical calls at the same time one goes to the provider, and the others share its answer."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from app.cache.types import Entry
from app.semantic.types import Decision
from app.wire.http import Headers


class Likened(msgspec.Struct, frozen=True):
    """Why the answer to a similar question does: what was decided, and the header lines that say so."""

    decision: Decision
    lines: Headers


class Flight:
    """One call under way. `pieces` are the bytes of its stream so far; `entry` its answer once it is complete.

    `likened`: it is the answer to a similar question.

    The call of a leader whose own client has left goes on while somebody follows it.
    """

    def __init__(self, *, streamed: bool) -> None:
        self.streamed = streamed
        self.pieces: list[bytes] = []
        self.entry: Entry | None = None
        self.likened: Likened | None = None
        self.landed = False
        self.followers = 0
        self._leader: asyncio.Task[object] | None = asyncio.current_task()
        self._leader_left = False
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, piece: bytes) -> None:
        """Put the next bytes of the stream before the followers."""
        self.pieces.append(piece)
        if self._waiting:
            self._wake()

    def land(self, entry: Entry | None, likened: Likened | None = None) -> None:
        """End the flight with a complete answer, or with None when there is none to share."""
        self.entry = entry
        self.likened = likened
        self.landed = True
        self._leader = None
        self._wake()

    def leader_leaves(self) -> bool:
        """Note that the leader's client is gone; True when nobody else waits for the answer."""
        self._leader_left = True
        return self.followers == 0

    async def wait(self) -> Entry | None:
        """Return the complete answer, or None when the flight failed."""
        async with _Following(self):
            while not self.landed:
                await self._news()
        return self.entry

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream from its beginning, as it comes. Ends when the flight does; `entry` tells how."""
        async with _Following(self):
            seen = 0
            while True:
                while seen < len(self.pieces):
                    yield self.pieces[seen]
                    seen += 1
                if self.landed:
                    return
                await self._news()

    async def _news(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def follower_leaves(self) -> None:
        """Note that a follower is gone; the last one takes an abandoned call with it."""
        self.followers -= 1
        if self.followers == 0 and self._leader_left and self._leader is not None:
            self._leader.cancel()


class _Following:
    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    async def __aenter__(self) -> None:
        self._flight.followers += 1

    async def __aexit__(self, *_: object) -> None:
        self._flight.follower_leaves()


class Flights:
    """The calls under way, by cache key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    @property
    def count(self) -> int:
        """How many calls are under way."""
        return len(self._flights)

    def find(self, key: bytes) -> Flight | None:
        """Return the flight to follow."""
        return self._flights.get(key)

    def open(self, key: bytes, *, streamed: bool, shared: bool = True) -> Flight:
        """Return a new flight led by the running task; one that is not `shared` leaves others to the one there is."""
        flight = Flight(streamed=streamed)
        if shared:
            self._flights[key] = flight
        return flight

    def close(self, key: bytes, flight: Flight, entry: Entry | None, likened: Likened | None = None) -> None:
        """Land `flight` and let the next identical call look in the cache again."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.land(entry, likened)
