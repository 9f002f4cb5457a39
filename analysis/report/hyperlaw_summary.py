"""Hyperparameter laws as plain values, for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeplaw.analysis.hyperlaws.evaluation import LawEvaluation
from sweeplaw.analysis.hyperlaws.hyperlaw import Estimate, Hyperlaw, KnobLaw
from sweeplaw.analysis.tuning.plateau import Width


def hyperlaw_values(law: Hyperlaw, alternatives: Sequence[Hyperlaw] = ()) -> dict[str, Any]:
    """Return laws, rows and cells used and dropped, scores, plateau; ``alternatives``: other forms on the same rows."""
    return {
        "estimator": law.estimator,
        "axes": list(law.axes),
        "laws": {item.knob: law_values(item) for item in law.laws},
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
        "mean_of_row_resamples": {item.knob: law_values(item) for item in law.row_resampled},
        "alternatives": [
            {
                "laws": {item.knob: law_values(item) for item in other.laws},
                "evaluation": {item.kind: evaluation_values(item) for item in other.evaluations},
            }
            for other in alternatives
        ],
        "notes": list(law.notes),
    }


def law_values(law: KnobLaw) -> dict[str, Any]:
    """Return one knob's law; intervals are 95 %."""
    return {
        "formula": law.formula,
        "coefficient": law.coefficient.value,
        "coefficient_interval": _ends(law.coefficient),
        "exponents": {axis: exponent.value for axis, exponent in law.exponents.items()},
        "exponent_intervals": {axis: _ends(exponent) for axis, exponent in law.exponents.items()},
        "recipe_factors": {
            name: {"value": factor.value, "interval": _ends(factor)} for name, factor in law.offsets.items()
        },
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


def width_values(width: Width) -> dict[str, Any]:
    """Return one knob's plateau at one threshold."""
    return {
        "knob": width.knob,
        "within": width.threshold,
        "factor": width.factor,
        "factor_others_retuned": width.retuned,
    }


def _ends(estimate: Estimate) -> list[float | None]:
    return [estimate.low, estimate.high]
