"""The vendors: one row of data each. A vendor that speaks a dialect we know needs no code."""

from collections.abc import Mapping

import msgspec

from app.errors import Dialect


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a vendor without any configuration.

    `base_urls`: per dialect, where that dialect's paths begin (OpenAI's with `/v1`, Anthropic's without).
    `key_names`: environment variables that hold its key; `url_name` the one that overrides the base URL.
    `keyless`: it answers without a key (local servers). `owns`: how the names of its own models begin.
    `asks_usage`: whether a stream's usage must be asked for by `stream_options` (some refuse the field and send it).
    """

    name: str
    base_urls: Mapping[Dialect, str]
    key_names: tuple[str, ...] = ()
    url_name: str | None = None
    keyless: bool = False
    owns: tuple[str, ...] = ()
    asks_usage: bool = True


def _openai_like(
    name: str,
    base_url: str,
    key_name: str,
    *,
    anthropic: str | None = None,
    owns: tuple[str, ...] = (),
    asks_usage: bool = True,
) -> Vendor:
    urls = {Dialect.OPENAI: base_url}
    if anthropic is not None:
        urls[Dialect.ANTHROPIC] = anthropic
    return Vendor(
        name=name,
        base_urls=urls,
        key_names=(key_name,),
        url_name=key_name.replace("API_KEY", "BASE_URL"),
        owns=owns,
        asks_usage=asks_usage,
    )


_OPENAI_NAMES = (
    *("gpt-", "chatgpt-", "o1", "o3", "o4", "codex-", "computer-use-", "ft:gpt-", "davinci-", "babbage-"),
    *("text-embedding-", "omni-moderation-", "dall-e-", "whisper-", "tts-", "sora-"),
)
_MISTRAL_NAMES = ("mistral-", "codestral", "ministral-", "magistral-", "devstral-", "pixtral-", "open-mistral-")


_ROWS = (
    _openai_like("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", owns=_OPENAI_NAMES),
    Vendor(
        name="anthropic",
        base_urls={Dialect.ANTHROPIC: "https://api.anthropic.com"},
        key_names=("ANTHROPIC_API_KEY",),
        url_name="ANTHROPIC_BASE_URL",
        owns=("claude-",),
    ),
    _openai_like("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", owns=_MISTRAL_NAMES, asks_usage=False),
    _openai_like("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _openai_like(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        anthropic="https://api.deepseek.com/anthropic",
        owns=("deepseek-",),
    ),
    _openai_like("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    _openai_like(
        "openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", anthropic="https://openrouter.ai/api"
    ),
    _openai_like("xai", "https://api.x.ai/v1", "XAI_API_KEY", anthropic="https://api.x.ai", owns=("grok-",)),
    Vendor(name="ollama", base_urls={Dialect.OPENAI: "http://127.0.0.1:11434/v1"}, keyless=True),
    Vendor(name="vllm", base_urls={Dialect.OPENAI: "http://127.0.0.1:8000/v1"}, keyless=True),
    Vendor(name="openai-compatible", base_urls={Dialect.OPENAI: ""}, keyless=True),
    Vendor(name="anthropic-compatible", base_urls={Dialect.ANTHROPIC: ""}, keyless=True),
    Vendor(name="mock", base_urls={Dialect.OPENAI: "", Dialect.ANTHROPIC: ""}, keyless=True),
)

VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _ROWS}


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that can be called: a vendor with its address and key in place."""

    name: str
    vendor: str
    base_urls: Mapping[Dialect, str]
    api_key: str | None = None
    owns: tuple[str, ...] = ()
    asks_usage: bool = True


def build_provider(name: str, vendor: Vendor, base_url: str | None, api_key: str | None) -> Provider:
    """Return the provider of one configuration entry.

    A given base URL stands for the vendor's own. Vendors that speak both dialects keep them apart by the usual rule:
    OpenAI's base ends in `/v1`, Anthropic's is the same address without it.
    """
    urls = dict(vendor.base_urls)
    if base_url is not None:
        urls = {dialect: _adapt(base_url, dialect) for dialect in urls}
    return Provider(
        name=name,
        vendor=vendor.name,
        base_urls=urls,
        api_key=api_key or None,
        owns=vendor.owns,
        asks_usage=vendor.asks_usage,
    )


def _adapt(base_url: str, dialect: Dialect) -> str:
    base = base_url.rstrip("/")
    return base.removesuffix("/v1") if dialect is Dialect.ANTHROPIC else base
