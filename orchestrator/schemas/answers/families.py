"""What the answer of `sweeplaw report` says of one family of runs."""

from __future__ import annotations

from sweeplaw.orchestrator.schemas.answers.hyperlaws import HYPERLAW
from sweeplaw.orchestrator.schemas.answers.laws import APPROACH, ASKED, FIT, HOLDOUT, INTERVAL
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    KNOB,
    NUMBER,
    TEXT,
    TRUTH,
    WORDS,
    beside,
    by_name,
    each,
    listed,
    means,
    named,
    record,
    rows,
    sometimes,
    whole,
)
from sweeplaw.orchestrator.schemas.answers.plans import COUNTS, SETTING
from sweeplaw.orchestrator.schemas.answers.recipes import RUNGS
from sweeplaw.orchestrator.schemas.answers.sweeps import RUN_PLAN
from sweeplaw.orchestrator.schemas.answers.tuning import DECOMPOSED

_POINT = beside(
    whole(
        {
            "used": means("the loss that laws are fitted to", NUMBER),
            "how": means("how it was found: only, lowest, corrected or fitted", WORDS),
            "settings": means("settings tried there", COUNT),
            "seeds": means("runs of the best setting", COUNT),
            "seed_std": means("standard deviation of their losses; null for one", NUMBER),
        }
    ),
    KNOB,
)
_LARGEST = whole(
    {name: part if name in ("kind", "rows", "note") else sometimes(part) for name, part in HOLDOUT.items()}
)
_SLICE = {
    "title": means("what the law is of", WORDS),
    "x": means("the columns of its inputs", listed(WORDS)),
    "at": means("what its rows are equal in; null for the law of all", by_name(KNOB)),
}
SLICE = {
    "anyOf": [
        whole(
            {
                **_SLICE,
                **{name: part for name, part in FIT.items() if name not in ASKED},
                "residuals": means("of each row, in the log of the loss", listed(NUMBER)),
                "holdout": means(
                    "the error on the largest runs by the law of the others; without numbers, why not", _LARGEST
                ),
            }
        ),
        whole(
            {
                **_SLICE,
                "law": means("null: there is none", {"type": "null"}),
                "why_not": means("why there is no law", WORDS),
            }
        ),
    ]
}
_CURVE = {
    "flops": means("the budget, in FLOPs", NUMBER),
    "rows": means("runs of it", COUNT),
    "rows_used": means("of them, those within its window", COUNT),
    "window": means("relative excess over the budget's least loss within which runs are used; null without", NUMBER),
    "params": means("N at the optimum; null without one inside the sizes used", NUMBER),
    "interval": means("of it, over resamples; null without one", INTERVAL),
    "loss": means("at the optimum; null without one", NUMBER),
    "off_centre": means(
        "where the optimum lies in the range of log N fitted: 0 in its middle, 1/2 at its end; null without one", NUMBER
    ),
    "parabola": means("coefficients of the loss in powers of log N, constant first; null without one", each(NUMBER)),
    "note": means("why there is no optimum, or what to know of it; empty without a remark", WORDS),
}
_ISOFLOP = record(
    {
        "flops_per_nd": means("k of C = k N D", NUMBER),
        "rows": means("runs of all budgets", COUNT),
        "rows_used": means("of them, those within the window of their budget", COUNT),
        "verdict": means("whether the budgets have their optimum inside the sizes tried", WORDS),
        "budgets": means("the curve of each budget", rows(_CURVE)),
        "line": means("the law through their optima (approach 2); null without one", APPROACH),
        "why_not": means("why there is no line; empty with one", WORDS),
    }
)
_SHARES = record(
    {
        "shares": means(
            "share of the variance of the loss by knob, with interactions and noise; mean over cells", named(NUMBER)
        ),
        "ranking": means("the knobs by share, the largest first", listed(WORDS)),
        "cap": means("losses are clipped at this excess over the lowest of their cell", NUMBER),
        "intervals": means("of the shares, over resampled cells; empty with few cells", named(INTERVAL)),
        "cells": means("the decomposition of each cell", listed(DECOMPOSED)),
        "cells_left_out": means("cells whose runs are no grid of the knobs", COUNT),
        "cells_not_taken": means("cells beyond those that are decomposed", COUNT),
    }
)
_DRAWN = {
    "k": means("settings drawn", COUNT),
    "picked": means("expected lowest loss of k, by the loss that picks", NUMBER),
    "reported": means("expected loss that is reported of it", NUMBER),
    "excess": means("of the loss reported over that of the best of all, relative to it", NUMBER),
    "selection_bias": means("by how much the loss that picks is lower than where the other is", NUMBER),
    "selection_bias_interval": means("low and high of its interval; null without one", each(NUMBER)),
}
_BEST_OF = record(
    {
        "pick": means("the column of the loss that picks", WORDS),
        "report": means("the column of the loss that is reported", WORDS),
        "within": means("the relative excess that is accepted", NUMBER),
        "places": means(
            "the curve over k of each cell",
            rows(
                {
                    "at": means("the cell", SETTING),
                    "settings": means("settings, the draws", COUNT),
                    "needed": means("draws expected to be within the excess", COUNT),
                    "curve": means("what the best of k is expected to be", rows(_DRAWN)),
                }
            ),
        ),
    }
)
_KNOB_OPTIMUM = {
    "best": means("its value in the run of lowest loss", KNOB),
    "levels": means("the values tried", listed(KNOB)),
    "edge": means("low or high, where the best is the lowest or the highest tried; null inside", TEXT),
    "touches_edge": means("whether the lowest loss lies at an end of them", TRUTH),
    "fitted": means("the optimum of the quadratic; null without one", NUMBER),
    "low": means("low end of its interval; null without one", NUMBER),
    "high": means("high end of its interval; null without one", NUMBER),
}
_OPTIMUM = {
    "cell": means("N and D, by their columns", SETTING),
    "loss": means("the lowest, mean over the seeds of its setting", NUMBER),
    "trial_id": means("the first run of this setting; null where rows have no id", TEXT),
    "rows": means("runs with a loss", COUNT),
    "unmeasured": means("runs without one", COUNT),
    "verdict": means("whether there is an optimum, and why not", WORDS),
    "knobs": means("each knob there", named(whole(_KNOB_OPTIMUM))),
}
_REFUSED = {"refused": means("why there are none; empty with laws", WORDS)}
FAMILY = {
    "name": means("of the family", WORDS),
    "values": means("what its trials are equal in and others are not", SETTING),
    "trials": means("its trials", COUNT),
    "points": means(
        "the best setting of each point: N, D, its knobs and its mean loss beside these keys", listed(_POINT)
    ),
    "noise": means("standard deviation of the log of a run's loss; null if unknown", NUMBER),
    "notes": means("remarks on what was selected", listed(WORDS)),
    "surface": means("the law over N and D, as `fit` answers it", SLICE),
    "slices": means("laws over N at each D, and over D at each N", listed(SLICE)),
    "slices_left_out": means("by N and D, values at which no law is shown", COUNTS),
    "isoflop": means("curves of equal compute; null where runs do not group by it", _ISOFLOP),
    "importance": means("of the knobs; null where fewer than two were tuned", _SHARES),
    "best_of": means("the expected best of k settings; null where no cell has many", _BEST_OF),
    "next_runs": means("what to run next, the most useful for its price first", rows(RUN_PLAN)),
    "rungs": means(
        "each axis: how far each size is off the law of the others",
        rows({**RUNGS, "sentences": means("the same in words", listed(WORDS))}),
    ),
    "optima": means("the optimum of the knobs in each cell", rows(_OPTIMUM)),
    "hyperlaws": means(
        "how the best knobs move, as `hyperlaw` answers; null where no knob was tuned",
        record({name: sometimes(part) for name, part in HYPERLAW.items()} | _REFUSED),
    ),
    "cells_without_loss": means(
        "cells without a loss: N and D beside the number of their rows",
        listed(beside(whole({"rows": means("trials there", COUNT)}), KNOB)),
    ),
}
