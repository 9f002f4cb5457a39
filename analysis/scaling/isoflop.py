"""Compute-optimal exponents by the three approaches of Hoffmann et al. 2022 (sec. 3), side by side.

1. Envelope: at each budget the run of least loss, then a line through log N* against log C.
2. Parabola: at each budget a parabola of loss in log N, its minimum, then the line.
3. Surface: the fitted law's own optimum (`analysis.fitting.allocation`).

Approach 2 is biased if budgets are sampled off their optimum or the surface is not symmetric in log N about it. The
bias is measured by running it on the fitted surface's noise-free losses at the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.allocation import FLOPS_PER_ND, allocate, exponents, is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.trials.errors import InputError

Array = np.ndarray
Estimate = Callable[[Array, Array, Array], Array]  # log N (n,), losses (n,), weights (batch, n) -> log N* (batch,)

SAME_BUDGET = 0.10  # relative gap of compute below which neighbouring rows belong to one budget
MIN_SIZES = 4  # distinct N a parabola needs: three fix it, the fourth can contradict it
MIN_BUDGETS = 3  # that a line needs
OFF_CENTRE = 0.25  # of the sampled range of log N: an optimum farther from its middle is off centre


@dataclass(frozen=True, slots=True)
class IsoflopBudget:
    """One compute budget: its FLOPs, rows, and the optimum of its parabola (None if it has none within reach)."""

    flops: float
    rows: int
    params: float | None
    loss: float | None
    off_centre: float | None
    note: str


@dataclass(frozen=True, slots=True, repr=False)
class Approach(Shown):
    """One approach: exponent a and coefficient of N* = n0 C^a, exponent b of D*, with intervals."""

    name: str
    a: float
    b: float
    coefficient: float
    intervals: Mapping[str, Interval]
    budgets: tuple[IsoflopBudget, ...]
    notes: tuple[str, ...]

    def params(self, flops: float) -> float:
        """Return N* for a budget by this approach's line."""
        return float(self.coefficient * flops**self.a)

    def headline(self) -> tuple[str, ...]:
        """Return the exponent of N* with its interval, and the notes."""
        known = self.intervals.get("a")
        spread = f" [{known.low:.3f}, {known.high:.3f}]" if known else ""
        return (f"approach {self.name}: a = {self.a:.4f}{spread}; {'; '.join(self.notes)}".removesuffix("; "),)

    def to_dict(self) -> dict[str, Any]:
        """Return the approach as plain values for JSON."""
        budgets = [
            {"flops": one.flops, "rows": one.rows, "params": one.params, "off_centre": one.off_centre, "note": one.note}
            for one in self.budgets
        ]
        return dict(finite({
            "name": self.name, "a": self.a, "b": self.b, "coefficient": self.coefficient,
            "intervals": {name: value.values() for name, value in self.intervals.items()},
            "budgets": budgets, "notes": self.notes,
        }))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Design:
    """Rows of an isoFLOP experiment by budget: N in parameters, D in tokens, compute k N D."""

    params: Array
    tokens: Array
    losses: Array
    flops: Array
    budget: Array

    @property
    def budgets(self) -> list[Array]:
        """The positions of the rows of each budget."""
        return [np.flatnonzero(self.budget == number) for number in range(int(self.budget.max()) + 1)]

    def has_sizes(self, members: Array) -> bool:
        """Return whether the rows have enough distinct N for a parabola."""
        return len(np.unique(self.params[members])) >= MIN_SIZES

    def mean_flops(self, members: Array) -> float:
        """Return the geometric mean of the rows' compute."""
        return float(np.exp(np.mean(np.log(self.flops[members]))))


def design(fit: Fit, k: float = FLOPS_PER_ND) -> Design:
    """Group the rows of a fit into budgets of nearly equal compute."""
    units = fit.observations.units
    params, tokens = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    flops = k * params * tokens
    return Design(params, tokens, fit.observations.losses, flops, group_budgets(flops))


def group_budgets(flops: Array) -> Array:
    """Return the number of each row's budget: sorted compute is cut where it jumps by more than SAME_BUDGET."""
    order = np.argsort(flops, kind="stable")
    jumps = np.diff(np.log(flops[order]), prepend=np.log(flops[order[0]])) > np.log1p(SAME_BUDGET)
    numbers = np.empty(len(flops), dtype=int)
    numbers[order] = np.cumsum(jumps)
    return numbers


def compare_approaches(fit: Fit, k: float = FLOPS_PER_ND, resamples: int = 1000, seed: int = 0) -> tuple[Approach, ...]:
    """Return approaches 1, 2 and 3 on the rows of a surface fit.

    An approach that is impossible is left out, with the reason in the notes of the third. Raise InputError for a law of
    other inputs.
    """
    if not (isinstance(fit, Fit) and is_surface(fit)):
        raise InputError("the approaches need a fit of a law of N and D")
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
    """Apply approach 1: the run of least loss at each budget. Raise InputError with fewer than three budgets."""
    weights = _resample(rows, resamples, seed)
    flops, best = _per_budget(rows, weights, _least)
    return _line("1 envelope", flops, best, level, _envelope_budgets(rows), ("coarse where budgets hold few sizes",))


def parabola(rows: Design, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Approach:
    """Apply approach 2: a parabola in log N at each budget. Raise InputError with fewer than three budgets."""
    weights = _resample(rows, resamples, seed)
    flops, best = _per_budget(rows, weights, _minimum)
    budgets = _parabola_budgets(rows)
    off = [budget for budget in budgets if budget.off_centre is not None and abs(budget.off_centre) > OFF_CENTRE]
    notes = [f"off-centre sampling at {len(off)} of {len(budgets)} budgets pulls the vertex"] if off else []
    notes += [f"{budget.flops:.2g} FLOPs: {budget.note}" for budget in budgets if budget.note]
    return _line("2 parabola", flops, best, level, budgets, tuple(notes))


def _resample(rows: Design, count: int, seed: int) -> Array:
    """Return multiplicities (1 + count, n): the rows as they are, then rows drawn inside each budget."""
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + count, len(rows.losses)))
    for members in rows.budgets:
        weights[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return weights


def _per_budget(rows: Design, weights: Array, estimate: Estimate) -> tuple[Array, Array]:
    """Return the budgets' FLOPs (m,) and log N* of each resample (batch, m), NaN if there is none."""
    usable = [members for members in rows.budgets if rows.has_sizes(members)]
    if len(usable) < MIN_BUDGETS:
        raise InputError(f"a line needs {MIN_BUDGETS} budgets of at least {MIN_SIZES} sizes; {len(usable)} found")
    best = [estimate(np.log(rows.params[one]), rows.losses[one], weights[:, one]) for one in usable]
    return np.array([rows.mean_flops(members) for members in usable]), np.stack(best, axis=1)


def _least(log_params: Array, losses: Array, weights: Array) -> Array:
    return np.asarray(log_params[np.argmin(np.where(weights > 0, losses, np.inf), axis=1)])


def _minimum(log_params: Array, losses: Array, weights: Array) -> Array:
    """Return log N at the minimum of each weighted parabola; NaN if none or far outside the sampled range."""
    middle, width = (log_params.max() + log_params.min()) / 2, (log_params.max() - log_params.min()) / 2
    place = (log_params - middle) / width
    powers = np.stack([np.ones_like(place), place, place**2])
    matrix = np.einsum("bn,in,jn->bij", weights, powers, powers) + 1e-12 * np.eye(3)
    right = np.einsum("bn,in,n->bi", weights, powers, losses)
    _, slope, bend = np.linalg.solve(matrix, right[:, :, None])[:, :, 0].T
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = np.where(bend > 0, -slope / (2 * bend), np.nan)
    return np.asarray(np.where(np.abs(lowest) <= 3, middle + width * lowest, np.nan))


def _line(
    name: str, flops: Array, best: Array, level: float, budgets: tuple[IsoflopBudget, ...], notes: tuple[str, ...]
) -> Approach:
    """Fit the line log N* = log n0 + a log C through each resample's optima, without budgets that have none."""
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
    if missing := len(flops) - int(known[0].sum()):
        notes = (*notes, f"{missing} of {len(flops)} budgets have no optimum and take no part")
    coefficient = float(np.exp(mean_y[0] - slope[0] * mean_x[0]))
    return Approach(name, float(slope[0]), float(1 - slope[0]), coefficient, intervals, budgets, notes)


def _envelope_budgets(rows: Design) -> tuple[IsoflopBudget, ...]:
    found = []
    for members in rows.budgets:
        least = members[np.argmin(rows.losses[members])]
        found.append(_budget(rows, members, float(rows.params[least]), float(rows.losses[least])))
    return tuple(found)


def _parabola_budgets(rows: Design) -> tuple[IsoflopBudget, ...]:
    found = []
    for members in rows.budgets:
        if not rows.has_sizes(members):
            found.append(_budget(rows, members, None, None, f"fewer than {MIN_SIZES} sizes"))
            continue
        best = float(_minimum(np.log(rows.params[members]), rows.losses[members], np.ones((1, len(members))))[0])
        params = float(np.exp(best)) if np.isfinite(best) else None
        note = "" if params else "no minimum: the parabola is not convex there"
        found.append(_budget(rows, members, params, None, note))
    return tuple(found)


def _budget(rows: Design, members: Array, params: float | None, loss: float | None, note: str = "") -> IsoflopBudget:
    log_params = np.log(rows.params[members])
    low, high = log_params.min(), log_params.max()
    off = (np.log(params) - (low + high) / 2) / max(high - low, 1e-12) if params else None
    outside = "" if off is None or abs(off) <= 0.5 else "the optimum is outside the sampled sizes"
    return IsoflopBudget(
        rows.mean_flops(members), len(members), params, loss, None if off is None else float(off), note or outside
    )


def _with_bias(approach: Approach, rows: Design, fit: Fit, k: float) -> Approach:
    """Return the approach with a note on its bias on this design: its result on the fitted surface without noise."""
    clean = replace(rows, losses=fit.fitted)
    returned = parabola(clean, fit.level, 1).a
    true = exponents(fit, _middle(fit, k), k)["a"][0]
    note = f"on this design the method itself returns a = {returned:.4f} where the fitted surface has {true:.4f}"
    bias = f"{note}: bias {returned - true:+.4f} from off-centre sampling and an asymmetric surface"
    return replace(approach, notes=(*approach.notes, bias))
