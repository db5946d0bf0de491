"""Anthropic's Messages API as a client's and as a provider's dialect."""

from app.providers.protocol import ClientDialect, ProviderDialect
from app.translation.anthropic_body import DEFAULT_MAX_TOKENS, build_chat_with
from app.translation.anthropic_call import read_call
from app.translation.anthropic_reader import AnthropicReader
from app.translation.anthropic_reply import parse_chat, write_reply
from app.translation.anthropic_writer import AnthropicWriter

PATH = "/v1/messages"


def _get_path(_model: str, _stream: bool) -> str:
    return PATH


def build_provider(default_max_tokens: int = DEFAULT_MAX_TOKENS) -> ProviderDialect:
    """Return the provider's dialect; `default_max_tokens` is asked for where a call sets no limit."""
    return ProviderDialect(
        path=_get_path,
        build_chat=build_chat_with(default_max_tokens),
        parse_chat=parse_chat,
        open_reader=AnthropicReader,
    )


ANTHROPIC_CLIENT = ClientDialect(read_call=read_call, write_reply=write_reply, open_writer=AnthropicWriter)
ANTHROPIC_PROVIDER = build_provider()
