"""How API keys look and what is kept of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.keys import LENGTH, find_public_id, hash_key, make_key


def test_a_key_has_the_shape_that_is_promised() -> None:
    """A key is `rk-<public id>-<secret>` of a fixed length, and its public id can be read off."""
    key = make_key()
    prefix, public_id, secret = key.split("-")
    assert (prefix, len(public_id), len(secret), len(key)) == ("rk", 12, 38, LENGTH)
    assert find_public_id(key) == public_id


def test_keys_never_repeat() -> None:
    """Keys are random."""
    assert len({make_key() for _ in range(1000)}) == 1000


@given(st.integers(0, LENGTH - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_mistyped_key_is_recognised(position: int, character: str) -> None:
    """One wrong character anywhere is found out without asking the database."""
    key = make_key()
    mistyped = key[:position] + character + key[position + 1 :]
    assert find_public_id(mistyped) == (find_public_id(key) if mistyped == key else None)


@pytest.mark.parametrize(
    "text", ["", "rk-", "sk-abc", "rk-abc-def", "é" * LENGTH, "rk-" + "a" * (LENGTH - 3), "\ud800" * LENGTH]
)
def test_other_texts_have_no_public_id(text: str) -> None:
    """What does not look like a key is none."""
    assert find_public_id(text) is None


@given(st.text())
def test_any_text_can_be_hashed(text: str) -> None:
    """Whatever a client sends as a key is hashed, never an exception."""
    assert len(hash_key(b"pepper", text)) == 32


def test_hashes_depend_on_pepper_and_key() -> None:
    """The same key has another hash in another installation."""
    key = make_key()
    assert hash_key(b"a", key) == hash_key(b"a", key) != hash_key(b"b", key)
    assert hash_key(b"a", make_key()) != hash_key(b"a", key)
