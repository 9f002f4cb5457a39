"""Answers of the commands that fit laws of the loss, and forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.analysis.forecasting.registered.record import RegisteredForecast
from sweeplaw.analysis.forecasting.registered.runs_behind import RunsBehind
from sweeplaw.analysis.forecasting.registered.scoring import Calibration, Scored
from sweeplaw.orchestrator.schemas.answers.notation import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    by_name,
    each,
    means,
    of_type,
    record,
    sometimes,
)

INTERVAL = record({"low": NUMBER, "high": NUMBER, "level": NUMBER, "method": TEXT, "note": TEXT})
_OBJECTIVE = record(
    {
        "name": TEXT,
        "delta": NUMBER,
        "space": TEXT,
        "reduction": TEXT,
        "weights": TEXT,
        "value": NUMBER,
        "in_words": TEXT,
    }
)
_VALUE: Mapping[str, Any] = {"anyOf": [NUMBER, TEXT]}
_HOLDOUT = record(
    {
        "kind": means("which rows were left out", TEXT),
        **dict.fromkeys(("rows", "trained_on"), NUMBER),
        **dict.fromkeys(("mean_relative_error", "worst_relative_error", "bias", "rms_nats"), NUMBER),
        **dict.fromkeys(("band_level", "rows_inside_band", "share_inside_band"), NUMBER),
        "verified": FLAG,
        "status": TEXT,
        "note": TEXT,
    }
)
_BEST_POINT = {
    "type": ["object", "null"],
    "properties": {**dict.fromkeys(("lowest", "used", "settings", "seeds", "seed_std"), NUMBER), "how": TEXT},
    "required": ["lowest", "used", "how", "settings", "seeds", "seed_std"],
    "additionalProperties": {"anyOf": [NUMBER, TEXT, FLAG]},  # the inputs, and the knobs at their best
}
_FAMILY = record(
    {
        "family": by_name({"anyOf": [NUMBER, TEXT, FLAG]}),
        "knobs": each(TEXT),
        "noise": NUMBER,
        "noise_freedom": NUMBER,
        "noise_origin": TEXT,
        "at_edge": by_name(NUMBER),
        "points": each(_BEST_POINT),
    }
)
_HELD_OUT = record(
    {
        "first": TEXT,
        "second": TEXT,
        "rows": NUMBER,
        "rms_nats": each(NUMBER),
        "mean_square_difference": NUMBER,
        "interval": INTERVAL,
        "probability_first_better": NUMBER,
    }
)
_COMPARISON = record({"law": TEXT, "held_out_rms_nats": NUMBER, "against_best": _HELD_OUT})
_BUDGET = record(
    {
        **dict.fromkeys(("flops", "rows", "params", "off_centre", "rows_used", "window"), NUMBER),
        "note": TEXT,
    }
)
_APPROACH = record(
    {
        "name": TEXT,
        **dict.fromkeys(("a", "b", "coefficient"), NUMBER),
        "intervals": by_name(INTERVAL),
        "budgets": each(_BUDGET),
        "notes": each(TEXT),
    }
)
_COVERAGE = record(
    {
        **dict.fromkeys(("method", "noise"), TEXT),
        **dict.fromkeys(("scale", "level", "sets", "converged", "standard_error"), NUMBER),
        "coverage": by_name(NUMBER),
    }
)
_SIZE_RANGE = record({"from": NUMBER, "to": NUMBER, "rows": NUMBER, "mean_residual_milli": NUMBER})
_ADEQUACY = record(
    {
        "badges": means("the verdicts in words", each(TEXT)),
        "optimum": record({"found": FLAG, "status": TEXT}),
        "law": record(
            {
                "verdict": TEXT,
                "reasons": each(TEXT),
                "rows": NUMBER,
                "rows_judged": NUMBER,
                "findings": means("the tests, each with its p-value", each(by_name(_VALUE))),
            }
        ),
        "parameters": record({"identified": FLAG, "sentences": each(TEXT)}),
        "residual_means": means("mean residuals by budget, size and data", by_name(each(_SIZE_RANGE))),
    }
)
_ALLOCATION = record(
    {
        "flops": NUMBER,
        "params": NUMBER,
        "tokens": NUMBER,
        "tokens_per_param": NUMBER,
        "loss": NUMBER,
        "intervals": by_name(INTERVAL),
        "sentence": TEXT,
        "times_beyond_largest_run": NUMBER,
        "withheld": TEXT,
    }
)
_EXPONENT = record({"value": NUMBER, "interval": INTERVAL})
_DERIVED = record(
    {
        "asymptote": means("the loss that no size or data falls below", sometimes(NUMBER)),
        "compute": means("how C follows from N and D", sometimes(TEXT)),
        "a": means("N* grows as C^a", sometimes(_EXPONENT)),
        "b": means("D* grows as C^b", sometimes(_EXPONENT)),
        "compute_optimal": means("N* and D* of each budget", sometimes(each(_ALLOCATION))),
        "withheld": means("why nothing is advised", sometimes(TEXT)),
        "forced": means("advised because of --force", sometimes(FLAG)),
    }
)
_NOISE = record(
    {
        "shared_by": each(record({"name": TEXT, "groups": NUMBER, "correlation": NUMBER})),
        "tested": FLAG,
        "changes_with_size": record({"smallest": NUMBER, "largest": NUMBER, "by": TEXT, "weighted": FLAG}),
    }
)
_POINT = record(
    {
        "inputs": means("N, D and whatever else the law takes", by_name(NUMBER)),
        "loss": NUMBER,
        "law": means("the band of the expected loss", record({"low": NUMBER, "high": NUMBER})),
        "run": means("the band of one new run", record({"low": NUMBER, "high": NUMBER})),
        "beyond": means("how many times beyond the runs, by input", by_name(NUMBER)),
        "beyond_in_words": TEXT,
        "compute": means("the budget whose best run this is", sometimes(NUMBER)),
    }
)
FIT = {
    "law": means("the name of the law", TEXT),
    "formula": means("what was fitted", TEXT),
    "source": means("where the form comes from", TEXT),
    "objective": means("what was minimized, and its value", _OBJECTIVE),
    "columns": means("the column of each input and of the loss", by_name(TEXT)),
    "units": means("the unit of each input", by_name(NUMBER)),
    "params": means("the parameters, by name", by_name(NUMBER)),
    "fixed": means("those that were given", by_name(NUMBER)),
    "intervals": means("the interval of each parameter; an end without a bound is null", by_name(INTERVAL)),
    "standard_errors": means("of the parameters, where they are known", by_name(NUMBER)),
    "identified": means("whether the interval of each parameter has two ends", by_name(FLAG)),
    "identifiability": means("what the data do not identify, in sentences", each(TEXT)),
    "status": means("how the search for the optimum ended", TEXT),
    "verified": means("whether it is proved to be an optimum", FLAG),
    "starts": means("where it began", NUMBER),
    "starts_agreeing": means("of them, with the same optimum", NUMBER),
    "scaled_gradient": means("at the optimum; 0 is exact", NUMBER),
    "condition": means("of the curvature there", NUMBER),
    "at_bounds": means("parameters at an end of what they may be", each(TEXT)),
    "bootstrap": means(
        "resamples, and how many converged",
        record({"resamples": NUMBER, "by": TEXT, "units": NUMBER, "converged": NUMBER}),
    ),
    "rows": means("which rows were used, in words", TEXT),
    "selection": means(
        "how the best setting of each point was chosen", record({"knobs": each(TEXT), "families": each(_FAMILY)})
    ),
    "rows_used": means("their number", NUMBER),
    "rows_dropped": means("rows left out", NUMBER),
    "dropped": means("why, with their numbers", each(record({"reason": TEXT, "count": NUMBER, "rows": each(NUMBER)}))),
    "noise": means("what the residuals say of the noise", _NOISE),
    "warnings": means("remarks that belong to the answer", each(TEXT)),
    "adequacy": means("the three verdicts", _ADEQUACY),
    "derived": means("what follows for compute, where it may be advised", _DERIVED),
    "comparison": means("with --compare: other laws on the same rows", sometimes(each(_COMPARISON))),
    "approaches": means("with --approaches: compute-optimal exponents by other ways", sometimes(each(_APPROACH))),
    "holdout": means("with --holdout: the error on rows left out", sometimes(_HOLDOUT)),
    "coverage": means("with --simulate: how often intervals hold a planted truth", sometimes(each(_COVERAGE))),
}
_REGISTERED = of_type(
    RegisteredForecast,
    {
        "registered_at": "when, in UTC",
        "registered_by": "who",
        "columns": "the column of each input and of the loss",
        "runs": "what it was made from: their number, ids, and a digest of their values",
        "targets": "what is forecast, with the bands of the observed loss",
        "assumptions": "what each is worth at each target, relative to the loss",
        "track_record": "what the same method said of budgets that were known",
        "digest": "SHA-256 of the content: note it where others can see it",
    },
)
_REGISTERED["properties"]["file"] = means("where it was written", TEXT)
_REGISTERED["required"].remove("all_rows")
_REGISTERED["properties"]["runs"]["required"].remove("marks")
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "fit": record(FIT),
    "predict": record(
        {
            "law": means("the law that is the mean of the forecast", TEXT),
            "formula": means("its form", TEXT),
            "rows": means("runs it was learnt from", NUMBER),
            "budgets": means("their different budgets", NUMBER),
            "params": means("the parameters of the law, by name", by_name(NUMBER)),
            "noise": means("of a single run, relative to its loss", NUMBER),
            "widened": means("the factor by which past errors widen the bands", NUMBER),
            "warnings": means("remarks that belong to the answer", each(TEXT)),
            "level": means("of the bands", NUMBER),
            "predictions": means("the forecast at each point", each(_POINT)),
            "metric": means("with --metric: the score of a task, from the loss", sometimes(by_name(ANYTHING))),
        }
    ),
    "forecast register": _REGISTERED,
    "forecast score": record(
        {
            "scored": means("each run that was forecast", each(of_type(Scored))),
            "calibration": means("how often each band held", each(of_type(Calibration))),
            "runs_behind": means("what the forecasts were made from", each(of_type(RunsBehind))),
            "notes": means("remarks", each(TEXT)),
            "track_records": means(
                "of each forecast: what the method said of earlier budgets", by_name(each(ANYTHING))
            ),
        }
    ),
}
