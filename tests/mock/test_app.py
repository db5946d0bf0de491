"""Credentials, paths, headers, the record of what arrived, and every misbehaviour."""

import asyncio
import base64
import time

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI

from tests.gateway_process import TLS

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
VERSION = {"anthropic-version": "2023-06-01"}


def ask(model="echo", text="hi", **extra):
    return {"model": model, "messages": [{"role": "user", "content": text}], **extra}


async def stats(http):
    return (await http.get("/mock/stats")).json()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer bad-key"}, {"x-api-key": "bad-key"}])
@pytest.mark.parametrize(("path", "anthropic"), [(CHAT, False), ("/v1/messages", True), ("/v1/nowhere", False)])
async def test_no_or_a_bad_credential_is_the_vendors_401(mock, headers, path, anthropic):
    """Authentication is judged before anything else."""
    async with httpx.AsyncClient(base_url=mock.url, verify=TLS) as client:
        answer = await client.post(path, json={}, headers=headers)
    assert answer.status_code == 401
    assert ("request_id" in answer.json()) is anthropic


async def test_any_other_credential_in_either_header_works(mock):
    """Bearer and x-api-key serve both vendors."""
    async with httpx.AsyncClient(base_url=mock.url, verify=TLS) as client:
        for headers in ({"authorization": "Bearer x"}, {"x-api-key": "x"}):
            assert (await client.post(CHAT, json=ask(), headers=headers)).status_code == 200


async def test_unknown_paths_and_methods_have_the_vendors_shape(http):
    """404 and 405 are OpenAI's, or Anthropic's when its version header is there."""
    assert (await http.get("/v1/nowhere")).json()["error"]["code"] == "unknown_url"
    answer = await http.get("/v1/nowhere", headers=VERSION)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
    assert (await http.get(CHAT)).status_code == 405


async def test_models_have_the_vendors_shapes(openai, claude):
    """The list and one model, whose id may contain a slash, for both SDKs; Anthropic's list is paged."""
    ids = [model.id async for model in openai.models.list()]
    assert {"echo", "gpt-4o", "claude-opus-4-5"} <= set(ids)
    assert (await openai.models.retrieve("mock/echo")).id == "echo"
    assert [model.id async for model in claude.models.list(limit=5)] == ids
    assert (await claude.models.retrieve("claude-opus-4-5")).type == "model"
    with pytest.raises(sdk.NotFoundError):
        await openai.models.retrieve("nope")


async def test_headers_are_the_vendors(http):
    """Request ids and limits are in every answer, each vendor's own."""
    openai = (await http.post(CHAT, json=ask())).headers
    assert openai["x-request-id"].startswith("req_")
    assert int(openai["openai-processing-ms"]) >= 1
    assert "x-ratelimit-remaining-requests" in openai
    claude = (await http.post("/v1/messages", json=ask(max_tokens=9), headers=VERSION)).headers
    assert claude["request-id"].startswith("req_")
    assert "anthropic-ratelimit-tokens-reset" in claude


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("status-400", sdk.BadRequestError),
        ("status-401", sdk.AuthenticationError),
        ("status-403", sdk.PermissionDeniedError),
        ("status-422", sdk.UnprocessableEntityError),
        ("status-429", sdk.RateLimitError),
        ("status-503", sdk.InternalServerError),
        ("html-502", sdk.InternalServerError),
    ],
)
async def test_statuses_raise_the_sdks_classes(openai, model, error):
    """Every status becomes the error class its SDK knows."""
    with pytest.raises(error):
        await openai.chat.completions.create(**ask(model))


async def test_a_401_quotes_a_key_and_a_429_says_when(http):
    """What a gateway must hide, and what it must hand on."""
    assert "sk-proj-" in (await http.post(CHAT, json=ask("status-401"))).text
    assert (await http.post(CHAT, json=ask("status-429"))).headers["retry-after"] == "1"
    text = "x [[mock status=429 retry_after=7 error=insufficient_quota]]"
    answer = await http.post(CHAT, json=ask(text=text))
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["code"] == "insufficient_quota"


async def test_times_fails_only_so_often(mock):
    """`times=1` is a fault that a retry gets over: the SDK's own retry succeeds."""
    async with AsyncOpenAI(api_key="k", base_url=f"{mock.url}/v1", max_retries=1) as client:
        answer = await client.chat.completions.create(**ask(text="ok [[mock status=503 retry_after=0 times=1]]"))
    assert answer.choices[0].message.content == "ok"


@pytest.mark.parametrize("model", ["cut-body", "drop"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_breaks(http, model, stream):
    """In the middle of an answer, or before it."""
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(CHAT, json=ask(model, stream=stream))
    assert (await stats(http))["broken"] == 1


@pytest.mark.parametrize("model", ["garbage", "empty", "null", "cut-json"])
async def test_a_200_without_a_completion(http, model):
    """Bodies that claim to be JSON and are no completion."""
    answer = await http.post(CHAT, json=ask(model))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert b'"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":1,' not in answer.content


async def test_a_redirect_points_at_the_mock_itself(http, mock):
    """Whoever follows it shows up in the stats."""
    answer = await http.post(CHAT, json=ask("redirect"))
    assert (answer.status_code, answer.headers["location"]) == (307, f"{mock.url}/v1/redirected")


@pytest.mark.parametrize(
    ("text", "ended", "events"),
    [("[[mock no_done=1 text=lorem]]", False, None), ("[[mock end_after=2]] x", False, 2), ("x", True, None)],
)
async def test_a_stream_may_lack_its_end(http, text, ended, events):
    """Without its end marker a stream still ends as HTTP."""
    answer = await http.post(CHAT, json=ask(text=text, stream=True))
    assert answer.content.endswith(b"data: [DONE]\n\n") is ended
    assert events is None or answer.content.count(b"data: ") == events


async def test_an_error_in_the_stream_raises_in_the_sdk(openai):
    """`error-stream` sends `data: {"error": …}` after three chunks."""
    stream = await openai.chat.completions.create(**ask("error-stream", stream=True))
    _ = [await anext(stream) for _ in range(3)]
    with pytest.raises(sdk.APIError):
        await anext(stream)


async def test_delays(http):
    """Before the answer, and between its chunks."""
    begun = time.perf_counter()
    await http.post(CHAT, json=ask("delay-100"))
    assert 0.1 <= time.perf_counter() - begun < 0.5
    begun = time.perf_counter()
    await http.post(CHAT, json=ask(text="[[mock chunk_ms=20 tokens=5]]", stream=True))
    assert time.perf_counter() - begun >= 0.14


async def test_sizes(http):
    """`big-n` has n characters, `tokens-n` n tokens, and `chunk_chars` makes one chunk of them."""
    answer = (await http.post(CHAT, json=ask("big-200000"))).json()
    assert len(answer["choices"][0]["message"]["content"]) == 200_000
    assert (await http.post(CHAT, json=ask("tokens-33"))).json()["usage"]["completion_tokens"] == 33
    whole = await http.post(CHAT, json=ask("big-50000", "x [[mock chunk_chars=50000]]", stream=True))
    assert whole.content.count(b"data: ") == 4


@pytest.mark.parametrize(
    "text", ["[[mock colour=red]]", "[[mock tokens=many]]", "[[mock fault=fire]]", "[[mock x='a]]"]
)
async def test_an_unreadable_directive_is_refused(http, text):
    """A typo in a test is a 400, not a surprise."""
    assert (await http.post(CHAT, json=ask(text=text))).status_code == 400


@pytest.mark.parametrize(
    ("body", "begun"),
    [
        (ask("hang"), False),
        (ask("delay-60000"), False),
        (ask("slow-stream-60000", stream=True), True),
        (ask("stall-stream", stream=True), True),
        (ask("stall-stream"), True),
        (ask("big-9999999", "x [[mock chunk_ms=5]]", stream=True), True),
    ],
)
async def test_a_client_that_leaves_is_noticed_at_once(http, mock, body, begun):
    """A hang-up in the middle of an answer counts as aborted within 100 ms."""
    async with httpx.AsyncClient(headers=http.headers) as client:
        if begun:
            async with client.stream("POST", mock.url + CHAT, json=body) as answer:
                await anext(answer.aiter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(mock.url + CHAT, json=body, timeout=0.1)
    await asyncio.sleep(0.1)
    found = await stats(http)
    assert (found["aborted"], found["in_flight"]) == (1, 0)
    assert found["last"][0]["outcome"] == "aborted"


async def test_a_client_that_leaves_while_it_sends_is_aborted(http, mock):
    """A body that never arrives whole counts as aborted too, and is not answered."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.1)
    assert (await stats(http))["aborted"] == 1


async def test_a_body_over_the_limit_is_a_413(http):
    """More than 64 MiB is refused in the vendor's shape."""
    answer = await http.post(CHAT, content=bytes(65 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_stats_show_what_really_arrived(http):
    """Headers and body are kept byte for byte until the mock is reset; control calls are not counted."""
    body = b'{"model": "echo",  "big": 9007199254740993, "messages": [{"role":"user","content":"\xc3\xa9"}]}'
    await http.post(f"{CHAT}?beta=true", content=body, headers={"x-odd": "v"})
    found = await stats(http)
    (seen,) = found["last"]
    assert base64.b64decode(seen["body"]) == body
    assert (seen["path"], seen["query"], seen["status"], seen["outcome"]) == (CHAT, "beta=true", 200, "completed")
    assert ["x-odd", "v"] in seen["headers"]
    assert (found["requests"], found["completed"]) == (1, 1)
    await http.post("/mock/reset")
    assert (await stats(http))["requests"] == 0


async def test_a_scripted_answer_is_sent_byte_for_byte(http):
    """POST /mock/next sets the very next answer: status, headers and chunks."""
    chunks = [b"data: one\n\n", b"data: two\n\n"]
    script = {
        "status": 203,
        "headers": [["Content-Type", "text/event-stream"], ["X-Odd", "1"]],
        "chunks": [base64.b64encode(chunk).decode() for chunk in chunks],
    }
    await http.post("/mock/next", json=script)
    await http.post("/mock/next", json={"chunks": [base64.b64encode(b'{"n":9007199254740993}').decode()]})
    first = await http.post(CHAT, json=ask())
    assert (first.status_code, first.headers["x-odd"], first.content) == (203, "1", b"".join(chunks))
    assert (await http.post(CHAT, json=ask())).content == b'{"n":9007199254740993}'
    assert (await http.post(CHAT, json=ask())).json()["object"] == "chat.completion"
    assert (await http.post("/mock/next", content=b"nonsense")).status_code == 400
    assert (await http.get("/mock/nowhere")).status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"model": null}', b'"x"'])
@pytest.mark.parametrize(
    "path",
    [CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/batches", "/v1/messages/batches", "/v1/files"],
)
async def test_nonsense_is_a_400(http, path, body):
    """No body makes the mock itself fail."""
    assert (await http.post(path, content=body, headers=VERSION)).status_code == 400
