"""Coverage of 95 % intervals under several kinds of noise.

    python benchmarks/laws/coverage.py [--sets 1000] [--objective huber:0.001] [--law additive] [--bootstrap]
    python benchmarks/laws/coverage.py --quantities [--points runs.csv] [--noise size] [--truth additive] [--sets 300]
    python benchmarks/laws/coverage.py --sets 20 --law power_asymptote    # a few seconds, to see that it runs

Without --quantities: the parameters of every law, with Gaussian and heavy-tailed noise. With it: the parameters of the
additive law, the exponents of N* and D* and N* at the largest budget, and the loss of the best run at 10 and 100 times
it, also by the forecaster; with five kinds of noise, for truths of the additive form, and just outside it (skaling with
k = .9; a smooth error of half a per cent), where parameters have no truth. The design is the (N, D) of a CSV with the
columns N and D, or nine budgets of fourteen sizes each.

Intervals are by profile likelihood; with --bootstrap also percentiles of 400 resamples (on a tenth of the sets). A
share outside 93-97 %, or below 90 % outside the form, is marked with an asterisk. The last line is the worst cell.
"""

from __future__ import annotations

import argparse
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import polars as pl
from scipy.optimize import minimize_scalar

from sweeplaw.analysis.fitting.coverage import Coverage, Method, Noise, coverage, simulate_losses, simulated_fits
from sweeplaw.analysis.fitting.derived.allocation import allocate, exponents
from sweeplaw.analysis.fitting.derived.derived_interval import Quantity, derived_interval
from sweeplaw.analysis.fitting.derived.loss_interval import loss_at
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.resampling import Resampling
from sweeplaw.analysis.fitting.solver.objectives import Objective, parse_objective
from sweeplaw.analysis.forecasting.forecaster import forecaster
from sweeplaw.analysis.laws.catalog import LAWS

Array = np.ndarray
Ends = tuple[float, float]

LEVEL = 0.95
SPREAD = 0.008  # of the noise of --quantities, in log loss
NOISE = 0.01  # nats; 0.001 for the forms of six parameters, which 0.01 leaves unidentified at this many rows
TRUTH = {
    "power": {"A": 3.0, "alpha": 0.3},
    "power_asymptote": {"C": 1.7, "A": 2.0, "alpha": 0.45},
    "reciprocal": {"C": 3.3, "A": 0.25},
    "additive": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "skaling": {"E": 1.5, "A": 200.0, "B": 500.0, "a": 0.3, "b": 0.35, "k": 0.8},
    "kaplan": {"Nc": 8.8e13, "Dc": 5.4e13, "aN": 0.076, "aD": 0.095},
    "data_constrained": {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.36, "RN": 5.3, "RD": 15.4},
    "batch": {"E": 1.7, "A": 300.0, "B": 900.0, "G": 40.0, "a": 0.32, "b": 0.5, "c": 0.6},
    "broken": {"E": 1.2, "A": 2.0, "c0": 0.25, "c1": 0.4, "d": 40.0, "f": 0.3},
}
FINE = {"skaling": 0.1, "data_constrained": 0.1, "broken": 0.1, "batch": 0.3}  # noise relative to NOISE
NEAR = {"E": 1.69, "A": 406.4 ** (1 / 0.9), "B": 410.7 ** (1 / 0.9), "a": 0.34 / 0.9, "b": 0.28 / 0.9, "k": 0.9}


@dataclass(frozen=True)
class Cell:
    """One line of the table: the share of intervals that hold the truth, and what is nominal for it."""

    quantity: str
    case: str
    noise: str
    share: float
    sets: int
    width: float
    seconds: float
    least: float = 0.93
    most: float = 0.97

    @property
    def miss(self) -> float:
        """How far the share is outside its range, 0 inside."""
        return max(self.least - self.share, self.share - self.most, 0.0)

    def line(self) -> str:
        error = math.sqrt(max(self.share * (1 - self.share), 0.25 / self.sets) / self.sets)
        share = f"{self.share:.3f}{'*' if self.miss else ' '} +- {error:.3f}"
        width = "-" if math.isnan(self.width) else f"{self.width:.3g}"
        kind = f"{self.quantity:12s} {self.case:44s} {self.noise:9s}"
        return f"{kind} {LEVEL:7.0%} {share:16s} {width:>9s} {self.seconds:8.1f}"


def design(rows: int = 120) -> dict[str, Array]:
    """Return inputs spread evenly on their logarithms over the ranges of published grids."""
    rng = np.random.default_rng(0)

    def spread(low: float, high: float) -> Array:
        return np.exp(rng.permutation(np.linspace(np.log(low), np.log(high), rows)))

    size, tokens, batch = spread(1e7, 1e10), spread(2e8, 2e11), spread(1e5, 4e6)
    return {"N": size, "D": tokens, "U": tokens / spread(1, 30), "M": batch, "K": tokens / batch, "x": spread(1, 1000)}


def budgets_of_sizes() -> dict[str, Array]:
    """Return nine budgets from 6e18 to 3e21 FLOPs, each with the fourteen sizes of one ladder around its best."""
    ladder, rows = np.geomspace(4e7, 1.6e10, 36), []
    for compute in np.geomspace(6e18, 3e21, 9):
        near = np.argsort(np.abs(np.log(ladder / (0.09 * compute**0.5))))[:14]
        rows += [(size, compute / 6 / size) for size in ladder[near]]
    size, tokens = np.array(rows).T
    return {"N": size, "D": tokens}


def truths() -> dict[str, Callable[[Mapping[str, Array]], Array]]:
    """Return the laws that losses are drawn from; the first alone has the form that is fitted."""
    additive = LAWS["additive"]

    def wavy(at: Mapping[str, Array]) -> Array:
        error = 0.005 * math.sqrt(2) * np.sin(0.8 * np.log(at["N"]) + 0.5 * np.log(at["D"]))
        return additive.predict(TRUTH["additive"], at) * np.exp(error)

    return {
        "additive": lambda at: additive.predict(TRUTH["additive"], at),
        "skaling": lambda at: LAWS["skaling"].predict(NEAR, at),
        "smooth": wavy,
    }


def best_size(truth: Callable[[Mapping[str, Array]], Array], compute: float) -> float:
    """Return the log of the best N for a budget."""

    def loss(log_size: float) -> float:
        size = np.exp([log_size])
        return float(truth({"N": size, "D": compute / 6 / size})[0])

    return float(minimize_scalar(loss, bounds=(14, 32), method="bounded", options={"xatol": 1e-7}).x)


def true_values(truth: Callable[[Mapping[str, Array]], Array], name: str, compute: float) -> dict[str, float]:
    """Return the true value of every quantity: N* as its logarithm."""
    ends = [best_size(truth, compute * math.exp(step)) for step in (-0.5, 0.5)]
    values = {"a": ends[1] - ends[0], "b": 1 - ends[1] + ends[0], "ln N*": best_size(truth, compute)}
    for factor in (10, 100):
        size = np.exp([best_size(truth, factor * compute)])
        values[f"loss at {factor}x"] = float(truth({"N": size, "D": factor * compute / 6 / size})[0])
    return {**(TRUTH["additive"] if name == "additive" else {}), **values}


def answers(fit: Fit, compute: float, best: Mapping[int, float], truth: str) -> Iterator[tuple[str, Ends]]:
    """Yield the interval of each quantity that a user is given."""
    for index, name in enumerate(fit.law.names if truth == "additive" else ()):
        yield name, parameter(fit, index)
    for name, (_, interval) in exponents(fit, compute).items():
        yield name, (interval.low, interval.high)
    size = allocate(fit, compute).intervals["params"]
    yield "ln N*", (math.log(max(size.low, 1e-300)), math.log(size.high))
    for factor, log_size in best.items():
        at = {"N": math.exp(log_size), "D": factor * compute / 6 / math.exp(log_size)}
        interval = loss_at(fit, at)[1]
        yield f"loss at {factor}x", (interval.low, interval.high)


def parameter(fit: Fit, index: int) -> Ends:
    """Return the interval of a parameter; without draws that of `Fit.intervals`, at a tenth of the time."""
    if fit.draws is not None:
        interval = fit.intervals[fit.law.names[index]]
        return interval.low, interval.high
    own = Quantity(lambda theta: np.log(theta[:, index]), lambda theta: theta[:, :0], np.zeros(0))
    found = derived_interval(fit.setup, fit.solution.theta, own, LEVEL, fit.noise)
    return math.exp(found.low), math.exp(min(found.high, 700.0))


def forecasts(fit: Fit, compute: float, best: Mapping[int, float]) -> Iterator[tuple[str, Ends]]:
    """Yield the forecaster's bands of the same losses."""
    rows = {**fit.observations.inputs, "loss": fit.observations.losses}
    learnt = forecaster(rows, x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    for factor, log_size in best.items():
        size = math.exp(log_size)
        found = learnt.predict({"N": size, "D": factor * compute / 6 / size}, LEVEL)
        yield f"loss at {factor}x", (float(found.low[0]), float(found.high[0]))


def quantities(
    name: str, points: dict[str, Array], noise: Noise, objective: Objective, method: str, sets: int
) -> Iterator[Cell]:  # fmt: skip
    """Yield a cell for each quantity: one truth, one design, one kind of noise, one kind of interval."""
    truth, compute = truths()[name], 6 * float(np.max(points["N"] * points["D"]))
    values = true_values(truth, name, compute)
    best = {factor: best_size(truth, factor * compute) for factor in (10, 100)}
    losses = simulate_losses(truth(points), noise, SPREAD, "log", sets, 0, list(points.values()))
    resampling = Resampling(400 if method == "bootstrap" else 0)
    begun, found = time.process_time(), dict[str, list[Ends]]()
    for fit in simulated_fits(LAWS["additive"], TRUTH["additive"], points, objective, losses, resampling, LEVEL):
        given = forecasts(fit, compute, best) if method == "forecast" else answers(fit, compute, best, name)
        for quantity, ends in given:
            found.setdefault(quantity, []).append(ends)
    seconds = time.process_time() - begun
    for quantity, intervals in found.items():
        low, high = np.array(intervals).T
        share = float(np.mean((low <= values[quantity]) & (values[quantity] <= high)))
        least, most = (0.93, 0.97) if name == "additive" and method != "forecast" else (0.90, 1.0)
        case = f"{name} truth, {method}"
        yield Cell(quantity, case, noise, share, sets, float(np.median(high - low)), seconds, least, most)


def parameters(name: str, found: Coverage, seconds: float) -> Iterator[Cell]:
    """Yield a cell for each parameter of one law."""
    for param, share in found.shares.items():
        proved = f"{name}, {found.method}, {found.converged}/{found.sets} proved"
        yield Cell(param, proved, found.noise, share, found.sets, math.nan, seconds)


def every_law(chosen: argparse.Namespace, objective: Objective) -> Iterator[Cell]:
    """Yield the cells of the parameters of every law."""
    columns = design()
    for name in [chosen.law] if chosen.law else list(TRUTH):
        law = LAWS[name]
        inputs = {item: columns[item] for item in law.inputs}
        for noise in ("gaussian", "t3") if chosen.noise is None else (chosen.noise,):
            runs: list[tuple[Method, int]] = [("profile", chosen.sets), ("bootstrap", max(chosen.sets // 10, 1))]
            for method, sets in runs[: 1 + chosen.bootstrap]:
                begun, scale = time.process_time(), NOISE * FINE.get(name, 1.0)
                found = coverage(
                    law, TRUTH[name], inputs, objective, scale=scale, noise=noise, sets=sets, method=method
                )
                yield from parameters(name, found, time.process_time() - begun)


def every_quantity(chosen: argparse.Namespace, objective: Objective) -> Iterator[Cell]:
    """Yield the cells of the quantities of the additive law."""
    points = budgets_of_sizes()
    if chosen.points:
        table = pl.read_csv(chosen.points)
        points = {name: table[name].cast(float).to_numpy() for name in ("N", "D")}
    methods = ["profile", "forecast", *(["bootstrap"] if chosen.bootstrap else [])]
    for name in truths() if chosen.truth is None else (chosen.truth,):
        for noise in get_args(Noise) if chosen.noise is None else (chosen.noise,):
            for method in methods:
                sets = chosen.sets if method == "profile" else max(chosen.sets // 10, 1)
                yield from quantities(name, points, noise, objective, method, sets)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sets", type=int, default=1000)
    options.add_argument("--objective", default="ls")
    options.add_argument("--law", choices=list(TRUTH))
    options.add_argument("--bootstrap", action="store_true")
    options.add_argument("--quantities", action="store_true")
    options.add_argument("--points", metavar="CSV")
    options.add_argument("--truth", choices=list(truths()))
    options.add_argument("--noise", choices=get_args(Noise))
    chosen = options.parse_args()
    space = "log" if chosen.quantities else "raw"
    cells, found = every_quantity if chosen.quantities else every_law, []
    head = f"{'quantity':12s} {'law, interval':44s} {'noise':9s} {'nominal':>7s} {'coverage +- s.e.':16s}"
    print(f"{head} {'width':>9s} {'seconds':>8s}")
    for cell in cells(chosen, parse_objective(chosen.objective, space)):
        print(cell.line(), flush=True)
        found.append(cell)
    worst = max(found, key=lambda cell: (cell.miss, abs(cell.share - LEVEL)))
    print(f"worst: {worst.line()}")


if __name__ == "__main__":
    main()
