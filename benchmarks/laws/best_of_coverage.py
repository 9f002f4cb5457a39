"""Coverage of the intervals of the expected best of k draws, by the form of the losses and the number of draws.

Settings are drawn from a distribution whose expected lowest of k is known by integration; the loss that is reported has
noise of its own. A line has, for each k with an interval, the share of replications whose interval covers the truth.

    python benchmarks/laws/best_of_coverage.py                     # 400 replications: a minute on one core
    python benchmarks/laws/best_of_coverage.py --replications 4    # a second, to see that it runs
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from sweeplaw.analysis.tuning.experiment.experiment import tuning_experiment

FORMS = {
    "excess gamma(1)": stats.gamma(1.0),  # two knobs with a quadratic optimum
    "excess gamma(2)": stats.gamma(2.0),  # four
    "excess gamma(0.5)": stats.gamma(0.5),  # one
    "log-normal": stats.lognorm(1.0),
}
COUNTS, KS = (16, 32, 64), (1, 2, 4, 8, 16)
BASE, SCALE, NOISE = 2.0, 0.1, 0.01


def expected(form: Any, k: int) -> float:
    """Return the expected lowest of k draws: the integral of the chance that all are above."""
    grid = np.concatenate([[0.0], np.geomspace(1e-9, form.ppf(1 - 1e-12), 20001)])
    return float(np.trapezoid(form.sf(grid) ** k, grid))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=400)
    options = parser.parse_args()
    print("losses             draws  " + "  ".join(f"k = {k:<4}" for k in KS))
    for name, form in FORMS.items():
        for count in COUNTS:
            rng = np.random.default_rng(count)
            covered: dict[int, list[bool]] = {k: [] for k in KS}
            for _ in range(options.replications):
                picked = BASE + SCALE * form.rvs(count, random_state=rng)
                reported = picked + NOISE * rng.standard_normal(count)
                frame = pl.DataFrame({"draw": np.arange(count), "a": picked, "b": reported})
                found = tuning_experiment(frame, [], ["draw"], "a", "b", resamples=400)
                for one in found.places[0].curve:
                    if one.k in covered and one.reported_interval is not None:
                        truth = BASE + SCALE * expected(form, one.k)
                        covered[one.k].append(one.reported_interval[0] <= truth <= one.reported_interval[1])
            shares = (f"{np.mean(covered[k]):<8.1%}" if covered[k] else f"{'–':8}" for k in KS)
            print(f"{name:17}  {count:5}  " + "  ".join(shares), flush=True)
    print(f"standard error at 95 %: {(0.95 * 0.05 / options.replications) ** 0.5:.1%}")


if __name__ == "__main__":
    main()
