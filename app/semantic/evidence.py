"""Whether similar answers are served: only while it is certain enough that few of them are wrong. No I/O.

A namespace's own checks decide. They are looked at after every one, so the bound on the share of wrong answers has to
hold at all times at once, not for one look at a number of checks that was fixed before: it is a confidence sequence
(the likelihood ratio against a beta mixture stays below 1 / (1 - confidence) for ever, Ville 1939), a little wider
than the bound of Clopper and Pearson. Traffic changes, so the newest checks must not speak against it either.

Before a namespace has checks, only what has the same words as a stored question is served, on the strength of the
checks that the policy was released with; a single wrong answer found in the namespace ends that advance.
"""

import math
from functools import lru_cache

from app.likeness.judge import PRIOR_CHECKED, PRIOR_WRONG
from app.semantic.types import TIERS, Evidence, Standing
from app.wire.caching import SemanticConfig

WINDOW = 5000
"""How many of the newest checks of a namespace count at all, of each tier."""

RECENT_BUDGETS = 2
"""Up to how many error budgets the newest checks must rule out: there are fewer of them."""

SURE = 0.97
"""From which probability on the policy is sure."""

ALERT_SHARE = 0.5
"""The share of answers that is checked where the newest checks found a wrong one."""

# Where the mixture puts its weight: on shares of wrong answers far below one in a hundred. Without a wrong answer it
# takes 313 checks to prove one in a hundred at 95 %, with one 765.
_WRONG_PRIOR, _RIGHT_PRIOR = 0.1, 100.0
_STEPS = 60


def find_tier(band: str, probability: float | None) -> int:
    """Return how sure the policy is, as a place in TIERS."""
    if band == "same_words":
        return 0
    return 1 if probability is not None and probability >= SURE else 2


def judge_standing(tier: int, evidence: Evidence, rules: SemanticConfig) -> Standing:
    """Return whether answers of `tier` are served now.

    A tier is judged together with all surer ones, since together they are what would be served; so a tier is served too
    when a less sure one is. The bound is that of what is served, else of the tier.
    """
    found = [_sum_up(one, evidence, rules) for one in range(tier, len(TIERS))]
    proven = next((one for one in found if one.served), None)
    if proven is not None:
        return proven
    here = found[0]
    if rules.unproven == "everything" and not is_disproven(here.checked, here.wrong, rules):
        return Standing(served=True, bound=here.bound, checked=here.checked, wrong=here.wrong)
    if tier == 0 and here.wrong == 0 and rules.unproven == "same_words":
        bound = bound_share(PRIOR_CHECKED + here.checked, PRIOR_WRONG, rules.confidence)
        return Standing(served=bound <= rules.error_budget, bound=bound, checked=here.checked, wrong=0)
    return here


def _sum_up(tier: int, evidence: Evidence, rules: SemanticConfig) -> Standing:
    """Return how the tiers up to one stand by their own checks."""
    checked, wrong = sum(evidence.checked[: tier + 1]), sum(evidence.wrong[: tier + 1])
    bound = bound_share(checked, wrong, rules.confidence)
    recent, lately = sum(evidence.recent_checked[: tier + 1]), sum(evidence.recent_wrong[: tier + 1])
    served = bound <= rules.error_budget and is_below(
        recent, lately, RECENT_BUDGETS * rules.error_budget, rules.confidence
    )
    return Standing(served=served, bound=bound, checked=checked, wrong=wrong)


@lru_cache(maxsize=4096)
def bound_share(checked: int, wrong: int, confidence: float) -> float:
    """Return the largest share of wrong answers that `wrong` of `checked` do not rule out, whenever it is asked.

    Without checks that is 1.
    """
    if wrong >= checked or _weigh(checked, wrong, 1 - 1e-12) < -math.log(1 - confidence):
        return 1.0
    return _find_edge(checked, wrong, confidence)


def is_disproven(checked: int, wrong: int, rules: SemanticConfig) -> bool:
    """Return whether one look makes it certain that more answers are wrong than the budget allows."""
    fewer = _find_at_most(checked, wrong - 1, rules.error_budget) if wrong and rules.error_budget < 1 else 0.0
    return fewer >= rules.confidence


@lru_cache(maxsize=4096)
def is_below(checked: int, wrong: int, share: float, confidence: float) -> bool:
    """Return whether one look at the newest checks rules out `share` (Clopper and Pearson), or finds nothing wrong."""
    if wrong == 0:
        return True
    if share >= 1 or wrong / checked >= share:
        return share >= 1
    return _find_at_most(checked, wrong, share) <= 1 - confidence


def choose_share(evidence: Evidence, rules: SemanticConfig) -> float:
    """Return the share of served answers to check: more of them where the newest checks found something wrong."""
    return max(rules.check_share, ALERT_SHARE if any(evidence.newest_wrong) else 0.0)


def _weigh(checked: int, wrong: int, share: float) -> float:
    """Return the logarithm of how much better the mixture explains the checks than `share` does."""
    a, b = _WRONG_PRIOR, _RIGHT_PRIOR
    mixed = math.lgamma(a + wrong) + math.lgamma(b + checked - wrong) - math.lgamma(a + b + checked)
    mixed -= math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return mixed - wrong * math.log(share) - (checked - wrong) * math.log1p(-share)


@lru_cache(maxsize=4096)
def _find_at_most(checked: int, wrong: int, share: float) -> float:
    """Return the probability of finding `wrong` or fewer when `share` (below 1) of all are wrong."""
    if share <= 0:
        return 1.0
    log_yes, log_no = math.log(share), math.log1p(-share)
    total = 0.0
    for count in range(wrong + 1):
        ways = math.lgamma(checked + 1) - math.lgamma(count + 1) - math.lgamma(checked - count + 1)
        total += math.exp(ways + count * log_yes + (checked - count) * log_no)
    return min(total, 1.0)


def _find_edge(checked: int, wrong: int, confidence: float) -> float:
    """Return the share above what was found from which on the checks rule it out."""
    inside, outside = wrong / checked, 1 - 1e-12
    limit = -math.log(1 - confidence)
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _weigh(checked, wrong, middle) < limit:
            inside = middle
        else:
            outside = middle
    return outside
