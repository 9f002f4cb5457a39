"""Hyperparameter laws as plain values for JSON, and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation
from sweeplaw.analysis.tuning.plateau import QUOTED, KnobTolerance
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw

METHODS = {
    "joint": "one surface with one curvature for all cells",
    "cells": "the fitted optimum of each cell",
    "pooled": "the runs near the best of each cell",
}
FLAT = 1000.0  # factor of a knob above which its tolerance has no meaning


def hyperlaw_values(law: Hyperlaw, alternatives: Sequence[Hyperlaw] = ()) -> dict[str, Any]:
    """Return laws, rows and cells used and dropped, scores, plateau; ``alternatives``: other forms on the same rows."""
    return {
        "estimator": law.estimator,
        "axes": list(law.axes),
        "verdict": law.verdict.values(),
        "laws": {item.knob: item.to_dict() for item in law.laws},
        "rows": {
            "in": law.rows_in,
            "measured": law.rows_measured,
            "used": law.rows_used,
            "dropped": dict(law.dropped),
        },
        "cells": {
            "total": law.cells,
            "used": law.cells_used,
            "dropped": [{"cell": dict(cell), "reason": reason} for cell, reason in law.cells_dropped],
        },
        "span": {axis: list(ends) for axis, ends in law.span.items()},
        "resamples": {"cells": law.resamples, "failed": law.failed_resamples},
        "evaluation": {item.kind: evaluation_values(item) for item in law.evaluations},
        "plateau": [width_values(width) for width in law.plateau],
        "recipes": None
        if law.recipes is None
        else {"one_law_serves_all": law.recipes.serves_all, "sentence": law.recipes.sentence},
        "mean_of_row_resamples": {item.knob: item.to_dict() for item in law.row_resampled},
        "alternatives": [
            {
                "laws": {item.knob: item.to_dict() for item in other.laws},
                "evaluation": {item.kind: evaluation_values(item) for item in other.evaluations},
            }
            for other in alternatives
        ],
        "notes": list(law.notes),
    }


def evaluation_values(evaluation: LawEvaluation) -> dict[str, Any]:
    """Return the metrics, in per mille of loss above the best, with their noise floors."""
    metrics = {
        metric.name: {
            "permille": metric.score,
            "noise_floor_permille": metric.floor,
            "cells": metric.cells,
            "outside_the_runs": metric.outside,
        }
        for metric in evaluation.metrics
    }
    return {"split": evaluation.split, "cells": evaluation.held_out, "without_a_law": evaluation.unfitted, **metrics}


def width_values(width: KnobTolerance) -> dict[str, Any]:
    """Return one knob's plateau at one threshold."""
    return {
        "knob": width.knob,
        "within": width.threshold,
        "factor": width.factor,
        "factor_others_retuned": width.retuned,
    }


def rows_used(law: Hyperlaw) -> str:
    """Return how many rows and cells the laws rest on."""
    rows = f"{law.rows_used} of {law.rows_measured} measured rows"
    method = METHODS[law.estimator.partition(":")[0]]
    return f"{law.estimator} ({method}): {rows}, {law.cells_used} of {law.cells} cells"


def text(law: Hyperlaw, alternatives: Sequence[Hyperlaw] = ()) -> Iterator[str]:
    """Yield the laws with their scores and plateau as lines, without the notes."""
    yield rows_used(law)
    yield from law.verdict.lines()
    yield from (f"  dropped {count} rows: {reason}" for reason, count in law.dropped.items())
    for cell, reason in law.cells_dropped:
        yield f"  dropped cell {', '.join(f'{name}={value}' for name, value in cell.items())}: {reason}"
    yield from _laws_and_scores(law)
    for other in alternatives:
        yield from _differing(other, law)
    if law.row_resampled:
        mean = "; ".join(item.formula for item in law.row_resampled)
        yield f"mean of row resamples, as the tool of the Step Law prints it: {mean}"
    for width in law.plateau:
        if width.threshold == QUOTED:
            yield _tolerance(width)
    if law.recipes:
        yield law.recipes.sentence


def _laws_and_scores(form: Hyperlaw) -> Iterator[str]:
    for item in form.laws:
        yield from item.headline()
    if form.evaluations:
        yield "  loss above the best, in cells that the law was not fitted to (noise floor: that of a perfect law):"
    yield from map(_scores, form.evaluations)


def _differing(other: Hyperlaw, first: Hyperlaw) -> Iterator[str]:
    """Yield the laws of another form that are not those of the first, and its scores; nothing if all are equal."""
    shown = {item.knob: item.headline() for item in first.laws}
    laws = [item for item in other.laws if item.headline() != shown.get(item.knob)]
    more = [item for item in laws if item.exponents.keys() - first.law(item.knob).exponents.keys()]
    if laws:
        yield f"with {', '.join(f'{item.knob} on ' + ' and '.join(item.exponents) for item in more)}:"
        yield from (line for item in laws for line in item.headline())
        yield from map(_scores, other.evaluations)


def _tolerance(width: KnobTolerance) -> str:
    if not width.factor < FLAT:
        return f"{width.knob} hardly changes the loss: no factor below {FLAT:g} costs 0.25 % of it"
    return f"{width.knob} may be off by {width.factor:.2f}x for 0.25 % of loss"


def _scores(evaluation: LawEvaluation) -> str:
    split = f"{evaluation.kind.replace('_', '-')} ({counted(evaluation.held_out, 'cell')})"
    scores = [
        f"{m.name} {m.score:.3f} (noise floor {m.floor:z.3f})" if m.floor is not None else f"{m.name} {m.score:.3f}"
        for m in evaluation.metrics
        if m.score is not None
    ]
    if not scores:
        return f"  {split}: no score, because the other cells alone do not determine the law"
    without = [m.name for m in evaluation.metrics if m.score is None]
    why = f"; no score {' and '.join(without)}: no cell has a quadratic of its own" if without else ""
    return f"  {split}: {', '.join(scores)} per mille{why}"
