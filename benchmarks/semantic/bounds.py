"""The exact interval of Clopper and Pearson for a share, without scipy."""

import math


def bound_share(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the lowest and the highest share that `hits` of `trials` leave possible."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _find(lambda p: 1 - _sum_beta(p, hits, trials - hits + 1), 1 - tail)
    high = 1.0 if hits == trials else _find(lambda p: 1 - _sum_beta(p, hits + 1, trials - hits), tail)
    return low, high


def _find(falls, target: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) > target else (low, middle)
    return low


def _sum_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function by its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _sum_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(1 - x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            total *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return front * total
