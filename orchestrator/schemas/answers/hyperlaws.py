"""Answers of the commands about laws of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    FLAG,
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
from sweeplaw.orchestrator.schemas.answers.plans import COUNTS, SETTING

SOURCE = means("what was read", WORDS)
NOTES = means("remarks that belong to the answer", listed(WORDS))
READING = means("remarks on the rows that were read", listed(WORDS))
PAIR = means("low and high of the 95 % interval; both null without one", listed(NUMBER))
_FACTOR = whole({"value": means("the factor", NUMBER), "interval": PAIR})
_KNOB_LAW = {
    "formula": means("the law in conventional notation, in the units of the columns", WORDS),
    "coefficient": means("the factor in front of the powers", NUMBER),
    "coefficient_interval": PAIR,
    "exponents": means("of each axis", named(NUMBER)),
    "exponent_intervals": means(
        "low and high of the 95 % interval of each; both null without one", named(listed(NUMBER))
    ),
    "recipe_factors": means("the factor of each recipe over the reference one; empty for one recipe", named(_FACTOR)),
}
KNOB_LAWS = named(whole(_KNOB_LAW))
_METRIC = {
    "permille": means("mean loss above the best, per mille; null if no cell can be scored", NUMBER),
    "noise_floor_permille": means("what a perfect law would have, by noise alone; null if unknown", NUMBER),
    "cells": means("cells scored", COUNT),
    "outside_the_runs": means("predictions outside the cell's runs, scored at the nearest run", COUNT),
}
_EVALUATION = {
    "split": means("which cells were left out, in words", WORDS),
    "cells": means("cells left out", COUNT),
    "without_a_law": means("of them, those that the others give no law for", COUNT),
    "interpolated": means("scored by an interpolation of the cell's runs", sometimes(whole(_METRIC))),
    "nearest": means("scored by the nearest run of the cell", sometimes(whole(_METRIC))),
    "quadratic": means("scored by a quadratic through the cell's runs", sometimes(whole(_METRIC))),
}
EVALUATIONS = means("loss above the best in cells that were left out, by kind of split", named(whole(_EVALUATION)))
_VERDICT = {
    "badges": means("the three verdicts in words", listed(WORDS)),
    "optimum": means(
        "whether the cells have their optimum inside the grid",
        whole({"found": means("whether all have", TRUTH), "reason": means("why not; null if found", TEXT)}),
    ),
    "law": means(
        "whether the law is adequate",
        whole(
            {
                "verdict": means("adequate, inadequate or cannot be judged", WORDS),
                "reason": means("why", WORDS),
            }
        ),
    ),
    "exponents": means(
        "whether they are identified",
        whole(
            {"identified": means("whether all are", TRUTH), "sentences": means("on those that are not", listed(WORDS))}
        ),
    ),
}
_ROWS = {
    "in": means("rows read", COUNT),
    "measured": means("of them, those with all columns and a loss", COUNT),
    "used": means("of them, those that the laws rest on", COUNT),
    "dropped": means("rows left out, by reason", COUNTS),
}
_DROPPED = {"cell": means("the values of its axes", SETTING), "reason": means("why it was left out", WORDS)}
_PLATEAU = {
    "knob": means("the knob", WORDS),
    "within": means("the relative excess of the loss that is accepted", NUMBER),
    "factor": means("factor by which it may be off, the others held", NUMBER),
    "factor_others_retuned": means("factor by which it may be off if the others are tuned again", NUMBER),
}
HYPERLAW = {
    "estimator": means("joint, cells or pooled, and what it varies", WORDS),
    "axes": means("what the laws are over", listed(WORDS)),
    "verdict": means("the three verdicts", whole(_VERDICT)),
    "laws": means("the law of each knob", KNOB_LAWS),
    "rows": means("rows read and used", whole(_ROWS)),
    "cells": means(
        "cells read and used",
        whole(
            {
                "total": means("cells of the design", COUNT),
                "used": means("of them, those that the laws rest on", COUNT),
                "dropped": means("those left out", rows(_DROPPED)),
            }
        ),
    ),
    "span": means("least and greatest value of each axis", named(listed(NUMBER))),
    "resamples": means(
        "resamples behind the intervals",
        whole(
            {"cells": means("resamples of the cells", COUNT), "failed": means("of them, those without a law", COUNT)}
        ),
    ),
    "evaluation": EVALUATIONS,
    "plateau": means("how far each knob may be off, at several thresholds", rows(_PLATEAU)),
    "recipes": means(
        "of several recipes: whether one law serves all of them; null for one recipe",
        record(
            {
                "one_law_serves_all": means("whether it does", TRUTH),
                "sentence": means("the same in words", WORDS),
            }
        ),
    ),
    "mean_of_row_resamples": means(
        "the laws by the procedure of the Step Law paper; empty unless asked for", KNOB_LAWS
    ),
    "alternatives": means(
        "the same by other estimators",
        rows({"laws": means("the law of each knob", KNOB_LAWS), "evaluation": EVALUATIONS}),
    ),
    "notes": NOTES,
}
_SETTING = {
    "value": means("what to set", NUMBER),
    "interval": PAIR,
    "plateau_factor": means(
        "factor by which it may be off for a quarter of a per cent of loss; null if unknown", NUMBER
    ),
    "source": means("what it rests on", WORDS),
}
_DISAGREEMENT = {
    "law": means("the published law", WORDS),
    "knob": means("the knob", WORDS),
    "value": means("its value by that law", NUMBER),
    "factor": means("this value over ours", NUMBER),
    "beyond_plateau": means("whether that is beyond the plateau; null if the plateau is unknown", FLAG),
    "verified": means("whether the law was checked against its source", TRUTH),
}
_COMPARED = {
    "law": means("the name of the law", WORDS),
    "title": means("who published it", WORDS),
    "formula": means("as published", WORDS),
    "units": means("of its inputs and knobs", WORDS),
    "parameters": means("which parameters N counts in it", WORDS),
    "source": means("paper and equation", WORDS),
    "standing": means("how it was checked, in words", WORDS),
    "remark": means("how it was read here; empty without a remark", WORDS),
    "verified": means("whether it was checked against its source", TRUTH),
    "regret_permille": means(
        "loss above the best, per mille, by how it is scored (see `hyperlaw`); null for a law without a score",
        by_name(NUMBER),
    ),
    "noise_floor_permille": means("what noise alone would give, by how it is scored", by_name(NUMBER)),
    "above_noise_permille": means("the regret by quadratics less its noise floor, not below zero", NUMBER),
    "off_by": means("typical factor between its value and the best one, by knob", named(NUMBER)),
}
_CRITICAL = beside(
    whole({"critical_batch": means("the batch size, in the table's unit; null if unknown", NUMBER)}), KNOB
)
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "hyperlaw": record({"source": SOURCE, "y": means("the column of the loss", WORDS), **HYPERLAW, "reading": READING}),
    "suggest": record(
        {
            "source": means("the store, or the published law", WORDS),
            "params": means("N that was asked for", NUMBER),
            "tokens": means("D that was asked for", NUMBER),
            "settings": means("what to set, by knob", named(whole(_SETTING))),
            "decades_beyond_the_evidence": means(
                "how far from the runs in decades, by axis: below 0 under them, 0 inside", named(NUMBER)
            ),
            "disagreements": means("what published laws say", rows(_DISAGREEMENT)),
            "notes": NOTES,
            "reading": READING,
        }
    ),
    "compare-laws": record(
        {
            "source": SOURCE,
            "cells": means("cells that they are compared on", COUNT),
            "laws": means("the published laws, the best first", rows(_COMPARED)),
            "notes": NOTES,
        }
    ),
    "batch-lr": record(
        {
            "source": SOURCE,
            "exponent": means("the best learning rate grows as batch to this power", NUMBER),
            "exponent_interval": PAIR,
            "exponent_of_the_shared_surface": means("the same from one surface over all cells", NUMBER),
            "slices": means("batch sizes with a learning-rate optimum", COUNT),
            "cells": means("cells with more than one of them", COUNT),
            "verdict": means("in words", WORDS),
            "critical": means(
                "each cell's batch size at which it needs 20 % more tokens than at its best: its axes beside the key",
                listed(_CRITICAL),
            ),
            "notes": NOTES,
        }
    ),
}
