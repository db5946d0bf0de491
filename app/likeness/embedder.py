"""Turns texts into vectors on this machine, with the small model that an installed package brings."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from app.likeness.alignment import Tokens, align, load_reader
from app.likeness.model_files import (
    DATA,
    MODEL_SHA256,
    EmbedderError,
    find_weights,
    load_pieces,
    open_graph,
    read_file,
)
from app.likeness.wordpiece import END, START, UNKNOWN, WordPieces

if TYPE_CHECKING:
    from app.likeness.model_files import Run, Vector

__all__ = ["EmbedderError", "LocalEmbedder"]

NAME = "all-MiniLM-L6-v2-int8"
# What the model was trained to read; the rest of a longer text would be ignored, so two such texts could collide.
LONGEST_TOKENS = 256
# About 12 kB each at twenty words: who asks is compared with what is found a moment later.
KEPT_TEXTS = 256


class LocalEmbedder:
    """Texts to unit vectors. Loading takes about 40 ms and 40 MB; calls may come from any thread."""

    def __init__(self, identity: str, pieces: WordPieces, run: "Run") -> None:
        self.id = identity
        self._pieces = pieces
        self._run = run
        self._latest: dict[str, Tokens] = {}
        self._lock = threading.Lock()
        self.dimensions = len(self._embed("a"))

    @classmethod
    def load(cls, path: Path | None = None) -> "LocalEmbedder":
        """Load the packaged model, or `model.onnx` and `tokenizer.json` from the folder at `path`."""
        return _load_packaged() if path is None else _load_folder(path)

    def embed(self, texts: Iterable[str]) -> "list[Vector]":
        """Return a unit vector for each text. Batches gain nothing on a processor, so texts go one by one."""
        return [self._embed(text) for text in texts]

    def fits(self, text: str) -> bool:
        """Tell whether the model reads all of `text`."""
        return len(self._pieces.read(text)) <= LONGEST_TOKENS - 2

    def read_tokens(self, text: str) -> Tokens:
        """Return the tokens of `text`, each with its vector in this text; the latest texts are kept."""
        with self._lock:
            kept = self._latest.get(text)
        return kept if kept is not None else self._read(text)[0]

    def align(self, first: str, second: str) -> tuple[list[float], Callable[[], float]]:
        """Return how the tokens of two texts stand to each other, and a way to ask the nets, for the verifier."""
        a, b = self.read_tokens(first), self.read_tokens(second)
        return align(a, b), lambda: load_reader().compare(a, b)

    def _embed(self, text: str) -> "Vector":
        return self._read(text)[1]

    def _read(self, text: str) -> "tuple[Tokens, Vector]":
        import numpy as np

        ids = self._pieces.read(text)[: LONGEST_TOKENS - 2]
        states = self._run([self._pieces.start, *ids, self._pieces.end], [0] * (len(ids) + 2))
        mean = states.mean(axis=0)
        lengths = np.linalg.norm(states[1:-1], axis=1, keepdims=True)
        tokens = Tokens(ids, (states[1:-1] / lengths).astype(np.float32))
        with self._lock:
            self._latest[text] = tokens
            if len(self._latest) > KEPT_TEXTS:
                del self._latest[next(iter(self._latest))]
        return tokens, (mean / np.linalg.norm(mean)).astype(np.float32)


def _load_packaged() -> LocalEmbedder:
    """Load the graph that computes with the package's weights as they are stored, in int8: half the time and memory."""
    weights, graph = find_weights(), read_file(DATA / "embedder.onnx")
    # How the weights are computed with is part of what a vector means.
    digest = hashlib.sha256(MODEL_SHA256.encode() + graph).hexdigest()
    return LocalEmbedder(f"{NAME}-{digest[:12]}", load_pieces(), open_graph(graph, weights))


def _load_folder(path: Path) -> LocalEmbedder:
    model, tokenizer = read_file(path / "model.onnx"), read_file(path / "tokenizer.json")
    digest = hashlib.sha256(model + tokenizer).hexdigest()
    try:
        pieces = WordPieces(_read_vocabulary(tokenizer))
        return LocalEmbedder(f"{path.name}-{digest[:12]}", pieces, open_graph(model, None))
    except EmbedderError:
        raise
    except Exception as error:
        raise EmbedderError(f"The model in {path} cannot be used: {error}") from error


def _read_vocabulary(tokenizer: bytes) -> dict[str, int]:
    """Return the word pieces of a `tokenizer.json`; only uncased BERT vocabularies are cut as ours is."""
    document = cast(dict[str, dict[str, object]], json.loads(tokenizer))
    model, normalizer = document["model"], document.get("normalizer") or {}
    vocabulary = cast(dict[str, int], model.get("vocab"))
    known = model.get("type") == "WordPiece" and bool(normalizer.get("lowercase"))
    if not known or not vocabulary.keys() >= {UNKNOWN, START, END}:
        raise EmbedderError("The tokenizer is not an uncased WordPiece one.")
    return vocabulary
