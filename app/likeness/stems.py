"""Brings the forms of a word together."""

import re

_ENDINGS = (
    "ations", "ation", "ments", "ment", "ings", "ing", "edly", "ed", "ers", "er", "ly", "ies", "ion", "e",
)  # fmt: skip
_DOUBLE = re.compile(r"([bdgklmnprt])\1$")


def stem_plural(word: str) -> str:
    """Return the singular of a regular plural."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes")) else word[:-1]


def stem(word: str) -> str:
    """Return the part that a word's forms share: good enough to find "booking" and "booked" beside each other."""
    word = stem_plural(word)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return _DOUBLE.sub(r"\1", word[: -len(ending)])
    return word
