"""Trains the second reader: a small transformer that reads two questions together and says whether they ask the same.

Needs torch, transformers and safetensors, none of which the project depends on, and the float weights of
all-MiniLM-L6-v2 (Apache-2.0) in a folder. Takes about half an hour on two cores.

    python -m benchmarks.semantic.train_reader --base FOLDER --save FILE
"""

import argparse
import math
import pickle
import random
import time
from pathlib import Path

import torch
from torch.nn import functional
from transformers import BertModel

from app.likeness.model_files import load_pieces
from benchmarks.semantic.material import SEED, Row, collect

BATCH = 32
LONGEST = 128


class Reader(torch.nn.Module):
    """The base model over "[CLS] a [SEP] b [SEP]" and one number out."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(base, attn_implementation="sdpa")
        # The word vectors stay as they are, so that those of the packaged embedder serve here too.
        self.bert.embeddings.word_embeddings.weight.requires_grad = False
        self.head = torch.nn.Linear(self.bert.config.hidden_size, 1)

    def forward(self, ids: torch.Tensor, segments: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask).last_hidden_state
        return self.head(states[:, 0]).squeeze(-1)


def encode(cut, a: str, b: str) -> tuple[list[int], list[int]]:
    """Return the ids of both texts and which text each belongs to."""
    first, second = cut.read(a)[: LONGEST // 2], cut.read(b)[: LONGEST // 2]
    return (
        [cut.start, *first, cut.end, *second, cut.end],
        [0] * (len(first) + 2) + [1] * (len(second) + 1),
    )


def batch(rows: list[tuple[list[int], list[int], int]]) -> tuple[torch.Tensor, ...]:
    longest = max(len(ids) for ids, _, _ in rows)
    pad = lambda values: torch.tensor([v + [0] * (longest - len(v)) for v in values])  # noqa: E731 (used three times here only)
    return (
        pad([ids for ids, _, _ in rows]),
        pad([segments for _, segments, _ in rows]),
        pad([[1] * len(ids) for ids, _, _ in rows]),
        torch.tensor([label for _, _, label in rows], dtype=torch.float32),
    )


def order(rows: list, rng: random.Random) -> list[list]:
    """Return batches of rows of nearly the same length, in random order."""
    ranked = sorted(rows, key=lambda row: len(row[0]) + rng.random() * 6)
    batches = [ranked[i : i + BATCH] for i in range(0, len(ranked), BATCH)]
    rng.shuffle(batches)
    return batches


def train(base: Path, start: Path | None, save: Path, epochs: int, rate: float, rows: list[Row]) -> None:
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    cut = load_pieces()
    reader = Reader(base)
    if start:
        reader.load_state_dict(torch.load(start))
    reader.train()
    groups = [
        {"params": [p for n, p in reader.named_parameters() if n.startswith("bert") and p.requires_grad], "lr": rate},
        {"params": reader.head.parameters(), "lr": rate * 10},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = epochs * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1, (s + 1) / (steps * 0.06)) * max(0, 1 - s / steps)
    )
    step, total, began = 0, 0.0, time.time()
    for _ in range(epochs):
        encoded = [(*encode(cut, *((r.a, r.b) if rng.random() < 0.5 else (r.b, r.a))), r.label) for r in rows]
        for rows_now in order(encoded, rng):
            ids, segments, mask, labels = batch(rows_now)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = reader(ids, segments, mask)
            loss = functional.binary_cross_entropy_with_logits(logits.float(), labels * 0.96 + 0.02)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step, total = step + 1, total + loss.item()
            if step % 50 == 0:
                print(f"{step}/{steps} loss {total / 50:.3f} {(time.time() - began) / step:.2f} s a step", flush=True)
                total = 0.0
                torch.save(reader.state_dict(), save)
        torch.save(reader.state_dict(), save)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--save", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="what an earlier run saved, to go on from")
    parser.add_argument("--rows", type=Path, help="a pickle of the rows, to skip collecting them")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=6e-5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rows and options.rows.exists():
        material = pickle.loads(options.rows.read_bytes())
    else:
        material = collect()
        if options.rows:
            options.rows.write_bytes(pickle.dumps(material))
    train(options.base, options.start, options.save, options.epochs, options.rate, material)
