"""OpenAI's chat completions: reading the call and writing the whole answer."""

import time
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from app.mock import chat_stream
from app.mock.answer import ANY, AUTO, NONE, Answer, Ask, Tool, build_answer, find_choice
from app.mock.asgi import EVENT_STREAM, Reply, Request, build_json
from app.mock.behaviour import Behaviour
from app.mock.calls import count_text, read_json, read_model
from app.mock.chat_stream import Exchange, build_logprobs, build_usage
from app.mock.errors import MockError, write_error
from app.mock.state import State

_IMAGE_CHARS = 340


class Part(msgspec.Struct):
    """A content part; only text is understood, any other counts as an image."""

    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatBody(msgspec.Struct):
    """The fields of a chat completion that change the mock's answer; others are accepted unread."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


_decoder = msgspec.json.Decoder(ChatBody)


def handle(request: Request, state: State) -> Reply:
    """Answer POST /v1/chat/completions."""
    body = read_json(request, _decoder)
    _check(body)
    text = _last_user_text(body.messages)
    model, behaviour = read_model(body.model, text, state)
    ask = _read_ask(body, model, text, behaviour)
    answers = [build_answer(ask, state) for _ in range(body.n or 1)]
    exchange = Exchange(
        id=state.new_id("chatcmpl-"),
        model=model,
        created=int(time.time()),
        usage=build_usage(_count_input(body), answers, behaviour),
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    if not body.stream:
        return build_json(build_completion(exchange, answers), behaviour=behaviour)
    include_usage = bool((body.stream_options or {}).get("include_usage"))
    late = write_error(MockError("The mock broke this stream.", status=500), request.vendor, request.id)
    return Reply(
        headers=EVENT_STREAM,
        events=chat_stream.write_events(exchange, answers, include_usage, behaviour.chunk_chars),
        error_event=b"data: " + late + b"\n\n",
        behaviour=behaviour,
    )


def _check(body: ChatBody) -> None:
    if body.stream_options is not None and not body.stream:
        raise MockError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    called = False
    for index, message in enumerate(body.messages):
        if message.role == "tool" and not (called and message.tool_call_id):
            raise MockError(
                "A message of role 'tool' must answer a preceding message with 'tool_calls'.",
                param=f"messages[{index}].role",
            )
        called = bool(message.tool_calls) or (called and message.role == "tool")
    if isinstance(body.stop, list) and len(body.stop) > 4:
        raise MockError("At most 4 stop sequences are allowed.", param="stop", kind="array_above_max_length")


def _text_of(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content or () if part.text is not None)


def _last_user_text(messages: list[ChatMessage]) -> str:
    """Return the text of the last user message, or of the tool's answer when that came last."""
    last = messages[-1]
    if last.role == "tool":
        return _text_of(last)
    return next((_text_of(message) for message in reversed(messages) if message.role == "user"), _text_of(last))


def _count_input(body: ChatBody) -> int:
    chars = 0
    for message in body.messages:
        if isinstance(message.content, str):
            chars += len(message.content)
        for part in message.content or () if not isinstance(message.content, str) else ():
            chars += _IMAGE_CHARS if part.text is None else len(part.text)
        if message.tool_calls:
            chars += len(msgspec.json.encode(message.tool_calls))
    return count_text(chars, len(body.messages), body.tools)


def _read_ask(body: ChatBody, model: str, text: str, behaviour: Behaviour) -> Ask:
    tools = read_tools(body.tools)
    return Ask(
        model=model,
        text=text,
        behaviour=behaviour,
        tools=tools,
        choice=read_choice(body.tool_choice, tools),
        parallel=body.parallel_tool_calls is not False,
        after_tool=body.messages[-1].role == "tool",
        schema=_read_schema(body),
        limit=body.max_completion_tokens or body.max_tokens,
        stops=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        think=body.reasoning_effort not in {None, "none", "minimal"},
    )


def read_tools(tools: list[dict[str, Any]] | None) -> tuple[Tool, ...]:
    """Return the functions among `tools`, in the nested (chat) or flat (responses) form."""
    found: list[Tool] = []
    for index, tool in enumerate(tools or ()):
        if tool.get("type") != "function":
            continue
        function: dict[str, Any] = tool.get("function") or tool
        name = function.get("name")
        if not isinstance(name, str) or not name:
            field = f"tools[{index}].name"
            raise MockError(f"Missing required parameter: '{field}'.", param=field, kind="missing_required_parameter")
        found.append(Tool(name, function.get("parameters") or {"type": "object"}))
    return tuple(found)


def read_choice(choice: str | dict[str, Any] | None, tools: tuple[Tool, ...]) -> str:
    """Return auto, none, required or the name of the tool that must be called."""
    if choice is None:
        return AUTO
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            return AUTO
        return find_choice(tools, (choice.get("function") or choice).get("name"))
    if choice not in {AUTO, NONE, ANY}:
        raise MockError(
            f"Invalid value: {choice!r}. Supported values are: 'none', 'auto', and 'required'.",
            param="tool_choice",
            kind="invalid_value",
        )
    return choice


def _read_schema(body: ChatBody) -> dict[str, Any] | None:
    wanted = body.response_format or {}
    match wanted.get("type", "text"):
        case "text":
            return None
        case "json_object":
            if not any("json" in _text_of(message).lower() for message in body.messages):
                raise MockError(
                    "'messages' must mention the word 'json' for a 'response_format' of type 'json_object'.",
                    param="messages",
                )
            return {"properties": {"answer": {"const": _last_user_text(body.messages)}}}
        case "json_schema":
            return read_json_schema(wanted.get("json_schema"), "response_format.json_schema")
        case other:
            raise MockError(f"Invalid value: {other!r}.", param="response_format.type", kind="invalid_value")


def read_json_schema(wanted: Any, field: str) -> dict[str, Any]:
    """Return the schema of a json_schema format; it must have a name."""
    format_ = cast("dict[str, Any]", wanted if isinstance(wanted, dict) else {})
    for key, kind in (("name", str), ("schema", dict)):
        if not isinstance(format_.get(key), kind):
            raise MockError(
                f"Missing required parameter: '{field}.{key}'.",
                param=f"{field}.{key}",
                kind="missing_required_parameter",
            )
    return format_["schema"]


def build_completion(exchange: Exchange, answers: list[Answer]) -> dict[str, Any]:
    """Return a chat.completion object."""
    return {
        "id": exchange.id,
        "object": "chat.completion",
        "created": exchange.created,
        "model": exchange.model,
        "choices": [
            {
                "index": index,
                "message": _build_message(answer),
                "logprobs": build_logprobs(answer.text, exchange.top_logprobs),
                "finish_reason": chat_stream.finish_reason(answer),
            }
            for index, answer in enumerate(answers)
        ],
        "usage": exchange.usage,
        "service_tier": "default",
        "system_fingerprint": chat_stream.FINGERPRINT,
    }


def _build_message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.calls else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{call.id}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    return message
