"""Answers of the commands about hyperparameters and recipes, and of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.analysis.recipes.comparison import RecipeComparison
from sweeplaw.orchestrator.schemas.answers.laws import INTERVAL
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

_SOURCE = means("what was read", TEXT)
_NOTES = means("remarks that belong to the answer", each(TEXT))
_PAIR = means("low and high of the 95 % interval", each(NUMBER))
_KNOB_LAW = record(
    {
        "formula": TEXT,
        "coefficient": NUMBER,
        "coefficient_interval": _PAIR,
        "exponents": by_name(NUMBER),
        "exponent_intervals": by_name(each(NUMBER)),
        "recipe_factors": by_name(ANYTHING),
    }
)
_TIME = record({"value": NUMBER, "interval": INTERVAL})
_TIME_LAW = {
    "status": means("verified, not converged, not determined or no events", TEXT),
    "residuals": TEXT,
    "rows": means("trials with a time", NUMBER),
    "events": means("of them, those with the event", NUMBER),
    "level": means("level of the intervals", NUMBER),
    "reference": means("the geometric mean of each input", by_name(NUMBER)),
    "scale": means("t* at the reference", _TIME),
    "factor": means("t* where each input is 1", _TIME),
    "sigma": means("spread of log t", _TIME),
    "exponents": means("of each input", by_name(_TIME)),
    "log_likelihoods": means("of the times, by kind of residuals", by_name(NUMBER)),
    "decrement": means("length of the last Newton step in standard errors", NUMBER),
    "curvature_p": means("p-value of powers alone, against squares of logarithms", NUMBER),
    "least_share": means("without any event: share of trials that do not have it yet, at least", NUMBER),
    "longest": means("without any event: the longest time", NUMBER),
    "predictions": means(
        "t* at each --at", each(record({"at": by_name(NUMBER), "value": NUMBER, "interval": INTERVAL}))
    ),
    "notes": _NOTES,
}
_DRAWN = record(
    {
        **dict.fromkeys(("k", "picked", "reported", "flattery", "excess"), NUMBER),
        "reported_interval": _PAIR,
        "flattery_interval": _PAIR,
    }
)
_SETTING = record({"value": NUMBER, "interval": each(NUMBER), "plateau_factor": NUMBER, "source": TEXT})
_DISAGREEMENT = record(
    {"law": TEXT, "knob": TEXT, "value": NUMBER, "factor": NUMBER, "beyond_plateau": FLAG, "verified": FLAG}
)
_COMPARED = record(
    {
        **dict.fromkeys(("law", "title", "formula", "units", "parameters", "source", "standing", "remark"), TEXT),
        "verified": FLAG,
        "regret_permille": by_name(NUMBER),
        "noise_floor_permille": by_name(NUMBER),
        "above_noise_permille": NUMBER,
        "off_by": by_name(NUMBER),
    }
)
_CELL = record(
    {
        "cell": by_name(NUMBER),
        **dict.fromkeys(("rows", "grid_points", "filled", "best", "higher_orders", "noise_share"), NUMBER),
        "knobs": means("the share of the variance that each knob explains", by_name(NUMBER)),
        "pairs": means("the share that two knobs explain together", by_name(NUMBER)),
        "ranking": each(TEXT),
        "noise": by_name(ANYTHING),
        "within_noise": each(TEXT),
        "frozen": means("what is lost where a knob stays at its default", by_name(ANYTHING)),
    }
)
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "hyperlaw": record(
        {
            "source": _SOURCE,
            "y": means("the column of the loss", TEXT),
            "estimator": means("joint, cells or pooled", TEXT),
            "axes": means("what the laws are over", each(TEXT)),
            "verdict": means(
                "the three verdicts",
                record(
                    {
                        "badges": each(TEXT),
                        "optimum": record({"found": FLAG, "reason": TEXT}),
                        "law": record({"verdict": TEXT, "reason": TEXT}),
                        "exponents": record({"identified": FLAG, "sentences": each(TEXT)}),
                    }
                ),
            ),
            "laws": means("the law of each knob", by_name(_KNOB_LAW)),
            "rows": record({"in": NUMBER, "measured": NUMBER, "used": NUMBER, "dropped": by_name(NUMBER)}),
            "cells": record({"total": NUMBER, "used": NUMBER, "dropped": each(by_name(ANYTHING))}),
            "span": means("least and greatest value of each axis", by_name(each(NUMBER))),
            "resamples": record({"cells": NUMBER, "failed": NUMBER}),
            "evaluation": means(
                "loss above the best in cells that were left out, in per mille", by_name(by_name(ANYTHING))
            ),
            "plateau": means("how far each knob may be off", each(by_name(ANYTHING))),
            "recipes": ANYTHING,
            "mean_of_row_resamples": means("the laws by the procedure of the Step Law paper", by_name(_KNOB_LAW)),
            "alternatives": means("the same by other estimators", each(by_name(ANYTHING))),
            "notes": _NOTES,
            "reading": means("remarks on what was read", each(TEXT)),
        }
    ),
    "suggest": record(
        {
            "source": means("the store, or the published law", TEXT),
            "params": means("N that was asked for", NUMBER),
            "tokens": means("D that was asked for", NUMBER),
            "settings": means("what to set, by knob", by_name(_SETTING)),
            "decades_beyond_the_evidence": means("how far from the runs, by axis", by_name(NUMBER)),
            "disagreements": means("published laws that say otherwise", each(_DISAGREEMENT)),
            "notes": _NOTES,
            "reading": means("remarks on what was read", each(TEXT)),
        }
    ),
    "compare": each(of_type(RecipeComparison)),
    "best-of": record(
        {
            "source": _SOURCE,
            "knobs": means("whose combinations are the draws", each(TEXT)),
            "pick": means("the column of the loss that picks", TEXT),
            "report": means("the column of the loss that is reported", TEXT),
            "within": means("the relative excess asked for", NUMBER),
            "level": means("level of the intervals", NUMBER),
            "flattery": means(
                "mean selection bias of the picking loss; null without another loss",
                NUMBER,
            ),
            "places": means(
                "the curve over k of each cell",
                each(
                    record(
                        {
                            "at": by_name(NUMBER),
                            "count": means("settings, the draws", NUMBER),
                            "best": means("the setting that the best of all is", by_name(ANYTHING)),
                            "needed": means("draws expected to be within the excess", NUMBER),
                            "most_needed": means("the same, by the upper ends of the intervals", NUMBER),
                            "curve": means("what the best of k is expected to be", each(_DRAWN)),
                        }
                    )
                ),
            ),
            "notes": _NOTES,
            "reading": means("remarks on the rows that were read", each(TEXT)),
        }
    ),
    "time-law": record(
        {
            "source": _SOURCE,
            "time": means("the column of the time of the event", TEXT),
            "censored": means("the column of the last look without it", TEXT),
            **_TIME_LAW,
            "reading": means("remarks on the rows that were read", each(TEXT)),
        }
    ),
    "rungs": record(
        {
            "source": _SOURCE,
            "axis": means("the axis of the sizes", TEXT),
            "law": means("the law through all the others", TEXT),
            "rungs": means("each size, and how far the law is off there", each(by_name(ANYTHING))),
            "warnings": _NOTES,
        }
    ),
    "recipes": record(
        {
            "sources": means("the stores or tables", each(TEXT)),
            "retained": means("the share of an ensemble's gain that its student keeps", each(by_name(ANYTHING))),
            "crossings": means("where one recipe overtakes another", each(by_name(ANYTHING))),
        }
    ),
    "compare-laws": record(
        {
            "source": _SOURCE,
            "cells": means("cells that they are compared on", NUMBER),
            "laws": means("the published laws, the best first", each(_COMPARED)),
            "notes": _NOTES,
        }
    ),
    "batch-lr": record(
        {
            "source": _SOURCE,
            "exponent": means("the best learning rate grows as batch to this power", NUMBER),
            "exponent_interval": _PAIR,
            "exponent_of_the_shared_surface": means("the same from one surface over all cells", NUMBER),
            "slices": means("batch sizes with a learning-rate optimum", NUMBER),
            "cells": means("cells with more than one of them", NUMBER),
            "verdict": means("in words", TEXT),
            "critical": means("each cell's batch size above which the rule ends", each(by_name(NUMBER))),
            "notes": _NOTES,
        }
    ),
    "importance": record(
        {"source": _SOURCE, "y": means("the column of the loss", TEXT), "cells": each(_CELL), "notes": _NOTES}
    ),
    "transfer": record(
        {
            "source": _SOURCE,
            "y": means("the column of the loss", TEXT),
            "profile_at": means("ratios to the best at which profiles are evaluated", each(NUMBER)),
            "single": means("the one setting for all workloads", by_name(ANYTHING)),
            "order": means("the settings to try, in this order", each(by_name(ANYTHING))),
            "workloads": means("what each workload gets from them", each(by_name(ANYTHING))),
            "profiles": means("the share of workloads solved within each ratio", by_name(each(NUMBER))),
            "candidates": means("settings that could be chosen", NUMBER),
            "dropped": means("rows left out, by reason", by_name(NUMBER)),
            "notes": _NOTES,
        }
    ),
    "report": record(
        {
            "html": means("the page", TEXT),
            "json": means("the file with these values", TEXT),
            "markdown": means("with --markdown: the page as Markdown", sometimes(TEXT)),
            "latex": means("with --latex: its tables", sometimes(TEXT)),
            "source": _SOURCE,
            "columns": means("what N, D, the loss and the knobs are", by_name(ANYTHING)),
            "trials": means("their number, by state, used and dropped, with tokens, FLOPs and time", by_name(ANYTHING)),
            "families": means(
                "each family of runs: its points, law, isoFLOP curves, optima, importance and laws of knobs",
                each(by_name(ANYTHING)),
            ),
            "families_left_out": means("families beyond those shown", NUMBER),
            "comparison": means("the laws of the families side by side", ANYTHING),
            "forecasts": means("registered forecasts and their scores", ANYTHING),
            "searches": means("each search", each(by_name(ANYTHING))),
            "recipes": means("recipes compared", ANYTHING),
            "against": means("with --compare: what the other recipe changes", ANYTHING),
            "transfer": means("one setting of the knobs for all families, sizes and budgets", ANYTHING),
            "events": means(
                "times to events such as grokking, each with its law",
                each(
                    record(
                        {
                            "time": means("the column of the time of the event", TEXT),
                            "censored": means("the column of the last look without it", TEXT),
                            "at": means("what these trials are equal in", by_name(ANYTHING)),
                            "trials": NUMBER,
                            "occurred": means("trials with the event", NUMBER),
                            "median": means("median time, null where it is not reached", NUMBER),
                            "law": record(_TIME_LAW),
                            "why_not": means("why there is no law", TEXT),
                        }
                    )
                ),
            ),
            "running": means("what runs now", each(ANYTHING)),
            "failures": means("why trials failed", each(ANYTHING)),
            "launches": means("the facts of each launch", each(by_name(ANYTHING))),
            "faults": means("damage to the store", each(TEXT)),
            "provenance": means("versions, devices and hosts of the runs", by_name(ANYTHING)),
        }
    ),
}
