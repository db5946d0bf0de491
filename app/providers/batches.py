"""The vendors' own batches: what they take, how they are asked and what they answer. No I/O."""

from collections.abc import Mapping

import msgspec

from app.errors import Dialect


class BatchProtocol(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of batch API. `endpoints` are the names of those whose bodies it takes as they are."""

    name: str
    dialect: Dialect
    endpoints: frozenset[str]
    max_requests: int
    max_bytes: int


OPENAI_BATCHES = BatchProtocol(
    name="openai",
    dialect=Dialect.OPENAI,
    endpoints=frozenset({"chat", "completions", "embeddings", "responses"}),
    max_requests=50_000,
    max_bytes=200 * 10**6,
)
ANTHROPIC_BATCHES = BatchProtocol(
    name="anthropic",
    dialect=Dialect.ANTHROPIC,
    endpoints=frozenset({"messages"}),
    max_requests=100_000,
    max_bytes=256 * 10**6,
)
BATCH_PROTOCOLS: Mapping[str, BatchProtocol] = {"openai": OPENAI_BATCHES, "anthropic": ANTHROPIC_BATCHES}
"""By the name of the vendor."""
