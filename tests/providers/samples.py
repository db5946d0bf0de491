"""Answers as the vendors give them, as bytes: whole ones, and streams as they come over the wire."""

import json


def sse(*chunks: object, done: bool = True) -> bytes:
    """Return OpenAI's framing of `chunks`; bytes are taken as they are."""
    events = [b"data: " + (c if isinstance(c, bytes) else compact(c)) + b"\n\n" for c in chunks]
    return b"".join(events) + (b"data: [DONE]\n\n" if done else b"")


def named(*events: dict[str, object]) -> bytes:
    """Return the framing with an `event:` line that repeats the type."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (str(e["type"]).encode(), compact(e)) for e in events)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
}
_HEAD = (
    b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06",'
    b'"system_fingerprint":"fp_1","choices":'
)


def chunk(choices: bytes, usage: bytes = b',"usage":null') -> bytes:
    return b"data: " + _HEAD + choices + usage + b"}\n\n"


def delta(fields: bytes, finish: bytes = b"null") -> bytes:
    return b'[{"index":0,"delta":' + fields + b',"logprobs":null,"finish_reason":' + finish + b"}]"


CHAT_STREAM = (
    chunk(delta(b'{"role":"assistant","content":"","refusal":null}'))
    + b": OPENROUTER PROCESSING\n\n"
    + chunk(delta('{"content":"Zażółć \\"usage\\":{\\"a\\":1} 🎉"}'.encode()))
    + chunk(delta(b'{"content":" [DONE] \\"error\\": \\"finish_reason\\":\\"stop\\""}'))
    + chunk(delta(b"{}", b'"stop"'))
    + chunk(b"[]", b',"usage":' + compact(USAGE))
    + b"data: [DONE]\n\n"
)
"""A chat stream as it comes when `include_usage` was asked for."""

CHAT_STREAM_HIDDEN = (
    chunk(delta(b'{"role":"assistant","content":"","refusal":null}'), b"")
    + b": OPENROUTER PROCESSING\n\n"
    + chunk(delta('{"content":"Zażółć \\"usage\\":{\\"a\\":1} 🎉"}'.encode()), b"")
    + chunk(delta(b'{"content":" [DONE] \\"error\\": \\"finish_reason\\":\\"stop\\""}'), b"")
    + chunk(delta(b"{}", b'"stop"'), b"")
    + b"data: [DONE]\n\n"
)
"""The same stream for a client that did not ask."""

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello, 世界!",
                "refusal": None,
                "reasoning_content": "They greet me.",
                "annotations": [],
            },
            "logprobs": {
                "content": [{"token": "Hello", "logprob": -0.1, "bytes": [72], "top_logprobs": []}],
                "refusal": None,
            },
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "x_vendor": {"region": "eu", "numbers": [1, 2]},
}
CHAT_TOOLS = {
    "id": "chatcmpl-2",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
                    {"id": "call_b", "type": "function", "function": {"name": "sub", "arguments": ""}},
                    {"id": "call_c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
                ],
                "refusal": None,
            },
            "finish_reason": "tool_calls",
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "refusal": "I cannot."},
            "finish_reason": "content_filter",
            "content_filter_results": {"hate": {"filtered": True}},
        },
    ],
}
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1741570283,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [
        {
            "text": "one two",
            "index": 0,
            "logprobs": {
                "tokens": ["one", " two"],
                "token_logprobs": [-0.5, -0.25],
                "top_logprobs": None,
                "text_offset": [0, 3],
            },
            "finish_reason": "length",
        },
        {"text": "uno", "index": 1, "logprobs": None, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
}
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.25]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741476777,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "model": "gpt-4o-2024-08-06",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Adding."}],
            "encrypted_content": "gAAA",
        },
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"id": "ws_2", "type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": "u"}},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "It is 2.",
                    "annotations": [
                        {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "u", "title": "t"}
                    ],
                    "logprobs": [],
                },
                {"type": "refusal", "refusal": "No more."},
            ],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "add",
            "arguments": '{"a":1}',
        },
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 80,
    },
    "service_tier": "default",
    "metadata": {},
}
RESPONSE_STREAM = named(
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"status": "in_progress", "output": []}},
    {
        "type": "response.output_text.delta",
        "sequence_number": 1,
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": 'response "response" error',
        "logprobs": [],
    },
    {"type": "response.vendor_thing", "response": "not an object", "sequence_number": 2},
    {"type": "response.completed", "sequence_number": 3, "response": RESPONSE},
)
MESSAGE = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {
            "type": "text",
            "text": "Grass is green.",
            "citations": [
                {
                    "type": "char_location",
                    "cited_text": "green",
                    "document_index": 0,
                    "document_title": "d",
                    "start_char_index": 0,
                    "end_char_index": 5,
                }
            ],
        },
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": [1.5, None]}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        {"type": "vendor_block", "payload": {"x": [1]}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 12},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "service_tier": "standard",
    },
}
MESSAGE_STREAM = (
    named(
        {
            "type": "message_start",
            "message": {
                "id": "msg_01",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-5-20250929",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 25,
                    "cache_creation_input_tokens": 40,
                    "cache_read_input_tokens": 7,
                    "output_tokens": 1,
                    "service_tier": "standard",
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "message_stop"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " error \n żółw"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": 15},
        },
    )
    + b": keep-alive\n\n"
    + named({"type": "message_stop"})
)
