"""The vendors: one row of data each. A vendor that speaks a dialect we know needs no code."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from app.errors import Dialect


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a vendor without any configuration.

    `base_urls`: per dialect, where that dialect's paths begin (OpenAI's with `/v1`, Anthropic's without).
    `key_names`: environment variables that hold its key; `url_name` the one that overrides the base URL.
    `keyless`: it answers without a key (local servers). `owns`: how the names of its own models begin.
    `asks_usage`: whether a stream's usage must be asked for by `stream_options` (some refuse the field and send it).
    `tongue`: the chat dialect that calls of other dialects are translated to, and `tongue_url` where its paths begin,
    both where they are not simply those of `base_urls`. `auth`: the header its key goes in, where the dialect does not
    say. `responses`: whether it answers OpenAI's Responses itself. `prices`: its name in the price table.
    """

    name: str
    base_urls: Mapping[Dialect, str]
    key_names: tuple[str, ...] = ()
    url_name: str | None = None
    keyless: bool = False
    owns: tuple[str, ...] = ()
    asks_usage: bool = True
    tongue: str = ""
    tongue_url: str = ""
    auth: str = ""
    responses: bool = True
    prices: str = ""


def _openai_like(
    name: str,
    base_url: str,
    key_name: str,
    *,
    anthropic: str | None = None,
    owns: tuple[str, ...] = (),
    asks_usage: bool = True,
    responses: bool = True,
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
        responses=responses,
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
    _openai_like(
        "mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        owns=_MISTRAL_NAMES,
        asks_usage=False,
        responses=False,
    ),
    _openai_like("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _openai_like(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        anthropic="https://api.deepseek.com/anthropic",
        owns=("deepseek-",),
        responses=False,
    ),
    _openai_like("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", responses=False),
    _openai_like(
        "openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", anthropic="https://openrouter.ai/api"
    ),
    _openai_like("xai", "https://api.x.ai/v1", "XAI_API_KEY", anthropic="https://api.x.ai", owns=("grok-",)),
    Vendor(
        name="azure-openai",
        base_urls={Dialect.OPENAI: ""},
        key_names=("AZURE_OPENAI_API_KEY",),
        url_name="AZURE_OPENAI_ENDPOINT",
        auth="api-key",
        prices="azure",
    ),
    Vendor(
        name="gemini",
        base_urls={Dialect.OPENAI: "https://generativelanguage.googleapis.com/v1beta/openai"},
        key_names=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        url_name="GEMINI_BASE_URL",
        owns=("gemini-",),
        tongue="gemini",
        tongue_url="https://generativelanguage.googleapis.com/v1beta",
        responses=False,
        prices="google",
    ),
    Vendor(
        name="bedrock",
        base_urls={},
        key_names=("AWS_BEARER_TOKEN_BEDROCK",),
        url_name="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        tongue="bedrock",
        tongue_url="https://bedrock-runtime.{region}.amazonaws.com",
        auth="aws",
        prices="aws",
    ),
    Vendor(name="ollama", base_urls={Dialect.OPENAI: "http://127.0.0.1:11434/v1"}, keyless=True),
    Vendor(name="vllm", base_urls={Dialect.OPENAI: "http://127.0.0.1:8000/v1"}, keyless=True),
    Vendor(name="openai-compatible", base_urls={Dialect.OPENAI: ""}, keyless=True),
    Vendor(name="anthropic-compatible", base_urls={Dialect.ANTHROPIC: ""}, keyless=True),
    Vendor(name="mock", base_urls={Dialect.OPENAI: "", Dialect.ANTHROPIC: ""}, keyless=True),
)

VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _ROWS}


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that can be called: a vendor with its address and keys in place.

    `price_factor` is what its list prices are multiplied with: discount and margin. `at_home`: the address is the
    vendor's own, so that what is known of the vendor's service holds.
    """

    name: str
    vendor: str
    base_urls: Mapping[Dialect, str]
    api_keys: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    asks_usage: bool = True
    tongue: str = ""
    tongue_url: str = ""
    auth: str = ""
    responses: bool = True
    prices: str = ""
    price_factor: Decimal = Decimal(1)
    at_home: bool = True
    api_version: str | None = None
    region: str | None = None

    @property
    def api_key(self) -> str | None:
        """The first key."""
        return self.api_keys[0] if self.api_keys else None


DEFAULT_REGION = "us-east-1"
OPENAI_SUFFIX = "/openai"


def build_provider(
    name: str,
    vendor: Vendor,
    base_url: str | None,
    api_keys: tuple[str, ...],
    *,
    api_version: str | None = None,
    region: str | None = None,
    price_factor: Decimal = Decimal(1),
) -> Provider:
    """Return the provider of one configuration entry.

    A given base URL stands for the vendor's own. Vendors that speak both dialects keep them apart by the usual rule:
    OpenAI's base ends in `/v1`, Anthropic's is the same address without it; Gemini's OpenAI dialect is below its own.
    """
    urls, tongue_url = dict(vendor.base_urls), vendor.tongue_url
    if base_url is not None:
        urls = {dialect: _adapt(base_url, dialect, vendor) for dialect in urls}
        tongue_url = base_url.rstrip("/").removesuffix(OPENAI_SUFFIX) if vendor.tongue else ""
    tongue = vendor.tongue or ("openai" if Dialect.OPENAI in urls else "anthropic")
    return Provider(
        name=name,
        vendor=vendor.name,
        base_urls=urls,
        api_keys=tuple(key for key in api_keys if key),
        owns=vendor.owns,
        asks_usage=vendor.asks_usage,
        tongue=tongue,
        tongue_url=tongue_url.replace("{region}", region or DEFAULT_REGION) or urls[Dialect(tongue)],
        auth=vendor.auth,
        responses=vendor.responses,
        prices=vendor.prices or vendor.name,
        price_factor=price_factor,
        api_version=api_version,
        region=region,
        at_home=base_url is None or vendor.name in {"azure-openai", "mock"},
    )


def _adapt(base_url: str, dialect: Dialect, vendor: Vendor) -> str:
    base = base_url.rstrip("/")
    if vendor.tongue:
        return base if base.endswith(OPENAI_SUFFIX) else base + OPENAI_SUFFIX
    return base.removesuffix("/v1") if dialect is Dialect.ANTHROPIC else base
