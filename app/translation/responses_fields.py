"""What every part of a Responses call shares: refusing what has no words elsewhere, and marks for the prompt cache."""

from collections.abc import Collection, Mapping

from app.providers.exact_json import Fields
from app.translation.reading import at, get_object, get_text, refuse
from app.wire.chat import Cache

NOTHING: Mapping[str, tuple[object, ...]] = {}
CACHE_FIELDS = ("cache_control", "prompt_cache_breakpoint")


def allow_only(
    fields: Fields, path: str, known: Collection[str], neutral: Mapping[str, tuple[object, ...]] = NOTHING
) -> None:
    """Refuse a field that is not `known`, unless it is null or says no more than its default (`neutral`)."""
    for key, value in fields.items():
        if value is None or key in known or value in neutral.get(key, ()):
            continue
        raise refuse(at(path, key), "is unknown, or only OpenAI's own models understand it.")


def read_cache(fields: Fields, path: str) -> Cache | None:
    """Return the mark of a part: Anthropic's `cache_control`, or OpenAI's breakpoint, whose lifetime is its own."""
    control = get_object(fields, "cache_control", path)
    if control is not None:
        return Cache(ttl=get_text(control, "ttl", at(path, "cache_control")))
    return None if get_object(fields, "prompt_cache_breakpoint", path) is None else Cache()
