"""OpenAI's embeddings: unit vectors from a hash of the words, so that texts with common words lie close together."""

import base64
import hashlib
import math
from array import array
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.mock.asgi import Reply, Request, build_json
from app.mock.calls import count_text, read_json, read_model
from app.mock.completions import read_texts
from app.mock.errors import MockError
from app.mock.state import State

_DEFAULT_DIMENSIONS = 1536
_MAX_INPUTS = 2048


class EmbeddingBody(msgspec.Struct):
    """A request for embeddings."""

    model: str
    input: str | list[Any]
    dimensions: Annotated[int, Meta(ge=1, le=16_000)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


_decoder = msgspec.json.Decoder(EmbeddingBody)


def handle(request: Request, state: State) -> Reply:
    """Answer POST /v1/embeddings."""
    body = read_json(request, _decoder)
    inputs = read_texts(body.input, "input")
    if len(inputs) > _MAX_INPUTS or not all(inputs):
        raise MockError(f"'input' must be 1 to {_MAX_INPUTS} texts that are not empty.", param="input")
    model, behaviour = read_model(body.model, inputs[-1], state)
    dimensions = body.dimensions or (3072 if model.endswith("-3-large") else _DEFAULT_DIMENSIONS)
    tokens = sum(count_text(len(text), 0, None) for text in inputs)
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(text, dimensions, body.encoding_format)}
        for index, text in enumerate(inputs)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return build_json({"object": "list", "data": data, "model": model, "usage": usage}, behaviour=behaviour)


def _encode(text: str, dimensions: int, encoding: str | None) -> list[float] | str:
    vector = build_vector(text, dimensions)
    return base64.b64encode(vector.tobytes()).decode() if encoding == "base64" else vector.tolist()


def build_vector(text: str, dimensions: int) -> "array[float]":
    """Return the unit vector of `text`: every word adds eight signed ones at places its hash names."""
    vector = array("f", bytes(4 * dimensions))
    for word in text.lower().split() or [text]:
        digest = hashlib.blake2b(word.encode(), digest_size=32).digest()
        for start in range(0, 32, 4):
            number = int.from_bytes(digest[start : start + 4], "little")
            vector[(number >> 1) % dimensions] += 1 if number & 1 else -1
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        vector[0] = length = 1.0
    return array("f", [value / length for value in vector])
