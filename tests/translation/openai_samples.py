"""The tables of the two pages about OpenAI, and answers to read."""

import json
from pathlib import Path
from typing import Any

import msgspec

from app.wire.chat import (
    ChatReply,
    Choice,
    Delta,
    Event,
    Finished,
    PartStart,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)

PAGES = Path(__file__).parents[2] / "docs/translation"
_DEFAULTS = [
    ("custom", False),
    ("is_error", False),
    ("adaptive", False),
    ("enabled", True),
    ("text", ""),
    ("parts", []),
]


def list_rows(page: str) -> list[tuple[str, str, str]]:
    """The rows of a page's tables: field, sample, and what becomes of it as JSON, `dropped` or `400 name`."""
    rows = [line.strip("| ").split(" | ") for line in (PAGES / page).read_text().splitlines() if line.startswith("| ")]
    return [
        (field, sample.strip("`"), outcome.replace("*", "").strip().replace("`", ""))
        for field, sample, outcome in (row for row in rows if len(row) == 3)
        if sample.startswith("`{")
    ]


def add_raw(base: dict[str, Any], sample: str) -> bytes:
    """`base` with the fields of `sample`, as text, so that digits stay as they are."""
    fields = {name: json.dumps(value) for name, value in base.items()}
    fields |= {k: bytes(v).decode() for k, v in msgspec.json.decode(sample, type=dict[str, msgspec.Raw]).items()}
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}").encode()


def show(value: object) -> Any:
    """A canonical value as JSON without what it does not say; numbers keep their digits."""
    text = value if isinstance(value, str) and value[:1] == "{" else msgspec.json.encode(value)
    return leave_out_defaults(json.loads(text, parse_float=str))


def leave_out_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [leave_out_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    said = {key: leave_out_defaults(item) for key, item in value.items() if item is not None}
    return {key: item for key, item in said.items() if (key, item) not in _DEFAULTS}


def read_stream(stream: bytes) -> list[Any]:
    """The data of every event; the end mark as it is."""
    data = [event.removeprefix("data: ") for event in stream.decode().split("\n\n")[:-1]]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def collect(events: list[Event]) -> ChatReply:
    """The whole answer that a stream's events make; logprobs of a choice are joined lists."""
    start = next(event for event in events if isinstance(event, Start))
    used = [event.usage for event in events if isinstance(event, Used)]
    choices: dict[int, dict[int, Any]] = {}
    logprobs: dict[int, list[Any]] = {}
    finishes: dict[int, Finished] = {}
    for event in events:
        if isinstance(event, PartStart):
            choices.setdefault(event.choice, {})[event.index] = event.part
        elif isinstance(event, Delta):
            parts = choices[event.choice]
            parts[event.index] = _add(parts[event.index], event)
            if event.logprobs is not None:
                logprobs.setdefault(event.choice, []).extend(json.loads(bytes(event.logprobs))["content"])
        elif isinstance(event, Finished):
            finishes[event.choice] = event
    return ChatReply(
        id=start.id,
        model=start.model,
        created=start.created,
        usage=used[-1] if used else start.usage,
        choices=tuple(
            Choice(
                index=index,
                parts=tuple(choices.get(index, {}).values()),
                finish=finishes[index].finish,
                logprobs=write_logprobs(logprobs.get(index)),
            )
            for index in sorted(finishes)
        ),
    )


def write_logprobs(content: list[Any] | None) -> msgspec.Raw | None:
    return msgspec.Raw(msgspec.json.encode({"content": content, "refusal": None})) if content else None


def _add(part: Any, delta: Delta) -> Any:
    if isinstance(part, ToolUse):
        return msgspec.structs.replace(part, arguments=part.arguments + delta.text)
    if isinstance(part, Thinking):
        return msgspec.structs.replace(part, text=part.text + delta.text, signature=delta.signature or part.signature)
    assert isinstance(part, Text | Refusal)
    return msgspec.structs.replace(part, text=part.text + delta.text)


LOGPROBS = {"content": [{"token": "Hé", "logprob": -0.10, "bytes": [72], "top_logprobs": []}], "refusal": None}
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
}
FRAME: dict[str, Any] = {"id": "chatcmpl-1", "created": 1700000000, "model": "gpt-4o"}


def build_call(number: int, name: str, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "arguments": arguments}
    return {"index": number, "id": call_id or f"call_{number}", "type": "function", "function": said}


def add_arguments(number: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": number, "function": {"arguments": arguments}}]}


def write_chunks(*pieces: dict[str, Any], usage: dict[str, Any] | None = USAGE, done: bool = True) -> bytes:
    """A stream: each piece is a delta, or a whole choice where it has one."""
    chunks = [
        {**FRAME, "object": "chat.completion.chunk", "choices": [piece if "delta" in piece else in_choice(piece)]}
        for piece in pieces
    ]
    if usage is not None:
        chunks.append({**FRAME, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    events = [b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n" for chunk in chunks]
    return b"".join([*events, b"data: [DONE]\n\n" if done else b""])


def in_choice(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish, **more}


def write_whole(*messages: tuple[dict[str, Any], str], usage: dict[str, Any] | None = USAGE, **choice: Any) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
        for index, (message, finish) in enumerate(messages)
    ]
    answer = {**FRAME, "object": "chat.completion", "choices": choices, "usage": usage}
    return json.dumps(answer, ensure_ascii=False).encode()
