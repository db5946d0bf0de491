"""Tokens as they are billed: disjoint classes, so that their sum is the total and each has one price."""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one reply; no token is counted in two classes.

    `input_tokens` are the uncached input tokens (OpenAI's `prompt_tokens` less cached ones and those of sound and
    images, Anthropic's `input_tokens` as they are); `output_tokens` are the visible ones, without `reasoning_tokens`,
    sound and images.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    web_searches: int = 0
    service_tier: str | None = None

    @property
    def total_input_tokens(self) -> int:
        """All tokens that went in."""
        fresh = self.input_tokens + self.input_audio_tokens + self.input_image_tokens
        return fresh + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def total_output_tokens(self) -> int:
        """All tokens that came out."""
        return self.output_tokens + self.reasoning_tokens + self.output_audio_tokens + self.output_image_tokens

    def without_output(self) -> "Usage":
        """Return what is known before anything came out."""
        nothing = dict.fromkeys(("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens"), 0)
        return msgspec.structs.replace(self, **nothing)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says about itself.

    `complete` is True only for a whole answer that may be stored: it parsed, it carries no error and it was not
    interrupted. `usage` is None when the provider did not report any (never zero by default).
    """

    usage: Usage | None = None
    model: str | None = None
    complete: bool = False
