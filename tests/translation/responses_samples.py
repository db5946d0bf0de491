"""Canonical answers, the events they would stream as, and the official SDK in front of our Responses dialect."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import openai

from app.providers.sse import read_event, split_events
from app.translation.responses import RESPONSES_CLIENT
from app.wire.chat import (
    ChatCall,
    ChatReply,
    Choice,
    Delta,
    End,
    Event,
    Finished,
    Part,
    PartEnd,
    PartStart,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage

CALL = ChatCall(model="m", messages=())
USAGE = Usage(
    input_tokens=10, cache_read_tokens=20, cache_write_5m_tokens=3, cache_write_1h_tokens=4, output_tokens=5,
    reasoning_tokens=7, service_tier="standard",
)  # fmt: skip
LOGPROBS = msgspec.Raw(
    b'{"content":[{"token":"Hi","logprob":-0.10,"bytes":null,"top_logprobs":[{"token":"Yo","logprob":-2,"bytes":[89]}]}]}'
)


def build_reply(*parts: Part, **said: Any) -> ChatReply:
    choice = {name: said.pop(name) for name in ("finish", "logprobs") if name in said}
    whole = {"id": "msg_01", "model": "claude", "created": 1_700_000_000, "usage": USAGE} | said
    return ChatReply(choices=(Choice(parts=parts, **choice),), **whole)


THOUGHT = Thinking(text="I think about it.", signature="sig+/=")
CALLS = (
    ToolUse(id="toolu_1", name="add", arguments='{"a":1.10,"b":9007199254740993}'),
    ToolUse(id="toolu_2", name="now", arguments="{}"),
)
REPLIES: dict[str, ChatReply] = {
    "text": build_reply(Text(text="Hello, 世界!\n\0")),
    "empty": build_reply(usage=None),
    "empty text": build_reply(Text(text="")),
    "texts": build_reply(Text(text="One. "), Text(text="Two.")),
    "thinking": build_reply(THOUGHT, Text(text="So.")),
    "hidden thinking": build_reply(Thinking(signature="s"), Thinking(redacted="r"), Text(text="So.")),
    "tools": build_reply(THOUGHT, Text(text="I call."), *CALLS, finish="tool_use"),
    "custom": build_reply(ToolUse(id="c", name="patch", arguments="*** Begin", custom=True), finish="tool_use"),
    "signed call": build_reply(ToolUse(id="c", name="f", arguments="{}", signature="g"), finish="tool_use"),
    "repeated ids": build_reply(*(ToolUse(id="c", name="f", arguments="{}"),) * 2, finish="tool_use"),
    "no arguments": build_reply(ToolUse(id="c", name="f", arguments=""), finish="tool_use"),
    "refusal": build_reply(Refusal(text="I will not."), finish="refusal"),
    "cut": build_reply(Text(text="One."), ToolUse(id="c", name="f", arguments='{"a'), finish="length"),
    "filtered": build_reply(Text(text="One."), finish="content_filter"),
    "stopped": build_reply(Text(text="One."), finish="refusal"),
    "paused": build_reply(Text(text="One."), finish="pause"),
    "logprobs": build_reply(THOUGHT, Text(text="Hi"), logprobs=LOGPROBS),
    "named thinking": build_reply(*(Thinking(text="a", id="rs_x"), Thinking(text="b", id="rs_x"))),
}


def list_events(reply: ChatReply, size: int = 3) -> Iterator[Event]:
    """Yield the events of a reply with deltas of `size` characters."""
    choice = reply.choices[0]
    yield Start(id=reply.id, model=reply.model, created=reply.created)
    for index, part in enumerate(choice.parts):
        field = "arguments" if isinstance(part, ToolUse) else "text"
        text, signature = getattr(part, field), part.signature if isinstance(part, Thinking) else None
        start = msgspec.structs.replace(part, **{field: ""}, **({"signature": None} if signature else {}))
        yield PartStart(index=index, part=start)
        logprobs = choice.logprobs if isinstance(part, Text) else None
        for place in range(0, len(text), size):
            yield Delta(index=index, text=text[place : place + size], logprobs=logprobs)
            logprobs = None
        if signature:
            yield Delta(index=index, signature=signature)
        yield PartEnd(index=index)
    yield Finished(finish=choice.finish)
    if reply.usage is not None:
        yield Used(usage=reply.usage)
    yield End()


def write_stream(events: Iterator[Event] | list[Event], call: ChatCall = CALL) -> bytes:
    writer = RESPONSES_CLIENT.open_writer(call)
    return b"".join(writer.write(event) for event in events)


def read_stream(stream: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for raw in split_events(stream):
        name, data = read_event(raw)
        events.append(json.loads(data))
        assert events[-1]["type"] == name.decode()
    return events


def write_reply(reply: ChatReply, call: ChatCall = CALL) -> dict[str, Any]:
    return json.loads(RESPONSES_CLIENT.write_reply(reply, call))


def open_sdk(answer: Callable[[ChatCall], ChatReply]) -> openai.OpenAI:
    """Return OpenAI's client; every call goes through our reader, and its answer through our writers."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        call = RESPONSES_CLIENT.read_call(request.content)
        reply = answer(call)
        if not call.stream:
            headers = {"content-type": "application/json"}
            return httpx2.Response(200, headers=headers, content=RESPONSES_CLIENT.write_reply(reply, call))
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=write_stream(list_events(reply), call))

    transport = httpx2.MockTransport(handle)
    return openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)
