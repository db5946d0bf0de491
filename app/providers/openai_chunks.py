"""OpenAI's chunks: a whole answer cut into them, and joined from them again.

Chat and legacy completions share the frame; what differs is a function over one choice each way.
"""

from collections.abc import Callable, Iterator

from app.providers.exact_json import (
    Fields,
    Text,
    as_list,
    get_fields,
    get_index,
    get_items,
    is_fields,
    parse_exact,
    write_exact,
)
from app.providers.sse import read_event, split_events, write_event

_DONE = b"data: [DONE]\n\n"
_EVERY_CHUNK = {"id", "created", "model", "service_tier", "system_fingerprint"}
# Some vendors repeat these in every fragment; all other strings of a delta are fragments.
_NO_FRAGMENT = {"id", "type", "role", "name", "index", "format", "call_id"}


def write_chunks(body: bytes, usage: bool, kind: str, cut: Callable[[Fields], list[Fields]]) -> bytes:
    """Return the stream of the whole answer `body`: `cut` makes the choices of the chunks from one choice.

    Fields of the answer that chunks do not repeat travel in the first one.
    """
    whole = parse_exact(body)
    counts = whole.pop("usage", None) if usage else None
    head: Fields = {key: whole[key] for key in whole if key in _EVERY_CHUNK} | {"object": kind}
    rest: Fields = {key: whole[key] for key in whole if key not in _EVERY_CHUNK | {"choices", "object", "usage"}}
    tail: Fields = {} if counts is None else {"usage": None}
    events: list[bytes] = []
    for choice in get_items(whole, "choices"):
        for part in cut(choice):
            events.append(write_event(write_exact(head | {"choices": [part]} | rest | tail)))
            rest = {}
    if counts is not None:
        last: Fields = {**head, "choices": [], "usage": counts}
        events.append(write_event(write_exact(last)))
    return b"".join([*events, _DONE])


def write_joined(
    events: bytes, kind: str, join: Callable[[Fields, Fields], None], end: Callable[[Fields], None]
) -> bytes:
    """Return the whole answer of a stored stream: `join` adds a chunk's choice to what its index has so far.

    `end` has the last word on each choice.
    """
    whole: Fields = {}
    choices: dict[int, Fields] = {}
    for chunk in _read_chunks(events):
        for part in get_items(chunk, "choices"):
            index = get_index(part)
            join(choices.setdefault(index, {"index": index}), part)
        _join_head(whole, chunk)
    if whole.get("usage") is None:
        whole.pop("usage", None)
    for choice in choices.values():
        end(choice)
    whole |= {"object": kind, "choices": [choices[index] for index in sorted(choices)]}
    return write_exact(whole)


def _read_chunks(events: bytes) -> Iterator[Fields]:
    """Yield the chunks up to the end marker; ValueError when there is none, or an error before it."""
    for raw in split_events(events):
        data = read_event(raw).data
        if data.startswith(b"[DONE]"):
            return
        if data:
            chunk = parse_exact(data)
            if chunk.get("error"):
                raise ValueError("the stream carries an error")
            yield chunk
    raise ValueError("the stream has no end marker")


def _join_head(whole: Fields, chunk: Fields) -> None:
    """Add fields beside the choices: the last one that says something wins; padding is dropped."""
    for key, value in chunk.items():
        if key == "choices":
            whole.setdefault(key, [])
        elif key != "obfuscation" and (key not in whole or (value is not None and value != "")):
            whole[key] = value


def join_fields(whole: Fields, part: Fields, skip: frozenset[str]) -> None:
    """Add what is no delta (finish reason, filter results): the last one that is given wins."""
    for key, value in part.items():
        if key not in skip and (value is not None or key not in whole):
            whole[key] = value


def join_logprobs(whole: Fields, part: Fields) -> None:
    """Add log probabilities, which come in lists that follow one another."""
    if "logprobs" not in part:
        return
    joined = get_fields(whole, "logprobs")
    for key, value in get_fields(part, "logprobs").items():
        old, new = as_list(joined.get(key)), as_list(value)
        if old is not None and new is not None:
            old.extend(new)
        elif old is None:
            joined[key] = value
    whole["logprobs"] = joined or None


def merge_delta(whole: Fields, delta: Fields) -> None:
    """Add a delta to what came before: strings grow, objects merge, list items with the same index merge."""
    for key, value in delta.items():
        whole[key] = _merge(key, whole.get(key), value)


def _merge(key: str, old: object, new: object) -> object:
    if new is None:
        return old
    if isinstance(new, str):
        return _merge_text(key, old, new)
    if (items := as_list(new)) is not None:
        return _merge_items(as_list(old) or [], items)
    if is_fields(new):
        merged: Fields = old if is_fields(old) else {}
        merge_delta(merged, new)
        return merged
    return new


def _merge_text(key: str, old: object, new: str) -> object:
    if key in _NO_FRAGMENT:
        return old or new
    if isinstance(old, Text):
        old.parts.append(new)
        return old
    return Text(new)


def _merge_items(old: list[object], new: list[object]) -> list[object]:
    """Merge into `old` the items that have an index there; put the others behind."""
    for item in new:
        if not is_fields(item):
            old.append(item)
            continue
        known = _find_item(old, item.get("index"))
        if known is None:
            known = Fields()
            old.append(known)
        merge_delta(known, item)
    return old


def _find_item(items: list[object], index: object) -> Fields | None:
    if not isinstance(index, int):
        return None
    return next((item for item in items if is_fields(item) and item.get("index") == index), None)
