"""What calls turned out to cost beyond what was held for them: the next holds of the same model are larger by it."""

from decimal import Decimal

MOST = Decimal(50)
"""Beyond this a provider's figures are no guide any more."""

FORGETS = Decimal("0.999")
"""How much of a surprise is left after a call without one: half of it after some seven hundred."""

ONE = Decimal(1)
_MAX_KNOWN = 4096


class Foresight:
    """The factor by which estimates of a model were too low, learned from the calls of this process.

    Tokens are counted before a call by the best rules there are; a provider may still count more. That must cost a
    budget's limit no second time.
    """

    def __init__(self) -> None:
        self._factors: dict[str, Decimal] = {}

    def find_factor(self, deployment: str) -> Decimal:
        """Return what to multiply an estimate with: one for nearly every model."""
        return self._factors.get(deployment, ONE)

    def learn(self, deployment: str, held_usd: Decimal, cost_usd: Decimal) -> None:
        """Note what a call cost of which so much was held."""
        known = self._factors.get(deployment)
        if cost_usd > held_usd > 0:
            if known is None and len(self._factors) >= _MAX_KNOWN:
                self._factors.clear()
            self._factors[deployment] = min((known or ONE) * cost_usd / held_usd, MOST)
        elif known is not None:
            faded = ONE + (known - ONE) * FORGETS
            if faded - ONE < Decimal("0.001"):
                del self._factors[deployment]
            else:
                self._factors[deployment] = faded
