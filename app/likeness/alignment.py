"""Lays the tokens of two questions beside each other: which have a partner, how near, and in which order."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray

    from app.likeness.model_files import Vector

NAMES = (
    "token_worst", "token_second_worst", "token_third_worst", "token_mean_least", "token_mean_most",
    "token_weighted_least", "token_weighted_most", "token_lonely_least", "token_lonely_most", "token_new_worst",
    "token_new_mean", "token_new_count", "token_shared_worst", "token_shared_mean", "token_turned", "token_count",
)  # fmt: skip
# Below this nearness a token has no partner.
LONELY = 0.55


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a text without the marks around it, and a unit vector for each."""

    ids: list[int]
    vectors: "Vector"


def align(a: Tokens, b: Tokens) -> "list[float]":
    """Return the numbers in the order of NAMES, the same whichever text comes first."""
    import numpy as np

    if not a.ids or not b.ids:
        return [0.0] * len(NAMES)
    near = a.vectors @ b.vectors.T
    best_a, best_b = near.max(axis=1), near.max(axis=0)
    worst = [*np.sort(np.concatenate([best_a, best_b]))[:3].tolist(), 1.0]
    ids_a, ids_b = np.array(a.ids), np.array(b.ids)
    new_a, new_b = ~np.isin(ids_a, ids_b), ~np.isin(ids_b, ids_a)
    new = np.concatenate([best_a[new_a], best_b[new_b]])
    equal = ids_a[:, None] == ids_b[None, :]
    shared = np.where(equal, near, -1.0).max(axis=1)[~new_a]
    weight_a, weight_b = _weigh(ids_a), _weigh(ids_b)
    weighted = (float(best_a @ weight_a), float(best_b @ weight_b))
    means = (float(best_a.mean()), float(best_b.mean()))
    lonely = (int((best_a < LONELY).sum()), int((best_b < LONELY).sum()))
    turned = (_count_turned(near.argmax(axis=1)), _count_turned(near.argmax(axis=0)))
    return [
        *worst[:3], min(means), max(means), min(weighted), max(weighted), min(lonely), max(lonely),
        float(new.min()) if len(new) else 1.0, float(new.mean()) if len(new) else 1.0, len(new),
        float(shared.min()) if len(shared) else 0.0, float(shared.mean()) if len(shared) else 0.0,
        max(turned), len(ids_a) + len(ids_b),
    ]  # fmt: skip


def _weigh(ids: "NDArray[int64]") -> "Vector":
    """Weigh rare words more: the vocabulary is sorted by how common a word is."""
    import numpy as np

    weights = np.log(np.maximum(ids, 1100) / 1000.0)
    return (weights / weights.sum()).astype(np.float32)


def _count_turned(partners: "NDArray[int64]") -> float:
    """Return what part of the neighbours have their partners in the opposite order."""
    import numpy as np

    if len(partners) < 2:
        return 0.0
    return float((np.diff(partners) < 0).mean())
