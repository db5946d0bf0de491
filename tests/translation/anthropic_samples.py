"""Answers of Anthropic's Messages API and what they are in canonical words."""

from typing import Any

import msgspec

from app.providers.anthropic_stream import write_stream
from app.translation.answers import collect_parts
from app.wire.chat import Choice, Delta, Event, Finished, Part, PartEnd, PartStart, Start, Text, Thinking, ToolUse, Used
from app.wire.usage import Usage
from tests.providers.samples import compact

WHOLE: dict[str, Any] = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [
        {"type": "thinking", "thinking": "Zwei Züge, 世界 🎉.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": 'I "look"\n\u2028.'},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"z": 9007199254740993, "a": {"b": ["ü", None]}}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
        "service_tier": "standard",
    },
}
PARTS: tuple[Part, ...] = (
    Thinking(text="Zwei Züge, 世界 🎉.", signature="c2ln"),
    Thinking(redacted="cmVk"),
    Text(text='I "look"\n\u2028.'),
    ToolUse(id="toolu_1", name="f", arguments='{"z":9007199254740993,"a":{"b":["ü",null]}}'),
    ToolUse(id="toolu_2", name="g", arguments="{}"),
)
USAGE = Usage(
    input_tokens=10,
    cache_read_tokens=5,
    cache_write_5m_tokens=4,
    cache_write_1h_tokens=3,
    output_tokens=18,
    reasoning_tokens=12,
    service_tier="standard",
)
BODY = compact(WHOLE)
STREAM = write_stream(BODY, True)


def collect(events: list[Event]) -> tuple[Choice, Usage | None]:
    """The first choice and the usage that a whole stream of events says."""
    ends = [event for event in events if isinstance(event, Finished)]
    used = [event.usage for event in events if isinstance(event, Start | Used)]
    mine = [event for event in events if isinstance(event, PartStart | Delta | PartEnd)]
    assert len(ends) == 1
    choice = Choice(parts=collect_parts(list(mine)), finish=ends[0].finish, stop_sequence=ends[0].stop_sequence)
    return choice, used[-1]


def without_time(events: list[Event]) -> list[Event]:
    """The events with the time that a stream began taken out."""
    return [msgspec.structs.replace(event, created=0) if isinstance(event, Start) else event for event in events]


def read_events(stream: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The names and the data of a stream's events, strictly: every line must be one of these two."""
    events: list[tuple[str, dict[str, Any]]] = []
    assert stream.endswith(b"\n\n") or not stream
    for raw in stream.split(b"\n\n")[:-1]:
        name, data = raw.split(b"\n")
        fields = msgspec.json.decode(data.removeprefix(b"data: "))
        assert name.removeprefix(b"event: ").decode() == fields["type"]
        events.append((fields.pop("type"), fields))
    return events
