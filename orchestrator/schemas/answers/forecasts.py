"""Answers of the commands that forecast larger runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.analysis.forecasting.registered.record import RegisteredForecast
from sweeplaw.analysis.forecasting.registered.runs_behind import RunsBehind
from sweeplaw.analysis.forecasting.registered.scoring import Calibration, Scored
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    NUMBER,
    TRUTH,
    WORDS,
    beside,
    listed,
    means,
    named,
    of_type,
    record,
    rows,
    sometimes,
    whole,
)

_ENDS = whole({"low": means("its low end", NUMBER), "high": means("its high end", NUMBER)})
_PREDICTED = {
    "inputs": means("N, D and whatever else the law takes, in the table's units", named(NUMBER)),
    "loss": means("the forecast, in the unit of the loss", NUMBER),
    "law": means("the band of the expected loss", _ENDS),
    "run": means("the band of one new run", _ENDS),
    "beyond": means("how many times beyond the runs, by input", named(NUMBER)),
    "beyond_in_words": means("the same as a sentence; empty inside the runs", WORDS),
    "compute": means("FLOPs of the budget whose best run this is", sometimes(NUMBER)),
}
_SCORE_AT = beside(
    whole(
        {
            "loss": means("the forecast of the loss there", NUMBER),
            "median": means("the forecast of the score", NUMBER),
            "low": means("low end of the band of its expected value", NUMBER),
            "high": means("high end of the band of its expected value", NUMBER),
            "run": means("low and high of the band of one new run", listed(NUMBER)),
            "width_of_loss": means("width that the band would have by the error of the loss alone", NUMBER),
            "width_of_sigmoid": means("width that it would have by the error of the sigmoid alone", NUMBER),
            "beyond_the_runs": means("whether the loss is lower than that of every run", TRUTH),
        }
    ),
    NUMBER,
)
_METRIC = whole(
    {
        "metric": means("the column of the score", WORDS),
        "level": means("of the bands", NUMBER),
        "sigmoid": means("the parameters of the score as a function of the loss, by name", named(NUMBER)),
        "verdict": means(
            "on the sigmoid",
            whole(
                {
                    "badges": means("the verdicts in words", listed(WORDS)),
                    "sentences": means("the same, and what follows where one failed", listed(WORDS)),
                }
            ),
        ),
        "points": means("the score at each point: its inputs beside these keys", listed(_SCORE_AT)),
        "warnings": means("remarks that belong to the answer", listed(WORDS)),
    }
)
_CUT = {
    "cut": means("which runs were known, and which were forecast", WORDS),
    "rows": means("runs known", COUNT),
    "ahead": means("runs forecast", COUNT),
    "mean_abs_error": means("mean error, relative to the loss", NUMBER),
    "coverage_50": means("share of them inside the 50 % band", NUMBER),
    "coverage_80": means("share of them inside the 80 % band", NUMBER),
    "coverage_95": means("share of them inside the 95 % band", NUMBER),
    "width_95": means("mean width of the 95 % band, relative to the loss", NUMBER),
    "interval_score": means("mean interval score (Gneiting & Raftery 2007) at 95 %, relative to the loss", NUMBER),
}
_FORECAST = {
    "name": "of the forecast",
    "registered_at": "when, in UTC",
    "registered_by": "who",
    "source": "what it was made from",
    "law": "the law that is its mean",
    "params": "the parameters of the law, by name",
    "columns": "the column of each input and of the loss",
    "units": "the unit of each input",
    "where": "the SQL condition on the runs; null without one",
    "runs": "what it was made from: their number, ids, and a digest of their values",
    "runs.count": "their number",
    "runs.ids": "an id of each: its trial, or a hash of its values",
    "runs.digest": "SHA-256 of all their values",
    "runs.marks": "a hash of the measured values of each; without it in forecasts of earlier versions",
    "targets": "what is forecast, with the bands of the observed loss",
    "targets.inputs": "where, in the table's units",
    "targets.median": "the forecast, in the unit of the loss",
    "targets.bands": "low and high of the band of one new run, by level",
    "targets.law_band": "low and high of the 95 % band of the expected loss",
    "targets.beyond": "how many times beyond the runs, by input",
    "assumptions": "what each is worth at each target, relative to the loss",
    "assumptions.text": "what is taken for granted",
    "assumptions.change": "by how much the median of each target would differ without it; null where not known",
    "track_record": "what the same method said of budgets that were known",
    "warnings": "remarks that belong to the forecast",
    "version": "of sweeplaw",
    "all_rows": "whether it was made from every row; without it: from the best setting of each point",
    "format": "of the file",
    "digest": "SHA-256 of the content: note it where others can see it",
}


def _registered() -> dict[str, Any]:
    found = of_type(RegisteredForecast, _FORECAST)
    found["properties"]["track_record"]["items"] = whole(_CUT)
    found["required"].remove("all_rows")
    found["properties"]["runs"]["required"].remove("marks")
    return found


REGISTERED = _registered()
_SCORED = {
    "forecast": "its name",
    "inputs": "where, in the table's units",
    "median": "the forecast, in the unit of the loss",
    "band": "low and high of its 95 % band of one new run",
    "observed": "the loss there; null until a run has ended",
    "runs": "runs that it is of",
    "error": "the forecast over the observed loss, minus one",
    "inside": "whether each band contains it, by level",
    "late": "whether a run there had ended before the forecast was registered",
    "changed": "whether the forecast was changed after it was registered",
    "note": "a remark; empty without one",
}
_CALIBRATION = {
    "level": "of the band",
    "count": "runs scored",
    "share": "of them inside the band",
    "low": "low end of the 95 % interval of the share (exact binomial)",
    "high": "high end of the same",
}
_BEHIND = {
    "forecast": "its name",
    "count": "runs that it was made from",
    "state": "unchanged, changed or unknown",
    "changed": "of them, those with other values now; null if unknown",
    "gone": "of them, those that are gone from the source; null if unknown",
}
SCORES = {
    "scored": means("each run that was forecast", listed(of_type(Scored, _SCORED))),
    "calibration": means("how often each band held", listed(of_type(Calibration, _CALIBRATION))),
    "runs_behind": means("what the forecasts were made from", listed(of_type(RunsBehind, _BEHIND))),
    "notes": means("remarks", listed(WORDS)),
}
_REGISTERED_NOW = {
    **REGISTERED,
    "properties": {**REGISTERED["properties"], "file": means("where it was written", WORDS)},
    "required": [*REGISTERED["required"], "file"],
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "predict": record(
        {
            "law": means("the law that is the mean of the forecast", WORDS),
            "formula": means("its form", WORDS),
            "rows": means("runs it was learnt from", COUNT),
            "budgets": means("their different budgets", COUNT),
            "params": means("the parameters of the law, by name", named(NUMBER)),
            "noise": means("of a single run, relative to its loss", NUMBER),
            "widened": means("the factor by which past errors widen the bands", NUMBER),
            "warnings": means("remarks that belong to the answer", listed(WORDS)),
            "level": means("of the bands", NUMBER),
            "predictions": means("the forecast at each point", rows(_PREDICTED)),
            "metric": means("with --metric: the score of a task, from the loss", sometimes(_METRIC)),
        }
    ),
    "forecast register": _REGISTERED_NOW,
    "forecast score": record(
        {
            **SCORES,
            "track_records": means("of each forecast: what the method said of earlier budgets", named(rows(_CUT))),
        }
    ),
}
