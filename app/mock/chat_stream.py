"""OpenAI's chat completions as a stream of chunks, and what chunks and whole answers share."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.mock.answer import Answer
from app.mock.behaviour import Behaviour
from app.mock.text import split_pieces

FINGERPRINT = "fp_relaycoremock"

_encode = msgspec.json.encode
_FINISH = {"stop_sequence": "stop", "tools": "tool_calls"}


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in every chunk of one answer."""

    id: str
    model: str
    created: int
    usage: dict[str, Any]
    top_logprobs: int | None = None


def finish_reason(answer: Answer) -> str:
    """Return OpenAI's word for why the answer ended."""
    return answer.forced or _FINISH.get(answer.finish, answer.finish)


def build_usage(input_tokens: int, answers: list[Answer], behaviour: Behaviour) -> dict[str, Any]:
    """Return usage with its details; cached tokens are part of the prompt tokens."""
    output = sum(answer.output_tokens for answer in answers)
    prompt = max(input_tokens, behaviour.cached or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": behaviour.cached or 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(answer.reasoning_tokens for answer in answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def build_logprobs(text: str, top: int | None) -> dict[str, Any] | None:
    """Return a log probability for every token of `text`, or None when they were not asked for."""
    if top is None:
        return None
    return {"content": [_build_logprob(piece, top) for piece in split_pieces(text)], "refusal": None}


def _build_logprob(piece: str, top: int) -> dict[str, Any]:
    token = {"token": piece, "logprob": -0.1, "bytes": list(piece.encode())}
    others = [
        {"token": f"{piece}{rank}", "logprob": -0.1 - rank, "bytes": list(f"{piece}{rank}".encode())}
        for rank in range(1, top)
    ]
    return {**token, "top_logprobs": [token, *others] if top else []}


def write_events(
    exchange: Exchange,
    answers: list[Answer],
    include_usage: bool,
    chunk_chars: int,
) -> Iterator[bytes]:
    """Yield the stream: role, deltas and finish of each choice, usage if asked for, and the end marker."""
    frame: dict[str, Any] = {
        "id": exchange.id,
        "object": "chat.completion.chunk",
        "created": exchange.created,
        "model": exchange.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        "choices": [],
    }
    if include_usage:
        frame["usage"] = None
    for index, answer in enumerate(answers):
        for delta in _write_deltas(answer, chunk_chars):
            content = delta.get("content")
            logprobs = build_logprobs(content, exchange.top_logprobs) if content else None
            frame["choices"] = [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]
            yield b"data: " + _encode(frame) + b"\n\n"
        frame["choices"] = [{"index": index, "delta": {}, "logprobs": None, "finish_reason": finish_reason(answer)}]
        yield b"data: " + _encode(frame) + b"\n\n"
    if include_usage:
        yield b"data: " + _encode({**frame, "choices": [], "usage": exchange.usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _write_deltas(answer: Answer, chunk_chars: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if answer.calls else "", "refusal": None}
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": f"call_{call.id}", "type": "function", "function": function}]}
        for piece in split_pieces(call.arguments, chunk_chars):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    if not answer.calls:
        for piece in split_pieces(answer.text, chunk_chars):
            yield {"content": piece}
