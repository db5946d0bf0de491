"""docs/clients/openai-sdk.md: the guide's own code and settings, against models of either vendor."""

import json

import pytest
from openai import OpenAI

from tests.acceptance.support import fresh
from tests.clients.guides import find_all, place, read_blocks, send

[PYTHON] = read_blocks("openai-sdk", "python")
NODE = {
    "user-agent": "OpenAI/JS 6.1.0",
    "x-stainless-lang": "js",
    "x-stainless-package-version": "6.1.0",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "node",
    "x-stainless-timeout": "600",
}


def test_the_python_code_runs(vendors, provider, capsys):
    """The guide's Python runs as it stands and prints the model's answer; Claude was asked for it."""
    exec(compile(place(PYTHON, vendors), "openai-sdk.md", "exec"), {})
    assert capsys.readouterr().out == "hello\n"
    assert provider.last().path == "/v1/messages"


def test_the_environment_is_enough(vendors, monkeypatch):
    """With the guide's two variables an unchanged program reaches the gateway."""
    [script] = read_blocks("openai-sdk", "sh")
    for line in place(script, vendors).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    with OpenAI() as client:
        assert client.responses.create(model="claude-sonnet-4-6", input="hello").output_text == "hello"
        assert client.models.list().object == "list"


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-6", "anthropic/claude-sonnet-4-6"])
@pytest.mark.parametrize(
    ("path", "build"),
    [
        ("chat/completions", lambda text: {"messages": [{"role": "user", "content": text}]}),
        ("responses", lambda text: {"input": text}),
    ],
)
def test_the_javascript_client(vendors, provider, model, path, build):
    """What the JavaScript client sends to the guide's baseURL is answered, and its own headers stay here."""
    [base] = find_all("openai-sdk", r'baseURL: "([^"]+)"')
    text = fresh()
    headers = NODE | {"authorization": f"Bearer {vendors.key}", "accept": "application/json"}
    reply = send(vendors, "POST", f"{base}/{path}", headers, {"model": model, **build(text)})
    assert reply.status_code == 200
    assert text in json.dumps(reply.json())
    assert not [name for name in provider.last().names if name.startswith("x-stainless")]
