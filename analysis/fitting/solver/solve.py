"""The global optimum of the objective for a law and its rows, with the evidence that it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sweeplaw.analysis.fitting.solver.derivatives import BatchProblem, Derivatives, differentiate
from sweeplaw.analysis.fitting.solver.least_absolute import polish_least_absolute
from sweeplaw.analysis.fitting.solver.newton import Box, Minimum, minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective, residuals
from sweeplaw.analysis.fitting.solver.starts import STARTS, starting_points
from sweeplaw.analysis.fitting.solver.verdict import Verdict, judge
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

SAME_OPTIMUM = 1e-8  # relative distance within which two values of the objective are the same optimum
SUBSAMPLE_ROWS = 4096  # rows that rank the starts; all rows decide the optimum
CARRIED_STARTS = 3  # starts continued on all rows if there are more than SUBSAMPLE_ROWS
LAD_DELTA = 1e-6  # nats: the Huber threshold in place of absolute deviation until the optimum is solved exactly
LAD_ROUNDING = 1e-2  # of the residuals' scale; raises the sum by less than p/n hundredths of it
START_TOLERANCE = 1e-10  # relative Newton decrease at which a start has converged; the best is then polished
QUICK_TOLERANCE = 1e-6  # relative Newton decrease of a fit without verdict
SCREENING_STEPS = 8  # of each of many starts, before the lowest go on
START_STEPS = 40  # step limit of a start; the best is polished without it
MANY_NONLINEAR = 7  # parameters: of a planted law of nine, 6 of 16 starts agreed 2 % above the best of 64
ENOUGH_AGREEING = 3  # starts; if fewer agree, those stopped by the step limit continue
INITIAL_DELTAS = (0.3, 1.0, 4.0, 30.0)  # thresholds at which the starts begin, in multiples of the residuals' scale


@dataclass(frozen=True, slots=True)
class Setup:
    """A law, its rows in centred units, and the objective's threshold: infinite for least squares."""

    law: Law
    objective: Objective
    problem: BatchProblem
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
class Solution:
    """The optimum (p,) in centred units, the derivatives there, and the verdict."""

    theta: Array
    derivatives: Derivatives
    verdict: Verdict


def set_up(law: Law, objective: Objective, inputs: Mapping[str, Array], losses: Array, weights: Array) -> Setup:
    """Return the problem with every input divided by its geometric mean, if the law's parameters absorb that.

    Means and optima have the same digits whatever the order of the rows, up to SUBSAMPLE_ROWS of them. The weights are
    divided by their mean: only their ratios matter, and rows of weight 5 throughout are no more rows.
    """
    columns = [np.asarray(inputs[name], dtype=float) for name in law.inputs]
    keys = law.centred_by or law.inputs
    ranked = [np.sort(column) if len(column) <= SUBSAMPLE_ROWS else column for column in columns]
    means = {name: float(np.exp(np.mean(np.log(column)))) for name, column in zip(law.inputs, ranked, strict=True)}
    centre = tuple(means[key] if law.scaled else 1.0 for key in keys)
    bound = law.function.bind([column / middle for column, middle in zip(columns, centre, strict=True)])
    box = _box(law)
    delta = {"ls": np.inf, "lad": LAD_DELTA, "huber": objective.delta or 0.0}[objective.name]
    relative = weights / np.mean(weights)
    return Setup(law, objective, BatchProblem(bound, losses, relative, objective.space), box, centre, float(delta))


def _box(law: Law) -> Box:
    free = law.free
    low, high = (np.array([getattr(param, side) for param in free]) for side in ("low", "high"))
    return Box(low, high, np.array([param.log for param in free], dtype=bool), np.zeros(len(free), dtype=bool))


def solve(setup: Setup) -> Solution:
    """Return the best of the minima reached from independent starts, polished, with its verdict."""
    setup = _in_order(setup)
    minima = _descend(setup)
    order = np.argsort(np.where(np.isfinite(minima.value), minima.value, np.inf), kind="stable")
    agreeing = _agreeing(minima)
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


def _in_order(setup: Setup) -> Setup:
    """Return the setup with its rows sorted; of more than SUBSAMPLE_ROWS as they are."""
    problem = setup.problem
    if problem.bound.rows > SUBSAMPLE_ROWS:
        return setup
    columns = {node: column for node, column in problem.bound.columns.items() if column.shape[1] > 1}
    inputs = [columns[node][0] for node in columns if problem.bound.function.graph.nodes[node][0] == "name"]
    order = np.lexsort((problem.weights, problem.losses, *inputs))
    ordered = {**problem.bound.columns, **{node: column[:, order] for node, column in columns.items()}}
    bound = replace(problem.bound, columns=ordered)
    return replace(setup, problem=BatchProblem(bound, problem.losses[order], problem.weights[order], problem.space))


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


def _minima(setup: Setup, problem: BatchProblem) -> Minimum:
    """Return the minimum reached from each start: of STARTS, and of the others too if they are needed.

    They are if no two of the first agree, or if minima are so many that several starts may agree on a wrong one.
    """
    points = _screened(setup, problem, _starts(setup, problem))
    found = _reached(setup, problem, points[:STARTS])
    nonlinear = len(setup.law.free) - len(problem.bound.function.linear)
    if len(points) <= STARTS or (_agreeing(found) > 1 and nonlinear < MANY_NONLINEAR):
        return found
    more = _reached(setup, problem, points[STARTS:])
    both = (np.concatenate([getattr(one, name) for one in (found, more)]) for name in ("theta", "value", "converged"))
    return Minimum(*both)


def _reached(setup: Setup, problem: BatchProblem, points: Array) -> Minimum:
    """Return the minimum reached from each point. If few agree, unconverged ones continue without the step limit."""
    scales = np.resize(np.array(INITIAL_DELTAS), len(points))  # unused by least squares, whose threshold is infinite
    descend = partial(minimise, initial_delta=scales * residual_scale(problem, points[0]), tolerance=START_TOLERANCE)
    found = descend(problem, points, setup.delta, setup.box, max_steps=START_STEPS)
    if _agreeing(found) >= ENOUGH_AGREEING or found.converged.all():
        return found
    return found.lower(descend(problem, found.theta, setup.delta, setup.box))


def _agreeing(found: Minimum) -> int:
    """Return how many minima are the lowest one."""
    return int(np.sum(found.value <= np.nanmin(found.value) * (1 + SAME_OPTIMUM) + 1e-26))


def _starts(setup: Setup, problem: BatchProblem) -> Array:
    """Return the vectors (batch, p) from which minima are sought: those of the law's search form, if it has one."""
    form = in_search_form(setup, problem)
    if form is None:
        return starting_points(setup.law, problem, setup.box, setup.delta)
    with np.errstate(all="ignore"):
        found = _minima(form, form.problem)
        theta = np.clip(setup.law.from_search(found.theta, _means(problem)), setup.box.low, setup.box.high)
    return np.asarray(theta[np.argsort(found.value, kind="stable")])


def in_search_form(setup: Setup, problem: BatchProblem) -> Setup | None:
    """Return the setup on the rows of ``problem`` in the law's search form, None if it has none."""
    if setup.law.search is None or setup.law.fixed:  # a fixed parameter may remove an input, which then has no mean
        return None
    form = setup.law.search_law(_means(problem))
    if form is None:
        return None
    bound = form.function.bind(_columns(problem))
    return replace(setup, law=form, problem=replace(problem, bound=bound), box=_box(form))


def _columns(problem: BatchProblem) -> list[Array]:
    return [problem.bound.columns[node][0] for node in _data_nodes(problem)]


def _means(problem: BatchProblem) -> list[float]:
    return [float(np.exp(np.mean(np.log(column)))) for column in _columns(problem)]


def _screened(setup: Setup, problem: BatchProblem, points: Array) -> Array:
    """Return more than STARTS points after a few steps each, at a threshold that joins minima: the lowest first."""
    if len(points) <= STARTS:
        return points
    wide = residual_scale(problem, points[0])
    few = minimise(problem, points, max(setup.delta, wide), setup.box, max_steps=SCREENING_STEPS)
    order = np.argsort(np.where(np.isfinite(few.value), few.value, np.inf), kind="stable")
    return np.asarray(few.theta[order])


def residual_scale(problem: BatchProblem, theta: Array) -> float:
    """Return the median absolute residual at a vector (p,), over the normal's: robust, 0 for a perfect fit."""
    residual = residuals(problem.losses, problem.bound.predict(theta[None])[0], problem.space)
    known = np.abs(residual[np.isfinite(residual)])
    return float(np.median(known)) / 0.6745 if known.size else 0.0


def quick(setup: Setup) -> Array:
    """Return the best vector (p,) reached within the step limit: for thousands of fits that need no verdict."""
    points = starting_points(setup.law, setup.problem, setup.box, setup.delta)[:STARTS]
    found = minimise(
        setup.problem, points, setup.delta, setup.box, initial_delta=residual_scale(setup.problem, points[0]),
        tolerance=QUICK_TOLERANCE, max_steps=START_STEPS,
    )  # fmt: skip
    return np.asarray(found.theta[np.nanargmin(found.value)])


def _rows(problem: BatchProblem, rows: Array) -> BatchProblem:
    data = [column[rows] for column in _columns(problem)]
    return BatchProblem(problem.bound.function.bind(data), problem.losses[rows], problem.weights[rows], problem.space)


def _data_nodes(problem: BatchProblem) -> list[int]:
    """Return the node of each input, in the law's order."""
    function = problem.bound.function
    nodes = {function.graph.nodes[number]: number for number in function.data_only}
    return [nodes["name", (), name] for name in function.variables]


def smoothed(setup: Setup, theta: Array) -> Setup:
    """Return the setup for many refits: absolute deviation rounded off at a small part of the residuals' scale."""
    if setup.objective.name != "lad":
        return setup
    return replace(setup, delta=max(setup.delta, LAD_ROUNDING * residual_scale(setup.problem, theta)))


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
