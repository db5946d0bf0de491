"""Frames of application/vnd.amazon.eventstream as Bedrock writes them, and answers in them."""

import base64
import json
import struct
import zlib
from typing import Any


def write_header(name: str, value: bytes, kind: int = 7) -> bytes:
    size = struct.pack(">H", len(value)) if kind in {6, 7} else b""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + size + value


def write_frame(payload: bytes, headers: bytes = b"") -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return start + struct.pack(">I", zlib.crc32(start))


def write_event(name: str, fields: dict[str, Any]) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    lines = b"".join(write_header(key, value.encode()) for key, value in headers.items())
    return write_frame(json.dumps(fields | {"p": "abcdefgh"}).encode(), lines)


def write_exception(name: str, message: str) -> bytes:
    headers = write_header(":exception-type", name.encode()) + write_header(":message-type", b"exception")
    return write_frame(json.dumps({"message": message}).encode(), headers)


def write_chunk(event: bytes) -> bytes:
    return write_event("chunk", {"bytes": base64.b64encode(event).decode()})


def write_text_answer() -> list[bytes]:
    """The frames of a short answer in Converse's words."""
    return [
        write_event("messageStart", {"role": "assistant"}),
        write_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hé"}}),
        write_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "llo"}}),
        write_event("contentBlockStop", {"contentBlockIndex": 0}),
        write_event("messageStop", {"stopReason": "end_turn"}),
        write_event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {}}),
    ]
