"""The door of the gateway behind which batches are: which paths are about them, and who answers those."""

from collections.abc import Awaitable, Callable, Mapping

from litestar.types import HTTPScope

from app.batch.deferring import defer
from app.batch.desk import Desk
from app.batch.vendors import anthropic_batches, openai_batches, openai_files, openai_upload, provider_files
from app.batch.vendors.asking import Asked
from app.batch.vendors.openai_shape import find_file_id
from app.batch.vendors.spelling import is_about, is_plain
from app.errors import Dialect, MethodNotAllowedError, NotFoundError, RelayError
from app.gateway.call import Call
from app.gateway.exchange import Exchange

Answer = Callable[[Asked, Desk], Awaitable[bool]]
"""Answers a call; False: it is about something of a provider's."""


ANY = "*"
PLACES: Mapping[tuple[str, ...], Mapping[str, Answer]] = {
    ("files",): {"GET": openai_files.list_all, "POST": openai_upload.upload},
    ("files", ANY): {"GET": openai_files.get_one, "DELETE": openai_files.delete_one},
    ("files", ANY, "content"): {"GET": openai_files.get_content},
    ("batches",): {"GET": openai_batches.list_all, "POST": openai_batches.create},
    ("batches", ANY): {"GET": openai_batches.get_one},
    ("batches", ANY, "cancel"): {"POST": openai_batches.cancel},
    ("messages", "batches"): {"GET": anthropic_batches.list_all, "POST": anthropic_batches.create},
    ("messages", "batches", ANY): {"GET": anthropic_batches.get_one, "DELETE": anthropic_batches.delete_one},
    ("messages", "batches", ANY, "cancel"): {"POST": anthropic_batches.cancel},
    ("messages", "batches", ANY, "results"): {"GET": anthropic_batches.get_results},
}
ANTHROPIC_FILES: Mapping[tuple[str, ...], Mapping[str, Answer]] = {
    ("files",): {"GET": provider_files.list_all, "POST": provider_files.upload},
    ("files", ANY): {"GET": provider_files.get_one, "DELETE": provider_files.delete_one},
    ("files", ANY, "content"): {"GET": provider_files.get_one},
}
"""Anthropic has files of its own, which are all a provider's."""

OURS = (("files",), ("batches",), ("messages", "batches"))
UNKNOWN = "There is nothing at this path."


class LaterDoor:
    """Answers the calls about batches and their files (app.gateway.later.Later)."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, call: Call, scope: HTTPScope, exchange: Exchange) -> bool:
        """Answer a call about batches or files; False when it is about something of a provider's, or anything else."""
        if not is_about(call.route.rest, OURS):
            return False
        asked = Asked(call, tuple(call.route.rest.split("/")), scope, exchange, self._desk.parts)
        exchange.dialect = find_dialect(asked)
        exchange.trace.wanted = False
        try:
            answered = await find_answer(asked)(asked, self._desk)
        except RelayError:
            await asked.drain()
            raise
        if not answered:
            exchange.dialect = call.route.dialect
        return answered

    async def defer(self, call: Call, scope: HTTPScope, exchange: Exchange) -> None:
        """Accept a call that is to be answered later, and tell the client where."""
        await defer(call, scope, exchange, self._desk)


def find_dialect(asked: Asked) -> Dialect:
    """Return whose words a path is in, whatever provider it names."""
    if asked.names[0] == "messages":
        return Dialect.ANTHROPIC
    return asked.call.route.dialect if asked.names_anthropic_files else Dialect.OPENAI


def find_answer(asked: Asked) -> Answer:
    """Return who answers. Raises MethodNotAllowedError and NotFoundError, but not for what is a provider's.

    Providers may read a path in more ways than one: only who may reach everything there writes it differently.
    """
    if not is_plain(asked.names, OURS):
        if asked.may_pass:
            return _leave
        raise NotFoundError(UNKNOWN, code="unknown_path")
    places = ANTHROPIC_FILES if asked.names_anthropic_files else PLACES
    methods = next((methods for place, methods in places.items() if _fits(place, asked.names)), None)
    answer = methods.get(asked.call.method) if methods is not None else None
    if answer is not None:
        return answer
    if asked.may_pass and may_be_elsewhere(asked):
        return _leave
    if methods is None:
        raise NotFoundError(UNKNOWN, code="unknown_path")
    allowed = ", ".join(sorted(methods))
    raise MethodNotAllowedError(f"This path takes {allowed}.", headers=((b"allow", allowed.encode()),))


def may_be_elsewhere(asked: Asked) -> bool:
    """Return whether a path that we know nothing of may be known to a provider."""
    if asked.names_anthropic_files:
        return True
    if asked.names[0] == "files":
        return len(asked.names) > 1 and find_file_id(asked.names[1]) is None
    return not any(_fits(place, asked.names) for place in PLACES)


async def _leave(asked: Asked, desk: Desk) -> bool:
    del asked, desk
    return False


def _fits(place: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return len(place) == len(names) and all(one in {ANY, name} for one, name in zip(place, names, strict=True))
