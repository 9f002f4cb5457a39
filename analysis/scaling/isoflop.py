"""Compute-optimal exponents by the three approaches of Hoffmann et al. 2022 (sec. 3), side by side.

1. Envelope: at each budget the run of least loss, then a line through log N* against log C.
2. Parabola: at each budget a parabola of loss in log N, its minimum, then the line.
3. Surface: the fitted law's own optimum (`analysis.scaling.allocation`).

Approach 2 is biased where budgets are sampled off their optimum or the surface is not symmetric in log N about it; the
bias is measured here by running it on the fitted surface's noise-free losses at the very same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.fit import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.scaling.allocation import FLOPS_PER_ND, allocate, exponents
from sweeplaw.trials.errors import InputError

Array = np.ndarray

SAME_BUDGET = 0.10  # relative gap of compute below which neighbouring rows belong to one budget
LEAST_SIZES = 4  # distinct N a parabola needs: three fix it, the fourth can contradict it
OFF_CENTRE = 0.25  # of the sampled range of log N: an optimum farther from its middle is said to be off centre


@dataclass(frozen=True, slots=True)
class IsoflopBudget:
    """One compute budget: its FLOPs, rows, and the optimum of its parabola (None where it has none inside reach)."""

    flops: float
    rows: int
    params: float | None
    loss: float | None
    off_centre: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Approach:
    """One approach: exponent a and coefficient of N* = n0 C^a, exponent b of D*, with intervals."""

    name: str
    a: float
    b: float
    coefficient: float
    intervals: Mapping[str, Interval]
    budgets: tuple[IsoflopBudget, ...]
    notes: tuple[str, ...]

    def params(self, flops: float) -> float:
        """N* for a budget by this approach's line."""
        return float(self.coefficient * flops**self.a)


@dataclass(frozen=True, slots=True)
class Design:
    """Rows of an isoFLOP experiment by budget: N in parameters, D in tokens, compute k N D."""

    params: Array
    tokens: Array
    losses: Array
    flops: Array
    budget: Array


def design(fit: Fit, k: float = FLOPS_PER_ND) -> Design:
    """The rows of a fit grouped into budgets of nearly equal compute."""
    units = fit.observations.units
    params, tokens = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    flops = k * params * tokens
    return Design(params, tokens, fit.observations.losses, flops, group_budgets(flops))


def group_budgets(flops: Array) -> Array:
    """The number of the budget of each row: sorted compute is cut where it jumps by more than SAME_BUDGET."""
    order = np.argsort(flops, kind="stable")
    jumps = np.diff(np.log(flops[order]), prepend=np.log(flops[order[0]])) > np.log1p(SAME_BUDGET)
    numbers = np.empty(len(flops), dtype=int)
    numbers[order] = np.cumsum(jumps)
    return numbers


def compare_approaches(fit: Fit, k: float = FLOPS_PER_ND, resamples: int = 1000, seed: int = 0) -> tuple[Approach, ...]:
    """Approaches 1, 2 and 3 on the rows of a surface fit.

    One that cannot be made is left out, with its reason in the notes of the third. Raises InputError for a law of other
    inputs.
    """
    rows, middle = design(fit, k), _middle(fit, k)
    made, missing = [], []
    for build in (envelope, parabola):
        try:
            made.append(build(rows, fit.level, resamples, seed))
        except InputError as error:
            missing.append(str(error))
    made = [_with_bias(item, rows, fit, k) if item.name == "2 parabola" else item for item in made]
    found = exponents(fit, middle, k)
    intervals = {name: interval for name, (_, interval) in found.items() if interval is not None}
    a = found["a"][0]
    coefficient = allocate(fit, middle, k).params / middle**a
    return (*made, Approach("3 surface", a, found["b"][0], coefficient, intervals, (), tuple(missing)))


def _middle(fit: Fit, k: float) -> float:
    return float(np.exp(np.mean(np.log(design(fit, k).flops))))


def envelope(rows: Design, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Approach:
    """Approach 1: the run of least loss at each budget. Raises InputError with fewer than three budgets."""
    weights = _resample(rows, resamples, seed)
    flops, best = _per_budget(rows, weights, _least)
    return _line("1 envelope", flops, best, level, _envelope_budgets(rows), ("coarse where budgets hold few sizes",))


def parabola(rows: Design, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Approach:
    """Approach 2: the minimum of a parabola in log N at each budget. Raises InputError for fewer than three budgets."""
    weights = _resample(rows, resamples, seed)
    flops, best = _per_budget(rows, weights, _vertex)
    budgets = _parabola_budgets(rows)
    off = [budget for budget in budgets if budget.off_centre is not None and abs(budget.off_centre) > OFF_CENTRE]
    notes = [f"off-centre sampling at {len(off)} of {len(budgets)} budgets pulls the vertex"] if off else []
    notes += [f"{budget.flops:.2g} FLOPs: {budget.note}" for budget in budgets if budget.note]
    return _line("2 parabola", flops, best, level, budgets, tuple(notes))


def _resample(rows: Design, count: int, seed: int) -> Array:
    """Multiplicities (1 + count, n): the rows as they are, then rows drawn inside each budget."""
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + count, len(rows.losses)))
    for number in range(int(rows.budget.max()) + 1):
        members = np.flatnonzero(rows.budget == number)
        weights[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return weights


def _per_budget(rows: Design, weights: Array, estimate) -> tuple[Array, Array]:  # type: ignore[no-untyped-def]
    """Budgets' FLOPs (m,) and log N* of each resample (batch, m), NaN where there is none."""
    flops, best = [], []
    for number in range(int(rows.budget.max()) + 1):
        members = np.flatnonzero(rows.budget == number)
        if len(np.unique(rows.params[members])) >= LEAST_SIZES:
            flops.append(float(np.exp(np.mean(np.log(rows.flops[members])))))
            best.append(estimate(np.log(rows.params[members]), rows.losses[members], weights[:, members]))
    if len(flops) < 3:
        raise InputError(f"a line needs 3 budgets of at least {LEAST_SIZES} sizes; {len(flops)} found")
    return np.array(flops), np.stack(best, axis=1)


def _least(log_params: Array, losses: Array, weights: Array) -> Array:
    return np.asarray(log_params[np.argmin(np.where(weights > 0, losses, np.inf), axis=1)])


def _vertex(log_params: Array, losses: Array, weights: Array) -> Array:
    """log N at the minimum of each weighted parabola; NaN without one or where it is far outside the sampled range."""
    middle, width = (log_params.max() + log_params.min()) / 2, (log_params.max() - log_params.min()) / 2
    place = (log_params - middle) / width
    powers = np.stack([np.ones_like(place), place, place**2])
    matrix = np.einsum("bn,in,jn->bij", weights, powers, powers) + 1e-12 * np.eye(3)
    right = np.einsum("bn,in,n->bi", weights, powers, losses)
    _, slope, bend = np.linalg.solve(matrix, right[:, :, None])[:, :, 0].T
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(bend > 0, -slope / (2 * bend), np.nan)
    return np.asarray(np.where(np.abs(vertex) <= 3, middle + width * vertex, np.nan))


def _line(
    name: str, flops: Array, best: Array, level: float, budgets: tuple[IsoflopBudget, ...], notes: tuple[str, ...]
) -> Approach:
    """The line log N* = log n0 + a log C through each resample's optima, budgets without one left out of it."""
    place = np.log(flops)
    known = np.isfinite(best)
    count = np.maximum(known.sum(axis=1), 1)
    x = np.where(known, place, 0.0)
    y = np.where(known, best, 0.0)
    mean_x, mean_y = x.sum(axis=1) / count, y.sum(axis=1) / count
    spread = np.where(known, place - mean_x[:, None], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.sum(spread * y, axis=1) / np.sum(spread**2, axis=1)
    slope = np.where(known.sum(axis=1) >= 2, slope, np.nan)
    method = f"row bootstrap within budgets, {len(best) - 1} resamples"
    intervals = {"a": percentile(slope[1:], level, method), "b": percentile(1 - slope[1:], level, method)}
    if known[0].sum() < len(flops):
        notes = (*notes, f"{len(flops) - int(known[0].sum())} of {len(flops)} budgets have no optimum and take no part")
    coefficient = float(np.exp(mean_y[0] - slope[0] * mean_x[0]))
    return Approach(name, float(slope[0]), float(1 - slope[0]), coefficient, intervals, budgets, notes)


def _envelope_budgets(rows: Design) -> tuple[IsoflopBudget, ...]:
    found = []
    for number in range(int(rows.budget.max()) + 1):
        members = np.flatnonzero(rows.budget == number)
        least = members[np.argmin(rows.losses[members])]
        found.append(_budget(rows, members, float(rows.params[least]), float(rows.losses[least])))
    return tuple(found)


def _parabola_budgets(rows: Design) -> tuple[IsoflopBudget, ...]:
    found = []
    for number in range(int(rows.budget.max()) + 1):
        members = np.flatnonzero(rows.budget == number)
        if len(np.unique(rows.params[members])) < LEAST_SIZES:
            found.append(_budget(rows, members, None, None, f"fewer than {LEAST_SIZES} sizes"))
            continue
        vertex = float(_vertex(np.log(rows.params[members]), rows.losses[members], np.ones((1, len(members))))[0])
        params = float(np.exp(vertex)) if np.isfinite(vertex) else None
        found.append(
            _budget(rows, members, params, None, "" if params else "no minimum: the parabola is not convex there")
        )
    return tuple(found)


def _budget(rows: Design, members: Array, params: float | None, loss: float | None, note: str = "") -> IsoflopBudget:
    log_params = np.log(rows.params[members])
    low, high = log_params.min(), log_params.max()
    off = (np.log(params) - (low + high) / 2) / max(high - low, 1e-12) if params else None
    flops = float(np.exp(np.mean(np.log(rows.flops[members]))))
    outside = "" if off is None or abs(off) <= 0.5 else "the optimum is outside the sampled sizes"
    return IsoflopBudget(flops, len(members), params, loss, None if off is None else float(off), note or outside)


def _with_bias(approach: Approach, rows: Design, fit: Fit, k: float) -> Approach:
    """The approach with its bias on this design said: what it returns on the fitted surface without any noise."""
    clean = Design(rows.params, rows.tokens, fit.fitted, rows.flops, rows.budget)
    returned = parabola(clean, fit.level, 1).a
    true = exponents(fit, _middle(fit, k), k)["a"][0]
    note = f"on this design the method itself returns a = {returned:.4f} where the fitted surface has {true:.4f}"
    bias = f"{note}: bias {returned - true:+.4f} from off-centre sampling and an asymmetric surface"
    return Approach(
        approach.name, approach.a, approach.b, approach.coefficient, approach.intervals, approach.budgets,
        (*approach.notes, bias),
    )  # fmt: skip
