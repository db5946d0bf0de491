"""Numbers as people write them."""

import pytest

from app.likeness.numbers import list_amounts, read_numbers


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("five milligrams", "5 mg"), ("5mg", "5 mg"), ("$1,000.00", "1000 usd"), ("1,00,000 rupees", "100000 inr"),
        ("twenty one hundred", "2100"), ("one hundred one", "101"), ("two thousand and five", "2005"),
        ("ninety nine bottles", "99 bottles"), ("nineteen eighty four", "19 84"), ("a second", "a second"),
        ("second", "second"), ("the third", "the 3rd"), ("3rd", "3rd"), ("mp3", "mp3"), ("v2.0", "v2.0"), ("4k", "4k"),
        ("1.10", "1.10"), ("no one", "no one"), ("one of us", "one of us"),
        ("one week", "1 week"), ("50 %", "50 percent"),
        ("hundred", "hundred"), ("two dozen", "24"), ("half", "0.5"), ("and five", "and 5"),
        ("three and four", "3 and 4"),
    ],
)  # fmt: skip
def test_numbers(words, read):
    """Words become digits, units their short form, and names with numbers in them stay names."""
    assert " ".join(read_numbers(words.split())) == read


def test_amounts_keep_their_units():
    """Two numbers are the same only with the same unit, however they are ordered."""
    assert list_amounts(("5", "mg", "or", "10", "x1")) == ("10", "5 mg", "x1")
