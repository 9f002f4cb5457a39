"""Coverage of forecasts on planted truths: the next budget, and the last decade of compute, from the runs before them.

    python benchmarks/laws/forecast_coverage.py [--seeds 4] [--first 0] [--json]
    python benchmarks/laws/forecast_coverage.py --small    # one table of each truth, to see that it runs

Truths: `additive` and `coupled`, which the mean of a forecast can be; two of them without an asymptote, and one with a
low one; an additive law with a smooth error of half a per cent. Noise: of one size, heavy-tailed (t with 3 degrees of
freedom), falling with compute, shared by runs of a size. Designs: seven budgets of eight sizes, and grids of 49 and 25
points. A line has the means over the tables of one truth: error, coverage of the 95 and 80 % bands of runs (.93 to .97
of the first is aimed at, .90 where the law is only near), width and interval score, in per cent of the loss.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import numpy as np

from sweeplaw.analysis.forecasting.budgets import compute_of
from sweeplaw.analysis.forecasting.calibration import LearntProcesses
from sweeplaw.analysis.forecasting.process.process import RunPoints
from sweeplaw.analysis.forecasting.rollouts import cuts, forecast_bands
from sweeplaw.analysis.forecasting.scores import score
from sweeplaw.analysis.laws.catalog import LAWS

Array = np.ndarray
Rng = np.random.Generator

SCORES = ("mean_abs_error", "coverage_95", "coverage_80", "width_95", "interval_score")
LEVEL = 0.003  # of the noise, about


def isoflop() -> tuple[Array, Array]:
    compute = np.repeat(np.logspace(17, 20, 7), 8)
    size = np.sqrt(compute / 120) * np.exp(np.tile(np.linspace(-1.2, 1.2, 8), 7))
    return size, compute / 6 / size


def grid(points: int) -> tuple[Array, Array]:
    size, tokens = np.meshgrid(np.logspace(6, 8.4, points), np.logspace(8, 10, points))
    return size.ravel(), tokens.ravel()


DESIGNS: dict[str, Callable[[], tuple[Array, Array]]] = {
    "isoflop": isoflop, "grid 7 x 7": lambda: grid(7), "grid 5 x 5": lambda: grid(5),
}  # fmt: skip


def smooth_error(n: Array, d: Array, rng: Rng) -> Array:
    wave = np.sin(0.6 * np.log(n) + rng.normal()) + np.sin(0.7 * np.log(d) + rng.normal())
    return np.asarray((1.7 + 0.9 * n**-0.34 + d**-0.28) * np.exp(0.004 * wave))


# Of N in units of 1e7 and D in units of 1e9.
TRUTHS: dict[str, Callable[[Array, Array, Rng], Array]] = {
    "additive": lambda n, d, _: 1.7 + 0.9 * n**-0.34 + d**-0.28,
    "coupled": lambda n, d, _: 1.6 + 1.2 * (n**-0.68 + d**-0.56) ** 0.5,
    "additive, E = 0": lambda n, d, _: 1.8 * (n**-0.12 + d**-0.1),
    "coupled, E = 0": lambda n, d, _: ((2.2 * n**-0.12) ** 1.6 + (2.0 * d**-0.1) ** 1.6) ** (1 / 1.6),
    "low asymptote": lambda n, d, _: 0.5 + 1.3 * (n**-0.18 + d**-0.15),
    "smooth error": smooth_error,
}


def by_size(size: Array, rng: Rng) -> Array:
    values, index = np.unique(np.round(np.log(size), 3), return_inverse=True)
    return np.asarray(rng.normal(size=len(values))[index])


# Of the sizes, the compute over its geometric mean, and independent normal numbers.
NOISES: dict[str, Callable[[Array, Array, Array, Rng], Array]] = {
    "equal": lambda _, __, normal, ___: normal,
    "t3": lambda size, _, __, rng: 0.67 * rng.standard_t(3, size=size.size),
    "falls": lambda _, compute, normal, __: 1.67 * normal * compute**-0.1,
    "by size": lambda size, _, normal, rng: 0.67 * normal + by_size(size, rng),
}


def tables(truth: str, seeds: range, small: bool) -> Iterator[tuple[RunPoints, Array]]:
    """Yield planted tables of one truth, in order of compute."""
    for seed in seeds:
        for design, points in list(DESIGNS.items())[: 1 if small else None]:
            size, tokens = points()
            for noise, drawn in list(NOISES.items())[: 1 if small else None]:
                rng = np.random.default_rng([seed, *map(len, (design, truth, noise))])
                compute = size * tokens
                errors = drawn(size, compute / np.exp(np.mean(np.log(compute))), rng.normal(size=size.size), rng)
                losses = TRUTHS[truth](size / 1e7, tokens / 1e9, rng) * np.exp(LEVEL * errors)
                order = np.argsort(compute, kind="stable")
                inputs = {"N": size[order], "D": tokens[order]}
                yield RunPoints(inputs, compute_of(inputs)), losses[order]


def scored(points: RunPoints, losses: Array) -> Iterator[tuple[str, list[float]]]:
    """Yield the kind of each cut of a table, and the scores of the forecast of what is ahead of it."""
    memory = LearntProcesses(LAWS["skaling"])
    for cut in cuts(points):
        known, ahead = points.take(cut.known), points.take(cut.ahead)
        found = score(forecast_bands(known, losses[cut.known], ahead, memory), losses[cut.ahead])
        yield "last decade" if cut.name == "last decade" else "next budget", [found[name] for name in SCORES]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=4)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--small", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    seeds = range(chosen.first, chosen.first + (1 if chosen.small else chosen.seeds))
    lines = []
    for truth in TRUTHS:
        begun = time.process_time()
        found: dict[str, list[list[float]]] = {}
        for table in tables(truth, seeds, chosen.small):
            for kind, scores in scored(*table):
                found.setdefault(kind, []).append(scores)
        for kind, rows in found.items():
            means = dict(zip(SCORES, np.mean(rows, axis=0).tolist(), strict=True))
            lines.append({"truth": truth, "ahead": kind, "forecasts": len(rows), **means})
            if not chosen.json:
                print(
                    f"{truth:16s} {kind}: {len(rows):4d} forecasts, error {means['mean_abs_error']:.3%}, inside 95 % "
                    f"{means['coverage_95']:.3f}, 80 % {means['coverage_80']:.3f}, width {means['width_95']:.2%}, "
                    f"interval score {means['interval_score']:.2%}"
                )
        if not chosen.json:
            print(f"{'':16s} {time.process_time() - begun:.1f} s of CPU")
    if chosen.json:
        print(json.dumps(lines, indent=2))


if __name__ == "__main__":
    main()
