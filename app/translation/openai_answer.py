"""Writing a whole reply as a chat completion."""

from app.providers.exact_json import Fields, write_exact
from app.translation.openai_thinking import write_thinking_block
from app.translation.openai_words import wants_function_call, write_finish, write_tier, write_usage
from app.wire.chat import ChatCall, ChatReply, Choice, Refusal, Text, Thinking, ToolUse

NOTHING = {False: "{}", True: ""}
"""The arguments of a call without any: of a function, of a custom tool."""


def write_reply(reply: ChatReply, call: ChatCall) -> bytes:
    """Return the body of the answer to `call`."""
    body: Fields = {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model or call.model,
        "choices": [_write_choice(choice, call) for choice in reply.choices],
    }
    if reply.usage is not None:
        body["usage"] = write_usage(reply.usage)
    tier = write_tier(reply.service_tier)
    if tier is not None:
        body["service_tier"] = tier
    return write_exact(body)


def _write_choice(choice: Choice, call: ChatCall) -> Fields:
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    return {
        "index": choice.index,
        "message": _write_message(choice, call),
        "logprobs": choice.logprobs,
        "finish_reason": write_finish(choice.finish, call, refused=refused),
    }


def _write_message(choice: Choice, call: ChatCall) -> Fields:
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    refusals = [part.text for part in choice.parts if isinstance(part, Refusal)]
    calls = [part for part in choice.parts if isinstance(part, ToolUse)]
    empty = None if calls or refusals else ""
    message: Fields = {"role": "assistant", "content": "".join(texts) if texts else empty}
    message["refusal"] = "".join(refusals) if refusals else None
    message |= _write_thinking([part for part in choice.parts if isinstance(part, Thinking)])
    if calls and wants_function_call(call):
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments or NOTHING[False]}
    elif calls:
        message["tool_calls"] = [write_call(use, use.arguments or NOTHING[use.custom]) for use in calls]
    return message


def _write_thinking(parts: list[Thinking]) -> Fields:
    fields: Fields = {}
    shown = "".join(part.text for part in parts)
    if shown:
        fields["reasoning_content"] = shown
    blocks = [block for part in parts if (block := write_thinking_block(part)) is not None]
    if blocks:
        fields["thinking_blocks"] = blocks
    return fields


def write_call(use: ToolUse, arguments: str) -> Fields:
    """Return a tool call; a thought signature stands where Google's OpenAI endpoint puts it."""
    kind = "custom" if use.custom else "function"
    text = "input" if use.custom else "arguments"
    call: Fields = {"id": use.id, "type": kind, kind: {"name": use.name, text: arguments}}
    if use.signature is not None:
        call["extra_content"] = {"google": {"thought_signature": use.signature}}
    return call
