"""Vectors of questions, made one batch at a time in a thread: what is asked for meanwhile shares the next batch."""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from app.likeness.embedder import EmbedderError, LocalEmbedder
from app.likeness.verifier import Align

logger = logging.getLogger("relaycore.semantic")

MAX_REMEMBERED = 1024
MAX_WAITING = 64
"""More questions at once are not compared: their calls go on instead of waiting."""

MAX_BATCH = 16
ASK_SECONDS = 3.0
REST_SECONDS = 10.0

MAX_DIMENSIONS = 4000
"""The longest vectors that can be searched by an index."""

LARGEST = 65504.0
"""The largest number of half precision."""


class Vector(Protocol):
    """A vector as its maker has it."""

    def tolist(self) -> list[float]:
        """Return its numbers."""
        ...


class Embedder(Protocol):
    """What makes vectors. `id` changes whenever its vectors would; `calibrated`: the policy was fitted to it."""

    id: str
    dimensions: int
    calibrated: bool

    async def ready(self) -> bool:
        """Return whether vectors can be made; `id` and `dimensions` are known then."""
        ...

    def reads(self, text: str) -> bool:
        """Return whether there is a vector of all of `text`, at some time if not now."""
        ...

    async def embed(self, text: str) -> str | None:
        """Return the vector of a text in the form that pgvector reads; None when it has none now."""
        ...


def write_vector(numbers: Sequence[float]) -> str:
    """Return a vector in the form that pgvector reads, as exact as it keeps it."""
    return "[" + ",".join(format(number, ".5g") for number in numbers) + "]"


class LocalVectors:
    """The embedder in this process. The model is loaded when the first question comes, outside the event loop.

    The policy was fitted to the packaged model, so it is calibrated only without a `path` to another one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.calibrated = path is None
        self._path = path
        self._model: LocalEmbedder | None = None
        self._failed = False
        self._loading = asyncio.Lock()
        self._remembered: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[str | None]] = {}
        self._working: asyncio.Task[None] | None = None
        self.id = ""
        self.dimensions = 0

    @property
    def align(self) -> Align | None:
        """What the verifier looks closer at two texts with; it computes for milliseconds."""
        return self._model.align if self._model is not None and self.calibrated else None

    async def ready(self) -> bool:
        """Load the model unless it is there; False when it cannot be loaded, which is said once."""
        if self._model is not None or self._failed:
            return self._model is not None
        async with self._loading:
            if self._model is None and not self._failed:
                await self._load()
        return self._model is not None

    async def _load(self) -> None:
        try:
            model = await asyncio.to_thread(LocalEmbedder.load, self._path)
        except (EmbedderError, ImportError, OSError) as error:
            self._failed = True
            logger.warning("The semantic cache is out of use: %s", error)
            return
        self.id, self.dimensions, self._model = model.id, model.dimensions, model

    def reads(self, text: str) -> bool:
        """Return whether the model reads all of `text`."""
        return self._model is not None and self._model.fits(text)

    async def embed(self, text: str) -> str | None:
        """Return the vector of `text`; None when the model cannot read all of it, or has too much to do."""
        model = self._model
        if model is None:
            return None
        known = self._remembered.get(text)
        if known is not None:
            self._remembered.move_to_end(text)
            return known
        future = self._waiting.get(text)
        if future is None:
            if len(self._waiting) >= MAX_WAITING or not model.fits(text):
                return None
            future = self._waiting[text] = asyncio.get_running_loop().create_future()
            if self._working is None:
                self._working = asyncio.create_task(self._work(model))
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Let what is under way end."""
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)

    async def _work(self, model: LocalEmbedder) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting)[:MAX_BATCH]
                vectors: list[str | None] = [None] * len(batch)
                try:
                    vectors = list(await asyncio.to_thread(partial(_embed_all, model, batch)))
                except Exception:
                    logger.exception("the local model failed on %d questions", len(batch))
                finally:
                    self._answer(batch, vectors)
        finally:
            self._working = None

    def _answer(self, batch: Sequence[str], vectors: Sequence[str | None]) -> None:
        for text, vector in zip(batch, vectors, strict=True):
            if vector is not None:
                self._remembered[text] = vector
            future = self._waiting.pop(text)
            if not future.done():
                future.set_result(vector)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def _embed_all(model: LocalEmbedder, texts: Sequence[str]) -> list[str]:
    return [write_vector(vector.tolist()) for vector in model.embed(texts)]


class RemoteVectors:
    """A configured embeddings model, asked through the gateway like any other model.

    `ask` returns the numbers, or None when the model does not answer. The length of its vectors is part of its id, so
    that a model which comes to have another one starts anew. Calls wait for it, so one that takes long, or fails in a
    way that nobody foresaw, is left alone for a while.
    """

    calibrated = False

    def __init__(self, name: str, ask: Callable[[str], Awaitable[Sequence[float] | None]]) -> None:
        self.id = ""
        self.dimensions = 0
        self._name = name
        self._ask = ask
        self._rests_until = -math.inf

    async def ready(self) -> bool:
        """Find out how long its vectors are, once; False while it does not answer."""
        return self.dimensions > 0 or await self.embed("ready") is not None

    def reads(self, text: str) -> bool:
        """Return whether the model could read `text`: only it knows."""
        return bool(text)

    async def embed(self, text: str) -> str | None:
        """Return the vector of `text`; None for one that cannot be kept or found again."""
        numbers = await self._ask_in_time(text)
        if not numbers or len(numbers) > MAX_DIMENSIONS or not all(map(_is_kept, numbers)):
            return None
        self.dimensions = len(numbers)
        self.id = f"{self._name} {self.dimensions}"
        return write_vector(numbers)

    async def _ask_in_time(self, text: str) -> Sequence[float] | None:
        """Return what the model answers within ASK_SECONDS, in a task of its own: nothing of it reaches a call."""
        if time.monotonic() < self._rests_until:
            return None
        asking = asyncio.ensure_future(self._ask(text))
        try:
            await asyncio.wait({asking}, timeout=ASK_SECONDS)
        finally:
            if not asking.done():
                asking.cancel()
        if asking.done() and not asking.cancelled() and asking.exception() is None:
            return asking.result()
        self._rests_until = time.monotonic() + REST_SECONDS
        error = asking.exception() if asking.done() and not asking.cancelled() else None
        logger.warning("The embeddings model %s is left alone for a while", self._name, exc_info=error)
        return None


def _is_kept(number: float) -> bool:
    return -LARGEST <= number <= LARGEST
