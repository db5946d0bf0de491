"""The vocabularies that texts are counted with: tiktoken's own, shipped with the package, read when first needed."""

import hashlib
import logging
from functools import cache
from pathlib import Path

import tiktoken

from app.settings import offer_vocabularies

O200K = "o200k_base"
CL100K = "cl100k_base"

FOLDER = Path(__file__).parent / "vocabularies"

# The names under which tiktoken looks for its files (vocabularies/README.md), and their SHA-256.
_FILES = {
    O200K: (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    CL100K: (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}

_WINDOW = 64 * 2**10
"""Characters that are encoded at a time: what has no words in it takes longer than its length would tell."""

_loaded: set[str] = set()
_logger = logging.getLogger("relaycore.catalog")


def is_loaded(vocabulary: str) -> bool:
    """Return whether counting with a vocabulary starts at once; it takes some 0.2 s to load."""
    return vocabulary in _loaded


def load() -> None:
    """Load the usual vocabulary, so that no call has to wait for it. Blocking."""
    count_text("", O200K)


def count_text(text: str, vocabulary: str) -> int:
    """Return how many tokens `text` has: at most one for each of its bytes, when the vocabulary cannot be read."""
    encoding = _find_encoding(vocabulary)
    if encoding is None:
        return len(text.encode("utf-8", "replace"))
    if len(text) <= _WINDOW:
        return len(encoding.encode_ordinary(text))
    windows = (text[start : start + _WINDOW] for start in range(0, len(text), _WINDOW))
    return sum(len(encoding.encode_ordinary(window)) + 1 for window in windows)


@cache
def _find_encoding(vocabulary: str) -> tiktoken.Encoding | None:
    """Return the encoding; None where the file is not the one that was shipped: tiktoken would fetch another."""
    name, digest = _FILES[vocabulary]
    _loaded.add(vocabulary)
    try:
        found = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    except OSError:
        found = ""
    if found != digest:
        _logger.warning("The vocabulary %s is missing or damaged; texts are counted by their bytes", vocabulary)
        return None
    offer_vocabularies(FOLDER)
    return tiktoken.get_encoding(vocabulary)
