"""OpenAI's older text completions."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.mock.answer import Answer, Ask, build_answer
from app.mock.asgi import EVENT_STREAM, Reply, Request, build_json
from app.mock.calls import count_text, read_json, read_model
from app.mock.chat_stream import FINGERPRINT, build_usage, finish_reason
from app.mock.errors import MockError, write_error
from app.mock.state import State
from app.mock.text import split_pieces

_DEFAULT_LIMIT = 16


class CompletionBody(msgspec.Struct):
    """The fields of a text completion that change the mock's answer."""

    model: str
    prompt: str | list[Any] = "<|endoftext|>"
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    stop: str | list[str] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


_decoder = msgspec.json.Decoder(CompletionBody)


def handle(request: Request, state: State) -> Reply:
    """Answer POST /v1/completions."""
    body = read_json(request, _decoder)
    prompts = read_texts(body.prompt, "prompt")
    model, behaviour = read_model(body.model, prompts[-1], state)
    limit = _DEFAULT_LIMIT if body.max_tokens is None else body.max_tokens
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    answers: list[Answer] = []
    for prompt in prompts:
        ask = Ask(model=model, text=prompt, behaviour=behaviour, limit=limit, stops=stops)
        for _ in range(body.n or 1):
            answer = build_answer(ask, state)
            text = prompt + answer.text if body.echo else answer.text
            answers.append(msgspec.structs.replace(answer, text=text))
    frame = {
        "id": state.new_id("cmpl-"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }
    usage = build_usage(count_text(sum(map(len, prompts)), 0, None), answers, behaviour)
    if not body.stream:
        choices = [_build_choice(i, one.text, finish_reason(one), body.logprobs) for i, one in enumerate(answers)]
        return build_json({**frame, "choices": choices, "usage": usage}, behaviour=behaviour)
    late = write_error(MockError("The mock broke this stream.", status=500), request.vendor, request.id)
    wants_usage = bool((body.stream_options or {}).get("include_usage"))
    return Reply(
        headers=EVENT_STREAM,
        events=_write_events(frame, answers, usage if wants_usage else None, behaviour.chunk_chars),
        error_event=b"data: " + late + b"\n\n",
        behaviour=behaviour,
    )


def read_texts(value: str | list[Any], field: str) -> list[str]:
    """Return the texts of a prompt or an embedding input: one or many, as text or as token numbers."""
    if isinstance(value, str) or (value and all(isinstance(one, int) for one in value)):
        value = [value]
    if not value:
        raise MockError(f"'{field}' must not be an empty array.", param=field)
    return [_read_text(one, field) for one in value]


def _read_text(one: Any, field: str) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, list):
        return " ".join(map(str, one))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
    raise MockError(f"'{field}' must be text or tokens.", param=field, kind="invalid_type")


def _build_choice(index: int, text: str, finish: str | None, logprobs: int | None) -> dict[str, Any]:
    return {
        "text": text,
        "index": index,
        "logprobs": None if logprobs is None else _build_logprobs(text, logprobs),
        "finish_reason": finish,
    }


def _build_logprobs(text: str, top: int) -> dict[str, Any]:
    tokens = list(split_pieces(text))
    return {
        "tokens": tokens,
        "token_logprobs": [-0.1] * len(tokens),
        "top_logprobs": [{token: -0.1} for token in tokens] if top else None,
        "text_offset": [4 * index for index in range(len(tokens))],
    }


def _write_events(
    frame: dict[str, Any], answers: list[Answer], usage: dict[str, Any] | None, chunk_chars: int
) -> Iterator[bytes]:
    tail: dict[str, Any] = {} if usage is None else {"usage": None}
    for index, answer in enumerate(answers):
        for piece in split_pieces(answer.text, chunk_chars):
            choice = _build_choice(index, piece, None, None)
            yield b"data: " + msgspec.json.encode({**frame, "choices": [choice], **tail}) + b"\n\n"
        choice = _build_choice(index, "", finish_reason(answer), None)
        yield b"data: " + msgspec.json.encode({**frame, "choices": [choice], **tail}) + b"\n\n"
    if usage is not None:
        yield b"data: " + msgspec.json.encode({**frame, "choices": [], "usage": usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"
