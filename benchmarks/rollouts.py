"""Forecasts checked against later runs: each budget from those below it, and the last decade of compute, by method.

    python benchmarks/rollouts.py [--json] [--methods forecast,additive]
    python benchmarks/rollouts.py runs.csv --x N=params --x D=tokens --y loss [--where SQL] [--json]
    python benchmarks/rollouts.py --small    # two cuts of one table, to see that it runs

Without a table, the published ones in ../shared/data are used where they are there. Errors, widths and interval scores
are relative to the loss; bands are those of new runs. Methods:

- forecast: `analysis.forecaster`, the coupled law and a learnt discrepancy
- additive, coupled: the law by Huber's loss on log residuals, bands from 200 row bootstraps
- additive-ls: the additive law by least squares with its coefficients projected out, bands likewise
- power: log-linear, no asymptote; exact t bands
- nearest: the nearest run's loss; bands from each known run's own nearest
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.stats import t as student

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.observations import Columns, observe
from sweeplaw.analysis.forecasting.budgets import TrainTestSplit, compute_of
from sweeplaw.analysis.forecasting.calibration import LearntProcesses
from sweeplaw.analysis.forecasting.process.process import RunPoints
from sweeplaw.analysis.forecasting.rollouts import cuts, forecast_bands
from sweeplaw.analysis.forecasting.scores import Bands, bands, probabilities, score
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.trials.errors import InputError

Array = np.ndarray
Method = Callable[[RunPoints, Array, RunPoints], Bands]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BOOTSTRAPS = 200
TABLES: dict[str, tuple[str, dict[str, str], str, str | None]] = {
    "chinchilla_figure4": (
        "chinchilla_figure4.csv", {"N": '"Model Size"', "D": '"Training FLOP" / 6 / "Model Size"'}, "loss", None,
    ),
    **{
        name: ("isoflops.csv", {"N": "params", "D": "tokens"}, "loss", f"experiment = '{experiment}'")
        for name, experiment in (
            ("llama_3 raw", "llama_3__raw_loss"), ("llama_3 exp", "llama_3__exp_loss"),
            ("isoflops chinchilla", "ml_scalefit__massivetext__chinchilla"),
        )
    },
    "step_law_dense": ("step_law_dense.csv", {"N": "N", "D": "D"}, '"smooth loss"', None),
    "data_constrained D<=U": (
        "data_constrained_182.csv", {"N": "params_B", "D": "tokens_B"}, "loss", "tokens_B <= unique_B",
    ),
    "data_constrained D<=4U": (
        "data_constrained_182.csv", {"N": "params_B", "D": "tokens_B"}, "loss", "tokens_B <= 4 * unique_B",
    ),
    "data_constrained, U": (
        "data_constrained_182.csv", {"N": "params_B", "D": "tokens_B", "U": "unique_B"}, "loss", None,
    ),
}  # fmt: skip


def forecast(known: RunPoints, losses: Array, ahead: RunPoints) -> Bands:
    law = LAWS["data_constrained" if "U" in known.inputs else "skaling"]
    return forecast_bands(known, losses, ahead, LearntProcesses(law))


def bootstrapped(law: str, objective: str) -> Method:
    def method(known: RunPoints, losses: Array, ahead: RunPoints) -> Bands:
        inputs = {name: known.inputs[name] for name in ("N", "D")}
        found = fit({**inputs, "loss": losses}, law, objective, all_rows=True, bootstrap=BOOTSTRAPS)
        at = {name: ahead.inputs[name] for name in inputs}
        ends = [found.band(at, level, of="run") for level in (0.5, 0.8, 0.95)]
        return bands(np.stack([found.predict(at), *(end for pair in ends for end in pair)]))

    return method


def power(known: RunPoints, losses: Array, ahead: RunPoints) -> Bands:
    rows, target = _lines(known), np.log(losses)
    gram = np.linalg.pinv(rows.T @ rows)
    coefficients, freedom = gram @ rows.T @ target, len(target) - rows.shape[1]
    scale = np.sqrt(np.sum((target - rows @ coefficients) ** 2) / freedom)
    at = _lines(ahead)
    spread = scale * np.sqrt(1 + np.sum((at @ gram) * at, axis=1))
    quantiles = student.ppf(np.array(probabilities()), freedom)
    return bands(np.exp(at @ coefficients + quantiles[:, None] * spread))


def _lines(points: RunPoints) -> Array:
    return np.column_stack([np.ones(len(points.compute)), points.logs])


def nearest(known: RunPoints, losses: Array, ahead: RunPoints) -> Bands:
    logs, target = known.logs, np.log(losses)
    apart = np.sum((logs[:, None] - logs[None]) ** 2, axis=2)
    np.fill_diagonal(apart, np.inf)
    errors = target - target[np.argmin(apart, axis=1)]
    guess = target[np.argmin(np.sum((ahead.logs[:, None] - logs[None]) ** 2, axis=2), axis=1)]
    return bands(np.exp(guess + np.quantile(np.append(errors, 0.0), probabilities())[:, None]))


METHODS: dict[str, Method] = {
    "forecast": forecast,
    "additive": bootstrapped("additive", "huber:0.001"),
    "additive-ls": bootstrapped("additive", "ls"),
    "coupled": bootstrapped("skaling", "huber:0.001"),
    "power": power,
    "nearest": nearest,
}


def tables(chosen: argparse.Namespace) -> Iterator[tuple[str, Observations]]:
    """Yield each table by name, with the rows that the laws use."""
    if chosen.table:
        x = dict(text.split("=", 1) for text in chosen.x)
        yield Path(chosen.table).stem, _observed(chosen.table, x, chosen.y, chosen.where)
        return
    for name, (file, x, y, where) in TABLES.items():
        if (SHARED / file).exists():
            yield name, _observed(str(SHARED / file), x, y, where)


def _observed(path: str, x: dict[str, str], y: str, where: str | None) -> Observations:
    law = LAWS["data_constrained" if "U" in x else "skaling"]
    return observe(path, law, Columns(x, y, where=where))


def rows_of(name: str, observations: Observations, methods: list[str], small: bool) -> Iterator[dict[str, Any]]:
    """Yield the scores of each method on each cut of a table."""
    inputs, losses = dict(observations.inputs), observations.losses
    points = RunPoints(inputs, compute_of(inputs))
    for cut in list(cuts(points))[: 2 if small else None]:
        for method in methods:
            yield {"table": name, "method": method, **_row(METHODS[method], points, losses, cut)}


def _row(method: Method, points: RunPoints, losses: Array, cut: TrainTestSplit) -> dict[str, Any]:
    begun = time.process_time()
    row: dict[str, Any] = {"cut": cut.name, "rows": int(cut.known.sum()), "ahead": int(cut.ahead.sum())}
    try:
        found = score(method(points.take(cut.known), losses[cut.known], points.take(cut.ahead)), losses[cut.ahead])
    except InputError as error:
        return {**row, "fault": str(error)}
    return {**row, **found, "seconds": round(time.process_time() - begun, 3)}


SCORES = ("mean_abs_error", "coverage_50", "coverage_80", "coverage_95", "width_95", "interval_score", "seconds")


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the cuts of each table, kind of cut and method."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kind = "last decade" if row["cut"] == "last decade" else "next budget"
        groups.setdefault((row["table"], kind, row["method"]), []).append(row)
    return [
        {
            "table": table, "kind": kind, "method": method, "cuts": len(group),
            **{name: float(np.mean([row[name] for row in group if name in row] or [np.nan])) for name in SCORES},
        }
        for (table, kind, method), group in groups.items()
    ]  # fmt: skip


def against(averages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the forecast over the other methods: geometric means over tables of errors and interval scores."""
    by = {(row["table"], row["kind"], row["method"]): row for row in averages}
    found = []
    for kind in ("next budget", "last decade"):
        mine = {table: row for (table, one, method), row in by.items() if (one, method) == (kind, "forecast")}
        for method in METHODS:
            pairs = [(row, by[table, kind, method]) for table, row in mine.items() if (table, kind, method) in by]
            if pairs and method != "forecast":
                found.append({"kind": kind, "over": method, "tables": len(pairs), **_ratios(pairs)})
    return found


def _ratios(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, float]:
    logs = {name: [np.log(a[name] / b[name]) for a, b in pairs] for name in ("mean_abs_error", "interval_score")}
    return {name: float(np.exp(np.nanmean(values))) for name, values in logs.items()}


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(
            "  ".join(f"{name} {value:.4g}" if isinstance(value, float) else str(value) for name, value in row.items())
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", nargs="?")
    options.add_argument("--x", action="append", default=[], metavar="INPUT=COLUMN")
    options.add_argument("--y", default="loss")
    options.add_argument("--where")
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--small", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    methods = [name for name in chosen.methods.split(",") if name in METHODS]
    rows: list[dict[str, Any]] = []
    for name, observations in tables(chosen):
        for row in rows_of(name, observations, methods, chosen.small):
            rows.append(row)
            if not chosen.json:
                show([row])
        if chosen.small:
            break
    if not rows and not chosen.json:
        print(f"no tables in {SHARED}: name one, with --x and --y")
    averages = means(rows)
    ratios = against(averages)
    if chosen.json:
        print(json.dumps({"rows": rows, "means": averages, "forecast_over_others": ratios}, indent=2))
    else:
        show(averages)
        show(ratios)


if __name__ == "__main__":
    main()
