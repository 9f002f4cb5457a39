"""Answer of `sweeplaw fit`: a law of the loss with its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    KNOB,
    NUMBER,
    TEXT,
    TRUTH,
    WORDS,
    beside,
    by_name,
    listed,
    means,
    named,
    record,
    rows,
    sometimes,
    whole,
)

INTERVAL = record(
    {
        "low": means("low end; null where it has none", NUMBER),
        "high": means("high end; null where it has none", NUMBER),
        "level": means("the probability that it is made for", NUMBER),
        "method": means("how it was found", WORDS),
        "note": means("why an end is missing, or what else to know; empty without a remark", WORDS),
    }
)
_OBJECTIVE = {
    "name": means("huber, lad or least squares", WORDS),
    "delta": means("where the Huber loss turns from square to linear; null for others", NUMBER),
    "space": means("log or raw: of which losses the differences are", WORDS),
    "reduction": means("mean or sum over the rows", WORDS),
    "weights": means("what rows are weighted by; null if by nothing", TEXT),
    "value": means("at the optimum", NUMBER),
    "in_words": means("the same as a phrase", WORDS),
}
HOLDOUT = {
    "kind": means("which rows were left out", WORDS),
    "rows": means("rows left out", COUNT),
    "trained_on": means("rows that the law was fitted to", COUNT),
    "mean_relative_error": means("mean size of the error, relative to the loss", NUMBER),
    "worst_relative_error": means("the largest of them", NUMBER),
    "bias": means("mean of predicted over observed, minus one", NUMBER),
    "rms_nats": means("root mean square of the error, in the unit of the loss", NUMBER),
    "band_level": means("of the band", NUMBER),
    "rows_inside_band": means("rows inside the band; null without a band", NUMBER),
    "share_inside_band": means("their share; null without a band", NUMBER),
    "verified": means("whether the law without these rows is proved to be an optimum", TRUTH),
    "status": means("how the search for it ended", WORDS),
    "note": means("a remark; empty without one", WORDS),
}
_BEST_POINT = {
    "lowest": means("mean loss over the seeds of the best setting", NUMBER),
    "used": means("the loss that the law is fitted to", NUMBER),
    "how": means("how the two differ: only, lowest, corrected or fitted", WORDS),
    "settings": means("settings tried there", COUNT),
    "seeds": means("runs of the best setting", COUNT),
    "seed_std": means("standard deviation of their losses; null for one", NUMBER),
}
_FAMILY = {
    "family": means("what its runs are equal in and others are not", named(KNOB)),
    "knobs": means("the tuned knobs", listed(WORDS)),
    "noise": means("standard deviation of the log of a run's loss; null if unknown", NUMBER),
    "noise_freedom": means("degrees of freedom behind it", COUNT),
    "noise_origin": means("seeds, neighbours in a grid, or residuals; null if unknown", TEXT),
    "at_edge": means("by knob: points whose best value is the lowest or highest tried", named(COUNT)),
    "points": means(
        "each point: its inputs and the knobs at their best beside these keys", listed(beside(whole(_BEST_POINT), KNOB))
    ),
}
_HELD_OUT = {
    "first": means("the better law", WORDS),
    "second": means("the other law", WORDS),
    "rows": means("rows left out", COUNT),
    "rms_nats": means("root mean square error of both, in the unit of the loss", listed(NUMBER)),
    "mean_square_difference": means("mean squared error of the first less that of the second", NUMBER),
    "interval": means("of this difference", INTERVAL),
    "probability_first_better": means("share of resamples in which the first is better", NUMBER),
}
_COMPARISON = {
    "law": means("the law", WORDS),
    "held_out_rms_nats": means("its error on rows left out, in the unit of the loss", NUMBER),
    "against_best": means("the same against the best law; null for the best", record(_HELD_OUT)),
}
_BUDGET = {
    "flops": means("the budget, in FLOPs", NUMBER),
    "rows": means("runs of it", COUNT),
    "params": means("N at its optimum; null without one", NUMBER),
    "off_centre": means("where it lies in the range of log N fitted: 0 in its middle, 1/2 at its end", NUMBER),
    "rows_used": means("runs fitted", NUMBER),
    "window": means("relative excess over the budget's least loss within which runs are fitted", NUMBER),
    "note": means("why there is no optimum; empty with one", WORDS),
}
APPROACH = record(
    {
        "name": means("of the approach", WORDS),
        "a": means("exponent of N* = coefficient C^a; null if withheld", NUMBER),
        "b": means("exponent of D*; null if withheld", NUMBER),
        "coefficient": means("of N*, C in FLOPs; null if withheld", NUMBER),
        "intervals": means("of these, by name", named(INTERVAL)),
        "budgets": means("the optimum of each budget; empty where none is sought", rows(_BUDGET)),
        "notes": means("remarks", listed(WORDS)),
    }
)
_COVERAGE = {
    "method": means("of the intervals", WORDS),
    "noise": means("kind of noise that is simulated", WORDS),
    "scale": means("its standard deviation, in the space of the objective", NUMBER),
    "level": means("of the intervals", NUMBER),
    "sets": means("data sets simulated", COUNT),
    "converged": means("of them, those whose fit converged", NUMBER),
    "standard_error": means("of the shares", NUMBER),
    "coverage": means("share of sets whose interval holds the truth, by parameter", named(NUMBER)),
}
_SIZE_RANGE = {
    "from": means("low end", NUMBER),
    "to": means("high end", NUMBER),
    "rows": means("rows in it", COUNT),
    "mean_residual_milli": means("mean of observed less fitted loss, in thousandths", NUMBER),
}
_FINDING = {
    "test": means("which test", WORDS),
    "verdict": means("passed, failed or unknown", WORDS),
    "sentence": means("what it found", WORDS),
}
_ADEQUACY = {
    "badges": means("the verdicts in words", listed(WORDS)),
    "optimum": means(
        "of the fit",
        whole(
            {"found": means("whether it is proved to be one", TRUTH), "status": means("how the search ended", WORDS)}
        ),
    ),
    "law": means(
        "whether it is adequate",
        whole(
            {
                "verdict": means("adequate, inadequate or cannot be judged", WORDS),
                "reasons": means("why", listed(WORDS)),
                "rows": means("rows of the fit", COUNT),
                "rows_judged": means("of them, those that the tests are on", COUNT),
                "findings": means(
                    "each test, with the numbers behind it by name", listed(beside(whole(_FINDING), KNOB))
                ),
            }
        ),
    ),
    "parameters": means(
        "whether they are identified",
        whole(
            {"identified": means("whether all are", TRUTH), "sentences": means("on those that are not", listed(WORDS))}
        ),
    ),
    "residual_means": means("mean residuals by budget, size and data", named(rows(_SIZE_RANGE))),
}
_ALLOCATION = {
    "flops": means("the budget, in FLOPs", NUMBER),
    "params": means("N*; null if withheld", NUMBER),
    "tokens": means("D*; null if withheld", NUMBER),
    "tokens_per_param": means("D* over N*; null if withheld", NUMBER),
    "loss": means("expected there; null if withheld", NUMBER),
    "intervals": means("of these, by name; empty if withheld", named(INTERVAL)),
    "sentence": means("the same in words", WORDS),
    "times_beyond_largest_run": means("the budget over that of the largest run", NUMBER),
    "withheld": means("why it is withheld, or not advised; null if neither", TEXT),
}
_EXPONENT = whole({"value": means("null if withheld", NUMBER), "interval": means("null if withheld", INTERVAL)})
_DERIVED = {
    "asymptote": means("the loss that no size or data falls below", sometimes(NUMBER)),
    "compute": means("how C follows from N and D", sometimes(WORDS)),
    "a": means("N* grows as C^a", sometimes(_EXPONENT)),
    "b": means("D* grows as C^b", sometimes(_EXPONENT)),
    "compute_optimal": means("N* and D* of each budget", sometimes(rows(_ALLOCATION))),
    "withheld": means("why nothing is advised; null if it is", sometimes(TEXT)),
    "forced": means("whether it is advised because of --force", sometimes(TRUTH)),
}
_SHARED = {
    "name": means("the columns that these runs are equal in", WORDS),
    "groups": means("groups of such runs", COUNT),
    "correlation": means("of their residuals", NUMBER),
}
_CHANGES = {
    "smallest": means("noise at the small end, in the log of the loss", NUMBER),
    "largest": means("noise at the large end", NUMBER),
    "by": means("replicates or residuals: what shows it", WORDS),
    "weighted": means("whether rows are weighted by it", TRUTH),
}
_NOISE = {
    "shared_by": means("groups of runs that share a part of it", rows(_SHARED)),
    "tested": means("whether this was tested", TRUTH),
    "changes_with_size": means("how it changes from small to large runs; null if it does not", record(_CHANGES)),
}
FIT = {
    "law": means("the name of the law", WORDS),
    "formula": means("what was fitted", WORDS),
    "source": means("where the form comes from", WORDS),
    "objective": means("what was minimized, and its value", whole(_OBJECTIVE)),
    "columns": means("the column of each input and of the loss", named(WORDS)),
    "units": means("the unit of each input", named(NUMBER)),
    "params": means("the parameters, by name", named(NUMBER)),
    "fixed": means("those that were given", named(NUMBER)),
    "intervals": means("the interval of each parameter; an end without a bound is null", named(INTERVAL)),
    "standard_errors": means("of the parameters; null without a bootstrap", by_name(NUMBER)),
    "identified": means("whether the interval of each parameter has two ends", named(TRUTH)),
    "identifiability": means("what the data do not identify, in sentences", listed(WORDS)),
    "status": means("how the search for the optimum ended", WORDS),
    "verified": means("whether it is proved to be an optimum", TRUTH),
    "starts": means("where it began", COUNT),
    "starts_agreeing": means("of them, with the same optimum", COUNT),
    "scaled_gradient": means("at the optimum; 0 is exact", NUMBER),
    "condition": means("of the curvature there", NUMBER),
    "at_bounds": means("parameters at an end of what they may be", listed(WORDS)),
    "bootstrap": means(
        "resamples behind the intervals; null without any",
        record(
            {
                "resamples": means("their number", COUNT),
                "by": means("what was resampled: rows, or what groups them", WORDS),
                "units": means("how many of these there are", COUNT),
                "converged": means("resamples whose fit converged", COUNT),
            }
        ),
    ),
    "rows": means("which rows were used, in words", WORDS),
    "selection": means(
        "how the best setting of each point was chosen; null where nothing was",
        record(
            {
                "knobs": means("the tuned knobs", listed(WORDS)),
                "families": means("of each family of runs", rows(_FAMILY)),
            }
        ),
    ),
    "rows_used": means("their number", COUNT),
    "rows_dropped": means("rows left out", COUNT),
    "dropped": means(
        "why",
        rows(
            {
                "reason": means("why they are left out", WORDS),
                "count": means("how many", COUNT),
                "rows": means("their numbers, 1 is the first", listed(COUNT)),
            }
        ),
    ),
    "noise": means("what the residuals say of the noise", whole(_NOISE)),
    "warnings": means("remarks that belong to the answer", listed(WORDS)),
    "adequacy": means("the three verdicts", whole(_ADEQUACY)),
    "derived": means("what follows for compute, where it may be advised", whole(_DERIVED)),
    "comparison": means("with --compare: other laws on the same rows", sometimes(rows(_COMPARISON))),
    "approaches": means("with --approaches: compute-optimal exponents by other ways", sometimes(listed(APPROACH))),
    "holdout": means("with --holdout: the error on rows left out", sometimes(whole(HOLDOUT))),
    "coverage": means("with --simulate: how often intervals hold a planted truth", sometimes(rows(_COVERAGE))),
}
ASKED = ("comparison", "approaches", "holdout", "coverage")  # keys that options of `fit` ask for
ANSWERS: Mapping[str, Mapping[str, Any]] = {"fit": record(FIT)}
