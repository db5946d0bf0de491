"""Vectors of half precision as pgvector keeps them, of any number of dimensions."""

from typing import Any

from sqlalchemy.types import UserDefinedType


class HalfVector(UserDefinedType[Any]):
    """A `halfvec` without a length: which one it is depends on the embedder, and indexes cast to it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in SQL."""
        return "halfvec"
