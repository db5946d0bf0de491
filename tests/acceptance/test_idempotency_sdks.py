"""Idempotency-Key through the vendors' SDKs: one upstream call, and its answer again."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

from anthropic import Anthropic
from openai import OpenAI

from tests.acceptance.support import chat, fresh, message, query

CLAUDE = "claude-haiku-4-5"


def keyed(key=None, **more):
    """Return headers with a key; no cache gets in the way of what is tested."""
    return {"idempotency-key": key or uuid.uuid4().hex, "x-aihub-cache": "bypass", **more}


def test_openai_whole(vendors, provider):
    """The SDK's repeated call has the first one's answer, to the byte, and the provider saw one call."""
    headers = keyed()
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=0) as client:
        ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": fresh()}], "extra_headers": headers}
        first, second = [client.chat.completions.with_raw_response.create(**ask) for _ in range(2)]
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["original-request"] == first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-relay-provider"] == "openai"
    assert provider.count() == 1
    assert "idempotency-key" not in provider.last().headers


def test_openai_streamed(vendors, provider):
    """A streamed call is repeated as the same stream."""
    headers = keyed()
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=0) as client:
        ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": fresh()}], "extra_headers": headers}
        first, second = [list(client.chat.completions.create(**ask, stream=True)) for _ in range(2)]
    assert first == second
    assert len(first) > 2
    assert provider.count() == 1


def test_anthropic_whole(vendors, provider):
    """Anthropic's SDK as well has the first answer again."""
    headers = keyed()
    with Anthropic(base_url=vendors.url, api_key=vendors.key, max_retries=0) as client:
        ask = {"model": CLAUDE, "max_tokens": 50, "messages": [{"role": "user", "content": fresh()}]}
        first, second = [client.messages.create(**ask, extra_headers=headers) for _ in range(2)]
    assert first == second
    assert provider.count() == 1


def test_anthropic_streamed(vendors, provider):
    """A message stream is repeated event for event."""
    headers = keyed()
    texts = []
    with Anthropic(base_url=vendors.url, api_key=vendors.key, max_retries=0) as client:
        ask = {"model": CLAUDE, "max_tokens": 50, "messages": [{"role": "user", "content": fresh()}]}
        for _ in range(2):
            with client.messages.stream(**ask, extra_headers=headers) as stream:
                texts.append((stream.get_final_text(), stream.get_final_message()))
    assert texts[0] == texts[1]
    assert provider.count() == 1


def test_translated_and_other_endpoints(vendors, provider):
    """Embeddings, responses and a Claude model on OpenAI's route are repeated just the same."""
    calls = [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": fresh()}),
        ("/v1/responses", {"model": "gpt-4o", "input": fresh()}),
        ("/v1/chat/completions", chat(fresh(), model=CLAUDE)),
    ]
    with vendors.client() as client:
        for number, (path, body) in enumerate(calls, 1):
            headers = keyed()
            first, second = [client.post(path, json=body, headers=headers) for _ in range(2)]
            assert (first.status_code, first.content) == (200, second.content)
            assert provider.count() == number


def test_a_path_that_is_passed_on(vendors, provider):
    """What is created on a path that the gateway does not read is created once as well."""
    provider.answer_next(b'{"id":"img_1"}')
    headers = keyed()
    with vendors.client() as client:
        first, second = [client.post("/v1/images/edits", json={"prompt": "x"}, headers=headers) for _ in range(2)]
    assert (first.status_code, first.json()["id"]) == (200, second.json()["id"])
    assert second.headers["idempotent-replayed"] == "true"
    assert provider.count() == 1


def test_batches(gateway):
    """A batch is taken in once, in either vendor's words; another body with the same key is refused."""
    requests = {"requests": [{"custom_id": "a", "params": message(fresh(), model=CLAUDE)}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "x", "input": fresh()}}
    with gateway.client() as client:
        files = {"file": ("a.jsonl", json.dumps(line).encode())}
        file_id = client.post("/v1/files", files=files, data={"purpose": "batch"}).json()["id"]
        created = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        for path, body in (("/v1/messages/batches", requests), ("/v1/batches", created)):
            headers, before = keyed(), count_batches(gateway)
            first, second = [client.post(path, json=body, headers=headers) for _ in range(2)]
            assert (first.status_code, first.json()["id"]) == (200, second.json()["id"])
            assert second.headers["idempotent-replayed"] == "true"
            assert client.post(path, json={**body, "metadata": {"a": "b"}}, headers=headers).status_code == 422
            assert count_batches(gateway) == before + 1


def count_batches(gateway):
    return query(gateway, "SELECT count(*) AS n FROM batches")[0]["n"]


def test_the_sdk_waits_for_the_answer(vendors, provider):
    """The SDK's own retries turn the conflict of a call under way into its answer."""
    headers, text = keyed(), fresh("[[mock delay_ms=500]] hi")
    with OpenAI(base_url=f"{vendors.url}/v1", api_key=vendors.key, max_retries=3) as client:
        ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "extra_headers": headers}
        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(lambda _: client.chat.completions.create(**ask), range(2))
    assert one == other
    assert provider.count() == 1
