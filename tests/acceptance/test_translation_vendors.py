"""Gemini, Bedrock and Azure: what arrives at the vendor, and what its answer becomes, whole and streamed."""

import hashlib
import hmac
import json
import queue
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import quote

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.acceptance.support import fresh, wait_for_row
from tests.translation.bedrock_samples import write_chunk, write_event, write_exception

NOVA, SONNET = "amazon.nova-pro-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1:0"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EVENTS = "application/vnd.amazon.eventstream"
SSE, JSON = "text/event-stream", "application/json"
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}


class Arrived(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Script(NamedTuple):
    status: int
    kind: str
    pieces: tuple[bytes, ...]


class Vendor:
    """A scripted server: answers in the order they were given, and remembers what it was asked."""

    def __init__(self):
        self.scripts = deque()
        self.arrived = []
        self.release = queue.Queue()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._build_handler())
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"

    def answer(self, *pieces, status=200, kind=JSON):
        self.scripts.append(Script(status, kind, pieces))

    def last(self):
        assert len(self.arrived) == 1
        return self.arrived[0]

    def _build_handler(vendor):  # noqa: N805 - the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                vendor.arrived.append(Arrived(self.path, headers, body))
                script = vendor.scripts.popleft()
                self.send_response(script.status)
                self.send_header("content-type", script.kind)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for piece in script.pieces:
                    if piece == b"":
                        vendor.release.get(timeout=10)
                        continue
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *args):
                """Say nothing."""

        return Handler


@pytest.fixture(scope="module")
def scripted():
    vendor = Vendor()
    thread = threading.Thread(target=vendor.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield vendor
    vendor.server.shutdown()
    vendor.server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def gateway(shared_gateway, scripted):
    """A gateway whose providers are all the scripted vendor."""
    azure = {"type": "azure-openai", "base_url": scripted.url, "api_key": "azure-key"}
    shared_gateway.configure(
        routing={"max_retries": 0},
        providers={
            "gemini": {"type": "gemini", "base_url": f"{scripted.url}/v1beta", "api_key": "gemini-key"},
            "bedrock": {
                "type": "bedrock",
                "base_url": scripted.url,
                "region": "eu-west-1",
                "api_key": f"AKIAIOSFODNN7EXAMPLE:{SECRET}:session-1",
            },
            "bearer": {"type": "bedrock", "base_url": scripted.url, "api_key": "bedrock-api-key"},
            "azure": azure | {"api_version": "2024-10-21"},
            "azure-v1": azure,
        },
    )
    return shared_gateway


@pytest.fixture
def vendor(scripted, gateway):
    scripted.arrived.clear()
    scripted.scripts.clear()
    return scripted


@pytest.fixture
def claude(gateway):
    with Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def chatgpt(gateway):
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def ask(model, **fields):
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": fresh()}], **fields}


def gemini_answer(*parts, finish="STOP"):
    usage = {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 12}
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return {
        "responseId": "r1", "modelVersion": "gemini-2.5-flash", "candidates": [candidate], "usageMetadata": usage,
    }  # fmt: skip


def line(fields):
    return f"data: {json.dumps(fields)}\r\n\r\n".encode()


def test_gemini_whole(vendor, gateway, claude):
    """A message for Gemini goes to generateContent with x-goog-api-key and Gemini's body; its answer is a message."""
    vendor.answer(json.dumps(gemini_answer({"text": "hello"})).encode())
    reply = claude.messages.with_raw_response.create(
        **ask("gemini/gemini-2.5-flash", system="be brief", stop_sequences=["X"])
    )
    answer = reply.parse()
    assert (answer.content[0].text, answer.stop_reason) == ("hello", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (5, 4, 3)
    arrived = vendor.last()
    assert arrived.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert arrived.headers["x-goog-api-key"] == "gemini-key"
    assert not {"authorization", "x-api-key", "anthropic-version"} & arrived.headers.keys()
    body = json.loads(arrived.body)
    assert body["contents"][0]["role"] == "user"
    assert body["systemInstruction"]["parts"] == [{"text": "be brief"}]
    assert (body["generationConfig"]["maxOutputTokens"], body["generationConfig"]["stopSequences"]) == (100, ["X"])
    row = wait_for_row(gateway, reply.headers["request-id"])
    assert (row["provider"], row["model"], row["input_tokens"], row["cache_read_tokens"]) == (
        "gemini",
        "gemini-2.5-flash",
        5,
        4,
    )
    assert row["estimated_cost"] > 0


def test_gemini_streamed(vendor, claude):
    """A stream comes from streamGenerateContent as events, each with the client before the next one is made."""
    first, last = gemini_answer({"text": "hel"}, finish=None), gemini_answer({"text": "lo"})
    vendor.answer(line(first), b"", line(last), kind=SSE)
    with claude.messages.stream(**ask("gemini/gemini-2.5-flash")) as stream:
        texts = iter(stream.text_stream)
        assert next(texts) == "hel"
        vendor.release.put(None)
        assert list(texts) == ["lo"]
        final = stream.get_final_message()
    assert (final.content[0].text, final.usage.output_tokens) == ("hello", 3)
    assert vendor.last().path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_signatures_over_turns(vendor, claude, streamed):
    """A call's thought signature travels through Anthropic's client and is back at Gemini in the next turn."""
    call = {"functionCall": {"name": "clock", "args": {"zone": "UTC"}}, "thoughtSignature": "c2lnbmVk"}
    answer = gemini_answer(call)
    vendor.answer(line(answer) if streamed else json.dumps(answer).encode(), kind=SSE if streamed else JSON)
    first = ask("gemini/gemini-2.5-flash", tools=[CLOCK])
    if streamed:
        with claude.messages.stream(**first) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**first)
    use = answer.content[-1]
    assert (use.name, use.input, answer.stop_reason) == ("clock", {"zone": "UTC"}, "tool_use")
    vendor.arrived.clear()
    vendor.answer(json.dumps(gemini_answer({"text": "noon"})).encode())
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "12:00"}]}
    claude.messages.create(
        **first | {"messages": [*first["messages"], {"role": "assistant", "content": answer.content}, result]}
    )
    [_, said, told] = json.loads(vendor.last().body)["contents"]
    assert said["parts"][-1]["thoughtSignature"] == "c2lnbmVk"
    assert told["parts"][0]["functionResponse"]["name"] == "clock"


def test_gemini_by_responses(vendor, chatgpt):
    """The Responses API reaches Gemini's own API too, its stream with all events."""
    vendor.answer(line(gemini_answer({"text": "hello"})), kind=SSE)
    with chatgpt.responses.stream(model="gemini/gemini-2.5-flash", input=fresh()) as stream:
        assert stream.get_final_response().output_text == "hello"
    assert vendor.last().path.endswith(":streamGenerateContent?alt=sse")


def test_gemini_by_chat(vendor, chatgpt):
    """Chat completions go to Gemini's own endpoint for them, untranslated, with the key as the dialect's bearer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    vendor.answer(json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode())
    answer = chatgpt.chat.completions.create(**ask("gemini/gemini-2.5-flash"))
    assert answer.choices[0].message.content == "hello"
    assert vendor.last().path == "/v1beta/openai/chat/completions"
    assert vendor.last().headers["authorization"] == "Bearer gemini-key"


@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_refusals(vendor, claude, streamed):
    """Gemini's errors raise the client's own classes with Gemini's words."""
    error = {"code": 429, "message": "Quota is used up.", "status": "RESOURCE_EXHAUSTED"}
    vendor.answer(json.dumps({"error": error}).encode(), status=429)
    with pytest.raises(anthropic.RateLimitError, match="Quota is used up"):
        claude.messages.create(**ask("gemini/gemini-2.5-flash"), stream=streamed)


def sign_again(arrived, host):
    """Return the signature that AWS computes for what arrived, written from its description."""
    scheme, _, rest = arrived.headers["authorization"].partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    scope = fields["Credential"].partition("/")[2]
    headers = arrived.headers | {"host": host}
    names = fields["SignedHeaders"].split(";")
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    path = quote(arrived.path.partition("?")[0], safe="/-_.~")
    digest = hashlib.sha256(arrived.body).hexdigest()
    canonical = "\n".join(("POST", path, "", lines, fields["SignedHeaders"], digest))
    stamp = headers["x-amz-date"]
    text = "\n".join((scheme, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{SECRET}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return fields, hmac.digest(key, text.encode(), "sha256").hex()


CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12},
}
LETTER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 9, "output_tokens": 3},
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "path", "answer"),
    [
        (NOVA, f"/model/{quote(NOVA)}/converse", CONVERSE),
        (SONNET, f"/model/{quote(SONNET)}/invoke", LETTER),
    ],
)
def test_bedrock_whole(vendor, gateway, chatgpt, model, path, answer):
    """Bedrock gets Converse's body, or Anthropic's for Claude, under a signature that AWS would accept."""
    vendor.answer(json.dumps(answer).encode())
    reply = chatgpt.chat.completions.with_raw_response.create(**ask(f"bedrock/{model}"))
    assert reply.parse().choices[0].message.content == "hello"
    assert reply.parse().usage.total_tokens == 12
    arrived = vendor.last()
    assert arrived.path == path
    fields, signature = sign_again(arrived, vendor.host)
    assert fields["Signature"] == signature
    assert fields["Credential"].startswith("AKIAIOSFODNN7EXAMPLE/")
    assert fields["Credential"].endswith("/eu-west-1/bedrock/aws4_request")
    assert "x-amz-security-token" in fields["SignedHeaders"].split(";")
    assert arrived.headers["x-amz-security-token"] == "session-1"
    body = json.loads(arrived.body)
    if model == NOVA:
        assert body["inferenceConfig"]["maxTokens"] == 100
    else:
        assert (body["anthropic_version"], body["max_tokens"]) == ("bedrock-2023-05-31", 100)
        assert not {"model", "stream"} & body.keys()
    row = wait_for_row(gateway, reply.headers["x-request-id"])
    assert (row["provider"], row["model"], row["output_tokens"]) == ("bedrock", model, 3)


def converse_frames():
    yield write_event("messageStart", {"role": "assistant"})
    yield write_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}})
    yield write_event("contentBlockStop", {"contentBlockIndex": 0})
    yield write_event("messageStop", {"stopReason": "end_turn"})
    yield write_event("metadata", {"usage": CONVERSE["usage"]})


def invoke_frames():
    begun = LETTER | {"content": [], "stop_reason": None}
    text = {"type": "text_delta", "text": "hello"}
    for event in (
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ):
        yield write_chunk(json.dumps(event).encode())


@pytest.mark.parametrize(
    ("model", "path", "frames"),
    [(NOVA, "converse-stream", converse_frames), (SONNET, "invoke-with-response-stream", invoke_frames)],
)
def test_bedrock_streamed(vendor, chatgpt, model, path, frames):
    """AWS's binary frames become OpenAI's chunks, cut wherever the network likes; the signature holds."""
    data = b"".join(frames())
    vendor.answer(*(data[i : i + 37] for i in range(0, len(data), 37)), kind=EVENTS)
    stream = chatgpt.chat.completions.create(
        **ask(f"bedrock/{model}"), stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
    assert (chunks[-1].choices[0].finish_reason, last.usage.total_tokens) == ("stop", 12)
    assert vendor.last().path == f"/model/{quote(model)}/{path}"
    fields, signature = sign_again(vendor.last(), vendor.host)
    assert fields["Signature"] == signature


def test_bedrock_for_anthropic_clients(vendor, claude):
    """Anthropic's client reaches Claude on Bedrock with a Bedrock API key as bearer."""
    vendor.answer(b"".join(invoke_frames()), kind=EVENTS)
    with claude.messages.stream(**ask(f"bearer/{SONNET}")) as stream:
        assert stream.get_final_message().content[0].text == "hello"
    assert vendor.last().headers["authorization"] == "Bearer bedrock-api-key"
    assert "x-amz-date" not in vendor.last().headers


def test_bedrock_exceptions(vendor, chatgpt):
    """An exception within the frames is an error in the stream, and AWS's refusals raise the client's classes."""
    frames = [*list(converse_frames())[:2], write_exception("throttlingException", "Too many.")]
    vendor.answer(b"".join(frames[:2]), frames[2], kind=EVENTS)
    with pytest.raises(openai.APIError, match="Too many"):
        list(chatgpt.chat.completions.create(**ask(f"bedrock/{NOVA}"), stream=True))
    vendor.answer(b'{"message":"The model is not ready."}', status=400)
    with pytest.raises(openai.BadRequestError, match="not ready"):
        chatgpt.chat.completions.create(**ask(f"bedrock/{NOVA}"))


COMPLETION = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}  # fmt: skip
DEPLOYMENT = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(("name", "path"), [("azure", DEPLOYMENT), ("azure-v1", "/openai/v1/chat/completions")])
@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_azure(vendor, claude, chatgpt, name, path, dialect):
    """Azure is addressed by deployment and api-version, or in its v1 form without one, with its api-key header."""
    vendor.answer(json.dumps(COMPLETION).encode())
    if dialect == "chat":
        text = chatgpt.chat.completions.create(**ask(f"{name}/my-gpt")).choices[0].message.content
    else:
        text = claude.messages.create(**ask(f"{name}/my-gpt")).content[0].text
    assert text == "hello"
    arrived = vendor.last()
    assert arrived.path == path
    assert arrived.headers["api-key"] == "azure-key"
    assert not {"authorization", "x-api-key"} & arrived.headers.keys()
    assert json.loads(arrived.body)["model"] == "my-gpt"


@pytest.mark.parametrize(
    ("name", "path"), [("azure", "/openai/responses?api-version=2024-10-21"), ("azure-v1", "/openai/v1/responses")]
)
def test_azure_responses(vendor, chatgpt, name, path):
    """Azure's Responses have no deployment in their address: the model's name in the body says which."""
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "created_at": 1, "model": "g"}
    vendor.answer(json.dumps(answer).encode())
    assert chatgpt.responses.create(model=f"{name}/my-gpt", input=fresh()).status == "completed"
    assert vendor.last().path == path
    assert json.loads(vendor.last().body)["model"] == "my-gpt"
