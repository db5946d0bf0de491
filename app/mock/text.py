"""The mock's texts and its one rule for tokens: four characters are one token, rounded up."""

from collections.abc import Iterator

CHARS_PER_TOKEN = 4

LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo "
    "consequat. Duis aute irure dolor in reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur. "
    "Excepteur sint occaecat cupidatat non proident, sunt in culpa qui officia deserunt mollit anim id est laborum. "
)

STORY = (
    "Once a relay stood on a hill and passed on whatever reached it. Letters came up from the valley, some in one hand "
    "and some in another, and the relay never read aloud what was not meant for it. It noted how long each one was, "
    "who had sent it and what the postage came to.\n\n"
    "One winter the road to the coast was snowed in. The relay tried it, waited a little, tried again, and then took "
    "the road over the pass, for a letter that arrives late is better than one that does not arrive. In spring a "
    "traveller asked it what it had learned. "
    "\N{LEFT DOUBLE QUOTATION MARK}To keep count,\N{RIGHT DOUBLE QUOTATION MARK} it said, "
    "\N{LEFT DOUBLE QUOTATION MARK}and to keep still.\N{RIGHT DOUBLE QUOTATION MARK} \N{EVERGREEN TREE}\n"
)

THOUGHT = "The message is short, so I look at what it asks, weigh the ways to answer, and take the plainest one. "

TEXTS = {"lorem": LOREM.strip(), "story": STORY.strip()}


def count_tokens(chars: int) -> int:
    """Return how many tokens a text of `chars` characters has."""
    return (chars + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN


def fill_text(source: str, chars: int) -> str:
    """Return exactly `chars` characters of `source`, repeated as often as needed."""
    return (source * (chars // len(source) + 1))[:chars]


def split_pieces(text: str, chars: int = CHARS_PER_TOKEN) -> Iterator[str]:
    """Yield the pieces a stream sends `text` in: one token each unless told otherwise."""
    size = max(1, chars)
    for start in range(0, len(text), size):
        yield text[start : start + size]
