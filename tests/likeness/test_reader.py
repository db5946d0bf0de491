"""The nets that read two questions side by side."""

import math

import numpy as np
import pytest

from app.likeness import alignment
from app.likeness.alignment import Reader, Tokens, load_reader
from app.likeness.embedder import LocalEmbedder
from app.likeness.model_files import read_arrays


@pytest.fixture(scope="module")
def embedder():
    return LocalEmbedder.load()


def compare(embedder, one, other):
    return load_reader().compare(embedder.read_tokens(one), embedder.read_tokens(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "I forgot my password, how can I get another?"),
        ("a", "What is the capital of France?"),
        ("a " * 200, "Who wrote Hamlet?"),
        ("東京はどこ", "Where is Tokyo?"),
    ],
)
def test_same_both_ways(embedder, one, other):
    """It does not matter which text came first, nor how long the two are."""
    found = compare(embedder, one, other)
    assert math.isfinite(found)
    assert found == pytest.approx(compare(embedder, other, one), abs=1e-3)


def test_an_empty_text_says_nothing():
    """Where one text has no tokens, nothing speaks for or against it."""
    nothing, text = Tokens([], np.zeros((0, 384), np.float32)), Tokens([2000], np.full((1, 384), 0.05, np.float32))
    assert load_reader().compare(nothing, text) == load_reader().compare(text, nothing) == 0.0


@pytest.mark.parametrize(
    ("asked", "same", "other"),
    [
        ("How do I learn to sing?", "What is the best way to learn singing?", "How do I learn to swim?"),
        (
            "How do I get rid of belly fat?",
            "What is the best way to get rid of belly fat?",
            "What is the best way to get rid of face fat?",
        ),
        (
            "Tom Hanks was directed by Ron Howard in the film .",
            "In the film , Tom Hanks was directed by Ron Howard .",
            "Ron Howard was directed by Tom Hanks in the film .",
        ),
        (
            "The red team beat the blue team in the final .",
            "In the final , the red team beat the blue team .",
            "The blue team beat the red team in the final .",
        ),
    ],
)
def test_another_wording_is_nearer_than_another_question(embedder, asked, same, other):
    """A word or order that changes what is asked weighs more than words that do not. The guard sees none of these."""
    assert compare(embedder, asked, same) > compare(embedder, asked, other)


def test_the_nets_are_read_when_they_are_asked(embedder):
    """Who only embeds, or lays tokens beside each other, does not pay for the nets."""
    load_reader.cache_clear()
    one, other = "How do I boil an egg?", "How should I boil eggs?"
    embedder.embed([one])
    aligned, ask = embedder.align(one, other)
    assert load_reader.cache_info().currsize == 0
    assert aligned == alignment.align(embedder.read_tokens(one), embedder.read_tokens(other))
    assert ask() == compare(embedder, one, other)


def test_the_nets_are_averaged(embedder):
    """Each net reads the pair for itself, and what they say counts as much each, up to the most that is believed."""
    weights = read_arrays(alignment.WEIGHTS)
    count = len(weights["partner"])
    assert count > 1
    one, other = "How do I learn to sing?", "What is the best way to learn singing?"
    tokens = embedder.read_tokens(one), embedder.read_tokens(other)
    alone = [
        Reader({name: value[at : at + 1] for name, value in weights.items()}).compare(*tokens) for at in range(count)
    ]
    assert len(set(alone)) == count
    assert load_reader().compare(*tokens) == pytest.approx(sum(alone) / count, abs=1e-4)
    weights["verdict.bias"] = weights["verdict.bias"] + 100
    assert Reader(weights).compare(*tokens) == alignment.SUREST
