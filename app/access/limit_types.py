"""What is asked of the rate limits, and what they answer."""

from uuid import UUID

import msgspec

from app.access.types import Limit
from app.errors import RateLimitedError


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A call that wants to be admitted.

    `tokens` is what it may use at most, `share` the part of each limit that it may fill.
    """

    limits: tuple[Limit, ...]
    tokens: int = 0
    share: float = 1.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How a limit stands: what it admits, what is left, and after how long all of it is free again."""

    limit: int
    remaining: int
    reset_seconds: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The tightest limits of requests and of tokens; `at` is seconds since the epoch on the database's clock."""

    at: float
    requests: Figures | None = None
    tokens: Figures | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The limit that refused: whose, which ("rpm", "tpm", "max_parallel"), what of it the caller may fill, how long.

    `wait_seconds` is infinite when waiting does not help.
    """

    scope: str
    limit: str
    value: int
    wait_seconds: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the database decided about one asking; `event_id` is what the admitted are counted under."""

    event_id: UUID
    standing: Standing
    refusal: Refusal | None = None


class Admission(msgspec.Struct, kw_only=True):
    """A call that was admitted, until it is finished."""

    asking: Asking
    event_id: UUID
    standing: Standing
    finished: bool = False


class Done(msgspec.Struct, kw_only=True):
    """What became of admitted calls: tokens more or less than admitted by (scope, event), calls under way by scope."""

    tokens: list[tuple[str, UUID, int]] = []
    calls: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.tokens or self.calls)


class LimitReachedError(RateLimitedError):
    """429 with how the limits stand, from which the headers of the client's dialect are written."""

    def __init__(self, message: str, standing: Standing, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        super().__init__(message, headers=headers)
        self.standing = standing
