"""Answer of the command about the time to an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.hyperlaws import NOTES, READING, SOURCE
from sweeplaw.orchestrator.schemas.answers.laws import INTERVAL
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    NUMBER,
    TEXT,
    WORDS,
    means,
    named,
    record,
    rows,
)

_TIME = record({"value": means("the estimate", NUMBER), "interval": means("of it", INTERVAL)})
TIME_LAW = {
    "status": means("verified, not converged, not determined or no events", WORDS),
    "residuals": means("the distribution of log t: log-normal or weibull", WORDS),
    "rows": means("trials with a time", COUNT),
    "events": means("of them, those with the event", COUNT),
    "level": means("level of the intervals", NUMBER),
    "reference": means("the geometric mean of each input", named(NUMBER)),
    "scale": means("t* at the reference, in the unit of the times; null without a law", _TIME),
    "factor": means("t* where each input is 1; null without a law", _TIME),
    "sigma": means("spread of log t; null without a law", _TIME),
    "exponents": means("of each input; empty without a law", named(_TIME)),
    "log_likelihoods": means("of the times, by kind of residuals; empty without a law", named(NUMBER)),
    "decrement": means("length of the last Newton step in standard errors; null without a law", NUMBER),
    "curvature_p": means("p-value of powers alone, against squares of logarithms; null if not tested", NUMBER),
    "least_share": means("without any event: share of trials that do not have it yet, at least", NUMBER),
    "longest": means("without any event: the longest time", NUMBER),
    "predictions": means(
        "t* at each --at",
        rows(
            {
                "at": means("the inputs", named(NUMBER)),
                "value": means("t* there, in the unit of the times", NUMBER),
                "interval": means("of it", INTERVAL),
            }
        ),
    ),
    "notes": NOTES,
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "time-law": record(
        {
            "source": SOURCE,
            "time": means("the column of the time of the event", WORDS),
            "censored": means("the column of the last look without it", TEXT),
            **TIME_LAW,
            "reading": READING,
        }
    ),
}
