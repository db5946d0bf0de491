"""OpenAI's responses: reading the call, the response object, and the stored responses."""

import time
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from app.mock import responses_stream
from app.mock.answer import Answer, Ask, build_answer
from app.mock.asgi import EVENT_STREAM, Reply, Request, build_json
from app.mock.behaviour import Behaviour
from app.mock.calls import count_text, read_json, read_model
from app.mock.chat import read_choice, read_json_schema, read_tools
from app.mock.errors import MockError
from app.mock.state import State


class ResponseBody(msgspec.Struct):
    """The fields of a response that change the mock's answer or come back in it."""

    model: str
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    reasoning: dict[str, Any] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    truncation: str | None = None
    user: str | None = None


_decoder = msgspec.json.Decoder(ResponseBody)


def handle(request: Request, state: State) -> Reply:
    """Answer POST /v1/responses."""
    body = read_json(request, _decoder)
    if body.previous_response_id and body.previous_response_id not in state.responses:
        raise MockError(
            f"Previous response with id '{body.previous_response_id}' not found.",
            param="previous_response_id",
            kind="previous_response_not_found",
        )
    items = _list_items(body.input)
    text = _last_user_text(items)
    model, behaviour = read_model(body.model, text, state)
    answer = build_answer(_read_ask(body, model, items, text, behaviour), state)
    response = _build_response(body, model, state)
    output = _build_output(answer, body, state)
    final = _finish(response, answer, output, _count_input(body, items), behaviour)
    if body.store is not False:
        inputs = [{"id": state.new_id("msg_"), "type": "message", **item} for item in items]
        state.responses.put(final["id"], (final, inputs))
    if not body.stream:
        return build_json(final, behaviour=behaviour)
    return Reply(
        headers=EVENT_STREAM,
        events=responses_stream.write_events(response, final, behaviour.chunk_chars),
        error_event=responses_stream.write_error(behaviour.error_after or 0),
        behaviour=behaviour,
    )


def _list_items(value: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": "user", "content": [{"type": "input_text", "text": value}]}]
    return value


def _text_of(item: dict[str, Any]) -> str:
    content = item.get("output") if item.get("type") == "function_call_output" else item.get("content")
    if isinstance(content, str):
        return content
    parts = cast("list[dict[str, Any]]", content) if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts)


def _last_user_text(items: list[dict[str, Any]]) -> str:
    if items[-1].get("type") == "function_call_output":
        return _text_of(items[-1])
    return next((_text_of(item) for item in reversed(items) if item.get("role") == "user"), "")


def _count_input(body: ResponseBody, items: list[dict[str, Any]]) -> int:
    chars = len(body.instructions or "")
    for item in items:
        chars += len(_text_of(item)) + len(str(item.get("arguments", "")))
    return count_text(chars, len(items), body.tools)


def _read_ask(body: ResponseBody, model: str, items: list[dict[str, Any]], text: str, behaviour: Behaviour) -> Ask:
    tools = read_tools(body.tools)
    effort = (body.reasoning or {}).get("effort")
    return Ask(
        model=model,
        text=text,
        behaviour=behaviour,
        tools=tools,
        choice=read_choice(body.tool_choice, tools),
        parallel=body.parallel_tool_calls is not False,
        after_tool=items[-1].get("type") == "function_call_output",
        schema=_read_schema(body, text),
        limit=body.max_output_tokens,
        think=effort not in {None, "none", "minimal"} or bool((body.reasoning or {}).get("summary")),
    )


def _read_schema(body: ResponseBody, text: str) -> dict[str, Any] | None:
    wanted: dict[str, Any] = (body.text or {}).get("format") or {"type": "text"}
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return {"properties": {"answer": {"const": text}}}
        case "json_schema":
            return read_json_schema(wanted, "text.format")
        case other:
            raise MockError(f"Invalid value: {other!r}.", param="text.format.type", kind="invalid_value")


def _build_response(body: ResponseBody, model: str, state: State) -> dict[str, Any]:
    """Return the response object as it is before the model said anything."""
    return {
        "id": state.new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": bool(body.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None, **(body.reasoning or {})},
        "safety_identifier": None,
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.text or {})},
        "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
        "tools": [{"strict": True, **tool} for tool in body.tools or ()],
        "top_logprobs": 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": None,
        "user": body.user,
        "metadata": body.metadata or {},
    }


def _build_output(answer: Answer, body: ResponseBody, state: State) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    if answer.thought:
        summary = [{"type": "summary_text", "text": answer.thought}]
        told = bool((body.reasoning or {}).get("summary"))
        output.append({"id": state.new_id("rs_"), "type": "reasoning", "summary": summary if told else []})
    output += [
        {
            "id": state.new_id("fc_"),
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments,
            "call_id": f"call_{call.id}",
            "name": call.name,
        }
        for call in answer.calls
    ]
    if not answer.calls:
        part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        status = "incomplete" if answer.finish == "length" else "completed"
        message = {"id": state.new_id("msg_"), "type": "message", "status": status, "role": "assistant"}
        output.append({**message, "content": [part]})
    return output


def _finish(
    response: dict[str, Any],
    answer: Answer,
    output: list[dict[str, Any]],
    input_tokens: int,
    behaviour: Behaviour,
) -> dict[str, Any]:
    """Return the response object as it is in the end."""
    cut = {"length": "max_output_tokens"}.get(answer.forced or answer.finish)
    prompt = max(input_tokens, behaviour.cached or 0)
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": behaviour.cached or 0, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": prompt + answer.output_tokens,
    }
    return {
        **response,
        "status": "incomplete" if cut else "completed",
        "completed_at": None if cut else int(time.time()),
        "incomplete_details": {"reason": cut} if cut else None,
        "output": output,
        "usage": usage,
    }


def _find_stored(request: Request, state: State) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    key = request.get_segment(2)
    if key not in state.responses:
        raise MockError(f"Response with id '{key}' not found.", status=404, kind="not_found")
    return state.responses[key]


def get(request: Request, state: State) -> Reply:
    """Answer GET /v1/responses/{id}."""
    return build_json(_find_stored(request, state)[0])


def delete(request: Request, state: State) -> Reply:
    """Answer DELETE /v1/responses/{id}."""
    response, _ = _find_stored(request, state)
    del state.responses[response["id"]]
    return build_json({"id": response["id"], "object": "response", "deleted": True})


def list_input_items(request: Request, state: State) -> Reply:
    """Answer GET /v1/responses/{id}/input_items, newest first."""
    items = list(reversed(_find_stored(request, state)[1]))
    first, last = items[0]["id"], items[-1]["id"]
    return build_json({"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": False})
