"""Files and both vendors' batches, driven with their own SDKs."""

import json

import anthropic
import openai as sdk
import pytest

pytestmark = pytest.mark.anyio


def lines(*texts, model="echo"):
    rows = [
        {
            "custom_id": f"r{index}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": text}]},
        }
        for index, text in enumerate(texts)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


async def submit(openai, content):
    file = await openai.files.create(file=("in.jsonl", content), purpose="batch")
    return await openai.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
    )


async def test_files_are_kept_until_deleted(openai):
    """Upload, list, get, content and delete; bytes come back as they went in."""
    content = b"\r\n--odd\x00bytes\r\n"
    file = await openai.files.create(file=("a.bin", content), purpose="user_data")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "a.bin", "user_data")
    assert [one.id async for one in openai.files.list()] == [file.id]
    assert (await openai.files.list(purpose="batch")).data == []
    assert (await openai.files.retrieve(file.id)).id == file.id
    assert (await openai.files.content(file.id)).content == content
    assert (await openai.files.delete(file.id)).deleted
    with pytest.raises(sdk.NotFoundError):
        await openai.files.content(file.id)


async def test_a_batch_completes_with_output_and_error_files(openai):
    """Good lines go to the output file, refused ones to the error file; counts agree."""
    batch = await submit(openai, lines("one", "two", "bad [[mock status=400]]"))
    assert batch.status == "validating"
    batch = await openai.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    output = [json.loads(line) for line in (await openai.files.content(batch.output_file_id)).text.splitlines()]
    assert [row["custom_id"] for row in output] == ["r0", "r1"]
    assert output[1]["response"]["body"]["choices"][0]["message"]["content"] == "two"
    failed = json.loads((await openai.files.content(batch.error_file_id)).text)
    assert failed["response"]["status_code"] == 400
    assert [one.id async for one in openai.batches.list()] == [batch.id]


async def test_a_batch_takes_as_long_as_its_slowest_request_and_can_be_cancelled(openai):
    """A delay directive keeps the batch in progress; cancelling ends it; a finished one cannot be cancelled."""
    batch = await submit(openai, lines("one [[mock delay_ms=60000]]"))
    assert (await openai.batches.retrieve(batch.id)).status == "in_progress"
    assert (await openai.batches.cancel(batch.id)).status == "cancelling"
    assert (await openai.batches.retrieve(batch.id)).status == "cancelled"
    with pytest.raises(sdk.ConflictError):
        await openai.batches.cancel(batch.id)


@pytest.mark.parametrize("content", [b"not json", b"", lines("x").replace(b"chat/completions", b"embeddings")])
async def test_a_broken_input_file_fails_the_batch(openai, content):
    """Lines that cannot be read or name another endpoint fail the whole batch with errors."""
    batch = await submit(openai, content or b"\n")
    assert batch.status == "failed"
    assert batch.errors.data


async def test_a_message_batch_ends_with_results_on_this_host(claude, mock):
    """The results URL is absolute; results name each request and its outcome."""
    params = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    bad = {**params, "model": "status-429"}
    requests = [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": bad}]
    batch = await claude.messages.batches.create(requests=requests)
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 2)
    batch = await claude.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended"
    assert batch.results_url == f"{mock.url}/v1/messages/batches/{batch.id}/results"
    results = {row.custom_id: row.result async for row in await claude.messages.batches.results(batch.id)}
    assert results["a"].message.content[0].text == "hi"
    assert results["a"].message.usage.service_tier == "batch"
    assert results["b"].error.error.type == "rate_limit_error"
    assert [one.id async for one in claude.messages.batches.list()] == [batch.id]
    assert (await claude.messages.batches.delete(batch.id)).type == "message_batch_deleted"


async def test_a_message_batch_under_way_can_only_be_cancelled(claude):
    """In progress there are no results and no deleting; cancelled requests are reported as such."""
    text = "hi [[mock delay_ms=60000]]"
    params = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    batches = claude.messages.batches
    batch = await batches.create(requests=[{"custom_id": "a", "params": params}])
    with pytest.raises(anthropic.BadRequestError):
        await batches.delete(batch.id)
    assert (await batches.cancel(batch.id)).processing_status == "canceling"
    batch = await batches.retrieve(batch.id)
    assert (batch.processing_status, batch.request_counts.canceled) == ("ended", 1)
    with pytest.raises(anthropic.BadRequestError):
        await batches.cancel(batch.id)
    same = [{"custom_id": "a", "params": params}] * 2
    with pytest.raises(anthropic.BadRequestError, match="unique"):
        await batches.create(requests=same)
    with pytest.raises(anthropic.NotFoundError):
        await batches.retrieve("msgbatch_none")


async def test_requests_of_a_file_that_go_wrong(openai):
    """Directives have single requests expire, fail or be left out of the results."""
    batch = await submit(openai, lines("fine", "[[mock batch=expire]]", "[[mock batch=omit]]", "[[mock batch=fail]]"))
    batch = await openai.batches.retrieve(batch.id)
    assert batch.status == "expired"
    failed = [json.loads(line) for line in (await openai.files.content(batch.error_file_id)).text.splitlines()]
    assert [row["custom_id"] for row in failed] == ["r1", "r3"]
    assert failed[0]["error"]["code"] == "batch_expired"
    assert failed[1]["response"]["status_code"] == 500
    assert len((await openai.files.content(batch.output_file_id)).text.splitlines()) == 1


async def test_a_cancelled_batch_keeps_what_was_done(openai, http):
    """Each request takes its own time; stopping takes as long as a test wants."""
    await http.post("/mock/batches", json={"delay_ms": 60_000, "cancel_ms": 50})
    batch = await submit(openai, lines("quick", "slow [[mock delay_ms=60000]]"))
    assert (await openai.batches.cancel(batch.id)).status == "cancelling"
    assert (await openai.batches.retrieve(batch.id)).status == "cancelling"
    while (batch := await openai.batches.retrieve(batch.id)).status != "cancelled":
        pass
    assert json.loads((await openai.files.content(batch.output_file_id)).text)["custom_id"] == "r0"
    row = json.loads((await openai.files.content(batch.error_file_id)).text)
    assert (row["custom_id"], row["error"]["code"]) == ("r1", "batch_cancelled")


async def test_requests_of_a_message_batch_that_go_wrong(claude):
    """Directives have single requests expire, fail or be left out of the results."""
    texts = {"a": "fine", "b": "[[mock batch=expire]]", "c": "[[mock batch=omit]]", "d": "[[mock batch=fail]]"}
    requests = [
        {
            "custom_id": name,
            "params": {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
        }
        for name, text in texts.items()
    ]
    batch = await claude.messages.batches.create(requests=requests)
    assert (await claude.messages.batches.retrieve(batch.id)).processing_status == "ended"
    results = {row.custom_id: row.result.type async for row in await claude.messages.batches.results(batch.id)}
    assert results == {"a": "succeeded", "b": "expired", "d": "errored"}


@pytest.mark.parametrize("how", ["directive", "control"])
async def test_a_batch_that_is_lost(openai, http, how):
    """It is created, and asking after it is a 404."""
    batch = await submit(openai, lines("[[mock batch=lose]]" if how == "directive" else "fine"))
    if how == "control":
        assert (await http.post("/mock/batches/lose")).json() == {"lost": 1}
    with pytest.raises(sdk.NotFoundError):
        await openai.batches.retrieve(batch.id)


async def test_operations_that_fail_by_turns(openai, http):
    """A fault comes as often as it says, with its header, and before or after what was asked is done."""
    faults = [
        {"operation": "look", "status": 429, "retry_after": "7", "every": 2, "times": 1},
        {"operation": "create", "status": 500, "times": 1, "done": True},
    ]
    assert (await http.post("/mock/batches", json={"faults": faults})).json() == {"faults": 2}
    with pytest.raises(sdk.InternalServerError):
        await submit(openai, lines("one"))
    [batch] = [one async for one in openai.batches.list()]
    await openai.batches.retrieve(batch.id)
    with pytest.raises(sdk.RateLimitError) as refused:
        await openai.batches.retrieve(batch.id)
    assert refused.value.response.headers["retry-after"] == "7"
    for _ in range(2):
        await openai.batches.retrieve(batch.id)
    assert (await http.post("/mock/batches", json={"faults": [{"operation": "dance"}]})).status_code == 400
    await http.post("/mock/reset")
    await submit(openai, lines("one"))
