"""OpenAI's Chat Completions as values: how its clients speak, and how its providers are spoken to."""

from collections.abc import Callable
from functools import partial

from app.providers.protocol import ClientDialect, ProviderDialect
from app.translation.openai_answer import write_reply
from app.translation.openai_body import build_chat, name_limit_field
from app.translation.openai_call import read_call
from app.translation.openai_reader import OpenAIStreamReader
from app.translation.openai_reply import parse_chat
from app.translation.openai_writer import OpenAIStreamWriter

_PATH = "/chat/completions"
"""Relative to a base URL that ends in `/v1`."""


def build_provider(limit_field: Callable[[str], str] = name_limit_field) -> ProviderDialect:
    """Return the dialect of providers that take a model's limit of output tokens in the field `limit_field` names."""
    return ProviderDialect(
        path=lambda _model, _stream: _PATH,
        build_chat=partial(build_chat, limit_field=limit_field),
        parse_chat=parse_chat,
        open_reader=OpenAIStreamReader,
    )


OPENAI_CLIENT = ClientDialect(read_call=read_call, write_reply=write_reply, open_writer=OpenAIStreamWriter)
OPENAI_PROVIDER = build_provider()
