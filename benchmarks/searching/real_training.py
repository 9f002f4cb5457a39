"""Searches that pause and copy trials against random search, on a language model that really trains, at equal FLOPs.

One tiny model on the source of Python's standard library, byte by byte; learning rate and weight decay are tuned. Each
search may spend the FLOPs of so many whole trainings: all steps cost the same, so that is equal device time, and the
CPU seconds are printed beside (they include evaluations and checkpoints). Judged by the final validation loss of the
best trial that was trained to its end.

    python benchmarks/searching/real_training.py           # 6 seeds: about 6 minutes of one core
    python benchmarks/searching/real_training.py --small   # one seed of a few steps, to see that it runs
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.changes import inherited
from sweeplaw.trials.record import flops_done

SWEEP = """
name = "real"
workload = "language_model"
[search]
{search}
[budget]
{budget}
[scientific]
unique_tokens = [{tokens}]
[nuisance]
lr = {{ log = [1e-4, 1e-1] }}
weight_decay = {{ log = [1e-2, 3.0] }}
[fixed]
corpus = "stdlib"
depth = 2
width = 32
heads = 2
ffn = 64
context = 64
epochs = 1
batch_sequences = 8
evaluations = 9
validation_tokens = {validation}
"""
STEP = 8 * 64  # tokens
WHOLE = 8  # trainings that a search may spend
SEARCHES: Mapping[str, str] = {  # with `WHOLE` trainings each; 27 points are three rungs of a reduction by three
    "random": f'kind = "random"\nsamples = {WHOLE}',
    "halving": 'kind = "halving"\nsamples = 27',
    "hyperband": 'kind = "hyperband"\nsamples = 27',
    "population": f'kind = "population"\nmembers = {WHOLE}\nintervals = 4',
}


@dataclass(frozen=True, slots=True)
class Found:
    """The final loss of the best finished trial, the FLOPs spent in whole trainings, trials in all, CPU seconds."""

    loss: float
    trainings: float
    settings: int
    finished: int
    seconds: float


def search(text: str, seed: int, steps: int, folder: Path) -> Found:
    """Run one search in a store in ``folder``."""
    plain = parse(_sweep('kind = "random"\nsamples = 1', "", steps))
    (whole,) = {group.cost.flops for group in plan(plain).groups}
    assert whole is not None, "a language model knows its FLOPs"
    budget = "" if "random" in text else f"flops = {WHOLE * whole!r}"  # its samples are its budget
    sweep = parse(_sweep(f"{text}\nseed = {seed}", budget, steps))
    began = time.process_time()
    launch(plan(sweep), Store.open(folder, create=True), Profile(kind="inline"))
    seconds = time.process_time() - began
    rows = load(folder, states=None).trials.collect()
    done = rows.filter(pl.col("state") == "completed")
    least = done["val_loss"].min()
    spent = sum(flops_done(row, inherited(row.get("changes") or "")) or 0.0 for row in rows.to_dicts())
    return Found(
        float(least) if isinstance(least, float) else float("nan"), spent / whole, rows.height, done.height, seconds
    )


def _sweep(search: str, budget: str, steps: int) -> str:
    validation = min(8192, 64 * steps)  # few where the training is short, or it would take most of the time
    return SWEEP.format(search=search, budget=budget, tokens=steps * STEP, validation=validation)


def show(name: str, found: Sequence[Found], best: float, random: Sequence[Found]) -> None:
    """Print the mean of a search over seeds, its distance to the best known loss, and how often it beats random."""
    losses = np.array([one.loss for one in found])
    excess = 100 * (losses / best - 1)
    wins = sum(one.loss < other.loss for one, other in zip(found, random, strict=True))
    print(
        f"{name:10} {losses.mean():.4f} nats, {excess.mean():.2f} % above the best known (sd {excess.std():.2f}, "
        f"worst {excess.max():.2f}); better than random {wins} of {len(found)}; "
        f"{np.mean([one.trainings for one in found]):.1f} trainings, "
        f"{np.mean([one.settings for one in found]):.0f} trials, {np.mean([one.finished for one in found]):.0f} "
        f"finished, {np.mean([one.seconds for one in found]):.1f} CPU s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=180)
    parser.add_argument("--reference", type=int, default=40, help="random trials that show what can be reached")
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    seeds, steps, reference = (1, 18, 2) if chosen.small else (chosen.seeds, chosen.steps, chosen.reference)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        many = search(f'kind = "random"\nsamples = {reference}', 1000, steps, folder / "reference")
        found = {
            name: [search(text, seed, steps, folder / f"{name}{seed}") for seed in range(seeds)]
            for name, text in SEARCHES.items()
        }
    best = min(many.loss, *(one.loss for runs in found.values() for one in runs))
    print(f"best known: {best:.4f} nats; the best of {reference} random trials: {many.loss:.4f}")
    for name, runs in found.items():
        show(name, runs, best, found["random"])


if __name__ == "__main__":
    main()
