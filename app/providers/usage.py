"""Token counts as vendors report them, turned into classes that do not overlap.

The vendors' own conventions (which class includes which) are those of their API references of 2026.
"""

from app.providers.exact_json import Fields, get_fields, is_fields
from app.wire.usage import Usage

_ABSURD = 10**12
FAST = "fast"


def read_count(value: object) -> int | None:
    """Return a token count; None for what cannot be one (missing, negative, fractional, a word, absurdly large)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _ABSURD:
        return None
    return value


def _first(*values: object) -> int | None:
    """Return the first of `values` that is a count."""
    return next((count for value in values if (count := read_count(value)) is not None), None)


def read_tier(value: object) -> str | None:
    """Return the service tier when one is named."""
    return value if isinstance(value, str) and value else None


def read_openai_usage(raw: object, *, tier: object = None, web_searches: int = 0) -> Usage | None:
    """Return the classes of a chat, completion, embedding or Responses usage; None when none was reported.

    Tokens that were cached or written, of sound and of images are parts of the input, those of reasoning, of sound and
    of images parts of the output; parts that add up to more than their whole are cut to it. xAI reports reasoning
    beside the output: then the total shows it.
    """
    if not is_fields(raw):
        return None
    total = read_count(raw.get("total_tokens"))
    output = _first(raw.get("completion_tokens"), raw.get("output_tokens"))
    prompt = _read_prompt(raw, total, output)
    if prompt is None:
        return None
    if output is None:
        output = max(total - prompt, 0) if total is not None else 0
    cached, written, written_long, audio, images = _read_input_parts(raw, prompt)
    visible, reasoning, spoken, drawn = _read_output_parts(raw, output, prompt, total)
    return Usage(
        input_tokens=prompt - cached - written - written_long - audio - images,
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        cache_write_1h_tokens=written_long,
        input_audio_tokens=audio,
        input_image_tokens=images,
        output_tokens=visible,
        reasoning_tokens=reasoning,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        web_searches=web_searches,
        service_tier=read_tier(tier) or read_tier(raw.get("service_tier")),
    )


def _read_prompt(raw: Fields, total: int | None, output: int | None) -> int | None:
    prompt = _first(raw.get("prompt_tokens"), raw.get("input_tokens"))
    if prompt is not None:
        return prompt
    hit, miss = read_count(raw.get("prompt_cache_hit_tokens")), read_count(raw.get("prompt_cache_miss_tokens"))
    if hit is not None and miss is not None:
        return hit + miss
    if total is not None and output is not None and total >= output:
        return total - output
    return None


def _read_input_parts(raw: Fields, prompt: int) -> list[int]:
    """Return cached, written (short and long retention), audio and image tokens, together at most `prompt`."""
    details = get_fields(raw, "prompt_tokens_details") or get_fields(raw, "input_tokens_details")
    cached = _first(details.get("cached_tokens"), raw.get("prompt_cache_hit_tokens"), raw.get("cached_tokens"))
    written = _first(details.get("cache_write_tokens")) or 0
    long = _first(get_fields(details, "cache_write_tokens_details").get("ttl_12h_tokens")) or 0
    audio, images = (read_count(details.get(name)) or 0 for name in ("audio_tokens", "image_tokens"))
    long = min(long, written)
    return _cut_to(prompt, cached or 0, written - long, long, audio, images)


def _cut_to(whole: int, *parts: int) -> list[int]:
    kept: list[int] = []
    for part in parts:
        kept.append(min(part, whole))
        whole -= kept[-1]
    return kept


def _read_output_parts(raw: Fields, output: int, prompt: int, total: int | None) -> tuple[int, int, int, int]:
    """Return the visible, reasoning, audio and image tokens of the output."""
    details = get_fields(raw, "completion_tokens_details") or get_fields(raw, "output_tokens_details")
    reasoning = _first(details.get("reasoning_tokens"), raw.get("reasoning_tokens")) or 0
    if reasoning and (total == prompt + output + reasoning or reasoning > output):
        output += reasoning
    audio, images = (read_count(details.get(name)) or 0 for name in ("audio_tokens", "image_tokens"))
    reasoning, spoken, drawn = _cut_to(output, reasoning, audio, images)
    return output - reasoning - spoken - drawn, reasoning, spoken, drawn


def read_anthropic_usage(raw: object) -> Usage | None:
    """Return the classes of a Messages usage; None when none was reported.

    Older providers give only the sum of written tokens: what the split does not explain counts as written for five
    minutes, the default retention. The fast mode has prices of its own, as a service tier has, and counts as one.
    """
    if not is_fields(raw):
        return None
    fresh, output = read_count(raw.get("input_tokens")), read_count(raw.get("output_tokens")) or 0
    if fresh is None:
        return None
    split = get_fields(raw, "cache_creation")
    long = read_count(split.get("ephemeral_1h_input_tokens")) or 0
    short = read_count(split.get("ephemeral_5m_input_tokens")) or 0
    written = read_count(raw.get("cache_creation_input_tokens")) or 0
    details = get_fields(raw, "output_tokens_details")
    thinking = _first(details.get("thinking_tokens"), details.get("reasoning_tokens")) or 0
    thinking = min(thinking, output)
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read_count(raw.get("cache_read_input_tokens")) or 0,
        cache_write_5m_tokens=max(short, written - long),
        cache_write_1h_tokens=long,
        output_tokens=output - thinking,
        reasoning_tokens=thinking,
        web_searches=read_count(get_fields(raw, "server_tool_use").get("web_search_requests")) or 0,
        service_tier=FAST if raw.get("speed") == FAST else read_tier(raw.get("service_tier")),
    )
