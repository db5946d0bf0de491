"""Gives stored questions the vectors of another embedder, once that is the one in use; a process at a time does it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import psycopg

from app.db.connection import Connection, DatabaseAwayError, PatientConnection
from app.semantic.embedding import Embedder
from app.semantic.lookup import SemanticCache
from app.semantic.reembedding_store import end_turn, list_embedders, list_stale, move, take_turn

T = TypeVar("T")

logger = logging.getLogger("relaycore.semantic")

LOOK_EVERY_SECONDS = 30.0
QUERY_SECONDS = 10.0
MAX_LEFT = 1000
"""After so many questions without a vector the model is taken not to answer now."""


class Reembedding:
    """Looks now and then for questions with vectors of another embedder. `name` tells which one is configured."""

    def __init__(self, url: str, semantic: SemanticCache, name: Callable[[], str]) -> None:
        self._semantic = semantic
        self._name = name
        self._connection = PatientConnection(url, name="relaycore reembedding")

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_SECONDS)
                try:
                    await self.look()
                except (DatabaseAwayError, psycopg.Error):
                    continue
        finally:
            await self._connection.close()

    async def look(self) -> int:
        """Give all that is stale a new vector, unless another process does; return how many there were."""
        kept = await self._run(list_embedders)
        if not kept:
            return 0
        embedder = await self._semantic.find_embedder(self._name())
        if embedder is None or kept == {embedder.id} or not await self._run(take_turn):
            return 0
        try:
            return await self._move_all(embedder)
        finally:
            await self._run(end_turn)

    async def _move_all(self, embedder: Embedder) -> int:
        moved, left = 0, list[bytes]()
        while len(left) < MAX_LEFT:
            stale = await self._run(partial(list_stale, embedder=embedder.id, left=left))
            if not stale:
                break
            pairs = [(one, await embedder.embed(one.question)) for one in stale]
            gone = [one for one, vector in pairs if vector is None and not embedder.reads(one.question)]
            made = [(one, vector) for one, vector in pairs if vector is not None]
            await self._run(partial(move, embedder=embedder.id, made=made, gone=gone))
            left += [one.key for one, vector in pairs if vector is None and one not in gone]  # later, maybe
            moved += len(made)
        if moved:
            logger.info("%d stored questions have vectors of %s now", moved, embedder.id)
        return moved

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._connection.run(work, seconds=QUERY_SECONDS)
