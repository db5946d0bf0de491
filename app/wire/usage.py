"""Tokens as they are billed: disjoint classes, so that their sum is the total and each has one price."""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one reply; no token is counted in two classes.

    `input_tokens` are the uncached input tokens (OpenAI's `prompt_tokens` less cached and audio ones, Anthropic's
    `input_tokens` as they are); `output_tokens` are the visible ones, without `reasoning_tokens` and audio.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    web_searches: int = 0
    service_tier: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says about itself.

    `complete` is True only for a whole answer that may be stored: it parsed, it carries no error and it was not
    interrupted. `usage` is None when the provider did not report any (never zero by default).
    """

    usage: Usage | None = None
    model: str | None = None
    complete: bool = False
