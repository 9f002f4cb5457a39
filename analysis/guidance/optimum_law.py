"""Law of the optimum: how the best setting of each knob moves with the axes, and runs that narrow it at a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.space import Array
from sweeplaw.analysis.guidance.surface import Belief

PLANNED = 6  # runs of a cell planned together: as many as a quadratic in two knobs has terms


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """The active ``row`` of the first run of a plan, and by how much the plan lowers the variance of the optimum at the
    target, summed over knobs, per FLOP.
    """

    row: int
    per_flop: float


@dataclass(frozen=True, slots=True)
class OptimumLaw:
    """For each knob and axis, the ``slope`` of the optimum and its standard deviation ``sd``.

    At the middle of the cells, where the bend of the law counts for nothing. On a log axis of the knob the slope is the
    exponent of a power law; on a linear one, the change of the optimum per doubling of the axis. Of the first recipe if
    there are several; their slopes are shared.
    """

    slope: Mapping[str, Mapping[str, float]]
    sd: Mapping[str, Mapping[str, float]]


def optimum_law(belief: Belief) -> OptimumLaw:
    """Return the law with standard deviations by linear propagation from the parameters."""
    space = belief.space
    slopes: dict[str, dict[str, float]] = {knob.name: {} for knob in space.knobs}
    sds: dict[str, dict[str, float]] = {knob.name: {} for knob in space.knobs}
    covariance = belief.covariance[len(belief.active) :, len(belief.active) :]
    for axis, step in zip(space.axes, np.eye(len(space.axes)), strict=True):
        value = (optimum_at(belief, step) - optimum_at(belief, -step)) / 2
        gradient = (optimum_gradient(belief, step) - optimum_gradient(belief, -step)) / 2
        sd = np.sqrt(np.maximum(np.einsum("kt,tu,ku->k", gradient, covariance, gradient), 0.0))
        for i, knob in enumerate(space.knobs):
            slopes[knob.name][axis] = float(value[i] * space.unit[i])
            sds[knob.name][axis] = float(sd[i] * space.unit[i])
    return OptimumLaw(slopes, sds)


def optimum_at(belief: Belief, z: Array) -> Array:
    """Return the optimum x (knobs,) of the law at the coordinates ``z``."""
    parameters = belief.mean[len(belief.active) :]
    curvature = belief.terms.curvature(parameters)
    slopes = belief.terms.slopes_at(z) @ parameters
    return np.asarray(-np.linalg.solve(curvature, slopes) / 2)


def optimum_gradient(belief: Belief, z: Array) -> Array:
    """Return the derivatives (knobs, shared terms) of `optimum_at` by the parameters: dx = -Q^-1 (db / 2 + dQ x)."""
    terms, x = belief.terms, optimum_at(belief, z)
    change = terms.slopes_at(z) / 2
    for n, (i, j) in enumerate(terms.pairs, start=terms.first_pair):
        change[i, n] += x[j] / 2
        change[j, n] += x[i] / 2
    return np.asarray(-np.linalg.solve(terms.curvature(belief.mean[len(belief.active) :]), change))


def target_plans(belief: Belief, z: Array, allowed: NDArray[np.bool_]) -> list[TargetPlan]:
    """Return for each cell the runs of ``allowed`` active points that narrow the optimum at ``z`` the most per FLOP.

    One run in a new cell informs about its level but not its optimum, so several are planned together: of a greedy
    sequence, the initial part with the best average.
    """
    active, cell = len(belief.active), belief.space.cell[belief.active]
    shared = optimum_gradient(belief, z) @ belief.covariance[active:, :active]
    plans = []
    for c in np.unique(cell[allowed]):
        rows = np.flatnonzero(allowed & (cell == c))
        cost, noise = belief.space.cost[belief.active[rows]], belief.spread[rows] ** 2
        own, toward = belief.covariance[np.ix_(rows, rows)].copy(), shared[:, rows].copy()
        chosen: list[int] = []
        falls: list[float] = []
        for _ in range(min(PLANNED, len(rows))):
            total = np.maximum(own.diagonal(), 0.0) + noise
            fall = (toward**2).sum(axis=0) / total
            fall[chosen] = -np.inf
            best = int(np.argmax(fall / cost))
            chosen.append(best)
            falls.append(float(fall[best]))
            column = own[best] / total[best]
            toward -= np.outer(toward[:, best], column)
            own -= np.outer(own[best], column)
        average = np.cumsum(falls) / np.cumsum(cost[chosen])
        plans.append(TargetPlan(int(rows[chosen[0]]), float(average.max())))
    return plans
