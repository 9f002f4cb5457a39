"""Forecasts of the end of a learning curve from its beginning, scored on curves whose end is known.

They are curves of the workload `linear_dynamics`.

    python benchmarks/laws/curve_forecasts.py [--curves 20]
    python benchmarks/laws/curve_forecasts.py --curves 1    # seconds, to see that it runs

Of every curve the last loss is forecast from the points up to a tenth, a quarter and half of its time. A line for each
has the median absolute error relative to the last loss, that of the last loss seen (the forecast that nothing changes),
and how often the 95 % interval held the end. Curves: gradient flow on the population, a power law; on a sample with
label noise, where the loss rises again after the best stopping time; and SGD and Adam on fresh samples at a constant
learning rate.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweeplaw.analysis.scaling.learning_curve import forecast
from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry

SHARES = (0.1, 0.25, 0.5)  # of a curve's time
POWER_LAW = {"capacity_exponent": 1.0, "decay_exponent": 1.7, "evaluations": 60}
STEPPED = {**POWER_LAW, "dimension": 256, "noise": 0.3, "batch": 8}
CURVES: dict[str, Mapping[str, Any]] = {
    "flow, population": {**POWER_LAW, "dimension": 1_000_000, "init": 0.5, "time": 3000.0},
    "flow, sample": {"dimension": 128, "samples": 256, "noise": 0.5, "time": 1000.0, "evaluations": 60},
    "SGD": {**STEPPED, "dynamics": "sgd", "steps": 4000, "lr": 0.2},
    "Adam": {**STEPPED, "dynamics": "adam", "steps": 2000, "lr": 0.003},
}


def curve(knobs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the times and losses of the curve of a trial."""
    workload = registry.load("linear_dynamics")
    spec = TrialSpec.of("linear_dynamics", workload.knobs, knobs)
    points = [event for event in workload.run([spec], Context("cpu", Path())) if isinstance(event, CurvePoint)]
    return np.array([point.metrics["elapsed"] for point in points]), np.array([point.val_loss for point in points])


def main() -> None:
    """Print a line for each curve and share of its time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=20)
    args = parser.parse_args()
    print(f"{'curve':17s} {'seen':>5s} {'median error':>13s} {'if nothing changed':>19s} {'95 % interval held':>19s}")
    for name, knobs in CURVES.items():
        known = [curve({**knobs, "seed": seed}) for seed in range(args.curves)]
        for share in SHARES:
            errors, still, held = [], [], []
            for times, losses in known:
                seen = times <= share * times[-1]
                found = forecast(times[seen], losses[seen], float(times[-1]))
                errors.append(abs(found.loss / losses[-1] - 1))
                still.append(abs(losses[seen][-1] / losses[-1] - 1))
                held.append(found.low <= losses[-1] <= found.high)
            middle, alike = np.median(errors), np.median(still)
            print(f"{name:17s} {share:5.0%} {middle:13.1%} {alike:19.1%} {np.mean(held):19.0%}", flush=True)


if __name__ == "__main__":
    main()
