"""The model endpoints that we can read, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from app.errors import Dialect
from app.providers import (
    anthropic,
    anthropic_stream,
    openai_chat,
    openai_completions,
    openai_embeddings,
    responses,
    responses_stream,
)
from app.providers.anthropic import AnthropicTap
from app.providers.openai_tap import OpenAITap, hide_usage
from app.providers.protocol import Endpoint
from app.providers.responses import ResponsesTap

_ALL = (
    Endpoint(
        name="chat",
        dialect=Dialect.OPENAI,
        path="/chat/completions",
        cacheable=True,
        read_facts=openai_chat.read_facts,
        open_tap=OpenAITap,
        write_stream=openai_chat.write_stream,
        write_whole=openai_chat.write_whole,
        hide_usage=hide_usage,
    ),
    Endpoint(
        name="completions",
        dialect=Dialect.OPENAI,
        path="/completions",
        cacheable=True,
        read_facts=openai_completions.read_facts,
        open_tap=OpenAITap,
        write_stream=openai_completions.write_stream,
        write_whole=openai_completions.write_whole,
        hide_usage=hide_usage,
    ),
    Endpoint(
        name="embeddings",
        dialect=Dialect.OPENAI,
        path="/embeddings",
        cacheable=True,
        read_facts=openai_embeddings.read_facts,
    ),
    Endpoint(
        name="responses",
        dialect=Dialect.OPENAI,
        path="/responses",
        cacheable=True,
        read_facts=responses.read_facts,
        open_tap=ResponsesTap,
        write_stream=responses_stream.write_stream,
        write_whole=responses_stream.write_whole,
    ),
    Endpoint(
        name="messages",
        dialect=Dialect.ANTHROPIC,
        path="/v1/messages",
        cacheable=True,
        read_facts=anthropic.read_facts,
        open_tap=AnthropicTap,
        write_stream=anthropic_stream.write_stream,
        write_whole=anthropic_stream.write_whole,
    ),
    Endpoint(
        name="count_tokens",
        dialect=Dialect.ANTHROPIC,
        path="/v1/messages/count_tokens",
        cacheable=False,
        read_facts=anthropic.read_count_facts,
    ),
)

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType({endpoint.name: endpoint for endpoint in _ALL})
"""Every endpoint whose answers we read; other paths of a provider pass through unread."""
