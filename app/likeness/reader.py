"""Reads two questions together, word beside word: vectors that were made apart cannot tell who does what to whom."""

import hashlib
from typing import TYPE_CHECKING

from app.likeness.model_files import DATA, find_weights, load_pieces, open_graph, read_file
from app.likeness.wordpiece import WordPieces

if TYPE_CHECKING:
    from app.likeness.model_files import Run

# What it was trained to read of either text.
LONGEST_TOKENS = 64


class SecondReader:
    """Two texts to a number: the higher, the likelier they ask the same. Calls may come from any thread."""

    def __init__(self, identity: str, pieces: WordPieces, run: "Run") -> None:
        self.id = identity
        self._pieces = pieces
        self._run = run

    @classmethod
    def load(cls) -> "SecondReader":
        """Load the shipped model; its word vectors are those of the packaged embedder. About 40 ms and 30 MB."""
        weights, graph = find_weights(), read_file(DATA / "reader.onnx")
        return cls(f"reader-{hashlib.sha256(graph).hexdigest()[:12]}", load_pieces(), open_graph(graph, weights))

    def compare(self, first: str, second: str) -> float | None:
        """Return the number, or None where a text is longer than it can read."""
        # One order for each pair, so that the answer does not depend on who asked first.
        ids_a, ids_b = sorted((self._pieces.read(first), self._pieces.read(second)))
        if max(len(ids_a), len(ids_b)) > LONGEST_TOKENS:
            return None
        end = self._pieces.end
        ids = [self._pieces.start, *ids_a, end, *ids_b, end]
        return float(self._run(ids, [0] * (len(ids_a) + 2) + [1] * (len(ids_b) + 1))[0])
