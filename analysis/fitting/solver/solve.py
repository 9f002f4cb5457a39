"""The global optimum of the objective for a law and its rows, with the evidence that it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sweeplaw.analysis.fitting.solver.derivatives import Derivatives, Problem, differentiate
from sweeplaw.analysis.fitting.solver.least_absolute import polish_least_absolute, subgradient
from sweeplaw.analysis.fitting.solver.newton import Box, Minimum, minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective, residuals
from sweeplaw.analysis.fitting.solver.starts import starting_points
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

PERFECT_FIT = 1e-24  # mean penalty over mean squared loss of a fit without residuals, in double precision
SAME_OPTIMUM = 1e-8  # relative distance within which two values of the objective are the same optimum
SUBSAMPLE_ROWS = 4096  # rows that rank the starts; all rows decide the optimum
CARRIED_STARTS = 3  # starts continued on all rows if there are more than SUBSAMPLE_ROWS
LAD_DELTA = 1e-6  # nats: the Huber threshold in place of absolute deviation until the optimum is solved exactly
LAD_ROUNDING = 1e-2  # of the residuals' scale; raises the sum by less than p/n hundredths of it
START_TOLERANCE = 1e-10  # relative Newton decrease at which a start has converged; the best is then polished
QUICK_TOLERANCE = 1e-6  # relative Newton decrease of a fit without verdict
START_STEPS = 40  # step limit of a start; the best is polished without it
ENOUGH_AGREEING = 3  # starts; if fewer agree, those stopped by the step limit continue
INITIAL_DELTAS = (0.3, 1.0, 4.0, 30.0)  # thresholds at which the starts begin, in multiples of the residuals' scale
MAX_GRADIENT = 1e-6  # largest scaled gradient of a verified optimum
MAX_CONDITION = 1e12  # of the scaled curvature; beyond it the parameters cannot be distinguished


@dataclass(frozen=True, slots=True)
class Setup:
    """A law, its rows in centred units, and the objective's threshold: infinite for least squares."""

    law: Law
    objective: Objective
    problem: Problem
    box: Box
    centre: tuple[float, ...]
    delta: float

    def to_law_units(self, theta: Array) -> Array:
        """Convert centred parameter vectors (batch, p) to the law's own units."""
        return theta * self.law.scales(theta, self.centre) if self.law.scaled else theta

    def to_centred_units(self, theta: Array) -> Array:
        """Convert parameter vectors (batch, p) to centred units. The scales depend on the exponents, which stay."""
        return theta / self.law.scales(theta, self.centre) if self.law.scaled else theta


@dataclass(frozen=True, slots=True)
class Verdict:
    """The evidence about an optimum. ``gradient`` is scaled and relative: 0 at an optimum, of order 1 far from it."""

    gradient: float
    starts: int
    starts_agreeing: int
    at_bounds: tuple[str, ...]
    condition: float
    verified: bool
    status: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The optimum (p,) in centred units, the derivatives there, and the verdict."""

    theta: Array
    derivatives: Derivatives
    verdict: Verdict


def set_up(law: Law, objective: Objective, inputs: Mapping[str, Array], losses: Array, weights: Array) -> Setup:
    """Return the problem with every input divided by its geometric mean, if the law's parameters absorb that."""
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
    delta = {"ls": np.inf, "lad": LAD_DELTA, "huber": objective.delta or 0.0}[objective.name]
    return Setup(law, objective, Problem(bound, losses, weights, objective.space), box, centre, float(delta))


def solve(setup: Setup) -> Solution:
    """Return the best of the minima reached from independent starts, polished, with its verdict."""
    minima = _descend(setup)
    order = np.argsort(np.where(np.isfinite(minima.value), minima.value, np.inf), kind="stable")
    value = minima.value[order[0]]
    agreeing = int(np.sum(minima.value <= value * (1 + SAME_OPTIMUM) + 1e-26))
    polished = minimise(setup.problem, minima.theta[order[:1]], setup.delta, setup.box)
    best, converged, width = polished.theta[0], bool(polished.converged[0]), setup.delta
    if setup.objective.name == "lad":
        few = order[1 : 2 * ENOUGH_AGREEING] if agreeing < ENOUGH_AGREEING else order[:0]
        best, extra = _best_least_absolute(setup, [best, *minima.theta[few]])
        agreeing, converged = max(agreeing, extra), True
        # the curvature there is that of the rows near the law, not of the p rows it passes through
        width = max(width, residual_scale(setup.problem, best) * setup.problem.bound.rows**-0.2)
    at = differentiate(setup.problem, best[None], np.array([width]))
    return Solution(best, at, judge(setup, best, at, len(minima.value), agreeing, converged))


def _best_least_absolute(setup: Setup, starts: list[Array]) -> tuple[Array, int]:
    """Return the exact optimum of least sum among those near the starts, and the number of starts that reached it."""
    found = [polish_least_absolute(setup.problem, setup.box, start) for start in starts]
    sums = np.array([objective_value(setup, theta) for theta in found])
    return found[int(np.argmin(sums))], int(np.sum(sums <= sums.min() * (1 + SAME_OPTIMUM) + 1e-26))


def _descend(setup: Setup) -> Minimum:
    """Return every start's own minimum: on all rows, or first on a subsample if there are very many."""
    problem = setup.problem
    if problem.bound.rows <= SUBSAMPLE_ROWS:
        return _minima(setup, problem)
    picked = np.random.default_rng(0).choice(problem.bound.rows, SUBSAMPLE_ROWS, replace=False)
    first = _minima(setup, _rows(problem, np.sort(picked)))
    best = first.theta[np.argsort(first.value, kind="stable")[: CARRIED_STARTS * 2 : 2]]
    return minimise(problem, best, setup.delta, setup.box, tolerance=START_TOLERANCE)


def _minima(setup: Setup, problem: Problem) -> Minimum:
    """Return the minimum reached from each start. If few agree, unconverged ones continue without the step limit."""
    points = starting_points(setup.law, problem, setup.box, setup.delta)
    scales = np.resize(np.array(INITIAL_DELTAS), len(points))  # unused by least squares, whose threshold is infinite
    descend = partial(minimise, initial_delta=scales * residual_scale(problem, points[0]), tolerance=START_TOLERANCE)
    found = descend(problem, points, setup.delta, setup.box, max_steps=START_STEPS)
    agreeing = int(np.sum(found.value <= np.nanmin(found.value) * (1 + SAME_OPTIMUM)))
    if agreeing >= ENOUGH_AGREEING or found.converged.all():
        return found
    return found.lower(descend(problem, found.theta, setup.delta, setup.box))


def residual_scale(problem: Problem, theta: Array) -> float:
    """Return the median absolute residual at a vector (p,), over the normal's: robust, 0 for a perfect fit."""
    residual = residuals(problem.losses, problem.bound.predict(theta[None])[0], problem.space)
    known = np.abs(residual[np.isfinite(residual)])
    return float(np.median(known)) / 0.6745 if known.size else 0.0


def quick(setup: Setup) -> Array:
    """Return the best vector (p,) reached within the step limit: for thousands of fits that need no verdict."""
    points = starting_points(setup.law, setup.problem, setup.box, setup.delta)
    found = minimise(
        setup.problem, points, setup.delta, setup.box, initial_delta=residual_scale(setup.problem, points[0]),
        tolerance=QUICK_TOLERANCE, max_steps=START_STEPS,
    )  # fmt: skip
    return np.asarray(found.theta[np.nanargmin(found.value)])


def _rows(problem: Problem, rows: Array) -> Problem:
    function = problem.bound.function
    data = []
    for name in function.variables:
        node = next(number for number in function.data_only if function.graph.nodes[number] == ("name", (), name))
        data.append(problem.bound.columns[node][0, rows])
    return Problem(function.bind(data), problem.losses[rows], problem.weights[rows], problem.space)


def smoothed(setup: Setup, theta: Array) -> Setup:
    """Return the setup for many refits: absolute deviation rounded off at a small part of the residuals' scale."""
    if setup.objective.name != "lad":
        return setup
    return replace(setup, delta=max(setup.delta, LAD_ROUNDING * residual_scale(setup.problem, theta)))


def judge(setup: Setup, theta: Array, at: Derivatives, starts: int, agreeing: int, converged: bool) -> Verdict:
    """Return the verdict on one optimum (p,)."""
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
    if at.value[0] <= PERFECT_FIT * np.mean(setup.problem.losses**2):
        gradient, converged = 0.0, True  # only rounding is left
    verified, status = _status(setup, touched, gradient, condition, starts, agreeing, converged)
    return Verdict(gradient, starts, agreeing, touched, condition, verified, status)


def scaled_gradient(at: Derivatives, inside: Array) -> float:
    """Return the length of the gradient in the metric of the majorant, relative to the value: sqrt(g' M^-1 g / 2F)."""
    majorant = np.maximum(at.majorant[0, inside], 1e-300)
    value = max(float(at.value[0]), 1e-28)
    return float(np.sqrt(np.sum(at.gradient[0, inside] ** 2 / majorant) / (2 * value)))


def condition_number(at: Derivatives, inside: Array) -> float:
    """Return the condition of the curvature with unit diagonal: infinite if it is not positive definite."""
    if not inside.any():
        return 1.0
    curvature = at.curvature[0][np.ix_(inside, inside)]
    diagonal = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    scaled = curvature / diagonal[:, None] / diagonal[None, :]
    if not np.isfinite(scaled).all():
        return float("inf")
    eigenvalues = np.linalg.eigvalsh(scaled)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf")


def _status(
    setup: Setup, touched: tuple[str, ...], gradient: float, condition: float,
    starts: int, agreeing: int, converged: bool,
) -> tuple[bool, str]:  # fmt: skip
    evidence = f"{agreeing} of {starts} starts agree, scaled gradient {gradient:.1e}, condition {condition:.1e}"
    decisive = [name for name in touched if name != setup.law.asymptote]  # the law has lost its shape
    if not converged:
        return False, f"not converged: {evidence}"
    if decisive:
        return False, f"degenerate: {', '.join(decisive)} at a bound, the data do not have this law's shape; {evidence}"
    if condition > MAX_CONDITION:
        return False, f"not identified: these rows do not distinguish some parameters; {evidence}"
    if agreeing < min(2, starts):
        return False, f"not verified: no second start reached this optimum; {evidence}"
    if gradient > MAX_GRADIENT:
        return False, f"not verified: the gradient does not vanish; {evidence}"
    bound = f", {', '.join(touched)} at its bound" if touched else ""
    return True, f"verified{bound}: {evidence}"


def with_frozen(setup: Setup, index: int) -> Setup:
    """Return the setup with one more coordinate fixed at its start."""
    mask = setup.box.frozen.copy()
    mask[index] = True
    return replace(setup, box=replace(setup.box, frozen=mask))


def objective_value(setup: Setup, theta: Array) -> float:
    """Return the objective at a vector (p,) in centred units, in its own unit and reduction."""
    predicted = setup.problem.bound.predict(theta[None])[0]
    residual = residuals(setup.problem.losses, predicted, setup.objective.space)
    return float(setup.objective.value(residual, setup.problem.weights))
