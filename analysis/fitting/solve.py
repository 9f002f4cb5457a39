"""From rows and a law to the global optimum of the named objective, with the evidence that it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.derivatives import Derivatives, Problem, moments
from sweeplaw.analysis.fitting.least_absolute import polish_vertex, subgradient
from sweeplaw.analysis.fitting.newton import Box, Minimum, minimise
from sweeplaw.analysis.fitting.objectives import Objective, residuals
from sweeplaw.analysis.fitting.starts import starting_points
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

PERFECT = 1e-24  # mean penalty over mean squared loss of a fit without residuals, in double precision
AGREE = 1e-8  # relative distance of two values of the objective that are called the same optimum
SKETCH_ROWS = 4096  # rows the search for starts looks at; all rows decide the optimum
CARRIED = 3  # starts carried on to all rows when there are more than SKETCH_ROWS
LAD_WIDTH = 1e-6  # nats: the Huber threshold that stands for absolute deviation until the vertex is solved exactly
LAD_ROUNDING = 1e-2  # of the residuals' scale; raises the sum by less than p/n hundredths of it
ROUGH = 1e-10  # relative Newton decrease at which a start counts as arrived; the best is then polished
QUICK = 1e-6  # relative Newton decrease of a fit without verdict
PATIENCE = 40  # steps a start is given; the best is polished without this limit
ENOUGH = 3  # agreeing starts; with fewer, those that ran out of patience go on
PATHS = (0.3, 1.0, 4.0, 30.0)  # thresholds the starts' paths begin with, in multiples of the residuals' scale
GRADIENT = 1e-6  # largest scaled gradient of a verified optimum
WORST_CONDITION = 1e12  # of the scaled curvature; beyond it the parameters cannot be told apart


@dataclass(frozen=True, slots=True)
class Setup:
    """A law, its rows in centred units, and the objective's threshold: infinite for least squares."""

    law: Law
    objective: Objective
    problem: Problem
    box: Box
    centre: tuple[float, ...]
    delta: float

    def outward(self, theta: Array) -> Array:
        """Parameter vectors (batch, p) in the law's own units."""
        return theta * self.law.scales(theta, self.centre) if self.law.scaled else theta

    def inward(self, theta: Array) -> Array:
        """Parameter vectors (batch, p) in centred units. The exponents, of which the scales are made, do not change."""
        return theta / self.law.scales(theta, self.centre) if self.law.scaled else theta


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about an optimum. ``gradient`` is scaled and relative: 0 at an optimum, of order 1 far away."""

    gradient: float
    starts: int
    starts_agreeing: int
    at_bounds: tuple[str, ...]
    condition: float
    verified: bool
    status: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The optimum (p,) in centred units, its moments, and the verdict."""

    theta: Array
    moments: Derivatives
    verdict: Verdict


def set_up(law: Law, objective: Objective, inputs: Mapping[str, Array], losses: Array, weights: Array) -> Setup:
    """The problem with every input divided by its geometric mean, where the law's parameters absorb that."""
    columns = [np.asarray(inputs[name], dtype=float) for name in law.inputs]
    keys = law.centred_by or law.inputs
    means = {name: float(np.exp(np.mean(np.log(column)))) for name, column in zip(law.inputs, columns, strict=True)}
    centre = tuple(means[key] if law.scaled else 1.0 for key in keys)
    bound = law.function.bind([column / middle for column, middle in zip(columns, centre, strict=True)])
    free = law.free
    box = Box(
        np.array([param.low for param in free]),
        np.array([param.high for param in free]),
        np.array([param.log for param in free], dtype=bool),
        np.zeros(len(free), dtype=bool),
    )
    delta = {"ls": np.inf, "lad": LAD_WIDTH, "huber": objective.delta or 0.0}[objective.name]
    return Setup(law, objective, Problem(bound, losses, weights, objective.space), box, centre, float(delta))


def solve(setup: Setup, starts: Array | None = None) -> Solution:
    """The best of the minima reached from independent starts, polished, with its verdict."""
    minima = _descend(setup, starts)
    order = np.argsort(np.where(np.isfinite(minima.value), minima.value, np.inf), kind="stable")
    value = minima.value[order[0]]
    agreeing = int(np.sum(minima.value <= value * (1 + AGREE) + 1e-26))
    polished = minimise(setup.problem, minima.theta[order[:1]], setup.delta, setup.box)
    best, converged, width = polished.theta[0], bool(polished.converged[0]), setup.delta
    if setup.objective.name == "lad":
        few = order[1 : 2 * ENOUGH] if agreeing < ENOUGH else order[:0]
        best, extra = _best_vertex(setup, [best, *minima.theta[few]])
        agreeing, converged = max(agreeing, extra), True
        # at a vertex the curvature is that of the rows near it, not of the p rows it passes through
        width = max(width, residual_scale(setup.problem, best) * setup.problem.bound.rows**-0.2)
    at = moments(setup.problem, best[None], np.array([width]))
    return Solution(best, at, judge(setup, best, at, len(minima.value), agreeing, converged))


def _best_vertex(setup: Setup, starts: list[Array]) -> tuple[Array, int]:
    """The vertex of least sum among those near the starts, and how many of them reached it."""
    found = [polish_vertex(setup.problem, setup.box, start) for start in starts]
    sums = np.array([objective_value(setup, theta) for theta in found])
    return found[int(np.argmin(sums))], int(np.sum(sums <= sums.min() * (1 + AGREE) + 1e-26))


def _descend(setup: Setup, starts: Array | None) -> Minimum:
    """Every start's own minimum: on all rows, or first on a sketch of them when they are very many."""
    problem = setup.problem
    if problem.bound.rows <= SKETCH_ROWS:
        return _arrive(setup, problem, starts)
    picked = np.random.default_rng(0).choice(problem.bound.rows, SKETCH_ROWS, replace=False)
    first = _arrive(setup, _rows(problem, np.sort(picked)), starts)
    best = first.theta[np.argsort(first.value, kind="stable")[: CARRIED * 2 : 2]]
    return minimise(problem, best, setup.delta, setup.box, tolerance=ROUGH)


def _arrive(setup: Setup, problem: Problem, starts: Array | None) -> Minimum:
    """The minima reached from the starts; few that agree send those still on their way on."""
    points = starting_points(setup.law, problem, setup.box, setup.delta) if starts is None else starts
    begin = np.resize(np.array(PATHS), len(points)) * residual_scale(problem, points[0])  # no path under least squares
    found = minimise(problem, points, setup.delta, setup.box, begin=begin, tolerance=ROUGH, steps=PATIENCE)
    if int(np.sum(found.value <= np.nanmin(found.value) * (1 + AGREE))) >= ENOUGH or found.converged.all():
        return found
    late = minimise(problem, found.theta, setup.delta, setup.box, begin=begin, tolerance=ROUGH)
    better = late.value < found.value
    return Minimum(
        np.where(better[:, None], late.theta, found.theta), np.where(better, late.value, found.value),
        np.where(better, late.decrement, found.decrement), late.converged | found.converged, late.iterations,
    )  # fmt: skip


def residual_scale(problem: Problem, theta: Array) -> float:
    """The median absolute residual at a vector (p,), over the normal's: robust, 0 for a perfect fit."""
    rest = residuals(problem.losses, problem.bound.predict(theta[None])[0], problem.space)
    known = np.abs(rest[np.isfinite(rest)])
    return float(np.median(known)) / 0.6745 if known.size else 0.0


def quick(setup: Setup) -> Array:
    """The best vector (p,) the starts reach within their patience: for fits by the thousand that need no verdict."""
    points = starting_points(setup.law, setup.problem, setup.box, setup.delta)
    begin = residual_scale(setup.problem, points[0])
    found = minimise(setup.problem, points, setup.delta, setup.box, begin=begin, tolerance=QUICK, steps=PATIENCE)
    return np.asarray(found.theta[np.nanargmin(found.value)])


def _rows(problem: Problem, rows: Array) -> Problem:
    function = problem.bound.function
    data = []
    for name in function.variables:
        node = next(number for number in function.data_only if function.graph.nodes[number] == ("name", (), name))
        data.append(problem.bound.columns[node][0, rows])
    return Problem(function.bind(data), problem.losses[rows], problem.weights[rows], problem.space)


def smoothed(setup: Setup, theta: Array) -> Setup:
    """The setup for refits by the thousand: absolute deviation rounded off at a small part of the residuals' scale."""
    if setup.objective.name != "lad":
        return setup
    return replace(setup, delta=max(setup.delta, LAD_ROUNDING * residual_scale(setup.problem, theta)))


def judge(setup: Setup, theta: Array, at: Derivatives, starts: int, agreeing: int, converged: bool) -> Verdict:
    """The verdict on one optimum (p,), in words."""
    names, box = setup.law.names, setup.box
    free = ~box.frozen
    span = np.maximum(np.abs(theta), 1e-12)
    low = free & np.isfinite(box.low) & (theta <= box.low + 1e-9 * span)
    high = free & np.isfinite(box.high) & (theta >= box.high - 1e-9 * span)
    touched = tuple(name for name, hit in zip(names, low | high, strict=True) if hit)
    inside = free & ~low & ~high
    gradient = (
        subgradient(setup.problem, theta, inside) if setup.objective.name == "lad" else scaled_gradient(at, inside)
    )
    condition = condition_number(at, inside)
    if at.value[0] <= PERFECT * np.mean(setup.problem.losses**2):
        gradient, converged = 0.0, True  # rounding is all that is left
    verified, status = _words(setup, touched, gradient, condition, starts, agreeing, converged)
    return Verdict(gradient, starts, agreeing, touched, condition, verified, status)


def scaled_gradient(at: Derivatives, inside: Array) -> float:
    """Length of the gradient in the metric of the majorant, relative to the value: sqrt(g' M^-1 g / 2F)."""
    majorant = np.maximum(at.majorant[0, inside], 1e-300)
    value = max(float(at.value[0]), 1e-28)
    return float(np.sqrt(np.sum(at.gradient[0, inside] ** 2 / majorant) / (2 * value)))


def condition_number(at: Derivatives, inside: Array) -> float:
    """Condition of the curvature with unit diagonal: infinite where it is not positive definite."""
    if not inside.any():
        return 1.0
    curvature = at.curvature[0][np.ix_(inside, inside)]
    diagonal = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    scaled = curvature / diagonal[:, None] / diagonal[None, :]
    if not np.isfinite(scaled).all():
        return float("inf")
    eigenvalues = np.linalg.eigvalsh(scaled)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf")


def _words(
    setup: Setup, touched: tuple[str, ...], gradient: float, condition: float,
    starts: int, agreeing: int, converged: bool,
) -> tuple[bool, str]:  # fmt: skip
    evidence = f"{agreeing} of {starts} starts agree, scaled gradient {gradient:.1e}, condition {condition:.1e}"
    decisive = [name for name in touched if name in degenerate_at_bound(setup.law)]
    if not converged:
        return False, f"not converged: {evidence}"
    if decisive:
        return False, f"degenerate: {', '.join(decisive)} at a bound, the data do not have this law's shape; {evidence}"
    if condition > WORST_CONDITION:
        return False, f"not identified: some parameters cannot be told apart by these rows; {evidence}"
    if agreeing < min(2, starts):
        return False, f"not verified: no second start reached this optimum; {evidence}"
    if gradient > GRADIENT:
        return False, f"not verified: the gradient does not vanish; {evidence}"
    bound = f", {', '.join(touched)} at its bound" if touched else ""
    return True, f"verified{bound}: {evidence}"


def degenerate_at_bound(law: Law) -> tuple[str, ...]:
    """Parameters whose bound means that the law has lost its shape: every one but the asymptote."""
    return tuple(name for name in law.names if name != law.asymptote)


def frozen(setup: Setup, index: int) -> Setup:
    """The setup with one more coordinate held where it starts."""
    mask = setup.box.frozen.copy()
    mask[index] = True
    return replace(setup, box=replace(setup.box, frozen=mask))


def objective_value(setup: Setup, theta: Array) -> float:
    """The named objective at a vector (p,) in centred units, in the unit and reduction it was named with."""
    predicted = setup.problem.bound.predict(theta[None])[0]
    rest = residuals(setup.problem.losses, predicted, setup.objective.space)
    return float(setup.objective.value(rest, setup.problem.weights))
