"""What a Claude model takes, by the generation in its name; the vendor's model pages of 2026 say the same.

A Claude name without a number counts as newer than all; another vendor's model behind this dialect has no generation.
"""

import re

Generation = tuple[int, int]

_NEWEST: Generation = (99, 0)
# "claude-3-5-haiku-20241022", "claude-opus-4-5-20251101", "anthropic.claude-sonnet-4-20250514-v1:0", "claude-opus-4.8":
# a date is no minor number.
_NUMBERS = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[.-](\d{1,2})(?!\d))?")


def find_generation(model: str) -> Generation | None:
    """Return the generation of a Claude model, None for what is no Claude."""
    if "claude" not in model:
        return None
    numbers = _NUMBERS.search(model)
    return (int(numbers[1]), int(numbers[2] or 0)) if numbers else _NEWEST


def thinks_adaptively(model: str) -> bool:
    """Return whether the model takes adaptive thinking and an effort; older ones take a budget of tokens."""
    generation = find_generation(model)
    return generation is not None and generation >= (4, 6)


def refuses_later_system(model: str) -> bool:
    """Return whether the model is known to refuse a system message after the conversation has begun."""
    generation = find_generation(model)
    return generation is not None and generation < (4, 8)
