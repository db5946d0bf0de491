"""Whole Responses answers."""

import json
from typing import Any

import msgspec
import openai
import pydantic
import pytest
from openai.types.responses import Response

from app.providers.responses import read_facts
from app.translation.responses import RESPONSES_CLIENT
from app.wire.chat import ChatCall, ChatReply, Image, Message, Source, Text, Thinking, ToolResult, ToolUse
from tests.translation.responses_samples import CALL, REPLIES, USAGE, build_reply, open_sdk, write_reply


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_the_sdks_own_model_takes_every_answer(reply: ChatReply) -> None:
    """A response object is valid by the strict rules of the official SDK's model."""
    Response.model_validate_json(RESPONSES_CLIENT.write_reply(reply, CALL), strict=True)


def test_an_answer_says_what_it_is() -> None:
    """Id, model, time, usage and tier are the provider's, in Responses' words."""
    response = write_reply(REPLIES["tools"])
    assert (response["id"], response["model"], response["created_at"]) == ("resp_msg_01", "claude", 1_700_000_000)
    assert (response["status"], response["incomplete_details"], response["error"]) == ("completed", None, None)
    assert (response["store"], response["service_tier"]) == (False, "default")
    assert response["usage"] == {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 7},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 49,
    }
    facts = read_facts(RESPONSES_CLIENT.write_reply(REPLIES["tools"], CALL))
    assert facts.complete
    assert facts.usage == msgspec.structs.replace(
        USAGE, cache_write_5m_tokens=7, cache_write_1h_tokens=0, service_tier="default"
    )


def test_items_come_in_order_with_ids_of_their_own() -> None:
    """Each part is in an item of its kind; texts in a row share one message."""
    output = write_reply(REPLIES["tools"])["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert len({item["id"] for item in output}) == 4
    assert [item.get("call_id") for item in output[2:]] == ["toolu_1", "toolu_2"]
    assert output[2]["arguments"] == '{"a":1.10,"b":9007199254740993}'
    message = write_reply(REPLIES["texts"])["output"]
    assert [part["text"] for part in message[0]["content"]] == ["One. ", "Two."]


@pytest.mark.parametrize(
    ("name", "status", "reason", "last"),
    [
        ("text", "completed", None, "completed"),
        ("tools", "completed", None, "completed"),
        ("refusal", "completed", None, "completed"),
        ("cut", "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        ("filtered", "incomplete", {"reason": "content_filter"}, "incomplete"),
        ("stopped", "incomplete", {"reason": "content_filter"}, "incomplete"),
        ("paused", "incomplete", {"reason": None}, "incomplete"),
    ],
)
def test_why_an_answer_ended_is_its_status(name: str, status: str, reason: Any, last: str) -> None:
    """An answer that was cut is incomplete, and so is its last item; what came before is whole."""
    response = write_reply(REPLIES[name])
    assert (response["status"], response["incomplete_details"]) == (status, reason)
    statuses = [item["status"] for item in response["output"] if "status" in item]
    assert statuses == ["completed"] * (len(statuses) - 1) + [last]


def test_an_answer_repeats_the_call() -> None:
    """What the client said comes back as it said it; what it did not say has the API's own default."""
    said = (
        b'"instructions":"be brief","temperature":0.30,"top_p":1,"max_output_tokens":9,"metadata":{"a":"b"},"user":"u",'
        b'"tools":[{"type":"function","name":"f","strict":true,"parameters":{"maximum":1.10}}],"tool_choice":"required",'
        b'"text":{"verbosity":"low"},"reasoning":{"effort":"low"},"parallel_tool_calls":false,"prompt_cache_key":"k"'
    )
    call = RESPONSES_CLIENT.read_call(b'{"model":"m",\n "input":"x",' + said + b"}")
    body = RESPONSES_CLIENT.write_reply(REPLIES["text"], call)
    assert b'"temperature":0.30' in body
    assert b'"maximum":1.10' in body
    response = json.loads(body)
    for name, value in json.loads(b"{" + said + b"}").items():
        if name not in {"text", "reasoning"}:
            assert response[name] == value
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert response["reasoning"] == {"effort": "low", "summary": None}
    Response.model_validate_json(body, strict=True)
    plain = write_reply(REPLIES["text"])
    assert (plain["tools"], plain["tool_choice"], plain["parallel_tool_calls"]) == ([], "auto", True)


def test_what_is_missing_is_made_up_once() -> None:
    """Answers and calls without an id get one, and a repeated call id is replaced, so that results find their call."""
    response = write_reply(build_reply(ToolUse(id="", name="f", arguments="{}"), id=""))
    assert len(response["id"]) > len("resp_")
    assert response["output"][0]["call_id"]
    first, second = write_reply(REPLIES["repeated ids"])["output"]
    assert first["call_id"] == "c" != second["call_id"]
    assert write_reply(build_reply(id="resp_1"))["id"] == "resp_1"
    assert write_reply(build_reply(model=""), CALL)["model"] == "m"
    assert write_reply(msgspec.structs.replace(build_reply(), choices=()))["output"] == []


def test_what_a_response_has_no_item_for_is_left_out() -> None:
    """A picture among the parts of an answer changes nothing about its texts."""
    picture = Image(source=Source(url="https://x/y.png"))
    assert write_reply(build_reply(Text(text="a"), picture)) == write_reply(build_reply(Text(text="a")))


def test_logprobs_are_those_of_the_text() -> None:
    """Chat's tokens become the output text's, numbers exact; what is no logprobs is left out."""
    body = RESPONSES_CLIENT.write_reply(REPLIES["logprobs"], CALL)
    assert b'"logprob":-0.10' in body
    (token,) = json.loads(body)["output"][1]["content"][0]["logprobs"]
    assert token["bytes"] == []
    assert token["top_logprobs"] == [{"token": "Yo", "bytes": [89], "logprob": -2}]
    for raw in (b"null", b"[]", b'{"content":[1]}', b"{"):
        reply = build_reply(Text(text="a"), logprobs=msgspec.Raw(raw))
        assert write_reply(reply)["output"][0]["content"][0]["logprobs"] == []


def echo(output: list[dict[str, Any]]) -> ChatCall:
    body = {"model": "m", "input": [{"role": "user", "content": "q"}, *output]}
    return RESPONSES_CLIENT.read_call(json.dumps(body).encode())


@pytest.mark.parametrize("name", sorted(REPLIES.keys() - {"repeated ids", "no arguments", "empty"}))
def test_an_answer_sent_back_is_the_turn_it_was(name: str) -> None:
    """Signatures, redacted thinking, call ids and arguments survive a client that sends the items back unchanged."""
    parts = REPLIES[name].choices[0].parts
    turn = echo(write_reply(REPLIES[name])["output"]).messages[-1]
    assert turn.role == "assistant"
    got = [msgspec.structs.replace(p, id=None) if isinstance(p, Thinking) else p for p in turn.parts]
    assert got == [msgspec.structs.replace(p, id=None) if isinstance(p, Thinking) else p for p in parts]


def test_a_forged_seal_is_no_seal() -> None:
    """Text behind our mark that is not ours counts as unreadable, never as an error."""
    for text in ("relaycore:", "relaycore:[]", 'relaycore:{"signature":1}', "relaycore:{}", "other"):
        item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": text}
        assert [message.role for message in echo([item]).messages] == ["user"]


def test_the_sdk_runs_a_tool_and_sends_everything_back() -> None:
    """The usual loop of the SDK, `response.output` as part of the next input, keeps thinking and calls together."""
    calls: list[ChatCall] = []

    def answer(call: ChatCall) -> ChatReply:
        calls.append(call)
        return REPLIES["tools"] if len(calls) == 1 else REPLIES["text"]

    tools: Any = [
        {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}
    ]
    conversation: list[Any] = [{"role": "user", "content": "add"}]
    with open_sdk(answer) as client:
        first = client.responses.create(model="m", input=conversation, tools=tools)
        conversation += first.output
        for item in first.output:
            if item.type == "function_call":
                conversation.append({"type": "function_call_output", "call_id": item.call_id, "output": "3"})
        second = client.responses.create(model="m", input=conversation, tools=tools)
    assert second.output_text == "Hello, 世界!\n\0"
    user, assistant, results = calls[1].messages
    assert user == Message(role="user", parts=(Text(text="add"),))
    assert [type(part) for part in assistant.parts] == [Thinking, Text, ToolUse, ToolUse]
    assert assistant.parts[0].signature == "sig+/="
    assert results.parts == tuple(
        ToolResult(tool_use_id=name, parts=(Text(text="3"),)) for name in ("toolu_1", "toolu_2")
    )


class Sum(pydantic.BaseModel):
    total: int


def test_the_sdk_parses_structured_output() -> None:
    """`responses.parse` sends a schema that is read, and finds its object in the answer."""
    calls: list[ChatCall] = []

    def answer(call: ChatCall) -> ChatReply:
        calls.append(call)
        return build_reply(Text(text='{"total": 3}'))

    with open_sdk(answer) as client:
        response = client.responses.parse(model="m", input="1+2", text_format=Sum)
    assert response.output_parsed == Sum(total=3)
    assert (calls[0].format.kind, calls[0].format.name, calls[0].format.strict) == ("json_schema", "Sum", True)


def test_the_sdk_parses_tool_arguments() -> None:
    """`openai.pydantic_function_tool` as a tool comes back parsed."""
    tool: Any = openai.pydantic_function_tool(Sum)
    flat = {"type": "function", **tool["function"]}
    with open_sdk(lambda _: build_reply(ToolUse(id="c", name="Sum", arguments='{"total":3}'))) as client:
        response = client.responses.parse(model="m", input="1+2", tools=[flat])
    assert response.output[0].parsed_arguments == {"total": 3}
