"""Plans that narrow a law: how much the standard error of the loss at a target falls with each, by the law's gradients.

The covariance of the parameters is that of the linearized law with independent noise of the residuals' size. A plan
adds rows to its information matrix; nothing is fitted again. The law is taken as true, so what only a wrong form would
show is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.fitting.derived.allocation import allocate, compute_of, flops_per_nd, is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.trials.errors import InputError, require_positive
from sweeplaw.trials.quantities import short

Array = NDArray[np.float64]
Point = tuple[float, float]  # N, D

TARGET_AHEAD = 10.0  # times the compute of the largest run: the target where none is given
MOST_EXPENSIVE = 10.0  # times the compute of the largest run: no trial of a plan takes more
LEAST_GAIN = 0.05  # of the standard error: less is not worth a launch
STEP = 1e-5  # of a parameter, relative: central differences of the law
RIDGE = 1e-10  # of the mean information: keeps a direction without information finite
SEEDS = 2  # further seeds of a plan of repeats


def default_target(fit: Fit) -> Point:
    """Return (N, D) of least loss at `TARGET_AHEAD` times the compute of the largest run.

    Raise InputError for a law of other inputs than N and D.
    """
    k = flops_per_nd(fit)[0] if is_surface(fit) else 1.0
    point = allocate(fit, float(compute_of(fit, k).max()) * TARGET_AHEAD, k) if is_surface(fit) else None
    if point is None:
        raise InputError(f"{fit.law.name} is no law of N and D, so there is no target")
    return point.params, point.tokens


def standard_error(fit: Fit, target: Point, added: Sequence[Point] = ()) -> float:
    """Return the standard error of log loss at ``target``, with trials at ``added`` beside the runs of the fit."""
    seen = _rows(fit)
    noise = float(np.sqrt(np.sum(_log_misses(fit) ** 2) / max(1, len(seen) - len(fit.law.names))))
    gradients = _gradients(fit, [*seen, *added, target])
    scale = np.linalg.norm(gradients[:-1], axis=0)
    gradients = gradients / np.where(scale > 0, scale, 1.0)
    information = gradients[:-1].T @ gradients[:-1]
    information += RIDGE * np.trace(information) / len(information) * np.eye(len(information))
    last = gradients[-1]
    return noise * math.sqrt(max(0.0, float(last @ np.linalg.solve(information, last))))


def law_plans(fit: Fit, target: Point | None = None) -> list[RunPlan]:
    """Return plans in the order of how much they narrow the loss at ``target`` for their price, the best first.

    Plans that narrow it by less than `LEAST_GAIN` are left out. Raise InputError for a law of other inputs than N and
    D, or a target that is not positive.
    """
    target = target or default_target(fit)
    require_positive({"N of the target": target[0], "D of the target": target[1]})
    k, _ = flops_per_nd(fit)
    before = standard_error(fit, target)
    limit = MOST_EXPENSIVE * float(compute_of(fit, k).max())
    plans = []
    for title, why, points in _candidates(fit, k):
        prices = [k * n * d for n, d in points]
        if not points or max(prices) > limit or not before:
            continue
        narrower = 1 - standard_error(fit, target, points) / before
        if narrower >= LEAST_GAIN:
            plans.append(RunPlan(title, why, tuple(points), len(points), sum(prices), narrower))
    return sorted(plans, key=lambda plan: -plan.narrower_per_flop)


def _candidates(fit: Fit, k: float) -> Iterator[tuple[str, str, list[Point]]]:
    """Yield plans as title, reason and points: beyond each end of the sizes and data, off the frontier, repeats."""
    rows = _rows(fit)
    sizes, data = (sorted({row[i] for row in rows}) for i in (0, 1))
    up, more = _ratio(sizes), _ratio(data)
    for name, values, step, other in (("N", sizes, up, data), ("D", data, more, sizes)):
        held = {"the smallest": other[0], "a middle": other[len(other) // 2], "the largest": other[-1]}
        for place, value in (("larger", values[-1] * step), ("smaller", values[0] / step)):
            for words, fixed in held.items():
                pair = (value, fixed) if name == "N" else (fixed, value)
                across = "D" if name == "N" else "N"
                title = f"{name} = {short(value)} at {words} {across}, {short(fixed)}"
                why = f"{'beyond' if place == 'larger' else 'below'} every {name} that ran: its term by itself"
                yield title, why, [pair]
    top = max(rows, key=lambda row: row[0] * row[1])
    budget = k * top[0] * top[1]
    for factor in (2.0, 4.0, 8.0):
        best = allocate(fit, budget, k)
        ends = [(best.params * factor, best.tokens / factor), (best.params / factor, best.tokens * factor)]
        title = f"both ends at {budget:.2g} FLOPs: N = {short(ends[1][0])} and {short(ends[0][0])}"
        yield title, f"{factor:g} times off the best size at the largest compute: separates the two terms", ends
    best = allocate(fit, 4 * budget, k)
    yield (
        f"the best model of {4 * budget:.2g} FLOPs: N = {short(best.params)}, D = {short(best.tokens)}",
        "four times the largest compute, on the frontier: shortens the way to the target",
        [(best.params, best.tokens)],
    )
    largest = sorted(set(rows), key=lambda row: row[0] * row[1])[-4:]
    yield (
        f"{SEEDS} more seeds of the {len(largest)} points of most compute",
        "repeats: the noise of the runs that weigh most",
        [point for point in largest for _ in range(SEEDS)],
    )


def _ratio(values: Sequence[float]) -> float:
    """Return the middle ratio of neighbours, from 1.5 to 4; 2 for one value."""
    steps = sorted(b / a for a, b in pairwise(values))
    return min(4.0, max(1.5, steps[len(steps) // 2])) if steps else 2.0


def _rows(fit: Fit) -> list[Point]:
    units, seen = fit.observations.units, fit.observations.inputs
    n, d = (seen[name] * units.get(name, 1.0) for name in ("N", "D"))
    return list(zip(n.tolist(), d.tolist(), strict=True))


def _log_misses(fit: Fit) -> Array:
    return np.asarray(np.log(fit.observations.losses / fit.fitted))


def _gradients(fit: Fit, points: Sequence[Point]) -> Array:
    """Return the slopes of log loss in each parameter, relative to its size, at points: (points, parameters)."""
    inputs = {"N": np.array([n for n, _ in points]), "D": np.array([d for _, d in points])}
    theta = np.asarray(fit.theta)
    steps = STEP * np.maximum(np.abs(theta), 1e-3)
    moved = np.concatenate([theta + np.diag(steps), theta - np.diag(steps)])
    logs = np.log(fit.predictions(inputs, moved))
    count = len(theta)
    return np.asarray(((logs[:count] - logs[count:]) / (2 * steps[:, None])).T * np.maximum(np.abs(theta), 1e-3))
