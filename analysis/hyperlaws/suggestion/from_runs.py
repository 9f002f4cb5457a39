"""Suggested settings by the laws of a store's runs, where these runs determine how the knobs move.

Where all runs have one N, or N and D varied together (one compute budget, one ratio), the runs do not cover a model
that differs in it: it has no setting, and the message says what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from sweeplaw.analysis.hyperlaws.comparison import KNOBS
from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw, fit_runs
from sweeplaw.analysis.hyperlaws.knob_law import KnobLaw
from sweeplaw.analysis.hyperlaws.suggestion.line import Line, moved_together
from sweeplaw.analysis.hyperlaws.suggestion.suggest import complete, outside, require_supported, undetermined
from sweeplaw.analysis.hyperlaws.suggestion.suggestion import SuggestedSetting, Suggestion
from sweeplaw.analysis.tables.sql.expressions import not_numeric
from sweeplaw.analysis.tuning.design import Untuned
from sweeplaw.analysis.tuning.plateau import QUOTED
from sweeplaw.analysis.tuning.settings import Launches, require_one_recipe
from sweeplaw.trials.errors import InputError, require_positive
from sweeplaw.trials.quantities import short

AXES = ("N", "D")
# Factor by which a model may differ from the runs along an axis on which they do not determine how a knob moves: an
# exponent of one then moves it by less than its plateau, which is 1.5 to 2.5 times in released grids.
SAME = 1.25


def suggest(
    runs: pl.DataFrame, params: float, tokens: float, sequence: int, y: str = "val_loss", launches: Launches = (),
    **options: Any,
) -> Suggestion:  # fmt: skip
    """Return the settings by the laws over N and D of those published knobs that ``runs`` tuned within cells.

    ``options`` are those of `fit_cells`. Raise InputError if no knob was tuned, or the runs are of several recipes or
    do not cover this model.
    """
    require_positive({"params": params, "tokens": tokens, "sequence length": sequence}, where="suggest")
    present = [name for name in KNOBS if name in runs.columns and runs[name].dtype.is_numeric()]
    distinct = runs.group_by(AXES).agg(pl.col(present).n_unique())
    varied = [name for name in present if (distinct[name] > 1).any()]
    texts = [fault for name in KNOBS if name in runs.columns and (fault := not_numeric(runs[name]))]
    if not varied:
        numeric = [name for name in KNOBS if name in present or name not in runs.columns]
        none = [f"the runs vary none of {', '.join(numeric)} within a cell of N and D"] if numeric else []
        raise InputError([*texts, *none])
    line = moved_together(runs)
    cell = AXES if line is None else AXES[:1]
    require_one_recipe(runs, cell, varied, y, launches)
    found = fit_tuned(runs, cell, varied, y, launches, **options)
    return from_runs(replace(found, notes=(*found.notes, *texts)), params, tokens, sequence, line)


def from_runs(found: Hyperlaw, params: float, tokens: float, sequence: int, line: Line | None = None) -> Suggestion:
    """Return the settings by the laws ``found`` of one recipe: axes N, D or one of them, or N with D on a ``line``.

    Raise InputError if the laws have failed a test or do not cover this model.
    """
    require_positive({"params": params, "tokens": tokens, "sequence length": sequence}, where="suggest")
    if found.recipes is not None:
        raise InputError("the laws are of several recipes: fit them to the runs of one", where="suggest")
    objection = found.verdict.objection
    if line is not None and line.away(params, tokens) > SAME:
        raise InputError(
            _off_the_line(found if not objection else None, line, params, tokens), where="suggest: no answer"
        )
    if objection:
        raise InputError(f"these laws advise nothing: {objection}", where="suggest")
    point = {"N": params, "D": tokens}
    unknown = {law.knob: why for law in found.laws if (why := _unknown(found, law, point))}
    known = [law for law in found.laws if law.knob not in unknown]
    if not known:
        raise InputError(list(unknown.values()), where="suggest: no answer")
    settings = {law.knob: _setting(found, law, point) for law in known}
    wide = undetermined(settings)
    settings = {name: setting for name, setting in settings.items() if name not in wide} or settings
    decades = {axis: outside(point[axis], *found.span[axis]) for axis in found.axes}
    require_supported(decades, settings)
    notes = [*found.notes, *unknown.values(), *wide.values(), *_reservations(found)]
    return complete(params, tokens, sequence, settings, decades, "", notes)


def fit_tuned(
    runs: pl.DataFrame, cell: Sequence[str], knobs: Sequence[str], y: str, launches: Launches = (), **options: Any
) -> Hyperlaw:
    """Return `fit_runs` of those of ``knobs`` that were tuned within cells; a note says why others have no law.

    A knob whose best value is the lowest or highest tried in most cells has none either, beside one that has. Raise
    InputError if none was tuned, or if the runs have no law.
    """
    left, why = list(knobs), list[str]()
    while left:
        try:
            found = fit_runs(runs, cell, left, y, (), launches, **options)[1]
        except Untuned as error:
            left = [name for name in left if name not in error.refused]
            why += error.refused.values()
            continue
        edges = {name: sentence for name, sentence in found.verdict.at_edge.items() if name in left}
        if not edges or len(edges) == len(left):
            return replace(found, notes=(*found.notes, *why))
        left = [name for name in left if name not in edges]
        why += [f"{name} has no law: {sentence}" for name, sentence in edges.items()]
    raise InputError(why)


def _setting(found: Hyperlaw, law: KnobLaw, point: Mapping[str, float]) -> SuggestedSetting:
    estimate = law.at(point)
    plateau = next((one.factor for one in found.plateau if one.threshold == QUOTED and one.knob == law.knob), None)
    source = f"{found.estimator} on {found.cells_used} cells"
    return SuggestedSetting(estimate.value, estimate.low, estimate.high, plateau, source)


def _unknown(found: Hyperlaw, law: KnobLaw, point: Mapping[str, float]) -> str:
    """Return why the runs do not determine the knob at a point, and what they do determine; '' if they determine it."""
    for axis in found.axes:
        low, high = found.span[axis]
        nearest = min(max(point[axis], low), high)
        why = found.verdict.open_exponents.get((law.knob, axis))
        if why and max(point[axis] / nearest, nearest / point[axis]) > SAME:
            near = law.at({**point, axis: nearest})
            return f"{why}; at {axis} = {short(nearest)} it is {_value(near.value, near.low, near.high)}"
    return ""


def _off_the_line(found: Hyperlaw | None, line: Line, params: float, tokens: float) -> list[str]:
    """Return why a point off the line of the runs has no setting, and the settings on it, if they are known."""
    settings = {law.knob: law.at({"N": params}) for law in found.laws} if found else {}
    known = ", ".join(f"{name} = {_value(one.value, one.low, one.high)}" for name, one in settings.items())
    there = f"D = {short(line.tokens(params))}{f' ({known})' if known else ''}"
    return [
        f"all runs have {line.words}: how the best settings move with D at one N is not known",
        f"at N = {short(params)} the runs cover {there}, not D = {short(tokens)}",
    ]


def _value(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")


def _reservations(found: Hyperlaw) -> Iterator[str]:
    """Yield a note where the law could not be judged."""
    if found.verdict.law == "cannot be judged":
        yield f"the law cannot be judged: {found.verdict.reason}"
