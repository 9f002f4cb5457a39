"""How often 95 % intervals of exponents hold those of theory, in replications of two sweeps of ridge regression.

    python benchmarks/workloads/ridge_coverage.py [--replications 200] [--seeds 40]
    python benchmarks/workloads/ridge_coverage.py --replications 2 --seeds 4    # seconds, to see that it runs

Each replication runs six sizes at the best ridge, without label noise, and fits a power law to the measured losses: in
samples with four times as many features, and in features with four times as many samples. The populations are those of
orchestrator/sweeps/ridge.toml and the sizes half of its own, where corrections of finite sizes cancel as they do there.
Losses are averaged as they are (least squares of the loss, not of its logarithm, weighted by its noise), because theory
gives their mean; intervals are by profile likelihood. Every run has a seed of its own: where sizes share seeds, as in
that sweep, the slope varies less than intervals by seed allow for, and they hold it more often. A share outside 93-97 %
is marked with an asterisk.
"""

from __future__ import annotations

import argparse
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.ridge.exponents import in_features, in_samples

SIZES, RATIO = (16, 21, 28, 37, 49, 64), 4
CAPACITY, MODES = 3.0, 512


@dataclass(frozen=True)
class Curve:
    """A learning curve in one ``size``, "samples" or "features", of a target of exponent ``source``."""

    size: str
    source: float

    @property
    def exponent(self) -> float:
        """The exponent that theory gives."""
        if self.size == "samples":
            return in_samples(CAPACITY, self.source, noisy=False)
        return in_features(CAPACITY, self.source)


CURVES = (Curve("samples", 0.35), Curve("features", 0.65))


def losses(curve: Curve, seeds: int) -> pl.DataFrame:
    """Return so many trials of each size, each of a seed of its own: columns size, number and val_loss."""
    workload, rows = registry.load("ridge"), []
    other = "features" if curve.size == "samples" else "samples"
    fixed = {"dimension": MODES, "capacity_exponent": CAPACITY, "source_exponent": curve.source}
    for place, size in enumerate(SIZES):
        sizes = {curve.size: size, other: RATIO * size, "ridge_choice": "optimal"}
        numbers = range(place * seeds, (place + 1) * seeds)
        pack = [TrialSpec.of("ridge", workload.knobs, {**fixed, **sizes, "seed": seed}) for seed in numbers]
        found = {
            event.trial_id: event.metrics["val_loss"]
            for event in workload.run(pack, Context("cpu", Path()))
            if isinstance(event, Outcome)
        }
        rows += [{"size": size, "number": n, "val_loss": found[spec.trial_id]} for n, spec in enumerate(pack)]
    return pl.DataFrame(rows)


def main() -> None:
    """Print a line for each curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=40)
    args = parser.parse_args()
    print(
        f"{'law in':9s} {'theory':>7s} {'mean':>7s} {'spread':>7s} {'half width':>10s} {'share of 95 % intervals':>24s}"
    )
    for curve in CURVES:
        every = losses(curve, args.replications * args.seeds)
        found, ends = [], []
        for number in range(args.replications):
            own = every.filter(pl.col("number") // args.seeds == number)
            law = fit(own, "power", "ls", x="size", y="val_loss", space="raw", weights="noise", by="row", all_rows=True)
            found.append(law.params["alpha"])
            ends.append((law.intervals["alpha"].low, law.intervals["alpha"].high))
        low, high = np.array(ends).T
        share = float(np.mean((low <= curve.exponent) & (curve.exponent <= high)))
        error = math.sqrt(max(share * (1 - share), 0.25 / args.replications) / args.replications)
        mark = "" if 0.93 <= share <= 0.97 else "*"
        print(
            f"{curve.size:9s} {curve.exponent:7.3f} {np.mean(found):7.3f} {np.std(found):7.3f} "
            f"{np.median(high - low) / 2:10.3f} {share:14.3f}{mark} +- {error:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
