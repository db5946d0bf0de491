"""Anthropic's messages as a stream of named events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.mock.text import split_pieces

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def write_events(message: dict[str, Any], chunk_chars: int) -> Iterator[bytes]:
    """Yield the stream of `message`: start, a ping, each block in deltas, the reason it ended, stop."""
    usage = message["usage"]
    first = {key: value for key, value in usage.items() if key != "output_tokens_details"}
    opening: dict[str, Any] = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield _write("message_start", {"message": {**opening, "usage": {**first, "output_tokens": 1}}})
    pinged = False
    for index, block in enumerate(message["content"]):
        yield _write("content_block_start", {"index": index, "content_block": _open_block(block)})
        if not pinged:
            yield _PING
            pinged = True
        for delta in _list_deltas(block, chunk_chars):
            yield _write("content_block_delta", {"index": index, "delta": delta})
        yield _write("content_block_stop", {"index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    told = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    total = {key: usage[key] for key in (*told, "output_tokens_details") if key in usage}
    yield _write("message_delta", {"delta": delta, "usage": total})
    yield _write("message_stop", {})


def _write(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


def _open_block(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return {**block, **empty[block["type"]]}


def _list_deltas(block: dict[str, Any], chunk_chars: int) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "thinking":
            for piece in split_pieces(block["thinking"], chunk_chars):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in split_pieces(msgspec.json.encode(block["input"]).decode(), chunk_chars):
                yield {"type": "input_json_delta", "partial_json": piece}
        case _:
            for piece in split_pieces(block["text"], chunk_chars):
                yield {"type": "text_delta", "text": piece}
