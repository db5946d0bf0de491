"""Amazon Bedrock as a provider: its Converse API for every model, and Anthropic's Messages API through InvokeModel."""

from collections.abc import Callable
from urllib.parse import quote

import msgspec

from app.errors import BadRequestError
from app.providers.exact_json import Fields, write_exact
from app.providers.protocol import ProviderDialect
from app.translation.anthropic_body import DEFAULT_MAX_TOKENS, build_chat_with
from app.translation.anthropic_reply import parse_chat as parse_message
from app.translation.bedrock_config import build_config, build_tools
from app.translation.bedrock_contents import build_contents
from app.translation.bedrock_invoke import InvokeReader, build_invoke_body
from app.translation.bedrock_reply import parse_chat
from app.translation.bedrock_stream import ConverseReader
from app.translation.refusing import refuse_fields
from app.wire.chat import ChatCall

_NO_WORDS = (
    "n",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "verbosity",
)
_ORDINARY_TIERS = {"auto", "default", "standard_only"}


def _find_path(model: str, operation: str) -> str:
    """Return the path of an operation; the model, maybe an ARN with ":" and "/", is one segment of it."""
    try:
        segment = quote(model, safe="")
    except UnicodeEncodeError:
        raise BadRequestError("model: holds half a surrogate pair.", param="model") from None
    if segment in {"", ".", ".."}:
        raise BadRequestError("model: must name a model.", param="model")
    return f"/model/{segment}/{operation}"


def find_converse_path(model: str, stream: bool) -> str:
    """Return the path of a Converse call."""
    return _find_path(model, "converse-stream" if stream else "converse")


def find_invoke_path(model: str, stream: bool) -> str:
    """Return the path of a call in Anthropic's words."""
    return _find_path(model, "invoke-with-response-stream" if stream else "invoke")


def build_converse_with(default_max_tokens: int = DEFAULT_MAX_TOKENS) -> Callable[[ChatCall], bytes]:
    """Return a `build_chat` for Converse; the limit is asked for only where a thinking budget needs one."""

    def build_chat(call: ChatCall) -> bytes:
        refuse_fields(call, "Bedrock", _NO_WORDS)
        fields: Fields = build_contents(call) | build_tools(call) | build_config(call, default_max_tokens)
        return write_exact(fields)

    return build_chat


def build_invoke_with(default_max_tokens: int = DEFAULT_MAX_TOKENS) -> Callable[[ChatCall], bytes]:
    """Return a `build_chat` for Anthropic's models through InvokeModel, whose body knows no service tier."""
    build_message = build_chat_with(default_max_tokens)

    def build_chat(call: ChatCall) -> bytes:
        if call.service_tier in _ORDINARY_TIERS:
            call = msgspec.structs.replace(call, service_tier=None)
        return build_invoke_body(build_message(call))

    return build_chat


BEDROCK_CONVERSE = ProviderDialect(
    path=find_converse_path,
    build_chat=build_converse_with(),
    parse_chat=parse_chat,
    open_reader=ConverseReader,
)
BEDROCK_ANTHROPIC = ProviderDialect(
    path=find_invoke_path,
    build_chat=build_invoke_with(),
    parse_chat=parse_message,
    open_reader=InvokeReader,
)
