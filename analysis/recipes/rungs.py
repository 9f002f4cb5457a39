"""Mistuned rungs: the size or budget whose runs a law through all the others does not expect.

Each rung (the runs of one N, or of one D or C) is left out in turn, the law is fitted to the others, and the mean
relative excess of the rung over that law is set against its error: the noise of its runs, the error of the law there,
and how much the other rungs scatter. A rung high above the law was probably tuned worse than the others; the knobs
whose optimum lies at an edge there say where to look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sweeplaw.analysis.adequacy.budgets import budgets
from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import refit
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.recipes.power import holm, p_text
from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.roles.budgets import with_planned_tokens
from sweeplaw.analysis.tables.roles.recorded import recorded
from sweeplaw.analysis.tables.sources import Rows, rows
from sweeplaw.analysis.tables.sql.expressions import check_columns, condition
from sweeplaw.analysis.tables.tables import read
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.analysis.tuning.optimum import optima as optima_of
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent, short

Array = np.ndarray

LEAST_RUNGS = 4
SAME_RUNG = 0.005  # in the log: values that differ by rounding
LEVEL = 0.05  # chance of naming any rung where all are alike


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung: its mean ``excess`` over the law of the others, relative to the loss, with its standard ``error``.

    ``corrected`` is the p value of no excess, corrected for the number of rungs (Holm); None if too few other rungs
    can be judged to estimate the scatter of rungs. ``edges`` are sentences on the knobs whose best value is the lowest
    or highest tried. ``excess`` is None if the others do not determine the law.
    """

    value: float
    rows: int
    excess: float | None
    error: float | None
    errors_off: float | None
    corrected: float | None
    edges: tuple[str, ...] = ()

    @property
    def off(self) -> bool:
        """Whether the rung deviates from the others."""
        return self.corrected is not None and self.corrected < LEVEL


@dataclass(frozen=True, slots=True, repr=False)
class Rungs(Shown):
    """The rungs along ``axis``, and the law they are held against."""

    axis: str
    law: str
    rungs: tuple[Rung, ...]
    warnings: tuple[str, ...] = ()

    @property
    def off(self) -> tuple[Rung, ...]:
        """Rungs inconsistent with the fit to the others, worst first."""
        return tuple(sorted((rung for rung in self.rungs if rung.off), key=lambda rung: -abs(rung.errors_off or 0.0)))

    def headline(self) -> tuple[str, ...]:
        """Return a sentence for each rung that is off, or one that says that no rung is."""
        if not self.off:
            judged = sum(rung.corrected is not None for rung in self.rungs)
            if not judged:
                return (f"no {self.axis} can be judged: without it, too few runs are left for the law {self.law}",)
            return (f"no {self.axis} stands out from the law {self.law} of the others ({judged} judged)",)
        return tuple(self._sentence(rung) for rung in self.off)

    def _sentence(self, rung: Rung) -> str:
        excess = rung.excess or 0.0
        side = "above" if excess > 0 else "below"
        edges = f"; {'; '.join(rung.edges)}" if rung.edges else ""
        hint = "" if edges or excess < 0 else "; its knobs are worth a wider search"
        return (
            f"{self.axis} = {short(rung.value)} is {percent(abs(excess), '.2f')} {side} the law fitted without it, "
            f"{abs(rung.errors_off or 0.0):.1f} standard errors{edges or hint}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the rungs as plain values for JSON."""
        from dataclasses import asdict

        rungs = [{**asdict(rung), "off": rung.off} for rung in self.rungs]
        return dict(finite({"axis": self.axis, "law": self.law, "rungs": rungs, "warnings": self.warnings}))

    def card(self) -> Card:
        """Return the rungs as a table."""
        rows = [
            (short(rung.value), str(rung.rows), _share(rung.excess), _share(rung.error), _number(rung.errors_off),
             p_text(rung.corrected), "; ".join(rung.edges))
            for rung in self.rungs
        ]  # fmt: skip
        heads = (self.axis, "rows", "excess", "standard error", "errors off", "p, corrected", "knobs at an edge")
        return Card(self.headline(), heads, tuple(rows), self.warnings)


def rungs(
    table: Any, axis: str = "N", optima: Sequence[CellOptimum] | None = None, law: str | Law = "additive", *,
    knobs: Sequence[str] | None = None, **options: Any,
) -> Rungs:  # fmt: skip
    """Return how far each rung of ``axis`` is from the law of the other rungs.

    ``table`` is any source of runs that `fit` takes, to which ``law`` is fitted with its ``options`` (x, y, where), or
    a Fit. ``axis`` is an input of the law, or ``"C"`` for the budgets of compute, 6 N D (`adequacy.budgets`).
    ``optima`` are those of the knobs (`tuning.optima`), to name the knobs at an edge: of a table by default those of
    ``knobs``, or of the knobs that the launches of a store tuned, or else of those by whose best values the fit chose
    its rows. Raise InputError if the law has no such
    input, or there are fewer than 4 rungs.
    """
    if isinstance(table, Fit):
        if options or knobs:
            raise InputError("a Fit has its law and its runs already; give a table instead")
        return _rungs(table, axis, optima or ())
    check_names(knobs=knobs)
    source = read(table) if isinstance(table, str | Path) else table
    found = fit(source, law, **options)
    return _rungs(found, axis, _optima(rows(source), found, knobs, options.get("where")) if optima is None else optima)


def _optima(source: Rows, fit: Fit, knobs: Sequence[str] | None, where: str | None) -> Sequence[CellOptimum]:
    """Return the optima of the knobs in every cell; none without knobs, or where an input is no plain column."""
    frame, columns = with_planned_tokens(source.frame)[0], fit.observations.columns
    inputs = [columns[name] for name in fit.law.inputs]
    chosen = (fit.observations.selection or {}).get("knobs", [])
    tuned = knobs or [name for name in recorded(source.launches).nuisance if name in frame.columns] or chosen
    if not tuned or any(name not in frame.columns for name in inputs):
        return ()
    check_columns(frame, tuned)
    kept = frame if where is None else frame.filter(condition(where, frame.schema))
    return optima_of(kept, inputs, tuned, columns["loss"])


def _rungs(fit: Fit, axis: str, cells: Sequence[CellOptimum]) -> Rungs:
    values = _values(fit, axis)
    rung = budgets(fit.observations.inputs) if axis == "C" else _rung_of(values)
    count = int(rung.max()) + 1
    if count < LEAST_RUNGS:
        raise InputError(f"{counted(count, 'value')} of {axis}: to hold one against the others takes {LEAST_RUNGS}")
    weights = (np.arange(count)[:, None] != rung) * fit.setup.problem.weights
    draws = refit(fit.setup, fit.solution, weights)
    found = [_deleted(fit, draws.params[k], rung == k) if _fixed(fit, rung != k) else None for k in range(count)]
    excess = np.array([np.nan if one is None else one[0] for one in found])
    scatter = [_scatter(found, k) for k in range(count)]
    errors = [None if one is None else math.hypot(one[1], scatter[k]) for k, one in enumerate(found)]
    enough = sum(one is not None for one in found) >= LEAST_RUNGS
    p = [
        _p(excess[k], error, min(count - 2, _freedom(fit, rung != k))) if error is not None and enough else None
        for k, error in enumerate(errors)
    ]
    corrected = holm(p)
    return Rungs(axis, fit.law.name, tuple(
        Rung(
            float(np.exp(np.log(values[rung == k]).mean())), int((rung == k).sum()),
            None if error is None else float(np.expm1(excess[k])), error,
            float(excess[k] / error) if error else None, corrected[k], _edges(fit, axis, rung == k, cells),
        )
        for k, error in enumerate(errors)
    ), fit.warnings)  # fmt: skip


def _values(fit: Fit, axis: str) -> Array:
    """Return the axis of every row in the table's own units."""
    inputs = {name: column * fit.observations.units.get(name, 1.0) for name, column in fit.observations.inputs.items()}
    if axis == "C" and {"N", "D"} <= inputs.keys():
        return np.asarray(6 * inputs["N"] * inputs["D"])
    if axis not in inputs:
        compute = ", C" if {"N", "D"} <= inputs.keys() else ""
        raise InputError(f"{axis!r} is no axis of {fit.law.name} (accepted: {', '.join(inputs)}{compute})")
    return np.asarray(inputs[axis])


def _rung_of(values: Array) -> Array:
    """Return the number of each row's rung, in ascending order of the values."""
    logs = np.log(values)
    order = np.argsort(logs)
    numbers = np.cumsum(np.diff(logs[order], prepend=logs[order[0]]) > SAME_RUNG)
    rung = np.empty(len(values), dtype=int)
    rung[order] = numbers
    return rung


def _fixed(fit: Fit, others: Array) -> bool:
    """Whether the other rungs fix the law: more distinct points than parameters, and every input varies."""
    inputs = [column[others] for column in fit.observations.inputs.values()]
    points = np.unique(np.column_stack(inputs), axis=0)
    return len(points) > len(fit.law.names) and all(np.ptp(column) > 0 for column in inputs)


def _freedom(fit: Fit, others: Array) -> int:
    """Return the degrees of freedom of the law's residuals at the other rungs, at least 1."""
    return max(int(others.sum()) - len(fit.law.names), 1)


def _deleted(fit: Fit, theta: Array, held: Array) -> tuple[float, float]:
    """Return the mean log excess of the held rows over the law without them, and its error but for scatter of rungs."""
    params = dict(zip(fit.law.names, theta.tolist(), strict=True))
    inputs = fit.observations.inputs
    predicted = fit.law.predict(params, inputs)
    residual = np.log(fit.observations.losses) - np.log(predicted)
    gradient = np.nan_to_num(fit.law.gradient(params, inputs) / predicted[:, None])
    others = ~held
    freedom = _freedom(fit, others)
    spread = math.sqrt(float(residual[others] @ residual[others]) / freedom)
    scale = np.linalg.norm(gradient[others], axis=0)
    scale[scale == 0] = 1.0
    inverse = np.linalg.pinv(gradient[others] / scale, rcond=1e-10)  # (p, m)
    leverage = float(np.linalg.norm(gradient[held].mean(axis=0) / scale @ inverse))
    return float(residual[held].mean()), spread * math.hypot(1 / math.sqrt(held.sum()), leverage)


def _scatter(found: Sequence[tuple[float, float] | None], k: int) -> float:
    """Return the standard deviation of the other rungs' excesses beyond their errors, by their median size."""
    others = [one for j, one in enumerate(found) if one is not None and j != k]
    if len(others) < LEAST_RUNGS - 1:
        return 0.0
    typical = np.median([abs(excess) for excess, _ in others]) / 0.6745
    noise = np.median([error for _, error in others])
    return math.sqrt(max(0.0, float(typical**2 - noise**2)))


def _p(excess: float, error: float, freedom: int) -> float:
    return float(2 * stats.t.sf(abs(excess) / error, freedom)) if error > 0 else float(excess == 0)


def _edges(fit: Fit, axis: str, held: Array, optima: Sequence[CellOptimum]) -> tuple[str, ...]:
    """Return a sentence for each knob whose best value is at an edge in cells of this rung."""
    columns = {name: fit.observations.columns[name] for name in fit.observations.inputs}
    here = set(zip(*(np.round(np.log(_values(fit, name)[held]), 6) for name in columns), strict=True))
    cells = [cell for cell in optima if _place(cell, columns) in here]
    sides: dict[tuple[str, str], list[Any]] = {}
    for cell in cells:
        for knob in cell.knobs:
            if knob.edge:
                sides.setdefault((knob.name, knob.edge), []).append(knob.best)
    return tuple(
        f"the best {name} is the {'lowest' if edge == 'low' else 'highest'} tried in {len(best)} of {len(cells)} "
        f"cells ({short(float(best[0]))})"
        for (name, edge), best in sides.items()
    )


def _place(cell: CellOptimum, columns: dict[str, str]) -> tuple[float, ...] | None:
    values = [cell.row.get(column) for column in columns.values()]
    known = [float(value) for value in values if isinstance(value, int | float) and value > 0]
    return tuple(round(math.log(value), 6) for value in known) if len(known) == len(values) else None


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, "+.2f")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
