"""The ways in which a path can be written, and what a provider may make of it. No I/O."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

DECODINGS = 4
"""How often a path is decoded; what is encoded more often than that is taken for the worst."""

_PLAIN = re.compile(r"[A-Za-z0-9_.~:@=,+-]+")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_SEPARATOR = re.compile(r"[/\\]")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]+")
_END = re.compile(r"[;?#]")


def is_about(rest: str, places: Iterable[tuple[str, ...]]) -> bool:
    """Return whether a percent-encoded path leads below one of `places` for the most lenient of its readers."""
    for _ in range(DECODINGS):
        rest = unquote(rest)
    names = [_END.split(_UNSEEN.sub("", name))[0].casefold() for name in _SEPARATOR.split(rest)]
    names = [name for name in names if name not in {"", "."}]
    while names and names[0] == "v1":
        del names[0]
    return ".." in names or _ENCODED.search(rest) is not None or _is_below(names, places)


def is_plain(names: Sequence[str], places: Iterable[tuple[str, ...]]) -> bool:
    """Return whether the segments of a path, as they came, lead below one of `places` for every reader alike."""
    return _is_below(names, places) and all(_PLAIN.fullmatch(name) for name in names)


def _is_below(names: Sequence[str], places: Iterable[tuple[str, ...]]) -> bool:
    return any(tuple(names[: len(place)]) == place for place in places)
