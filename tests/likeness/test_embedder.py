"""The local embedder gives vectors that can be compared, and says what it cannot use."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from app.likeness import model_files
from app.likeness.embedder import EmbedderError, LocalEmbedder


@pytest.fixture(scope="module")
def embedder():
    return LocalEmbedder.load()


def test_vectors_have_length_one(embedder):
    """Every vector is a float32 unit vector of the announced dimensions, so a product is a cosine."""
    for vector in embedder.embed(["What is the capital of France?", "", "日本", "x" * 500]):
        assert vector.dtype == np.float32
        assert vector.shape == (embedder.dimensions,) == (384,)
        assert abs(float(vector @ vector) - 1) < 1e-5


def test_likeness_is_near(embedder):
    """A paraphrase is nearer than another question."""
    a, b, c = embedder.embed(["How do I reset my password?", "I forgot my password", "Who wrote Hamlet?"])
    assert float(a @ b) > 0.7
    assert float(a @ c) < 0.3


def test_vectors_do_not_depend_on_company(embedder):
    """A text has one vector, whatever is embedded beside it and from whichever thread."""
    alone = embedder.embed(["How do I boil an egg?"])[0]
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(embedder.embed(["other", "How do I boil an egg?"])[1]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(alone, vector) for vector in found)


@pytest.mark.parametrize(("words", "fits"), [(1, True), (254, True), (255, False), (2000, False)])
def test_fits_tells_what_is_read_to_the_end(embedder, words, fits):
    """256 tokens are read, two of which are marks; a longer text would share its vector with others."""
    assert embedder.fits("word " * words) is fits
    assert len(embedder.embed(["word " * words])) == 1


def test_identity_names_model_and_content(embedder):
    """The id changes with what is computed, so that vectors of two versions are never compared."""
    name, _, digest = embedder.id.rpartition("-")
    assert name == "all-MiniLM-L6-v2-int8"
    assert len(digest) == 12
    assert embedder.id == LocalEmbedder.load().id


def test_a_missing_package_is_an_embedder_error(monkeypatch):
    """Without the package the error names it."""
    model_files.find_weights.cache_clear()
    monkeypatch.setattr(model_files, "PACKAGE", "no-such-package-anywhere")
    with pytest.raises(EmbedderError, match="no-such-package-anywhere is not installed"):
        model_files.find_weights()


def test_other_weights_are_refused(monkeypatch):
    """The graph points into the file by offset, so any other file would give nonsense."""
    model_files.find_weights.cache_clear()
    monkeypatch.setattr(model_files, "MODEL_SHA256", "0" * 64)
    with pytest.raises(EmbedderError, match="not the file we know"):
        LocalEmbedder.load()


def test_an_empty_folder_is_an_embedder_error(tmp_path):
    """A folder without the files is named in the error."""
    with pytest.raises(EmbedderError, match=r"model\.onnx cannot be read"):
        LocalEmbedder.load(tmp_path)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"model": {"type": "BPE", "vocab": {}}}, "not an uncased WordPiece"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}, "normalizer": {"lowercase": False}}, "not an uncased"),
        (
            {
                "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}},
                "normalizer": {"lowercase": True},
            },
            "cannot be used",
        ),
        ({}, "cannot be used"),
    ],
)
def test_a_folder_with_other_files_is_an_embedder_error(tmp_path, tokenizer, message):
    """What cannot be read as an uncased BERT model is refused with its reason."""
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(EmbedderError, match=message):
        LocalEmbedder.load(tmp_path)


def test_a_folder_gives_the_same_vectors_as_the_package(tmp_path, embedder):
    """The packaged model in a folder, computed in floats, differs only by rounding."""
    weights = model_files.find_weights()
    (tmp_path / "model.onnx").symlink_to(weights)
    words = (model_files.DATA / "vocab.txt").read_text().split("\n")
    vocabulary = {word: number for number, word in enumerate(words) if word}
    tokenizer = {"model": {"type": "WordPiece", "vocab": vocabulary}, "normalizer": {"lowercase": True}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    other = LocalEmbedder.load(tmp_path)
    assert other.id != embedder.id
    texts = [
        "Where can I park my car at the station?",
        "what do i do when my card is not working",
        "Is it true that the Great Wall of China can be seen from the moon, and who was the first to say so?",
        "hi",
    ]
    for ours, theirs in zip(embedder.embed(texts), other.embed(texts), strict=True):
        assert float(ours @ theirs) > 0.995


def test_numpy_computes_with_one_thread():
    """Threads that wait for busy cores cost more than they bring; numpy is not there before it is told so."""
    code = (
        "import os, sys\nimport app.main, app.likeness.embedder\nassert 'numpy' not in sys.modules\n"
        "import numpy as np\nnp.ones((600, 600)) @ np.ones((600, 600))\nprint(len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


@pytest.fixture(autouse=True)
def _forget():
    yield
    model_files.find_weights.cache_clear()
