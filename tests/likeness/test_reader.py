"""The net that reads two questions side by side."""

import math

import numpy as np
import pytest

from app.likeness import alignment
from app.likeness.alignment import Tokens, load_reader
from app.likeness.embedder import LocalEmbedder


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


def test_the_net_is_read_when_two_texts_are_compared(embedder):
    """Who only embeds does not pay for the net; what it says is the last of the numbers about two texts."""
    load_reader.cache_clear()
    embedder.embed(["How do I boil an egg?"])
    assert load_reader.cache_info().currsize == 0
    one, other = "How do I boil an egg?", "How should I boil eggs?"
    *aligned, read = embedder.align(one, other)
    assert aligned == alignment.align(embedder.read_tokens(one), embedder.read_tokens(other))
    assert read == compare(embedder, one, other)
