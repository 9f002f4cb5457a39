"""Plans about settings: best values at an end of what was tried, cells with too few levels, noise that is unknown."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import polars as pl

from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.quantities import counted, is_number, plain

LEAST_LEVELS = 3  # of a knob in a cell: a quadratic has three terms
SEEDS = 3  # of the cheapest cell, to estimate the noise of a run: two more than it has
BEYOND = 2  # levels beyond the end


def setting_plans(
    trials: pl.DataFrame, cells: Sequence[str], optima: Sequence[CellOptimum], seeds: int
) -> list[RunPlan]:
    """Return the plans, the cheapest first. ``cells`` are the columns of N and D; ``seeds`` the most of any setting.

    Prices are the mean FLOPs of a trial of the cell, unknown where the table has none.
    """
    prices = _prices(trials, cells)
    plans = [
        *(plan for knob in _names(optima) for plan in _edges(knob, cells, optima, prices)),
        *(plan for knob in _names(optima) for plan in _few_levels(knob, cells, optima, prices)),
        *_noise(cells, optima, prices, seeds),
    ]
    return sorted(plans, key=lambda plan: (plan.flops is None, plan.flops or 0.0))


def _names(optima: Sequence[CellOptimum]) -> list[str]:
    return [knob.name for knob in optima[0].knobs] if optima else []


def _edges(
    name: str, cells: Sequence[str], optima: Sequence[CellOptimum], prices: dict[tuple[Any, ...], float]
) -> list[RunPlan]:
    """Return a plan for each end of a numeric knob at which cells have their best value."""
    plans = []
    for edge in ("low", "high"):
        at = [one for one in optima if one.knob(name).edge == edge and _numbers(one.knob(name).levels)]
        if not at:
            continue
        levels = sorted({level for one in at for level in one.knob(name).levels})
        new = _beyond(levels, edge)
        if not new:
            continue
        end = "lowest" if edge == "low" else "highest"
        points = tuple(_point(one, cells) for one in at)
        price = _price(points, prices)
        plans.append(
            RunPlan(
                f"{name} = {' and '.join(plain(value) for value in new)} in {counted(len(at), 'cell')}",
                f"the best {name} is the {end} tried there: the optimum may lie beyond, and the losses are too high",
                points,
                len(at) * len(new),
                None if price is None else price * len(new),
                knobs={name: tuple(new)},
            )
        )
    return plans


def endless(optima: Sequence[CellOptimum]) -> list[str]:
    """Return a note on each knob whose best value is the highest tried in some cells, with no finite number beyond."""
    notes = []
    for name in _names(optima):
        tops = [one.knob(name).levels for one in optima if one.knob(name).edge == "high"]
        levels = sorted({level for one in tops if _numbers(one) for level in one})
        if levels and levels[0] > 0 and (levels[-1] == math.inf or (len(levels) > 1 and not _beyond(levels, "high"))):
            value, cells = plain(levels[-1]), counted(len(tops), "cell")
            notes.append(f"{name} = {value} is the best tried in {cells}, and no finite value lies beyond to try")
    return notes


def _few_levels(
    name: str, cells: Sequence[str], optima: Sequence[CellOptimum], prices: dict[tuple[Any, ...], float]
) -> list[RunPlan]:
    tried = [one.knob(name).levels for one in optima]
    tuned = [levels for levels in tried if len(levels) >= LEAST_LEVELS]
    cells_of = Counter(value for levels in tuned or tried for value in levels)
    every = sorted(cells_of) if all(map(_numbers, tried)) else []
    shared = [value for value in every if cells_of[value] > 1]  # the grid, without what each cell has of its own
    every = shared if len(shared) >= LEAST_LEVELS else every
    at = [one for one in optima if len(one.knob(name).levels) < LEAST_LEVELS]
    if not at or len(every) < LEAST_LEVELS:
        return []
    points = tuple(_point(one, cells) for one in at)
    missing = [len(set(every) - set(one.knob(name).levels)) for one in at]
    priced = [prices[point] * count for point, count in zip(points, missing, strict=True) if point in prices]
    total = sum(priced) if len(priced) == len(points) else None
    return [
        RunPlan(
            f"the other levels of {name} in {counted(len(at), 'cell')}",
            f"fewer than {LEAST_LEVELS} levels of {name} ran there: no bowl, so no optimum of the cell",
            points,
            sum(missing),
            total,
            knobs={name: tuple(every)},
        )
    ]


def _noise(
    cells: Sequence[str], optima: Sequence[CellOptimum], prices: dict[tuple[Any, ...], float], seeds: int
) -> list[RunPlan]:
    """Return a plan of repeats where no setting has two seeds."""
    if seeds > 1 or not optima:
        return []
    cheapest = min(optima, key=lambda one: prices.get(_point(one, cells), 0.0))
    point = _point(cheapest, cells)
    price = prices.get(point)
    return [
        RunPlan(
            f"{SEEDS} seeds of the best setting of the smallest cell",
            "no setting ran twice: the noise of a run is guessed from residuals, and with it every test of the law",
            (point,) * (SEEDS - 1),
            SEEDS - 1,
            None if price is None else price * (SEEDS - 1),
        )
    ]


def _beyond(levels: Sequence[float], edge: str) -> list[float]:
    """Return `BEYOND` levels past an end, in the ratio of the last two; none where that is no ratio above 1."""
    if len(levels) < 2 or levels[0] <= 0:
        return []
    first, second = (levels[0], levels[1]) if edge == "low" else (levels[-1], levels[-2])
    values = list(accumulate([first, *[first / second] * BEYOND], operator.mul))[1:]
    whole = all(float(level).is_integer() for level in levels)
    finite = [value for value in values if math.isfinite(value)]
    found = [float(round(value)) if whole else float(f"{value:.3g}") for value in finite]
    return [value for value in dict.fromkeys(found) if value > 0 and value not in levels]


def _numbers(levels: Sequence[Any]) -> bool:
    return all(is_number(level) for level in levels)


def _point(one: CellOptimum, cells: Sequence[str]) -> tuple[float, float]:
    n, d = (float(one.cell[name]) for name in cells)
    return n, d


def _prices(trials: pl.DataFrame, cells: Sequence[str]) -> dict[tuple[Any, ...], float]:
    if "flops" not in trials.columns or not trials["flops"].dtype.is_numeric():
        return {}
    means = trials.drop_nulls("flops").group_by(*(pl.col(name).cast(pl.Float64) for name in cells))
    return {(n, d): float(price) for n, d, price in means.agg(pl.col("flops").mean()).iter_rows()}


def _price(points: Sequence[tuple[float, float]], prices: dict[tuple[Any, ...], float]) -> float | None:
    known = [prices[point] for point in points if point in prices]
    return sum(known) if len(known) == len(points) else None
