"""docs/clients/langchain.md, litellm.md and vercel-ai-sdk.md: what the frameworks send to the guides' addresses."""

import json

import pytest
import yaml

from tests.acceptance.support import fresh
from tests.clients.guides import find_all, read_blocks, read_guide, send

MODELS = ["gpt-4o", "claude-sonnet-4-6"]
FUNCTION = {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


def bearer(gateway):
    return {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}


def own(gateway):
    return {"x-api-key": gateway.key, "anthropic-version": "2023-06-01", "content-type": "application/json"}


def ask(model, text, **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def by_class(name):
    """Return the base URL that the guide gives a class of LangChain."""
    [url] = find_all("langchain", rf'{name}\([^)]*?base_url="([^"]+)"')
    return url


@pytest.mark.parametrize("model", MODELS)
def test_langchain_openai(vendors, model):
    """ChatOpenAI streams with usage, binds tools, and sends earlier tool calls with null content."""
    assert "stream_usage=True" in read_guide("langchain")
    call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": fresh()},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
    ]
    body = {"model": model, "messages": turns, "tools": [TOOL], "stream": True}
    body["stream_options"] = {"include_usage": True}
    reply = send(vendors, "POST", f"{by_class('ChatOpenAI')}/chat/completions", bearer(vendors), body)
    assert reply.status_code == 200
    assert reply.text.rstrip().endswith("data: [DONE]")
    assert '"total_tokens"' in reply.text


@pytest.mark.parametrize("model", MODELS)
def test_langchain_structured(vendors, model):
    """with_structured_output by json_schema and by function_calling is answered by either vendor's model."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "Out", "strict": True, "schema": schema}}
    url = f"{by_class('ChatOpenAI')}/chat/completions"
    reply = send(vendors, "POST", url, bearer(vendors), ask(model, fresh(), response_format=form))
    assert "a" in json.loads(reply.json()["choices"][0]["message"]["content"])
    forced = {"type": "function", "function": {"name": "clock"}}
    body = ask(model, fresh(), tools=[TOOL], tool_choice=forced, parallel_tool_calls=False)
    reply = send(vendors, "POST", url, bearer(vendors), body)
    assert reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "clock"


def test_langchain_json_mode(vendors):
    """What the guide says of json_mode holds: Claude has no word for it."""
    body = ask("claude-sonnet-4-6", fresh(), response_format={"type": "json_object"})
    reply = send(vendors, "POST", f"{by_class('ChatOpenAI')}/chat/completions", bearer(vendors), body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "response_format")


def test_langchain_embeddings(vendors):
    """OpenAIEmbeddings asks for base64 by the SDK's default and gets it."""
    body = {"input": ["a"], "model": "text-embedding-3-small", "encoding_format": "base64"}
    reply = send(vendors, "POST", f"{by_class('OpenAIEmbeddings')}/embeddings", bearer(vendors), body)
    assert isinstance(reply.json()["data"][0]["embedding"], str)


@pytest.mark.parametrize("model", MODELS)
def test_langchain_anthropic(vendors, model):
    """ChatAnthropic reaches either vendor's model with tools."""
    tools = [{"name": "clock", "description": "The time.", "input_schema": FUNCTION["parameters"]}]
    body = ask(model, fresh("[[mock tool=clock]]"), max_tokens=1000, tools=tools)
    reply = send(vendors, "POST", f"{by_class('ChatAnthropic')}/v1/messages", own(vendors), body)
    assert reply.json()["content"][-1]["name"] == "clock"


def test_litellm_openai(vendors, provider):
    """LiteLLM strips its own prefix and adds the path to api_base; thinking goes back in its own spelling."""
    code, _ = read_blocks("litellm", "python")
    assert 'model="openai/claude-sonnet-4-6"' in code
    base = find_all("litellm", r'api_base="([^"]+)"')[0]
    model = "claude-sonnet-4-6"
    body = ask(model, fresh("[[mock think=4 tool=clock]]"), tools=[TOOL], reasoning_effort="low", max_tokens=4000)
    reply = send(vendors, "POST", f"{base}/chat/completions", bearer(vendors), body)
    said = reply.json()["choices"][0]["message"]
    assert said["thinking_blocks"][0]["signature"]
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "name": "clock", "content": "noon"}
    again = body | {"messages": [*body["messages"], said, result]}
    assert send(vendors, "POST", f"{base}/chat/completions", bearer(vendors), again).status_code == 200
    assert json.loads(provider.last().body)["messages"][1]["content"][0]["type"] == "thinking"


def test_litellm_anthropic(vendors):
    """With the prefix anthropic LiteLLM adds /v1/messages to api_base."""
    base = find_all("litellm", r'api_base="([^"]+)"')[1]
    reply = send(vendors, "POST", f"{base}/v1/messages", own(vendors), ask("gpt-4o", "hello", max_tokens=4096))
    assert reply.json()["content"][0]["text"] == "hello"


def test_litellm_proxy(vendors):
    """A LiteLLM proxy's model list leads to the same place; a name with our own prefix is a name too."""
    [block] = read_blocks("litellm", "yaml")
    [entry] = yaml.safe_load(block)["model_list"]
    base = entry["litellm_params"]["api_base"]
    for model in ("claude-sonnet-4-6", "openai/gpt-4o"):
        reply = send(vendors, "POST", f"{base}/chat/completions", bearer(vendors), ask(model, "hello"))
        assert reply.json()["choices"][0]["message"]["content"] == "hello"


def vercel(name):
    """Return the baseURL that the guide gives a factory of the SDK."""
    [url] = find_all("vercel-ai-sdk", rf'= {name}\({{[^}}]*?baseURL: "([^"]+)"')
    return url


@pytest.mark.parametrize("model", MODELS)
def test_vercel_responses(vendors, model):
    """The default of createOpenAI speaks Responses; with store false earlier items go along whole."""
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": fresh()}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
    ]
    tools = [{"type": "function", **FUNCTION, "strict": False}]
    body = {"model": model, "input": items, "store": False, "include": ["reasoning.encrypted_content"]}
    body |= {"tools": tools, "tool_choice": "auto", "stream": True}
    reply = send(vendors, "POST", f"{vercel('createOpenAI')}/responses", bearer(vendors), body)
    assert reply.status_code == 200
    assert "response.completed" in reply.text


def test_vercel_item_references(vendors, provider):
    """What the guide says of item references holds: with another vendor's model they are a 400 that names them."""
    items = [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "hi"}]
    body = {"model": "claude-sonnet-4-6", "input": items}
    reply = send(vendors, "POST", f"{vercel('createOpenAI')}/responses", bearer(vendors), body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input[0]")
    assert provider.count() == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("factory", ["createOpenAI", "createOpenAICompatible"])
def test_vercel_chat(vendors, model, factory):
    """Chat completions by both factories, streamed with usage."""
    body = ask(model, fresh(), stream=True, stream_options={"include_usage": True}, tools=[TOOL], tool_choice="auto")
    reply = send(vendors, "POST", f"{vercel(factory)}/chat/completions", bearer(vendors), body)
    assert reply.text.rstrip().endswith("data: [DONE]")
    assert '"total_tokens"' in reply.text


@pytest.mark.parametrize("model", MODELS)
def test_vercel_anthropic(vendors, model):
    """The factory createAnthropic adds only /messages to its baseURL, which therefore ends in /v1."""
    content = [{"type": "text", "text": fresh("hello")}]
    body = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": content}], "stream": True}
    reply = send(vendors, "POST", f"{vercel('createAnthropic')}/messages", own(vendors), body)
    assert '"message_stop"' in reply.text
