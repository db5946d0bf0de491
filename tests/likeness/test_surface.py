"""What the spelling of a text tells, as tables."""

import pytest

from app.likeness.surface import list_signs, list_spelled, read_senses, senses_differ


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("What is the capital of France?", ()),
        ("Wait, what?! Really... (yes)", ()),
        ("What does the ? operator do?", ("?",)),
        ("Is it good ? Yes .", ()),
        ("a < b and b > a", ("<", ">")),
        ("What is 5!", ("!",)),
        ("What is five!", ()),
        ("I am happy :)", (":)",)),
        ("grep -v or --invert-match", ("--invert-match", "-v")),
        ("a well-known 5-year plan - or not", ()),
        ("*emphasis* and 10%, $5 & more", ()),
        ("x * y", ("*",)),
    ],
)
def test_signs(text, signs):
    """Signs that mean something by themselves count, marks that set a sentence do not."""
    assert list_signs(text) == signs


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("What does Please mean?", ("what", "does", "please", "mean")),
        ("What's the plural of cat", ("what's", "the", "plural", "of", "cat")),
        ("Please open the door", ()),
        ("", ()),
    ],
)
def test_words_that_are_spoken_of(text, spelled):
    """Where words are spoken of all of them are listed as they are written, else none."""
    assert list_spelled(text) == spelled


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("What is Apple?", "What is an apple?", True),
        ("How do I clean Windows?", "How do I clean windows?", True),
        ("how do i clean windows", "How do I clean Windows?", False),
        ("HOW DO I CLEAN WINDOWS", "How do I clean Windows?", False),
        ("Apple is large.", "How large is apple?", False),
        ("Python is fast", "A python is fast", True),
        ("Who founded the WHO?", "Who founded the who?", True),
        ("It's cheap.", "It is cheap.", False),
        ("What is a table?", "What is table?", False),
    ],
)
def test_senses(one, other, differ):
    """A homograph is a name here and a thing there only where the spelling leaves no doubt."""
    assert senses_differ(read_senses(one), read_senses(other)) is differ
    assert senses_differ(read_senses(other), read_senses(one)) is differ
