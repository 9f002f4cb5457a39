"""How often 95 % intervals of exponents hold those of theory, in replications of sweeps whose exponents theory gives.

    python benchmarks/workloads/exponent_coverage.py [--replications 200] [--seeds 40] [--workload ridge]
    python benchmarks/workloads/exponent_coverage.py --replications 2 --seeds 4    # seconds, to see that it runs

Each replication runs five or six sizes without label noise, and fits a power law to the measured losses: of ridge
regression on random features, at the best ridge, in samples with four times as many features, and in features with four
times as many samples (the spectra are those of orchestrator/sweeps/ridge.toml, the sizes its own in samples and half of
its own in features); and of gradient flow on a linear teacher and student, trained to the end, in samples. Sizes and
dimensions are such that corrections of finite sizes cancel to half a per cent. Losses are averaged as they are (least
squares of the loss, not of its logarithm, weighted by its noise), because theory gives their mean; intervals are by
profile likelihood. Every run has a seed of its own: where sizes share seeds, as in those sweeps, the slope varies less
than intervals by seed allow for, and they hold it more often. A share outside 93-97 % is marked with an asterisk.
"""

from __future__ import annotations

import argparse
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.linear_dynamics.exponents import in_samples as of_flow
from sweeplaw.trials.workloads.ridge import exponents

RATIO = 4  # of features and samples, where the other one varies
CAPACITY = 3.0  # of the populations of ridge regression
CONVERGED = 1e15  # time after which gradient flow without noise has learned its samples


@dataclass(frozen=True)
class Curve:
    """A learning curve of ``workload`` in ``size``, at ``sizes``, with knobs ``fixed``; theory gives ``exponent``.

    ``other`` is a second size, RATIO times the first.
    """

    workload: str
    size: str
    sizes: tuple[int, ...]
    fixed: Mapping[str, Any]
    exponent: float
    other: str | None = None

    def knobs(self, size: int) -> dict[str, Any]:
        """Return the knobs of a trial of this size."""
        return {**self.fixed, self.size: size, **({self.other: RATIO * size} if self.other else {})}


RIDGE_SIZES = (32, 42, 56, 74, 97, 128)  # of samples; features are half of them
RIDGE = {"capacity_exponent": CAPACITY, "ridge_choice": "optimal"}
IN_SAMPLES = {**RIDGE, "dimension": 1024, "source_exponent": 0.35}
IN_FEATURES = {**RIDGE, "dimension": 512, "source_exponent": 0.65}
FLOW = {"dimension": 4096, "capacity_exponent": 2.0, "decay_exponent": 2.0, "time": CONVERGED, "evaluations": 1}
CURVES = (
    Curve("ridge", "samples", RIDGE_SIZES, IN_SAMPLES,
          exponents.in_samples(CAPACITY, 0.35, noisy=False), other="features"),
    Curve("ridge", "features", tuple(size // 2 for size in RIDGE_SIZES), IN_FEATURES,
          exponents.in_features(CAPACITY, 0.65), other="samples"),
    Curve("linear_dynamics", "samples", (24, 34, 48, 68, 96), FLOW, of_flow(2.0, 2.0)),
)  # fmt: skip


def losses(curve: Curve, seeds: int) -> pl.DataFrame:
    """Return so many trials of each size, each of a seed of its own: columns size, number and val_loss."""
    workload, rows = registry.load(curve.workload), []
    for place, size in enumerate(curve.sizes):
        numbers = range(place * seeds, (place + 1) * seeds)
        pack = [TrialSpec.of(curve.workload, workload.knobs, {**curve.knobs(size), "seed": seed}) for seed in numbers]
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
    parser.add_argument("--workload", choices=sorted({curve.workload for curve in CURVES}), help="only its curves")
    args = parser.parse_args()
    print(f"{'law of':24s} {'theory':>7s} {'mean':>7s} {'spread':>7s} {'half width':>10s} {'intervals hold it':>20s}")
    for curve in (one for one in CURVES if args.workload in (None, one.workload)):
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
            f"{f'{curve.workload}, {curve.size}':24s} {curve.exponent:7.3f} {np.mean(found):7.3f} {np.std(found):7.3f} "
            f"{np.median(high - low) / 2:10.3f} {share:14.3f}{mark} +- {error:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
