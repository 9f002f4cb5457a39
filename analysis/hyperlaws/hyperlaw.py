"""Laws of the best setting: the optimum of each knob as a function of N, D or any other axis, with intervals.

Three estimators. "pooled:0.0025": least squares on the rows within 0.25 % of their cell's best (Step Law). "cells":
the fitted optimum of each cell, weighted by its uncertainty. "joint": one surface with a shared curvature. Each maps
cell weights to coefficients, so resampling cells, leaving one out and training on the small ones are the same call with
other weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.estimators import estimator_of, parse_estimator
from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation, Scorer, leave_one_out, train_small
from sweeplaw.analysis.hyperlaws.features import features
from sweeplaw.analysis.hyperlaws.joint import Joint
from sweeplaw.analysis.hyperlaws.knob_law import KnobLaw, knob_law, widened
from sweeplaw.analysis.hyperlaws.per_cell import cell_optima
from sweeplaw.analysis.hyperlaws.pooled import Pooled, determining_cells, row_laws
from sweeplaw.analysis.hyperlaws.summary import hyperlaw_values, rows_used, text
from sweeplaw.analysis.hyperlaws.verdicts.recipe_verdict import RecipeVerdict, recipe_verdict
from sweeplaw.analysis.hyperlaws.verdicts.verdict import HyperVerdict, verdict
from sweeplaw.analysis.tables.display import Card, Shown, brief, finite, more_notes
from sweeplaw.analysis.tables.runs import read_runs
from sweeplaw.analysis.tuning.cells import CellTable, cell_table
from sweeplaw.analysis.tuning.design import at_edges, no_minimum, require_levels
from sweeplaw.analysis.tuning.plateau import KnobTolerance, pooled, widths
from sweeplaw.analysis.tuning.settings import Launches, zero_levels
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import counted

Array = NDArray[np.float64]

RESAMPLES = 1000
FAR = 1000.0  # times beyond every value tried: an optimum there is none


@dataclass(frozen=True, slots=True, repr=False)
class Hyperlaw(Shown):
    """The laws of one estimator, the rows and cells used, and the scores of predictions in held-out cells.

    ``row_resampled``: for the pooled estimator, coefficient and exponents as Step Law's tool prints them (mean of 1000
    row resamples), averaged over orders of tied rows, on which the tool's digits depend. ``plateau``: of the shared
    curvature for the joint surface, else the median over cells. ``resamples``: number of cell resamples, of which
    ``failed_resamples`` did not determine the laws. ``verdict``: whether to believe the laws.
    """

    estimator: str
    axes: tuple[str, ...]
    knobs: tuple[str, ...]
    laws: tuple[KnobLaw, ...]
    rows_in: int
    rows_measured: int
    rows_used: int
    dropped: Mapping[str, int]
    cells: int
    cells_used: int
    cells_dropped: tuple[tuple[Mapping[str, object], str], ...]
    resamples: int
    failed_resamples: int
    verdict: HyperVerdict
    evaluations: tuple[LawEvaluation, ...]
    plateau: tuple[KnobTolerance, ...]
    recipes: RecipeVerdict | None
    row_resampled: tuple[KnobLaw, ...]
    notes: tuple[str, ...]
    span: Mapping[str, tuple[float, float]]

    def law(self, knob: str) -> KnobLaw:
        """Return the law of this knob. Raise InputError for a knob that was not analysed."""
        found = next((law for law in self.laws if law.knob == knob), None)
        if found is None:
            raise InputError(f"no law of {knob!r} (laws of: {', '.join(self.knobs)})")
        return found

    @property
    def law_axes(self) -> tuple[str, ...]:
        """The axes that a law may depend on: those whose values differ."""
        return tuple(axis for axis in self.axes if any(axis in law.features.names for law in self.laws))

    def headline(self) -> tuple[str, ...]:
        """Return the rows and cells used, the verdicts and the laws."""
        return (
            rows_used(self),
            "; ".join(self.verdict.badges),
            *(line for law in self.laws for line in law.headline()),
            *more_notes(len(self.notes)),
        )

    def to_dict(self, alternatives: Sequence[Hyperlaw] = ()) -> dict[str, Any]:
        """Return plain values for JSON; ``alternatives`` are other forms of the laws on the same rows."""
        return dict(finite(hyperlaw_values(self, alternatives)))

    def card(self) -> Card:
        """Return the laws as a table of coefficients, exponents and the factors of recipes."""
        terms = ((law.knob, "coefficient", law.coefficient) for law in self.laws)
        powers = ((law.knob, axis, one) for law in self.laws for axis, one in {**law.exponents, **law.offsets}.items())
        rows = [(knob, name, *map(brief, (one.value, *one.ends))) for knob, name, one in (*terms, *powers)]
        heads = ("knob", "coefficient, exponent or factor of", "value", "low", "high")
        head = (rows_used(self), *self.verdict.lines(), *(law.formula for law in self.laws))
        return Card(head, heads, tuple(rows), self.notes)

    def summary(self, alternatives: Sequence[Hyperlaw] = (), notes: Sequence[str] = ()) -> str:
        """Return the laws with their scores as text; ``alternatives`` as for `to_dict`, ``notes`` are added."""
        return "\n".join([*text(self, alternatives), *(f"note: {note}" for note in (*self.notes, *notes))])


def hyperlaw(
    frame: Any,
    cell: Sequence[str] = ("N", "D"),
    knobs: Sequence[str] = ("lr", "batch_tokens"),
    estimator: str = "joint",
    y: str = "val_loss",
    *,
    recipes: Sequence[str] = (),
    on: Mapping[str, Sequence[str]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    watch: ProgressCallback | None = None,
) -> Hyperlaw:
    """Return laws for the optimum of ``knobs`` over the axes ``cell``, from the rows of ``frame`` with loss ``y``.

    ``frame`` is any source of runs that `fit` takes: a path, a Store, what `load` returns, a frame, or columns by name.
    The loss of a run that is not completed is unknown, and N, D and C stand for the columns of our own store.
    ``recipes``: columns (schedule, architecture, corpus) that split cells and have an offset each. ``on``: the axes of
    a knob's law, e.g. ``{"batch_tokens": ("D",)}``; by default a batch depends on the token axis alone, other knobs on
    all axes. ``progress`` is called with (resamples done, resamples); ``watch`` is its earlier name. Raise InputError
    with every reason if the design cannot determine a law.
    """
    parse_estimator(estimator)
    _check(on, resamples, seed)
    runs, notes, launches = read_runs(frame, {"cell": cell, "knobs": knobs, "recipes": recipes}, y)
    options = {"estimator": estimator, "resamples": resamples, "seed": seed, "progress": watch or progress}
    found = fit_runs(runs, cell, knobs, y, recipes, launches, on=on, **options)[1]
    return replace(found, notes=(*found.notes, *notes)) if notes else found


def fit_runs(
    runs: pl.DataFrame,
    cell: Sequence[str],
    knobs: Sequence[str],
    y: str,
    recipes: Sequence[str] = (),
    launches: Launches = (),
    *,
    on: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> tuple[Scorer, Hyperlaw]:
    """Return the laws of `hyperlaw` from prepared ``runs``, and the scorer of their cells.

    A knob whose zero counts (`zero_levels`) has a law from the other runs, with all knobs; in the laws of the other
    knobs it is held, zero included, at its best in each cell, and the scorer knows those alone. ``options`` are those
    of `fit_cells`.
    """
    zeros = zero_levels(runs, [*cell, *recipes], knobs, y)
    whole = [name for name in knobs if name not in zeros]
    scorer = Scorer.of(cell_table(runs, cell, whole, y, recipes, launches, held=tuple(zeros)))
    chosen = {name: axes for name, axes in (on or {}).items() if name not in zeros}
    found = fit_cells(scorer, on=chosen, **options)
    for name, count in zeros.items():
        rest = f"{name} is zero in {counted(count, 'run')}, a setting like any other for the laws of {', '.join(whole)}"
        try:
            table = cell_table(runs.filter(pl.col(name) > 0), cell, knobs, y, recipes, launches)
            own = fit_cells(Scorer.of(table), on=on, **options)
        except InputError as error:
            found = replace(
                found, notes=(*found.notes, f"{rest}; {name} has no law: {'; '.join([*error.faults, *error.hints])}")
            )
        else:
            found = _joined(found, own, name, f"{rest}; the law of {name} is of its positive values (zero has no log)")
    return scorer, found


def _joined(found: Hyperlaw, own: Hyperlaw, knob: str, note: str) -> Hyperlaw:
    """Return ``found`` with the law of one more knob, from the fit ``own``."""
    return replace(
        found,
        knobs=(*found.knobs, knob),
        laws=(*found.laws, own.law(knob)),
        plateau=(*found.plateau, *(width for width in own.plateau if width.knob == knob)),
        row_resampled=(*found.row_resampled, *(law for law in own.row_resampled if law.knob == knob)),
        verdict=found.verdict.with_knob(own.verdict, knob),
        notes=(*found.notes, note),
    )


def fit_cells(
    scorer: Scorer,
    estimator: str = "joint",
    on: Mapping[str, Sequence[str]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Hyperlaw:
    """Return the laws of the cells of ``scorer``; the options are those of `hyperlaw`. Raise InputError."""
    table = scorer.table
    require_levels(table)
    terms = features(table, on)
    kind, threshold = parse_estimator(estimator)
    found = [] if kind == "joint" else cell_optima(table)
    estimate = partial(estimator_of, kind, threshold, table, found)
    fitted = estimate(terms)
    center = fitted.coefficients(np.ones((1, len(table.cells))))[0]
    if not np.isfinite(center).all() or _far_beyond(table, fitted.features.matrix @ center.T):
        raise no_minimum(table, where=f"estimator {estimator}")
    window = fitted.window if isinstance(fitted, Joint) else None
    weights = determining_cells(terms, table.recipe, resamples, seed)
    draws = fitted.coefficients(weights, progress)
    good = np.isfinite(draws).all(axis=(1, 2))
    failed = int((~good).sum())
    cells_used = len(table.cells) - len(fitted.cells_without)
    freedom = cells_used - terms.allowed.sum(axis=1)
    laws = tuple(
        knob_law(terms, k, name, center[k], widened(draws[good, k], center[k], int(freedom[k])))
        for k, name in enumerate(table.knobs)
    )
    left_out, small = leave_one_out(scorer, fitted), train_small(scorer, fitted)
    plateau = widths(fitted.curvature(), table.knobs) if isinstance(fitted, Joint) else pooled(found)
    return Hyperlaw(
        estimator=fitted.name,
        axes=table.axes,
        knobs=table.knobs,
        laws=laws,
        rows_in=table.rows_in,
        rows_measured=int(table.runs.sum()),
        rows_used=int(table.runs[fitted.used].sum()),
        dropped=table.dropped,
        cells=len(table.cells),
        cells_used=cells_used,
        cells_dropped=tuple((table.label(c), reason) for c, reason in fitted.cells_without.items()),
        resamples=len(weights),
        failed_resamples=failed,
        verdict=verdict(table, fitted, laws, plateau, failed, len(weights), window),
        evaluations=(left_out,) if small is None else (left_out, small),
        plateau=plateau,
        recipes=recipe_verdict(laws, estimate(features(table, on, offsets=False), window), scorer, left_out)
        if table.recipes
        else None,
        row_resampled=row_laws(fitted) if isinstance(fitted, Pooled) else (),
        notes=(*table.notes, *terms.notes, *fitted.notes, *_edges(table)),
        span={axis: _span(table, i) for i, axis in enumerate(table.axes)},
    )


def _check(on: Any, resamples: Any, seed: Any) -> None:
    """Raise InputError naming each option of a wrong type."""
    faults = [
        f"{name} = {shown(value)} (accepted: a whole number that is zero or more)"
        for name, value in {"resamples": resamples, "seed": seed}.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < 0
    ]
    if on is not None and not (isinstance(on, Mapping) and all(isinstance(name, str) for name in on)):
        faults.append(f"on = {shown(on)} (accepted: a mapping of knobs to axes, such as {{'batch_tokens': ['D']}})")
    if faults:
        raise InputError(faults)


def _far_beyond(table: CellTable, optima: Array) -> bool:
    """Return whether a knob is at its lowest or highest value in most cells, and FAR from them at the law's ``optima``.

    Those are logs (cells, knobs). Noise bends a loss that only falls or rises a little up, somewhere.
    """
    beyond = np.maximum(table.x.min(axis=0) - optima, optima - table.x.max(axis=0)) > np.log(FAR)
    at_end = np.array([sum(ends) for ends in at_edges(table).values()]) > len(table.cells) / 2
    return bool((at_end & (beyond.mean(axis=0) > 0.5)).any())


def _edges(table: CellTable) -> tuple[str, ...]:
    """Return a warning for each knob whose lowest run is at its lowest or highest value in some cells."""
    counts = {name: sum(ends) for name, ends in at_edges(table).items()}
    return tuple(
        f"the lowest loss touches the edge of {name}'s values in {count} of {len(table.cells)} cells: the best may be "
        "beyond"
        for name, count in counts.items()
        if count
    )


def _span(table: CellTable, axis: int) -> tuple[float, float]:
    logs = table.log_axes[:, axis]
    return float(np.exp(logs.min())), float(np.exp(logs.max()))
