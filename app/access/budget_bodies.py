"""What administrators send about budgets; a field that is not sent stays as it is."""

from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.access.bodies import NO_CONTROL, Instant, Title
from app.access.budget_types import BudgetPeriod, BudgetScope

Ref = Annotated[str, Meta(min_length=1, max_length=512, pattern=NO_CONTROL)]


class BudgetCreation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A budget to be made. `ref` is an id, a model (`name` or `provider/name`) or a tag, as `scope` says."""

    scope: BudgetScope
    ref: Ref
    amount_usd: Decimal
    period: BudgetPeriod
    rolling: bool = False
    name: Title = ""
    soft_limit_usd: Decimal | None = None
    override_usd: Decimal | None = None
    override_until: Instant | None = None


class BudgetChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change about a budget. What it counts cannot: `scope`, `ref`, `period` and `rolling` only as it is."""

    scope: BudgetScope | UnsetType = UNSET
    ref: Ref | UnsetType = UNSET
    period: BudgetPeriod | UnsetType = UNSET
    rolling: bool | UnsetType = UNSET
    name: Title | UnsetType = UNSET
    amount_usd: Decimal | UnsetType = UNSET
    soft_limit_usd: Decimal | UnsetType | None = UNSET
    override_usd: Decimal | UnsetType | None = UNSET
    override_until: Instant | UnsetType | None = UNSET
