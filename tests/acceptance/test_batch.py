"""Batches in RelayCore's own words, over HTTP against the built-in mock provider."""

import time
from typing import Any

import httpx
import pytest

from tests.gateway_process import Gateway


def submit(gateway: Gateway, requests: list[dict[str, Any]], **changes: Any) -> httpx.Response:
    """Hand in a batch."""
    body = {"provider": "mock", "model": "echo", "requests": requests, **changes}
    return httpx.post(f"{gateway.url}/v1/batch", json=body, headers={"authorization": f"Bearer {gateway.key}"})


def ask(text: str, name: str, **parameters: Any) -> dict[str, Any]:
    """Return one request."""
    return {"id": name, "messages": [{"role": "user", "content": text}], "parameters": parameters}


def wait(gateway: Gateway, batch_id: str, seconds: float = 30) -> dict[str, Any]:
    """Return a batch once it is over."""
    end = time.monotonic() + seconds
    while True:
        found = httpx.get(f"{gateway.url}/v1/batch/{batch_id}", headers={"authorization": f"Bearer {gateway.key}"})
        assert found.status_code == 200, found.text
        view = found.json()
        if view["status"] in {"completed", "failed", "cancelled"}:
            return view
        assert time.monotonic() < end, view
        time.sleep(0.1)


def test_a_batch_is_worked_off(shared_gateway: Gateway) -> None:
    """Each request comes to a result in the provider's own format, in the order of the requests."""
    accepted = submit(shared_gateway, [ask(f"hello {n}", f"r{n}") for n in range(40)])
    assert accepted.status_code == 202, accepted.text
    view = wait(shared_gateway, accepted.json()["batch_id"])
    assert view["status"] == "completed"
    assert [one["id"] for one in view["result"]] == [f"r{n}" for n in range(40)]
    assert view["result"][7]["result"]["choices"][0]["message"]["content"] == "hello 7"
