"""What a provider has no words for: a hint is left out, anything else is refused by the name the client gave it."""

from collections.abc import Collection, Mapping

import msgspec

from app.errors import BadRequestError
from app.wire.chat import ChatCall

HINTS = frozenset(
    {
        "client_metadata",
        "diagnostics",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream_options",
        "user_profile_id",
    }
)
"""Fields that by their own documentation change cost, speed or book-keeping, never the answer."""

_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": (b"{}",),
    "verbosity": ("medium",),
    "parallel_tool_calls": (True,),
    "modalities": (b'["text"]',),
    "truncation": (b'"disabled"',),
    "background": (b"false",),
}
"""Values that ask for what happens anyway, whoever answers."""


def refuse_field(call: ChatCall, field: str, message: str) -> BadRequestError:
    """Return the error for a canonical field, under the client's name for it."""
    name = call.names.get(field, field)
    return BadRequestError(f"{name}: {message}", param=name)


def refuse_fields(call: ChatCall, provider: str, fields: Collection[str]) -> None:
    """Raise for the first of the canonical `fields` that the call uses, and for the first extra that is no hint."""
    for field in fields:
        if _says_something(field, getattr(call, field)):
            raise refuse_field(call, field, f"{provider} has no such parameter.")
    for name, value in call.extras.items():
        if name not in HINTS and _says_something(name, value):
            raise BadRequestError(f"{name}: {provider} has no such parameter.", param=name)


def _says_something(field: str, value: object) -> bool:
    if isinstance(value, msgspec.Raw):
        value = bytes(value)
    return value is not None and value not in _SAYS_NOTHING.get(field, ())
