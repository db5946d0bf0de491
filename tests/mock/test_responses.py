"""OpenAI's responses, driven with OpenAI's own SDK."""

import json

import openai as sdk
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

TOOL = {
    "type": "function",
    "name": "lookup",
    "strict": True,
    "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
}


class Place(BaseModel):
    name: str
    population: int


async def test_a_response_is_answered_stored_and_deleted(openai):
    """A stored response can be fetched with its input items until it is deleted."""
    made = await openai.responses.create(model="echo", input="hello", instructions="be kind", metadata={"a": "b"})
    assert made.output_text == "hello"
    assert made.id.startswith("resp_")
    assert made.status == "completed"
    assert made.usage.input_tokens_details.cached_tokens == 0
    assert (await openai.responses.retrieve(made.id)).output_text == "hello"
    items = await openai.responses.input_items.list(made.id)
    assert items.data[0].content[0].text == "hello"
    await openai.responses.delete(made.id)
    with pytest.raises(sdk.NotFoundError):
        await openai.responses.retrieve(made.id)


async def test_store_false_is_not_kept_and_previous_must_exist(openai):
    """A response that is not stored cannot be continued; one that is, can."""
    loose = await openai.responses.create(model="echo", input="one", store=False)
    with pytest.raises(sdk.BadRequestError) as caught:
        await openai.responses.create(model="echo", input="two", previous_response_id=loose.id)
    assert caught.value.code == "previous_response_not_found"
    kept = await openai.responses.create(model="echo", input="one")
    assert (await openai.responses.create(model="echo", input="two", previous_response_id=kept.id)).output_text == "two"


async def test_the_stream_is_the_full_numbered_sequence(openai):
    """Events come in OpenAI's order with sequence numbers from 0; the last holds the whole response."""
    stream = await openai.responses.create(model="echo", input="hello you", stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * 3,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[-1].response.output_text == "hello you"
    assert events[-1].response.usage.output_tokens == 3


async def test_function_calls_whole_and_streamed(openai):
    """A forced function is called with valid arguments, whole and in fragments."""
    whole = await openai.responses.create(model="gpt-4o", input="x", tools=[TOOL], tool_choice="required")
    (call,) = whole.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "lookup", {"key": "key"})
    stream = await openai.responses.create(model="gpt-4o", input="use lookup", tools=[TOOL], stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == {"key": "key"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "found"}
    last = await openai.responses.create(model="gpt-4o", input=[*whole.output, output], tools=[TOOL])
    assert last.output_text == "found"


async def test_reasoning_comes_as_an_item_with_a_summary(openai):
    """Reasoning is an output item of its own, streamed as a summary when asked for."""
    stream = await openai.responses.create(
        model="o3-mini", input="hi", reasoning={"effort": "low", "summary": "auto"}, stream=True
    )
    events = [event async for event in stream]
    final = events[-1].response
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.usage.output_tokens_details.reasoning_tokens == 16
    told = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    assert told == final.output[0].summary[0].text


async def test_structured_text_parses(openai):
    """A json_schema text format is answered with JSON that the SDK parses."""
    answer = await openai.responses.parse(model="gpt-4o", input="x", text_format=Place)
    assert answer.output_parsed == Place(name="name", population=1)
    loose = await openai.responses.create(model="gpt-4o", input="x", text={"format": {"type": "json_object"}})
    assert json.loads(loose.output_text) == {"answer": "x"}


async def test_a_limit_makes_it_incomplete(openai):
    """Ending at max_output_tokens is status incomplete, and the stream's last event says so."""
    stream = await openai.responses.create(model="story", input="x", max_output_tokens=4, stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


async def test_bad_responses_are_refused(openai, http):
    """Missing input, an unknown model and an unknown text format are OpenAI's errors."""
    answer = await http.post("/v1/responses", json={"model": "echo"})
    assert answer.json()["error"]["param"] == "input"
    with pytest.raises(sdk.NotFoundError):
        await openai.responses.create(model="nope", input="x")
    with pytest.raises(sdk.BadRequestError):
        await openai.responses.create(model="echo", input="x", text={"format": {"type": "xml"}})


async def test_an_error_event_ends_the_stream(openai):
    """`error-stream` ends with a numbered error event, which this SDK hands on."""
    stream = await openai.responses.create(model="error-stream", input="x", stream=True)
    events = [event async for event in stream]
    assert (events[-1].type, events[-1].code, events[-1].sequence_number) == ("error", "server_error", 3)
