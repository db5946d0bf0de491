"""The longest answer of a call: what it allows itself, else what its model can write, else an assumption."""

import re
from typing import Literal

import msgspec

from app.catalog.asked import Asked
from app.providers.exact_json import write_exact
from app.translation.anthropic_models import find_generation

# The vendors' model pages (OpenAI's, Anthropic's, Google's and DeepSeek's API documentation) as of November 2026. The
# first pattern that fits counts; newer generations of a family are taken to write as much as its longest.
_BY_NAME = tuple(
    (re.compile(pattern), tokens)
    for pattern, tokens in (
        (r"gpt-4o|gpt-4\.5|chatgpt-4o|gpt-audio|(?:davinci|babbage)-002", 16_384),
        (r"gpt-4\.1", 32_768),
        (r"gpt-4-(?:turbo|vision|1106|0125)|gpt-3\.?5", 4_096),
        (r"gpt-4(?:$|-)", 8_192),
        (r"gpt-\d+(?:\.\d+)?-pro", 272_000),
        (r"gpt-oss", 131_072),
        (r"gpt-[5-9]|gpt-\d\d", 128_000),
        (r"o1-preview", 32_768),
        (r"o1-mini", 65_536),
        (r"o[1-9](?:$|-)|codex-", 100_000),
        (r"gemini-(?:1|2\.0)", 8_192),
        (r"gemini-", 65_536),
        (r"deepseek-", 65_536),
    )
)
_CLAUDES = (((4, 6), 128_000), ((3, 7), 128_000), ((3, 5), 8_192), ((0, 0), 4_096))
"""From which generation on a Claude writes how much; of 3.7 to 4.5 the most any of them can be asked for."""

_USUAL_COMPLETION = 16
_COMPLETES_SHORTLY = frozenset({"openai", "azure", "mock"})
"""Who documents that a text completion without a limit ends after 16 tokens."""

_NEW_CHAT_FIELD = frozenset({"openai", "azure"})
_ANSWERLESS = frozenset({"embeddings", "count_tokens"})


class OutputLimit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `tokens` in each of `answers`. Only what the call says (`source`) is sure to hold."""

    tokens: int
    answers: int = 1
    source: Literal["call", "model", "assumed"]

    @property
    def total(self) -> int:
        """The most output tokens of the call."""
        return self.tokens * self.answers


def find_output_limit(endpoint: str, vendor: str, model: str, asked: Asked, assumed_tokens: int) -> OutputLimit:
    """Return the limit of a call of `endpoint` (its name) to a model of `vendor`."""
    if endpoint in _ANSWERLESS:
        return OutputLimit(tokens=0, source="call")
    if asked.limit is not None:
        return OutputLimit(tokens=asked.limit, answers=asked.answers, source="call")
    if endpoint == "completions" and vendor in _COMPLETES_SHORTLY:
        return OutputLimit(tokens=_USUAL_COMPLETION, answers=asked.answers, source="call")
    known = find_model_limit(model)
    if known is None:
        return OutputLimit(tokens=assumed_tokens, answers=asked.answers, source="assumed")
    return OutputLimit(tokens=known, answers=asked.answers, source="model")


def find_model_limit(model: str) -> int | None:
    """Return how many tokens a model can write, None when its name does not tell."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    generation = find_generation(name)
    if generation is not None:
        return next(tokens for since, tokens in _CLAUDES if generation >= since)
    return next((tokens for pattern, tokens in _BY_NAME if pattern.match(name)), None)


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def cap_output(body: bytes, endpoint: str, vendor: str, tokens: int) -> bytes:
    """Return the JSON object `body` with a limit of `tokens` for each answer; one that names a limit is left as it is.

    All other fields keep the bytes they came with.
    """
    fields = _decode_object(body)
    name = _limit_field(endpoint, vendor)
    rivals = {"max_tokens", "max_completion_tokens"} if endpoint == "chat" else {name}
    if name is None or any(bytes(fields.get(rival, b"null")) != b"null" for rival in rivals if rival):
        return body
    kept = {key: value for key, value in fields.items() if key not in rivals}
    return _encode({**kept, name: msgspec.Raw(write_exact(tokens))})


def _limit_field(endpoint: str, vendor: str) -> str | None:
    """Return the field in which an endpoint takes its limit; None where it has no output."""
    if endpoint in _ANSWERLESS:
        return None
    if endpoint == "responses":
        return "max_output_tokens"
    return "max_completion_tokens" if endpoint == "chat" and vendor in _NEW_CHAT_FIELD else "max_tokens"
