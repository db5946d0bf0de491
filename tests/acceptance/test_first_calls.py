"""The three lines of the quick start, as a newcomer runs them."""

from anthropic import Anthropic
from openai import OpenAI

from tests.gateway_process import Gateway


def test_openai_sdk_gets_its_answer(shared_gateway: Gateway) -> None:
    """The OpenAI SDK with only its base URL changed chats through the gateway."""
    with OpenAI(base_url=f"{shared_gateway.url}/v1", api_key=shared_gateway.key) as client:
        reply = client.chat.completions.create(model="mock/echo", messages=[{"role": "user", "content": "Hello"}])
    assert reply.choices[0].message.content == "Hello"


def test_anthropic_sdk_gets_its_answer(shared_gateway: Gateway) -> None:
    """The Anthropic SDK with only its base URL changed chats through the gateway."""
    with Anthropic(base_url=shared_gateway.url, api_key=shared_gateway.key) as client:
        reply = client.messages.create(
            model="mock/echo", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
        )
    assert reply.content[0].text == "Hello"
