"""A whole Messages answer as a stream, and the stored stream as a whole answer."""

from collections.abc import Callable

from app.providers.exact_json import (
    Fields,
    Text,
    get_fields,
    get_index,
    get_items,
    parse_exact,
    write_exact,
)
from app.providers.sse import read_event, split_events, write_event

# Totals that the last event reports; the others (tier, cache split, region) are known at the start.
_TOTALS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)
_AT_END = ("stop_reason", "stop_sequence", "stop_details", "container")
_TOOL_USES = {"tool_use", "server_tool_use", "mcp_tool_use"}


def write_stream(body: bytes, usage: bool) -> bytes:  # noqa: ARG001 - this dialect always tells the usage
    """Return the stream of a whole message."""
    message = parse_exact(body)
    events = [_write_start(message)]
    for index, block in enumerate(get_items(message, "content")):
        start, deltas = _cut_block(block)
        events.append(_write("content_block_start", {"index": index, "content_block": start}))
        events += [_write("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        events.append(_write("content_block_stop", {"index": index}))
    counts = get_fields(message, "usage")
    end: Fields = {key: message[key] for key in _AT_END if key in message}
    totals: Fields = {key: counts[key] for key in _TOTALS if key in counts}
    events.append(_write("message_delta", {"delta": end, "usage": totals}))
    events.append(_write("message_stop", {}))
    return b"".join(events)


def _write(name: str, fields: Fields) -> bytes:
    return write_event(write_exact({"type": name} | fields), name.encode())


def _write_start(message: Fields) -> bytes:
    counts = get_fields(message, "usage")
    known: Fields = {key: counts[key] for key in counts if key != "output_tokens_details"}
    nothing_yet: Fields = {key: None for key in _AT_END if key in message}
    start: Fields = {**message, **nothing_yet, "content": [], "usage": known | {"output_tokens": 0}}
    return _write("message_start", {"message": start})


def _cut_block(block: Fields) -> tuple[Fields, list[Fields]]:
    """Return how a block starts and the deltas that fill it; a block of an unknown type starts whole."""
    kind = str(block.get("type"))
    if kind == "text":
        return _cut_text(block)
    if kind == "thinking":
        return _cut_thinking(block)
    if kind in _TOOL_USES and "input" in block:
        arguments = write_exact(block["input"]).decode()
        start: Fields = {**block, "input": {}}
        return start, [{"type": "input_json_delta", "partial_json": arguments}]
    return block, []


def _cut_text(block: Fields) -> tuple[Fields, list[Fields]]:
    citations = get_items(block, "citations")
    start: Fields = {**block, "text": ""}
    if citations:
        start["citations"] = []
    deltas: list[Fields] = [{"type": "citations_delta", "citation": citation} for citation in citations]
    return start, [*deltas, {"type": "text_delta", "text": block.get("text", "")}]


def _cut_thinking(block: Fields) -> tuple[Fields, list[Fields]]:
    start = block | {"thinking": ""}
    deltas: list[Fields] = [{"type": "thinking_delta", "thinking": block.get("thinking", "")}]
    if "signature" in block:
        start["signature"] = ""
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return start, deltas


def write_whole(events: bytes) -> bytes:
    """Return the whole message of a stored stream; ValueError when it is not complete."""
    message: Fields = {}
    blocks: list[Fields] = []
    for raw in split_events(events):
        name, data = read_event(raw)
        if name == b"message_stop" and message:
            return write_exact(message | {"content": [_end_block(block) for block in blocks]})
        if name == b"error":
            raise ValueError("the stream carries an error")
        if name == b"message_start":
            message = get_fields(parse_exact(data), "message")
        elif name == b"message_delta":
            _add_end(message, parse_exact(data))
        elif name.startswith(b"content_block_"):
            _add_to_block(blocks, name, parse_exact(data))
    raise ValueError("the stream has no end marker")


def _add_end(message: Fields, event: Fields) -> None:
    """Add the end of a message: its reason, the totals and what else the event brings."""
    message |= get_fields(event, "delta")
    counts = get_fields(message, "usage")
    for key, value in get_fields(event, "usage").items():
        if value is not None or key not in counts:
            counts[key] = value
    message["usage"] = counts
    message |= {key: value for key, value in event.items() if key not in {"type", "delta", "usage"}}


def _add_to_block(blocks: list[Fields], name: bytes, event: Fields) -> None:
    index = get_index(event)
    if name == b"content_block_start":
        if index != len(blocks):
            raise ValueError("a content block is missing")
        blocks.append(get_fields(event, "content_block"))
    elif name == b"content_block_delta":
        if not 0 <= index < len(blocks):
            raise ValueError("a delta without its content block")
        delta = get_fields(event, "delta")
        _DELTAS.get(str(delta.get("type")), _add_unknown)(blocks[index], delta)


def _add_citation(block: Fields, delta: Fields) -> None:
    block["citations"] = [*get_items(block, "citations"), delta.get("citation")]


def _add_signature(block: Fields, delta: Fields) -> None:
    block["signature"] = delta.get("signature")


def _add_unknown(block: Fields, delta: Fields) -> None:
    """Strings are fragments, anything else replaces what was there."""
    for key, value in delta.items():
        if key != "type":
            block[key] = _grow(block.get(key), value) if isinstance(value, str) else value


def _grow(old: object, fragment: str) -> Text:
    if isinstance(old, Text):
        old.parts.append(fragment)
        return old
    return Text(old if isinstance(old, str) else "", fragment)


def _end_block(block: Fields) -> Fields:
    """Tool input arrives as fragments of JSON; without any it is what the start said."""
    fragments = str(block.pop("partial_json", ""))
    if fragments.strip():
        block["input"] = parse_exact(fragments.encode())
    return block


_DELTAS: dict[str, Callable[[Fields, Fields], None]] = {
    "citations_delta": _add_citation,
    "signature_delta": _add_signature,
}
