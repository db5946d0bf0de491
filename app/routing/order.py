"""In which order the deployments behind one name are tried. Pure: chance and health come in as arguments."""

import hashlib
import math
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from app.routing.health import Deployment, Health, Rules


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment behind a name; `price` is a comparable cost per token, None when unknown."""

    deployment: Deployment
    weight: float = 1.0
    price: float | None = None


def order(
    options: Sequence[Option], strategy: str, health: Health, *, now: float, rules: Rules, random: Random, session: str
) -> list[Option]:
    """Return `options` with the one to try first in front; those out of rotation come last.

    `session` keeps the calls of one conversation on one deployment, whose prompt cache then serves them; "" is none.
    """
    if len(options) == 1:
        return list(options)
    rank = _RANKS[strategy](options, health, random, session)
    ordered = [option for _, option in sorted(zip(rank, options, strict=True), key=lambda pair: pair[0])]
    out = health.list_out([option.deployment for option in options], now, rules)
    return [option for option in ordered if option.deployment not in out] + [
        option for option in ordered if option.deployment in out
    ]


def _by_weight(options: Sequence[Option], _: Health, random: Random, session: str) -> list[float]:
    """Weighted chance, or for a session weighted rendezvous hashing: the same order as long as the options stay."""
    draws = [_draw(session, option) if session else 1.0 - random.random() for option in options]
    return [-math.log(draw) / option.weight for draw, option in zip(draws, options, strict=True)]


def _by_latency(options: Sequence[Option], health: Health, random: Random, session: str) -> list[float]:
    """The usual time to the first byte; what was never tried comes first, to be known."""
    del session
    return [health.get(option.deployment).latency_seconds or -random.random() for option in options]


def _by_price(options: Sequence[Option], _: Health, random: Random, session: str) -> list[float]:
    """The price; what has none comes last."""
    del random, session
    return [option.price if option.price is not None else math.inf for option in options]


_RANKS: dict[str, Callable[[Sequence[Option], Health, Random, str], list[float]]] = {
    "weighted": _by_weight,
    "least-latency": _by_latency,
    "cheapest": _by_price,
}


def _draw(session: str, option: Option) -> float:
    """Return a number in (0, 1] that depends on the session and the deployment alone."""
    text = "\0".join((session, *option.deployment))
    return (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") + 1) / 2**64
