"""Whether similar answers are served: only while it is certain enough that few of them are wrong. No I/O.

A namespace's own checks decide, with a one-sided Clopper-Pearson bound on the share of wrong answers among all that
would be served. Before it has any, only what has the same words as a stored question is served, on the strength of the
checks that the policy was released with; a single wrong answer found in the namespace ends that advance.
"""

import math
from functools import lru_cache

from app.likeness.judge import PRIOR_CHECKED, PRIOR_WRONG
from app.semantic.types import Evidence, Standing
from app.wire.caching import SemanticConfig

WINDOW = 500
"""How many of the newest checks of a namespace count: older ones may be of other traffic."""

SURE = 0.97
"""From which probability on the policy is sure."""

ALERT_SHARE = 0.5
"""The share of answers that is checked where the newest checks found a wrong one."""

_STEPS = 60


def find_tier(band: str, probability: float | None) -> int:
    """Return how sure the policy is, as a place in TIERS."""
    if band == "same_words":
        return 0
    return 1 if probability is not None and probability >= SURE else 2


@lru_cache(maxsize=4096)
def bound_share(checked: int, wrong: int, confidence: float) -> float:
    """Return the largest share of wrong answers that `wrong` of `checked` do not rule out at `confidence`.

    One-sided and exact (Clopper & Pearson 1934): the share p at which `wrong` or fewer would be found with a
    probability of 1 - confidence. Without checks that is 1.
    """
    return 1.0 if wrong >= checked else _find_share(wrong, checked, 1 - confidence)


def judge_standing(tier: int, evidence: Evidence, rules: SemanticConfig) -> Standing:
    """Return whether answers of `tier` are served now.

    All tiers up to it are judged together, since together they are what would be served.
    """
    checked, wrong = sum(evidence.checked[: tier + 1]), sum(evidence.wrong[: tier + 1])
    bound = bound_share(checked, wrong, rules.confidence)
    if bound <= rules.error_budget:
        return Standing(served=True, bound=bound, checked=checked, wrong=wrong)
    if tier == 0 and wrong == 0 and rules.unproven != "nothing":
        prior = bound_share(PRIOR_CHECKED + checked, PRIOR_WRONG, rules.confidence)
        return Standing(served=prior <= rules.error_budget, bound=prior, checked=checked, wrong=0)
    served = rules.unproven == "everything" and not is_disproven(checked, wrong, rules)
    return Standing(served=served, bound=bound, checked=checked, wrong=wrong)


def is_disproven(checked: int, wrong: int, rules: SemanticConfig) -> bool:
    """Return whether it is certain that more answers are wrong than the budget allows."""
    return bound_from_below(checked, wrong, rules.confidence) > rules.error_budget


@lru_cache(maxsize=4096)
def bound_from_below(checked: int, wrong: int, confidence: float) -> float:
    """Return the smallest share of wrong answers that the checks do not rule out."""
    return _find_share(wrong - 1, checked, confidence) if wrong else 0.0


def choose_share(evidence: Evidence, rules: SemanticConfig) -> float:
    """Return the share of served answers to check: more of them where something was found wrong lately."""
    return max(rules.check_share, ALERT_SHARE if any(evidence.wrong) else 0.0)


def _find_share(wrong: int, checked: int, probability: float) -> float:
    """Return the share at which `wrong` or fewer of `checked` are found with `probability`."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(wrong, checked, middle) > probability:
            low = middle
        else:
            high = middle
    return high


def _at_most(wrong: int, checked: int, share: float) -> float:
    """Return the probability of finding `wrong` or fewer in `checked` when `share` of all are wrong."""
    if share >= 1:
        return 0.0
    log_yes, log_no = math.log(share) if share > 0 else -math.inf, math.log1p(-share)
    total = 0.0
    for count in range(wrong + 1):
        ways = math.lgamma(checked + 1) - math.lgamma(count + 1) - math.lgamma(checked - count + 1)
        total += math.exp(ways + (count * log_yes if count else 0.0) + (checked - count) * log_no)
    return total
