"""Input tokens of a call before it is made: an upper bound that is close, whatever is in the body."""

import asyncio
from collections.abc import Sequence

import msgspec

from app.catalog.asked import Asked
from app.catalog.contents import Contents, read_contents
from app.catalog.tokenizers import Tokenizer, find_tokenizer
from app.catalog.vocabulary import count_text, is_loaded

INLINE_BYTES = 32 * 2**10
"""A larger body is counted on a thread: some 2 ms of work at that size."""

COUNTED_CHARS = 4 * 2**20
"""What goes beyond is not encoded but taken at a token a byte: a second of work is enough for one call."""


class InputCount(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a call, at most: all `tokens`, how many of them may be counted as audio, whether any as images."""

    tokens: int
    audio_tokens: int = 0
    has_images: bool = False
    asked: Asked = Asked()


Target = tuple[str, str]
"""A model's name as its provider knows it, and the vendor (app/providers/registry.py) whose own service that is.

"" is any other server: it may call its models what it likes, and count as it likes.
"""


def count_input(body: bytes, model: str, vendor: str) -> InputCount:
    """Return the most input tokens that `model` may count in `body`. Never raises, whatever the body."""
    return count_contents(read_contents(body), find_tokenizer(model, vendor))


async def count_inputs(body: bytes, targets: Sequence[Target]) -> list[InputCount]:
    """Return the counts of `body` for each of the models that may answer it; never on the event loop for long."""
    tokenizers = [find_tokenizer(model, vendor) for model, vendor in targets]
    if len(body) <= INLINE_BYTES and all(is_loaded(one.vocabulary) for one in tokenizers):
        return _count_all(body, tokenizers)
    return await asyncio.to_thread(_count_all, body, tokenizers)


def _count_all(body: bytes, tokenizers: Sequence[Tokenizer]) -> list[InputCount]:
    contents = read_contents(body)
    counts = {one: count_contents(contents, one) for one in dict.fromkeys(tokenizers)}
    return [counts[one] for one in tokenizers]


def count_contents(contents: Contents, tokenizer: Tokenizer) -> InputCount:
    """Return the count of what is in a body with one tokenizer."""
    if contents.unread_bytes:
        return InputCount(tokens=contents.unread_bytes, asked=contents.asked)
    tokens = (
        _count_texts(contents, tokenizer)
        + tokenizer.call_tokens
        + tokenizer.message_tokens * contents.messages
        + (tokenizer.tools_tokens if contents.tools else 0)
        + contents.numbers * (2 if tokenizer.foreign else 1)
        + tokenizer.image_tokens * contents.images
        + tokenizer.small_image_tokens * contents.small_images
        + contents.audio_tokens
        + contents.flat_tokens
    )
    return InputCount(
        tokens=tokens,
        audio_tokens=contents.audio_tokens,
        has_images=contents.images + contents.small_images > 0,
        asked=contents.asked,
    )


def _count_texts(contents: Contents, tokenizer: Tokenizer) -> int:
    tokens, chars, special, left = 0, 0, 0, COUNTED_CHARS
    for text in contents.texts:
        head, rest = text[:left], text[left:]
        left -= len(head)
        tokens += count_text(head, tokenizer.vocabulary) + len(rest.encode("utf-8", "replace"))
        if tokenizer.foreign:
            chars += -(-len(text) // 4)
            special += 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))
    return max(-(-tokens * tokenizer.percent // 100), chars) + special
