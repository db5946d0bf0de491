"""OpenAI's embeddings: what a whole answer says; there is no stream."""

import msgspec

from app.providers.exact_json import parse_typed
from app.providers.usage import read_openai_usage
from app.wire.usage import Facts


class _Item(msgspec.Struct):
    pass


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    model: str | None = None
    usage: object = None
    error: object = None


_decoder = msgspec.json.Decoder(_Answer)


def read_facts(body: bytes) -> Facts:
    """Return what a whole answer says; complete needs at least one vector and no error."""
    answer = parse_typed(_decoder, body)
    if answer.data is None and not answer.error:
        raise ValueError("no data")
    return Facts(
        usage=read_openai_usage(answer.usage), model=answer.model, complete=bool(answer.data) and not answer.error
    )
