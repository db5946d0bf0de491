"""When similar answers are served: the bound against exact sums, the rules as tables, and whole namespaces at work."""

import random
from collections import deque
from fractions import Fraction
from functools import cache
from math import comb

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.likeness.judge import PRIOR_CHECKED, PRIOR_WRONG
from app.semantic import evidence as module
from app.semantic.evidence import (
    ALERT_SHARE,
    SURE,
    WINDOW,
    bound_from_below,
    bound_share,
    choose_share,
    find_tier,
    is_disproven,
    judge_standing,
)
from app.semantic.types import TIERS, Evidence
from app.wire.caching import SemanticConfig

RULES = SemanticConfig()
CONFIDENCES = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999]


def at_most(wrong, checked, share):
    """Return the exact probability of `wrong` or fewer in `checked`, by adding up whole fractions."""
    here, there = share, 1 - share
    return sum(comb(checked, k) * here**k * there ** (checked - k) for k in range(wrong + 1))


@pytest.mark.parametrize(
    ("wrong", "least"),
    [(0, 299), (1, 473), (2, 628), (3, 773)],
)
def test_how_many_checks_one_percent_needs(wrong, least):
    """These are the sizes of samples that are known to prove one percent at 95 %, and one check less does not."""
    assert bound_share(least, wrong, 0.95) <= 0.01 < bound_share(least - 1, wrong, 0.95)


@pytest.mark.parametrize(
    ("checked", "wrong", "confidence", "bound"),
    [
        (1, 0, 0.95, 0.95),
        (10, 0, 0.95, 0.258866),
        (10, 1, 0.95, 0.394163),
        (10, 5, 0.95, 0.777559),
        (20, 1, 0.975, 0.248733),
        (100, 0, 0.95, 0.029513),
        (100, 10, 0.95, 0.163990),
        (100, 99, 0.95, 0.999487),
        (100, 100, 0.95, 1.0),
        (459, 0, 0.99, 0.009983),
        (0, 0, 0.95, 1.0),
        (0, 0, 0.5, 1.0),
    ],
)
def test_known_bounds(checked, wrong, confidence, bound):
    """The bound is Clopper and Pearson's, as tables have it."""
    assert bound_share(checked, wrong, confidence) == pytest.approx(bound, abs=1e-6)


@given(st.integers(1, 120), st.data(), st.sampled_from(CONFIDENCES))
def test_the_bound_is_exact(checked, data, confidence):
    """At the bound just as many wrong ones are found as rarely as the confidence says: by exact fractions."""
    wrong = data.draw(st.integers(0, checked - 1))
    bound = bound_share(checked, wrong, confidence)
    left = 1 - Fraction(confidence)
    slack = Fraction(1, 10**9)
    assert Fraction(wrong, checked) < bound <= 1
    assert at_most(wrong, checked, min(Fraction(bound) + slack, Fraction(1))) <= left
    assert at_most(wrong, checked, Fraction(bound) - slack) >= left


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("checked", [1, 2, 5, 12, 30])
def test_coverage(checked, confidence):
    """Whatever the true share is, the bound is below it no more often than the confidence allows."""
    for thousandth in range(0, 1001, 7):
        share = Fraction(thousandth, 1000)
        misses = [k for k in range(checked + 1) if bound_share(checked, k, confidence) < share]
        probability = sum(comb(checked, k) * share**k * (1 - share) ** (checked - k) for k in misses)
        assert probability <= 1 - Fraction(confidence) + Fraction(1, 10**9)


@given(st.integers(0, 1500), st.data(), st.sampled_from(CONFIDENCES))
def test_the_bound_moves_with_what_was_found(checked, data, confidence):
    """Another wrong one raises the bound, another right one lowers it, and more confidence costs a higher bound."""
    wrong = data.draw(st.integers(0, checked))
    bound = bound_share(checked, wrong, confidence)
    assert 0 < bound <= 1
    assert bound_share(checked + 1, wrong, confidence) <= bound <= bound_share(checked + 1, wrong + 1, confidence)
    if wrong < checked:
        assert bound <= bound_share(checked, wrong + 1, confidence)
    assert bound <= bound_share(checked, wrong, (1 + confidence) / 2)


@given(st.integers(1, 150), st.data(), st.sampled_from(CONFIDENCES))
def test_the_bound_from_below(checked, data, confidence):
    """The lower bound is below what was found, and exact: so many wrong ones are as rare there as confidence says."""
    wrong = data.draw(st.integers(0, checked))
    low = bound_from_below(checked, wrong, confidence)
    assert 0 <= low <= wrong / checked
    if wrong:
        above = 1 - at_most(wrong - 1, checked, Fraction(low))
        assert abs(above - (1 - Fraction(confidence))) < Fraction(1, 10**6)


@pytest.mark.parametrize(
    ("band", "probability", "tier"),
    [
        ("same_words", None, "same_words"),
        ("same_words", 0.1, "same_words"),
        ("likely", 1.0, "sure"),
        ("likely", SURE, "sure"),
        ("likely", SURE - 1e-9, "likely"),
        ("likely", 0.8, "likely"),
        ("likely", None, "likely"),
    ],
)
def test_tiers(band, probability, tier):
    """The same words are surest, then what the policy is nearly certain of."""
    assert TIERS[find_tier(band, probability)] == tier


def know(*sums):
    """Return evidence of (checked, wrong) by tier."""
    whole = [*sums, *[(0, 0)] * (len(TIERS) - len(sums))]
    return Evidence(checked=tuple(one[0] for one in whole), wrong=tuple(one[1] for one in whole))


def follow(**changes):
    return msgspec.structs.replace(RULES, **changes)


@pytest.mark.parametrize(
    ("tier", "evidence", "rules", "served"),
    [
        (0, know(), follow(), True),
        (1, know(), follow(), False),
        (2, know(), follow(), False),
        (0, know(), follow(unproven="nothing"), False),
        (0, know((298, 0)), follow(unproven="nothing"), False),
        (0, know((299, 0)), follow(unproven="nothing"), True),
        (2, know((0, 0), (0, 0), (298, 0)), follow(), False),
        (2, know((0, 0), (0, 0), (299, 0)), follow(), True),
        (2, know((100, 0), (100, 0), (99, 0)), follow(), True),
        (2, know((100, 0), (100, 0), (98, 0)), follow(), False),
        (1, know((100, 0), (100, 0), (99, 0)), follow(), False),
        (1, know((199, 0), (100, 0), (50, 50)), follow(), True),
        (2, know((199, 0), (100, 0), (50, 50)), follow(), False),
        (2, know((400, 1), (50, 0), (23, 0)), follow(), True),
        (2, know((400, 1), (50, 0), (22, 0)), follow(), False),
        (0, know((5, 1)), follow(), False),
        (0, know((472, 1)), follow(), False),
        (0, know((473, 1)), follow(), True),
        (0, know((0, 0), (50, 50), (50, 50)), follow(), True),
        (0, know((5, 0)), follow(), True),
        (2, know((0, 0), (0, 0), (299, 0)), follow(confidence=0.99), False),
        (2, know((0, 0), (0, 0), (459, 0)), follow(confidence=0.99), True),
        (2, know((0, 0), (0, 0), (59, 0)), follow(error_budget=0.05), True),
        (2, know((0, 0), (0, 0), (500, 0)), follow(error_budget=0.0), False),
        (0, know(), follow(error_budget=0.0), False),
        (0, know(), follow(error_budget=0.002), False),
        (2, know(), follow(unproven="everything"), True),
        (1, know(), follow(unproven="everything"), True),
        (0, know(), follow(unproven="everything"), True),
        (2, know((0, 0), (0, 0), (20, 1)), follow(unproven="everything"), True),
        (2, know((0, 0), (0, 0), (20, 3)), follow(unproven="everything"), False),
        (2, know((0, 0), (0, 0), (5, 5)), follow(unproven="everything"), False),
        (0, know((20, 3)), follow(unproven="everything"), False),
        (2, know((0, 0), (0, 0), (9, 9)), follow(error_budget=1.0), True),
        (2, know(), follow(error_budget=1.0, unproven="nothing"), True),
    ],
)
def test_standings(tier, evidence, rules, served):
    """Served is what is proven; the same words in advance, until one was wrong; or all, until it is disproven."""
    assert judge_standing(tier, evidence, rules).served is served


def test_what_a_standing_tells():
    """A standing tells the checks of all tiers that would be served, and the bound that they prove."""
    evidence = know((200, 0), (90, 1), (40, 3))
    found = [judge_standing(tier, evidence, RULES) for tier in range(3)]
    assert [(one.checked, one.wrong) for one in found] == [(200, 0), (290, 1), (330, 4)]
    assert [one.bound for one in found[1:]] == [bound_share(290, 1, 0.95), bound_share(330, 4, 0.95)]
    assert found[0].bound == bound_share(PRIOR_CHECKED + 200, PRIOR_WRONG, 0.95)  # served on the strength of others


def test_the_advance_is_earned():
    """What the policy was released with proves the default budget at the default confidence."""
    assert bound_share(PRIOR_CHECKED, PRIOR_WRONG, RULES.confidence) <= RULES.error_budget


SUMS = st.integers(0, WINDOW).flatmap(lambda checked: st.tuples(st.just(checked), st.integers(0, min(checked, 12))))
SHARES = st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2])


@given(st.tuples(SUMS, SUMS, SUMS), st.integers(0, 2), SHARES, st.sampled_from(CONFIDENCES))
def test_nothing_unproven_is_served(sums, tier, budget, confidence):
    """Where nothing is served in advance, what is served is proven: the bound keeps to the budget."""
    rules = follow(error_budget=budget, confidence=confidence, unproven="nothing")
    standing = judge_standing(tier, know(*sums), rules)
    checked, wrong = (sum(one[place] for one in sums[: tier + 1]) for place in (0, 1))
    assert standing.bound == bound_share(checked, wrong, confidence)
    assert standing.served is (standing.bound <= budget)


@given(st.tuples(SUMS, SUMS, SUMS), st.integers(0, 2), SHARES, st.sampled_from(CONFIDENCES))
def test_advances(sums, tier, budget, confidence):
    """By default only the same words are served in advance, never after a wrong one and never beyond the budget."""
    rules = follow(error_budget=budget, confidence=confidence)
    standing = judge_standing(tier, know(*sums), rules)
    assert standing.served is (standing.bound <= budget)
    if standing.served and standing.bound != bound_share(standing.checked, standing.wrong, confidence):
        assert tier == 0
        assert sums[0][1] == 0


@given(st.tuples(SUMS, SUMS, SUMS), st.integers(0, 2), SHARES, st.sampled_from(["nothing", "same_words", "everything"]))
def test_what_is_disproven_is_never_served(sums, tier, budget, unproven):
    """Whatever is served in advance: not what is known to be wrong more often than it may be."""
    rules = follow(error_budget=budget, unproven=unproven)
    standing = judge_standing(tier, know(*sums), rules)
    if is_disproven(standing.checked, standing.wrong, rules):
        assert not standing.served


@given(st.tuples(SUMS, SUMS, SUMS), st.integers(0, 2), st.integers(0, 2), st.sampled_from(["nothing", "same_words"]))
def test_a_wrong_one_never_helps(sums, tier, place, unproven):
    """A check that found a wrong answer never makes anything served that was not."""
    rules = follow(unproven=unproven)
    worse = [list(one) for one in sums]
    worse[place] = [worse[place][0] + 1, worse[place][1] + 1]
    if judge_standing(tier, know(*worse), rules).served:
        assert judge_standing(tier, know(*sums), rules).served


@pytest.mark.parametrize(
    ("evidence", "check_share", "share"),
    [
        (know(), 0.05, 0.05),
        (know((500, 0), (9, 0)), 0.0, 0.0),
        (know((500, 0), (9, 0), (9, 1)), 0.05, ALERT_SHARE),
        (know((500, 1)), 0.0, ALERT_SHARE),
        (know((500, 1)), 0.9, 0.9),
        (know(), 1.0, 1.0),
    ],
)
def test_how_many_are_checked(evidence, check_share, share):
    """A wrong answer among the newest checks raises the share that is checked, and never lowers it."""
    assert choose_share(evidence, follow(check_share=check_share)) == share


HITS = 20_000
CALLS = 40
"""How many namespaces' worth of numbers one test draws."""


@cache
def stand(checked, wrong):
    return judge_standing(2, know((0, 0), (0, 0), (checked, wrong)), RULES).served


class Namespace:
    """A namespace at work: each hit is served or not, checked or not, and the newest checks are all that is known."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.newest = deque()
        self.wrong_known = self.served = self.wrong = 0

    @property
    def serves(self):
        return stand(len(self.newest), self.wrong_known)

    def hit(self, share):
        """Let one similar question come, whose stored answer is wrong with the probability `share`."""
        wrong = self.random.random() < share
        if self.serves:
            self.served += 1
            self.wrong += wrong
            known = know((0, 0), (0, 0), (len(self.newest), self.wrong_known))
            if self.random.random() >= choose_share(known, RULES):
                return
        self.newest.append(wrong)
        self.wrong_known += wrong
        if len(self.newest) > WINDOW:
            self.wrong_known -= self.newest.popleft()
