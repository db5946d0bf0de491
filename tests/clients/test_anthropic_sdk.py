"""docs/clients/anthropic-sdk.md: the guide's own code and settings, against models of either vendor."""

import pytest
from anthropic import Anthropic

from tests.clients.guides import find_all, place, read_blocks, send

[PYTHON] = read_blocks("anthropic-sdk", "python")


def test_the_python_code_runs(vendors, provider, capsys):
    """The guide's Python runs as it stands and prints the model's answer; OpenAI was asked for it."""
    exec(compile(place(PYTHON, vendors), "anthropic-sdk.md", "exec"), {})
    assert capsys.readouterr().out == "hello\n"
    assert provider.last().path == "/v1/chat/completions"


def test_the_environment_is_enough(vendors, monkeypatch):
    """With the guide's two variables an unchanged program reaches the gateway."""
    [script] = read_blocks("anthropic-sdk", "sh")
    for line in place(script, vendors).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    with Anthropic() as client:
        turns = [{"role": "user", "content": "hello"}]
        assert client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=turns).content[0].text == "hello"


@pytest.mark.parametrize("model", ["gpt-4o", "claude-haiku-4-5"])
def test_the_javascript_client(vendors, model):
    """What the JavaScript client sends to the guide's baseURL is answered as a stream of named events."""
    [base] = find_all("anthropic-sdk", r'baseURL: "([^"]+)"')
    headers = {"x-api-key": vendors.key, "anthropic-version": "2023-06-01", "x-stainless-lang": "js"}
    turns = [{"role": "user", "content": "hello"}]
    body = {"model": model, "max_tokens": 9, "messages": turns, "stream": True}
    reply = send(vendors, "POST", f"{base}/v1/messages", headers, body)
    assert reply.text.startswith("event: message_start\n")
    assert '"message_stop"' in reply.text
