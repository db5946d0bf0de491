"""The words of stored answers: what questions that ask the same can be answered with."""

import msgspec

from app.cache.types import Entry
from app.likeness.judge import list_echoes
from app.providers.answer_text import read_answer_text
from app.providers.protocol import Endpoint
from app.semantic.types import Likeness


def read_text(endpoint: Endpoint, body: bytes, *, streamed: bool) -> str | None:
    """Return the words of an answer; None when it is more, less or other than words."""
    try:
        whole = endpoint.write_whole(body) if streamed and endpoint.write_whole is not None else body
    except ValueError:
        return None
    return read_answer_text(endpoint.name, whole)


def complete_likeness(likeness: Likeness | None, entry: Entry, endpoint: Endpoint) -> Likeness | None:
    """Return what is kept of a call's question beside its answer; None when the answer suits no other question."""
    if likeness is None:
        return None
    text = read_text(endpoint, entry.body, streamed=entry.streamed)
    if text is None:
        return None
    return msgspec.structs.replace(likeness, echoes=tuple(sorted(list_echoes(likeness.question, text))))
