"""Answer of `sweeplaw report`: what the page shows, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.event_times import TIME_LAW
from sweeplaw.orchestrator.schemas.answers.families import FAMILY
from sweeplaw.orchestrator.schemas.answers.forecasts import REGISTERED, SCORES
from sweeplaw.orchestrator.schemas.answers.hyperlaws import SOURCE
from sweeplaw.orchestrator.schemas.answers.laws import INTERVAL
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    NUMBER,
    TEXT,
    TRUTH,
    WORDS,
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
from sweeplaw.orchestrator.schemas.answers.plans import COUNTS, RECOMMENDED_APART, SETTING
from sweeplaw.orchestrator.schemas.answers.recipes import COMPARISON, CROSSING, RETAINED, STUDY
from sweeplaw.orchestrator.schemas.answers.tuning import TRANSFER

_COLUMNS = {
    "N": means("the column of the parameters", WORDS),
    "D": means("the column of the tokens", WORDS),
    "loss": means("the column of the loss", WORDS),
    "knobs": means("the columns of the tuned knobs", listed(WORDS)),
}
_TRIALS = {
    "rows": means("trials", COUNT),
    "states": means("the same by state", COUNTS),
    "used": means("trials of the families that are shown", COUNT),
    "dropped": means("trials left out, by reason", COUNTS),
    "tokens": means("tokens trained on, of those known", NUMBER),
    "flops": means("FLOPs of training, of those known", NUMBER),
    "train_seconds": means("seconds of training, of those known", NUMBER),
    "wall_seconds": means("seconds from the first start to the last end", NUMBER),
    "mean_running": means("trials that ran at once, mean", NUMBER),
}
_LAW = {
    "family": means("the family", WORDS),
    "params": means("the parameters of its law, by name", named(NUMBER)),
    "intervals": means("of each parameter", named(INTERVAL)),
    "asymptote": means("the loss that no size or data falls below; null for a law without", NUMBER),
    "rows_used": means("rows that it was fitted to", COUNT),
    "verified": means("whether it is proved to be an optimum", TRUTH),
}
_DIFFERENCE = {
    "parameter": means("its name", WORDS),
    "value": means("the first less the second", NUMBER),
    "interval": means("low and high of its interval; null without draws of both", each(NUMBER)),
}
_PAIR = {
    "first": means("the family A", WORDS),
    "second": means("the family B", WORDS),
    "from_flops": means("low end of the compute compared, FLOPs", NUMBER),
    "to_flops": means("high end of the compute compared, FLOPs", NUMBER),
    "differences": means("of the parameters that both laws have", rows(_DIFFERENCE)),
    "crossing": means("where one overtakes the other; null with the reason in `why_not`", record(CROSSING)),
    "why_not": means("why the crossing is not known; empty where it is", WORDS),
    "sentence": means("the same in words", WORDS),
}
_LAWS_COMPARED = record(
    {
        "laws": means("the law of each family that has one", rows(_LAW)),
        "without_law": means("families without a law", listed(WORDS)),
        "pairs": means("each two families", rows(_PAIR)),
    }
)
_FORECAST = {
    **REGISTERED,
    "properties": {
        **REGISTERED["properties"],
        "intact": means("whether its content is what was registered", TRUTH),
        "record": means("its track record in a sentence", WORDS),
    },
    "required": [*REGISTERED["required"], "intact", "record"],
}
_SCORES = {**SCORES, "sentences": means("the same in words", listed(WORDS))}
_FORECASTS = record(
    {
        "registered": means("each forecast", listed(_FORECAST)),
        "scores": means("of all of them; null where none can be read", record(_SCORES)),
        "faults": means("damaged files, and forecasts that were changed", listed(WORDS)),
    }
)
_PROPOSED = {
    "number": means("of the proposal, from 0", COUNT),
    "point": means("the scientific knobs", SETTING),
    "knobs": means("the nuisance knobs", SETTING),
    "state": means("how the trial ended", WORDS),
    "value": means("the objective; null where it was not measured", NUMBER),
    "predicted": means("of a stopped trial: the objective predicted for its end", NUMBER),
    "flops": means("FLOPs of the trial", NUMBER),
    "spent_flops": means("FLOPs spent until then", NUMBER),
    "best": means("the best objective until then", NUMBER),
    "reason": means("why it was proposed", TEXT),
    "trial_id": means("the trial", WORDS),
}
_PATH = rows(_PROPOSED)
_SEARCH = {
    "sweep": means("the sweep that searched", WORDS),
    "kind": means("of the search; null where its state is not known", TEXT),
    "objective": means("the metric that it optimizes", WORDS),
    "maximize": means("whether it maximizes the metric", TRUTH),
    "proposals": means("trials proposed", COUNT),
    "states": means("the same by state", COUNTS),
    "flops": means("FLOPs spent", NUMBER),
    "budget_left": means(
        "what is left of each bound of the budget: trials, FLOPs, device_seconds, wall_seconds", by_name(NUMBER)
    ),
    "belief": means("what it believes, in words; empty without a model", TEXT),
    "ended": means("why it ended; empty while it goes on", TEXT),
    "recommended": means("what it recommends at each point", listed(RECOMMENDED_APART)),
    "path": means("every trial proposed, the first first", _PATH),
    "stopped": means("of them, those that were stopped early", _PATH),
}
_EVENT = {
    "time": means("the column of the time of the event", WORDS),
    "censored": means("the column of the last look without it", TEXT),
    "at": means("what these trials are equal in", SETTING),
    "trials": means("their number", COUNT),
    "occurred": means("of them, those with the event", COUNT),
    "median": means("median time, null where it is not reached", NUMBER),
    "law": means("of the time, as `time-law` answers it; null with the reason in `why_not`", record(TIME_LAW)),
    "why_not": means("why there is no law; null with one", TEXT),
}
_FAILURE = {
    "state": means("how these trials ended", TEXT),
    "message": means("what they say of it", TEXT),
    "trials": means("their number", COUNT),
    "example": means("the id of one", TEXT),
}
_PLANNED = {
    "params": means("parameters; null if unknown", NUMBER),
    "params_non_embedding": means("without embeddings and output head; null if unknown", NUMBER),
    "tokens": means("tokens to train on; null if unknown", NUMBER),
    "trials": means("trials planned there", COUNT),
}
# What a launch or an import recorded: each key is there since the version and for the kind that records it.
_LAUNCH = {
    "launch_id": means("the id of the launch", WORDS),
    "recorded_at": means("when, in UTC", WORDS),
    "sweep": means("the name of the sweep", WORDS),
    "description": means("what the sweep file says of it", WORDS),
    "sweep_file": means("the text of the sweep file", TEXT),
    "workload": means("what a trial runs", WORDS),
    "scientific": means("the scientific axes", listed(WORDS)),
    "nuisance": means("the tuned knobs", listed(WORDS)),
    "fixed": means("the fixed knobs", SETTING),
    "derived": means("the formulas of derived knobs", named(WORDS)),
    "later_knobs": means("the defaults of knobs that came with a later version", SETTING),
    "planned": means("trials planned", COUNT),
    "points": means("the same by size and budget, where known before they run", rows(_PLANNED)),
    "dropped": means("combinations left out, by reason", COUNTS),
    "retry": means("further attempts after each way to end", COUNTS),
    "budget": means("the bounds in the sweep file", named(NUMBER)),
    "cluster": means("the cluster profile", WORDS),
    "host": means("the machine of the launcher", WORDS),
    "command": means("the command line of the launch", listed(WORDS)),
    "versions": means("of the packages, as JSON", WORDS),
    "commit": means("of the code; null outside a repository", TEXT),
    "kind": means("import: runs made elsewhere", WORDS),
    "source": means("of an import: its name", WORDS),
    "file": means("of an import: the file", WORDS),
    "sha256": means("of an import: of the file", TEXT),
    "preset": means("of an import: the preset", TEXT),
    "columns": means("of an import: our column, and theirs or an expression of theirs", named(WORDS)),
    "where": means("of an import: the SQL condition on its rows", TEXT),
    "rows": means("of an import: rows of the file", COUNT),
    "left_out": means("of an import: rows that the condition leaves out", COUNT),
    "added": means("of an import: runs that are new", COUNT),
    "rejected": means("of an import: rows that are no run", COUNT),
    "updated": means("of an import: runs that took new values", COUNT),
}
_LAUNCHES = rows({name: part if name == "launch_id" else sometimes(part) for name, part in _LAUNCH.items()})
_RECIPES = record(
    {
        **{name: sometimes(part) for name, part in STUDY.items()},
        "retained": RETAINED,
        "refused": means("why recipes are not compared; empty where they are", WORDS),
    }
)
REPORT = {
    "source": SOURCE,
    "columns": means("what N, D, the loss and the knobs are", whole(_COLUMNS)),
    "trials": means("their number, by state, used and dropped, with tokens, FLOPs and time", whole(_TRIALS)),
    "families": means(
        "each family of runs: its points, law, isoFLOP curves, optima, importance and laws of knobs", rows(FAMILY)
    ),
    "families_left_out": means("families beyond those shown", COUNT),
    "comparison": means("the laws of the families side by side; null for one family", _LAWS_COMPARED),
    "forecasts": means("registered forecasts and their scores; null without any", _FORECASTS),
    "searches": means("each search", rows(_SEARCH)),
    "recipes": means("recipes compared, as `recipes` answers; null where there are none", _RECIPES),
    "against": means(
        "with --compare: what the other recipe changes, as `compare` answers",
        {**COMPARISON, "type": ["object", "null"]},
    ),
    "transfer": means(
        "one setting of the knobs for all families, sizes and budgets, as `transfer` answers; null for few of them",
        record(TRANSFER),
    ),
    "events": means("times to events such as grokking, each with its law", rows(_EVENT)),
    "running": means("of a store without a completed trial: what runs and waits, in sentences", listed(WORDS)),
    "failures": means("trials that did not complete, by state and message, the most frequent first", rows(_FAILURE)),
    "launches": means("the facts of each launch and import", _LAUNCHES),
    "faults": means("damage to the store", listed(WORDS)),
    "provenance": means("trials by host, device, versions, commit, source and workload", named(COUNTS)),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "report": record(
        {
            "html": means("the page", WORDS),
            "json": means("the file with these values", WORDS),
            "markdown": means("with --markdown: the page as Markdown", sometimes(WORDS)),
            "latex": means("with --latex: its tables", sometimes(WORDS)),
            **REPORT,
        }
    ),
}
