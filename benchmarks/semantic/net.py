"""Trains the net that reads two questions side by side; `app/likeness/alignment.py` computes the same without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.likeness.alignment import COMMON, HEADS, LONGEST_WAVE, RAREST, VECTOR_SCALE, WAVES, Tokens

VECTOR = 384
WIDTH = 128
BLOCKS = 2
MARKS = 7 + 3 * 2 * WAVES
BATCH = 64
# Batches are drawn so many at a time, and sorted by length within.
POOL = 30
WARM_UP = 100
RATE = 1.5e-3
DROPPED = 0.15
# Labels are believed so far.
SURE, UNSURE = 0.98, 0.02


@dataclass
class Padded:
    """One text of each pair of a batch."""

    vectors: Tensor
    ids: Tensor
    mask: Tensor


def pad(texts: Sequence[Tokens]) -> Padded:
    longest = max(len(text.ids) for text in texts)
    vectors = np.zeros((len(texts), longest, VECTOR), np.float32)
    ids = np.zeros((len(texts), longest), np.int64)
    for at, text in enumerate(texts):
        vectors[at, : len(text.ids)], ids[at, : len(text.ids)] = text.vectors, text.ids
    return Padded(torch.from_numpy(vectors), torch.from_numpy(ids), torch.from_numpy(ids > 0))


class Block(nn.Module):
    """Lets every token of a text look at the others of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.heads, self.mixed = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        texts, length, _ = state.shape
        heads = self.heads(self.first(state)).view(texts, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads, attn_mask=mask[:, None, None, :])
        state = state + self._drop(self.mixed(seen.transpose(1, 2).reshape(state.shape)))
        return state + self._drop(self.narrow(bend(self.wide(self.second(state)))))

    def _drop(self, values: Tensor) -> Tensor:
        return functional.dropout(values, DROPPED, self.training)


class Net(nn.Module):
    """Two texts in, how much speaks for one question out."""

    def __init__(self) -> None:
        super().__init__()
        # How sharp partners are chosen, what an equal token counts, and what its distance costs.
        self.partner = nn.Parameter(torch.tensor([3.0, 1.0, 0.1]))
        self.vector = nn.Linear(VECTOR, WIDTH)
        self.token = nn.Linear(4 * WIDTH + MARKS, WIDTH)
        for at in range(BLOCKS):
            self.add_module(f"block{at}", Block())
        self.last = nn.LayerNorm(WIDTH)
        self.telling = nn.Linear(WIDTH, 1)
        self.hidden, self.verdict = nn.Linear(6 * WIDTH, 64), nn.Linear(64, 1)

    def weigh_partners(self) -> Tensor:
        sharp, alike, close = self.partner
        return torch.stack([sharp.exp(), alike * 8, close * 0.3])

    def forward(self, a: Padded, b: Padded) -> Tensor:
        near = a.vectors @ b.vectors.transpose(1, 2)
        same = ((a.ids[:, :, None] == b.ids[:, None, :]) & a.mask[:, :, None]).float()
        plain_a, plain_b = (bend(self.vector(self._drop(t.vectors, 0.05) * VECTOR_SCALE)) for t in (a, b))
        one = self._read_side((a, b), plain_a, plain_b, near, same)
        other = self._read_side((b, a), plain_b, plain_a, near.transpose(1, 2), same.transpose(1, 2))
        both = torch.cat([one + other, torch.maximum(one, other)], 1)
        return self.verdict(bend(self.hidden(self._drop(both))))[:, 0]

    def _read_side(
        self, texts: tuple[Padded, Padded], plain: Tensor, other: Tensor, near: Tensor, same: Tensor
    ) -> Tensor:
        text, beside = texts
        own, places = torch.arange(near.shape[1]).float(), torch.arange(near.shape[2]).float()
        sharp, alike, close = self.weigh_partners()
        apart = ~beside.mask[:, None, :]
        wanted = sharp * near + alike * same - close * (own[:, None] - places).abs()
        share = wanted.masked_fill(apart, -1e4).softmax(-1)
        partner, place = share @ other, share @ places
        own = own.expand_as(place)
        marks = [*mark(text, near.masked_fill(apart, -1), same.masked_fill(apart, 0), own, place)]
        waves = [wave(own), wave(place), wave(place - own)]
        parts = [plain, partner, (plain - partner).abs(), plain * partner, torch.stack(marks, -1), *waves]
        state = self.token(self._drop(torch.cat(parts, -1)))
        for block in self.children():
            if isinstance(block, Block):
                state = block(state, text.mask)
        state = self.last(state)
        out = ~text.mask[:, :, None]
        weight = self.telling(state).masked_fill(out, -1e4).softmax(1)
        mean = state.masked_fill(out, 0).sum(1) / text.mask.sum(1, keepdim=True)
        return torch.cat([state.masked_fill(out, -1e4).amax(1), (state * weight).sum(1), mean], -1)

    def _drop(self, values: Tensor, share: float = DROPPED) -> Tensor:
        return functional.dropout(values, share, self.training)


def mark(text: Padded, near: Tensor, same: Tensor, own: Tensor, place: Tensor) -> list[Tensor]:
    """Return what is known of each token without the net."""
    equal = torch.where(same > 0, near, -1.0).amax(-1)
    rare = (text.ids.clamp(min=COMMON) / 1000.0).log() / RAREST
    step = torch.cat([torch.zeros_like(place[:, :1]), place[:, 1:] - place[:, :-1] - 1], 1)
    return [
        near.amax(-1) * 3 - 2, same.amax(-1), equal.clamp(min=0), rare,
        ((place - own) / 8).clamp(-3, 3), (step / 4).clamp(-3, 3), (step.abs() > 0.6).float(),
    ]  # fmt: skip


def wave(place: Tensor) -> Tensor:
    turns = place[..., None] * LONGEST_WAVE ** (-torch.arange(WAVES) / WAVES)
    return torch.cat([turns.sin(), turns.cos()], -1)


def bend(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")


def soften(labels: np.ndarray) -> np.ndarray:
    """Return labels as they are believed."""
    return np.where(labels > 0, SURE, UNSURE)


def fit(
    pairs: Sequence[tuple[Tokens, Tokens]], wanted: np.ndarray, weights: np.ndarray, epochs: float, seed: int
) -> Net:
    """Train on one core towards probabilities; rows are drawn by the root of their weight, and count by the rest."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Net()
    share = weights**0.5 / (weights**0.5).sum()
    counts = torch.from_numpy((weights**0.5 / (weights**0.5 @ share)).astype(np.float32))
    targets = torch.from_numpy(wanted.astype(np.float32))
    lengths = np.array([len(a.ids) + len(b.ids) for a, b in pairs])
    flat = [value for value in net.parameters() if value.ndim < 2]
    deep = [value for value in net.parameters() if value.ndim >= 2]
    groups = [{"params": deep, "weight_decay": 0.05}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    steps = int(epochs * len(pairs) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    queue: list[np.ndarray] = []
    for _ in range(steps):
        queue = queue or draw(rng, share, lengths)
        rows = queue.pop()
        found = net(pad([pairs[i][0] for i in rows]), pad([pairs[i][1] for i in rows]))
        loss = functional.binary_cross_entropy_with_logits(found, targets[rows], weight=counts[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


def draw(rng: np.random.Generator, share: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Return batches of pairs of about one length, in random order."""
    chosen = rng.choice(len(share), BATCH * POOL, p=share)
    chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
    batches = [chosen[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    rng.shuffle(batches)
    return batches


@torch.no_grad()
def score(net: Net, pairs: Sequence[tuple[Tokens, Tokens]]) -> np.ndarray:
    """Return what the net says of each pair, a few hundred at a time."""
    parts = [pairs[at : at + 2 * BATCH] for at in range(0, len(pairs), 2 * BATCH)]
    return torch.cat([net(pad([a for a, _ in part]), pad([b for _, b in part])) for part in parts]).numpy()


def list_weights(net: Net) -> dict[str, np.ndarray]:
    """Return the weights as the gateway reads them: matrices turned so that rows go in, halved in length."""
    found = {name: value.numpy() for name, value in net.state_dict().items()}
    found["partner"] = net.weigh_partners().detach().numpy()
    return {name: np.ascontiguousarray(value.T).astype(np.float16) for name, value in found.items()}
