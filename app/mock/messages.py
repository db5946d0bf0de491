"""Anthropic's messages: reading the call, writing the whole answer, and counting tokens."""

from typing import Any, cast

import msgspec

from app.mock import messages_stream
from app.mock.answer import ANY, AUTO, NONE, Answer, Ask, Tool, build_answer, find_choice
from app.mock.asgi import EVENT_STREAM, Reply, Request, build_json
from app.mock.behaviour import Behaviour
from app.mock.calls import read_json, read_model
from app.mock.errors import MockError, Vendor, write_error
from app.mock.message_bodies import Block, CountBody, InputMessage, MessageBody
from app.mock.prompt_cache import build_input_usage, count_input
from app.mock.state import State

SIGNATURE = "bW9jay1zaWduYXR1cmU="


_decoder = msgspec.json.Decoder(MessageBody)
_count_decoder = msgspec.json.Decoder(CountBody)


def check_version(request: Request) -> None:
    """Refuse a request without the version header, as the vendor does."""
    if not request.headers.get(b"anthropic-version"):
        raise MockError("anthropic-version: header is required")


def handle(request: Request, state: State) -> Reply:
    """Answer POST /v1/messages."""
    check_version(request)
    body = read_json(request, _decoder)
    _check(body)
    text, after_tool = _last_user_text(body.messages)
    model, behaviour = read_model(body.model, text, state)
    answer = build_answer(_read_ask(body, model, text, after_tool, behaviour), state)
    usage = build_input_usage(body, b'"cache_control"' in request.body, behaviour, state)
    message = _build_message(body, model, answer, usage, state)
    if not body.stream:
        return build_json(message, behaviour=behaviour)
    late = MockError("The mock broke this stream.", status=529)
    return Reply(
        headers=EVENT_STREAM,
        events=messages_stream.write_events(message, behaviour.chunk_chars),
        error_event=b"event: error\ndata: " + write_error(late, Vendor.ANTHROPIC, request.id) + b"\n\n",
        behaviour=behaviour,
    )


def count_tokens(request: Request, state: State) -> Reply:
    """Answer POST /v1/messages/count_tokens."""
    check_version(request)
    body = read_json(request, _count_decoder)
    text, _ = _last_user_text(body.messages)
    _, behaviour = read_model(body.model, text, state)
    return build_json({"input_tokens": count_input(body)}, behaviour=behaviour)


def _check(body: MessageBody) -> None:
    if body.messages[0].role != "user":
        raise MockError('messages: first message must use the "user" role')
    for index, message in enumerate(body.messages):
        if not message.content and index < len(body.messages) - 1:
            raise MockError(f"messages.{index}: all messages must have non-empty content")
    thinking = body.thinking or {}
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise MockError("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body.max_tokens:
            raise MockError("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _last_user_text(messages: list[InputMessage]) -> tuple[str, bool]:
    """Return the last user turn's text, and whether that turn only carries tool results."""
    for message in reversed(messages):
        if message.role != "user":
            continue
        if isinstance(message.content, str):
            return message.content, False
        results = [block for block in message.content if block.get("type") == "tool_result"]
        texts = [str(block["text"]) for block in message.content if block.get("type") == "text" and "text" in block]
        if texts:
            return "\n".join(texts), bool(results)
        return "\n".join(_result_text(block) for block in results), bool(results)
    return "", False


def _result_text(block: Block) -> str:
    content = block.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in cast("list[Block]", content))


def _read_ask(body: MessageBody, model: str, text: str, after_tool: bool, behaviour: Behaviour) -> Ask:
    tools = _read_tools(body.tools)
    choice = body.tool_choice or {"type": "auto"}
    format_: Block = (body.output_config or {}).get("format") or {}
    if format_ and not isinstance(format_.get("schema"), dict):
        raise MockError("output_config.format.schema: Field required")
    return Ask(
        model=model,
        text=text,
        behaviour=behaviour,
        tools=tools,
        choice=_read_choice(choice, tools),
        parallel=not choice.get("disable_parallel_tool_use"),
        after_tool=after_tool,
        schema=format_.get("schema"),
        limit=body.max_tokens,
        stops=tuple(body.stop_sequences or ()),
        think=(body.thinking or {}).get("type") in {"enabled", "adaptive", "between_tools"},
    )


def _read_tools(tools: list[Block] | None) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for index, tool in enumerate(tools or ()):
        if tool.get("type", "custom") != "custom":
            continue
        if not tool.get("name"):
            raise MockError(f"tools.{index}.custom.name: Field required")
        if not isinstance(tool.get("input_schema"), dict):
            raise MockError(f"tools.{index}.custom.input_schema: Field required")
        found.append(Tool(str(tool["name"]), tool["input_schema"]))
    return tuple(found)


def _read_choice(choice: Block, tools: tuple[Tool, ...]) -> str:
    kind = choice.get("type")
    if kind == "tool":
        return find_choice(tools, choice.get("name"))
    named = {"auto": AUTO, "any": ANY, "none": NONE}
    if kind not in named:
        raise MockError("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    return named[kind]


def _build_message(
    body: MessageBody, model: str, answer: Answer, usage: dict[str, Any], state: State
) -> dict[str, Any]:
    reason = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}.get(answer.finish, answer.finish)
    usage["output_tokens"] = answer.output_tokens
    if answer.thought:
        usage["output_tokens_details"] = {"thinking_tokens": answer.reasoning_tokens}
    return {
        "model": model,
        "id": state.new_id("msg_01"),
        "type": "message",
        "role": "assistant",
        "content": _build_content(answer, (body.thinking or {}).get("display") == "omitted"),
        "stop_reason": answer.forced or reason,
        "stop_sequence": answer.stop_sequence,
        "usage": usage,
    }


def _build_content(answer: Answer, omitted: bool) -> list[Block]:
    content: list[Block] = []
    if answer.thought:
        thought = "" if omitted else answer.thought
        content.append({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
    for call in answer.calls:
        arguments = msgspec.json.decode(call.arguments)
        content.append({"type": "tool_use", "id": f"toolu_01{call.id}", "name": call.name, "input": arguments})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    return content
