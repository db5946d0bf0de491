"""What a body asks for that decides what the call may cost: how much output, of which kinds, and what beside it."""

from collections.abc import Sequence

import msgspec

from app.providers.exact_json import Fields, as_list, is_fields

USUAL_SEARCHES = 5
MOST_SEARCHES = 100
MOST_ANSWERS = 128
MOST_TOKENS = 10_000_000
"""More than any model writes: a larger number is as good as this one, and money has to fit its columns."""

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What bears on the price. `limit` is the longest answer the call allows, in tokens; None: it names none.

    `answers` are how many it wants. `caches` and `caches_long`: parts of the prompt are marked to be kept for minutes,
    for hours.
    """

    limit: int | None = None
    answers: int = 1
    caches: bool = False
    caches_long: bool = False
    audio_output: bool = False
    image_output: bool = False
    web_searches: int = 0
    service_tier: str | None = None
    fast: bool = False


def read_asked(fields: Fields, *, marks: Sequence[Fields] = ()) -> Asked:
    """Return what the fields of a body ask for; `marks` are the cache marks within its parts."""
    own = fields.get("cache_control")
    kept = [*marks, own] if is_fields(own) else [*marks]
    tier = fields.get("service_tier")
    kinds = as_list(fields.get("modalities")) or ()
    return Asked(
        limit=max((limit for name in _LIMITS if (limit := _count(fields.get(name))) is not None), default=None),
        answers=min(max(_count(fields.get("n")) or 1, _count(fields.get("best_of")) or 1, 1), MOST_ANSWERS),
        caches=bool(kept),
        caches_long=any(mark.get("ttl") == "1h" for mark in kept) or fields.get("prompt_cache_retention") is not None,
        audio_output="audio" in kinds or is_fields(fields.get("audio")),
        image_output="image" in kinds or any(tool.get("type") == "image_generation" for tool in _list_tools(fields)),
        web_searches=_count_searches(fields),
        service_tier=tier if isinstance(tier, str) else None,
        fast=fields.get("speed") == "fast",
    )


def _count_searches(fields: Fields) -> int:
    """Return how often the web may be searched for the answer."""
    searches = 1 if is_fields(fields.get("web_search_options")) else 0
    for tool in _list_tools(fields):
        if str(tool.get("type")).startswith("web_search"):
            most = _count(tool.get("max_uses"))
            searches += USUAL_SEARCHES if most is None else most
    return min(searches, MOST_SEARCHES)


def _list_tools(fields: Fields) -> list[Fields]:
    return [tool for tool in as_list(fields.get("tools")) or () if is_fields(tool)]


def _count(value: object) -> int | None:
    """Return a number of the client's as far as it makes sense."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, MOST_TOKENS)
