"""What a call may cost before it is made, and what is charged when nobody says what it used."""

from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from app.catalog.asked import Asked
from app.catalog.output_limits import OutputLimit
from app.catalog.tokens import InputCount
from app.wire.money import SMALLEST_USD, Line
from app.wire.usage import Usage

FindLines = Callable[[str, str, Usage], tuple[Line, ...] | None]
"""Prices a usage of a provider's model; None when it has no price."""

LEAST_OUTPUT_TOKENS = 16
"""An answer worth asking for: OpenAI's Responses takes no smaller limit."""

BYTES_A_TOKEN = 32
"""What a token has at least on its way through a stream.

An event of any dialect has over 100 bytes of frame around a few tokens of text at most; bytes that are all text have
fewer a token only where somebody writes in long runs of rare characters.
"""

_INPUT = ("input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "input_image_tokens")
_OUTPUT = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens")


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The most a call may cost, and the least that is of use: the same with a short answer.

    `usage` is the worst case. `fixed_usd` is what does not depend on the output's length, `unit_usd` what each output
    token costs.
    """

    wanted_usd: Decimal
    minimum_usd: Decimal
    usage: Usage
    fixed_usd: Decimal
    unit_usd: Decimal
    output: OutputLimit


class _Rates(msgspec.Struct, frozen=True):
    """The worst case at one service tier."""

    fixed_usd: Decimal
    unit_usd: Decimal
    usage: Usage


def estimate(
    find_lines: FindLines, provider: str, model: str, count: InputCount, output: OutputLimit
) -> Estimate | None:
    """Return what a call to a model may cost; None when it has no price."""

    def price(usage: Usage) -> tuple[Line, ...] | None:
        return find_lines(provider, model, usage)

    if "image" in model.lower():  # it draws whether or not it is told to
        count = msgspec.structs.replace(count, asked=msgspec.structs.replace(count.asked, image_output=True))
    implicit = "claude" not in model.lower()  # others may write what they like to their caches, unasked
    tiers = [_find_rates(price, count, output, tier, implicit) for tier in _list_tiers(count.asked)]
    rates = [one for one in tiers if one is not None]
    if not rates or len(rates) < len(tiers):
        return None
    fixed, unit = max(one.fixed_usd for one in rates), max(one.unit_usd for one in rates)
    worst = max(rates, key=lambda one: one.fixed_usd + one.unit_usd * output.total)
    least = output.total
    if output.source != "call":
        least = min(least, LEAST_OUTPUT_TOKENS * output.answers)
    return Estimate(
        wanted_usd=_round_up(fixed + unit * output.total),
        minimum_usd=_round_up(fixed + unit * least),
        usage=worst.usage,
        fixed_usd=fixed,
        unit_usd=unit,
        output=output,
    )


def affordable_output(granted_usd: Decimal, estimated: Estimate) -> int:
    """Return how many output tokens for each answer a grant pays for: at most those of the estimate, maybe none."""
    output = estimated.output
    left = granted_usd - estimated.fixed_usd
    if left < 0 or not output.answers:
        return 0
    if not estimated.unit_usd:
        return output.tokens
    paid = (left / estimated.unit_usd / output.answers).to_integral_value(rounding=ROUND_FLOOR)
    return min(int(paid), output.tokens)


def estimate_interrupted(count: InputCount, sent_bytes: int, output_tokens: int) -> Usage:
    """Return what is charged for a stream that broke off before it told its usage.

    The input as it was counted, and as much output as the bytes that went to the client can have carried.
    """
    audio = min(count.audio_tokens, count.tokens)
    return Usage(
        input_tokens=count.tokens - audio,
        input_audio_tokens=audio,
        output_tokens=min(output_tokens, sent_bytes // BYTES_A_TOKEN),
    )


def _list_tiers(asked: Asked) -> Iterator[str | None]:
    """Yield the service tiers that the call may be served at: which one it is, the answer says."""
    yield None
    if asked.service_tier in {"auto", "priority"}:
        yield "priority"
    if asked.fast:
        yield "fast"


def _find_rates(
    price: Callable[[Usage], tuple[Line, ...] | None],
    count: InputCount,
    output: OutputLimit,
    tier: str | None,
    implicit: bool,
) -> _Rates | None:
    """Return the worst case at a tier: every token in the dearest class that it may be counted in."""
    asked, audio = count.asked, min(count.audio_tokens, count.tokens)
    base = Usage(
        input_tokens=count.tokens - audio,
        input_audio_tokens=audio,
        web_searches=asked.web_searches,
        service_tier=tier,
    )
    lines = price(base)
    if lines is None:
        return None
    into = _find_dearest(price, base, _list_input(count, implicit), count.tokens - audio)
    out = _find_dearest(price, base, _list_output(asked), 1) if output.total else ("output_tokens", Decimal(0))
    if into is None or out is None:
        return None
    usage = msgspec.structs.replace(base, input_tokens=0)
    usage = msgspec.structs.replace(usage, **{into[0]: count.tokens - audio})
    rest = sum((line.amount_usd for line in lines if line.token_class != _INPUT[0]), Decimal(0))
    return _Rates(
        rest + into[1] * (count.tokens - audio), out[1], msgspec.structs.replace(usage, **{out[0]: output.total})
    )


def _list_input(count: InputCount, implicit: bool) -> tuple[str, ...]:
    """Return the classes that input may be counted in; what the cache gave is never dearer than what it did not."""
    asked = count.asked
    written = asked.caches or asked.caches_long or implicit
    may_be = (True, written, asked.caches_long, count.has_images)
    return tuple(name for name, possible in zip(_INPUT, may_be, strict=True) if possible)


def _list_output(asked: Asked) -> tuple[str, ...]:
    may_be = (True, True, asked.audio_output, asked.image_output)
    return tuple(name for name, possible in zip(_OUTPUT, may_be, strict=True) if possible)


def _find_dearest(
    price: Callable[[Usage], tuple[Line, ...] | None], base: Usage, classes: tuple[str, ...], quantity: int
) -> tuple[str, Decimal] | None:
    """Return the dearest of `classes` and its price for a unit; a class without one is none that the model has.

    Each unit is rounded up, so that the rounding of the real lines cannot come to more.
    """
    found: list[tuple[Decimal, str]] = []
    for name in classes:
        probe = base if name in _OUTPUT else msgspec.structs.replace(base, input_tokens=0)
        lines = price(msgspec.structs.replace(probe, **{name: quantity or 1}))
        units = [_round_up(line.usd_per_unit * line.factor) for line in lines or () if line.token_class == name]
        found += [(unit, name) for unit in units]
    if not found:
        return None
    unit, name = max(found, key=lambda one: one[0])
    return name, unit


def _round_up(amount: Decimal) -> Decimal:
    return amount.quantize(SMALLEST_USD, rounding=ROUND_CEILING)
