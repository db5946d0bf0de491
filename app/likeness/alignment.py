"""Lays the tokens of two questions beside each other: which have a partner, how near, and in which order."""

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from app.likeness.model_files import DATA, read_arrays

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
# The nets' weights; they learned them in `benchmarks/semantic/net.py`, which computes the same.
WEIGHTS = DATA / "reader.npz"
# What the nets say is taken for no more than this; they said up to 4.9 of pairs that they had not seen.
SUREST = 5.0
HEADS = 4
WAVES = 8
# How many words the slowest wave of a place is long.
LONGEST_WAVE = 64.0
# What the embedder's unit vectors and its ids are brought to before they are weighed.
VECTOR_SCALE = 8.0
COMMON, RAREST = 1100, 3.4


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


class Reader:
    """Small nets that read every token of two questions beside its partner in the other; all of them at once.

    Every array has an axis for the nets in front.
    """

    def __init__(self, weights: "dict[str, Vector]") -> None:
        # A row for each net counts for all of its tokens.
        self._weights = {name: w[:, None] if w.ndim == 2 and name != "partner" else w for name, w in weights.items()}
        self._blocks = sum(name.endswith("mixed.weight") for name in weights)

    def compare(self, a: Tokens, b: Tokens) -> float:
        """Return how much speaks for one question in two wordings, as a logit, the same whichever comes first.

        It is what the nets say on average, at most SUREST.
        """
        import numpy as np

        if not a.ids or not b.ids:
            return 0.0
        near = a.vectors @ b.vectors.T
        same = (np.array(a.ids)[:, None] == np.array(b.ids)[None, :]).astype(np.float32)
        plain_a, plain_b = (_bend(self._apply("vector", t.vectors * np.float32(VECTOR_SCALE))) for t in (a, b))
        one = self._read_side(a, plain_a, plain_b, near, same)
        other = self._read_side(b, plain_b, plain_a, near.T, same.T)
        both = np.concatenate([one + other, np.maximum(one, other)], axis=-1)
        return min(float(self._apply("verdict", _bend(self._apply("hidden", both))).mean()), SUREST)

    def _apply(self, name: str, values: "Vector") -> "Vector":
        return values @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _read_side(self, text: Tokens, plain: "Vector", other: "Vector", near: "Vector", same: "Vector") -> "Vector":
        """Return what stands out among the tokens of one text, each read beside its partners in the other."""
        import numpy as np

        own, places = np.arange(near.shape[0], dtype=np.float32), np.arange(near.shape[1], dtype=np.float32)
        far = np.abs(own[:, None] - places[None, :])
        sharp, alike, close = self._weights["partner"].T[:, :, None, None]
        share = _share_out(sharp * near + alike * same - close * far)
        partner, place = share @ other, share @ places
        here = _wave(own)
        waves = (np.broadcast_to(here, (len(place), *here.shape)), _wave(place), _wave(place - own))
        parts = [plain, partner, np.abs(plain - partner), plain * partner, _mark(text, near, same, place), *waves]
        state = self._apply("token", np.concatenate(parts, axis=-1, dtype=np.float32))
        for block in range(self._blocks):
            state = self._mix(f"block{block}", state)
        state = self._even(state, "last")
        weight = _share_out(self._apply("telling", state).swapaxes(1, 2))
        return np.concatenate([state.max(axis=1, keepdims=True), weight @ state, state.mean(axis=1, keepdims=True)], -1)

    def _mix(self, name: str, state: "Vector") -> "Vector":
        """Let every token of a text look at the others of it."""
        heads = self._apply(f"{name}.heads", self._even(state, f"{name}.first"))
        query, key, value = heads.reshape(*state.shape[:2], 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        share = _share_out(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5)
        state = state + self._apply(f"{name}.mixed", (share @ value).swapaxes(1, 2).reshape(state.shape))
        wide = _bend(self._apply(f"{name}.wide", self._even(state, f"{name}.second")))
        return state + self._apply(f"{name}.narrow", wide)

    def _even(self, state: "Vector", name: str) -> "Vector":
        import numpy as np

        width = state.shape[-1]
        state = state - np.add.reduce(state, axis=-1, keepdims=True) / width
        size = np.add.reduce(state * state, axis=-1, keepdims=True) / width + 1e-5
        state /= np.sqrt(size)
        state *= self._weights[f"{name}.weight"]
        state += self._weights[f"{name}.bias"]
        return state


@cache
def load_reader() -> Reader:
    """Read the shipped nets once, when two texts are first compared."""
    return Reader(read_arrays(WEIGHTS))


def _mark(text: Tokens, near: "Vector", same: "Vector", place: "Vector") -> "Vector":
    """Return what is known of each token without the net: how near its partner is, and where."""
    import numpy as np

    equal = np.where(same > 0, near, -1).max(axis=1)
    rare = np.log(np.maximum(np.array(text.ids), COMMON) / 1000) / RAREST
    step = place - np.concatenate([place[:, :1] - 1, place[:, :-1]], axis=1) - 1
    shift = place - np.arange(place.shape[1], dtype=np.float32)
    marks = np.empty((*place.shape, 7), dtype=np.float32)
    marks[..., 0], marks[..., 1] = near.max(axis=1) * 3 - 2, same.max(axis=1)
    marks[..., 2], marks[..., 3] = np.maximum(equal, 0), rare
    marks[..., 4], marks[..., 5] = (shift / 8).clip(-3, 3), (step / 4).clip(-3, 3)
    marks[..., 6] = np.abs(step) > 0.6
    return marks


def _wave(place: "Vector") -> "Vector":
    """Write places so that a net can tell near ones apart and far ones as well."""
    import numpy as np

    turns = place[..., None] * (LONGEST_WAVE ** (-np.arange(WAVES) / WAVES)).astype(np.float32)
    return np.concatenate([np.sin(turns), np.cos(turns)], axis=-1)


def _bend(values: "Vector") -> "Vector":
    import numpy as np

    turned = values * values
    turned *= 0.044715
    turned += 1
    turned *= values
    turned *= 0.7978845608
    np.tanh(turned, out=turned)
    turned += 1
    turned *= values
    turned *= 0.5
    return turned


def _share_out(values: "Vector") -> "Vector":
    import numpy as np

    found = np.exp(values - np.maximum.reduce(values, axis=-1, keepdims=True))
    found /= np.add.reduce(found, axis=-1, keepdims=True)
    return found
