"""The word pieces are those that the vocabulary was made from."""

import pytest

from app.likeness.model_files import load_pieces
from app.likeness.wordpiece import WordPieces, split_words

TINY = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "un": 3, "##lock": 4, "##ing": 5, "?": 6, "lock": 7}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's NEW?", ["what", "'", "s", "new", "?"]),
        ("Café  déjà-vu", ["cafe", "deja", "-", "vu"]),
        ("東京 tower", ["東", "京", "tower"]),
        ("a\tb\nc\u200bd", ["a", "b", "cd"]),
        ("5€ $7 x^2", ["5€", "$", "7", "x", "^", "2"]),
        ("", []),
    ],
)
def test_splits_as_the_vocabulary_was_made(text, words):
    """Marks and Chinese characters are words of their own, accents and what does not print are left out."""
    assert split_words(text) == words


def test_takes_the_longest_piece_first():
    """A word is cut into the longest known pieces from its start."""
    assert WordPieces(TINY).read("unlocking?") == [3, 4, 5, 6]


@pytest.mark.parametrize("word", ["unlockable", "x", "lock" * 30])
def test_a_word_with_an_unknown_part_is_unknown(word):
    """No half of a word stands for the whole."""
    assert WordPieces(TINY).read(word) == [0]


def test_reads_as_the_reference_does():
    """Ids of the packaged vocabulary, as written down from the reference tokenizer."""
    assert load_pieces().read("Tokenization of naïve strings, isn't it?") == [
        19204, 3989, 1997, 15743, 7817, 1010, 3475, 1005, 1056, 2009, 1029,
    ]  # fmt: skip
