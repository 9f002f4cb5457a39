"""Answer of `sweeplaw plan`: a sweep in numbers, and its launch on a virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.plan import search_options
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    FLAG,
    KNOB,
    NUMBER,
    TEXT,
    WORDS,
    beside,
    by_name,
    each,
    listed,
    means,
    named,
    of_type,
    record,
    rows,
    sometimes,
    whole,
)

COUNTS = named(COUNT)
SETTING = named(KNOB)
_HOURS = "device-hours, mean over the launches: "
_RECOMMENDED = {
    "value": means("the objective there, in its own unit: measured or predicted, as the basis says", NUMBER),
    "intervals": means(
        "95 % interval of the best value of each knob, where the search knows it", by_name(each(NUMBER))
    ),
    "basis": means("what the recommendation rests on, in words", WORDS),
    "trust": means("probability that it is within a thousandth of the best; null where the search has none", NUMBER),
    "certified": means("whether no neighbour is better; null where the search does not test it", FLAG),
    "edges": means("lowest or highest, by knob: where it lies at an end of the values tried", by_name(WORDS)),
}
# The knobs stand beside the other keys, one of each axis; a knob whose condition does not hold there is null.
RECOMMENDED = beside(whole(_RECOMMENDED), KNOB)
RECOMMENDED_APART = whole(
    {
        "point": means("the scientific knobs", SETTING),
        "knobs": means("the recommended value of each nuisance knob; null where its condition fails", SETTING),
        **_RECOMMENDED,
    }
)
_SEARCHED = rows(
    {
        "kind": means("of the search", WORDS),
        "proposals": means("settings that it proposed", COUNT),
        "trials": means("trials that it ran in this launch", COUNT),
        "states": means("these trials by state", COUNTS),
        "flops": means("FLOPs that it spent", NUMBER),
        "belief": means("what it believes at the end, in words; empty without a model", WORDS),
        "ended": means("why it ended; empty if it did not", WORDS),
        "recommended": means("what it recommends at each point: its knobs beside these keys", listed(RECOMMENDED)),
    }
)
_SIMULATION = record(
    {
        "profile": means("the cluster profile", WORDS),
        "nodes": means("nodes of all launches that run side by side", COUNT),
        "devices": means("their devices (GPUs or CPU cores)", NUMBER),
        "launches": means("simulated launches, a seed each; one if nothing in them is random", COUNT),
        "seed": means("of the first launch", COUNT),
        "failures_per_hour": means("failures of nodes an hour, of the whole cluster", NUMBER),
        "preemptions_per_hour": means("preemptions of nodes an hour, of the whole cluster", NUMBER),
        "away_seconds": means("seconds until a node returns", NUMBER),
        "startup_seconds": means("seconds until a worker trains", NUMBER),
        "checkpoint_seconds": means("seconds of training between checkpoints; null without any", NUMBER),
        "makespan_hours": means(
            "hours until the last trial has ended: mean, and the ends of the middle 90 % of the launches",
            whole(
                {
                    "mean": means("over the launches", NUMBER),
                    "low": means("5 % quantile", NUMBER),
                    "high": means("95 % quantile", NUMBER),
                }
            ),
        ),
        "least_hours": means(
            "hours that no schedule can undercut: the work over the devices, or the longest trial", NUMBER
        ),
        "device_hours": means(_HOURS + "of all nodes until their launch has ended", NUMBER),
        "useful_device_hours": means(_HOURS + "training that was kept", NUMBER),
        "wasted_device_hours": means(_HOURS + "training that was lost, by reason", named(NUMBER)),
        "starting_device_hours": means(_HOURS + "workers that start", NUMBER),
        "away_device_hours": means(_HOURS + "nodes that are gone", NUMBER),
        "idle_device_hours": means(_HOURS + "nothing to run", NUMBER),
        "idle_share": means("the idle share of all device-hours", NUMBER),
        "useful_flops": means("FLOPs that were kept, mean over the launches", NUMBER),
        "wasted_flops": means("FLOPs that were lost, by reason, mean over the launches", named(NUMBER)),
        "interruptions": means("of nodes in a launch, mean over the launches", NUMBER),
        "ended": means("trials that ended, mean over the launches", NUMBER),
        "given_up": means("trials that were given up, mean over the launches", NUMBER),
        "stalls": means("times that no node came for longer than a launch waits, mean over the launches", NUMBER),
        "cost": means("in the currency of the profile's price of a device-hour; null without a price", NUMBER),
        "budget": means("the sentence on the bound of the budget that is reached; null if none is", TEXT),
        "searches": means("how the search of each launch ended; empty for a sweep that does not search", _SEARCHED),
    }
)
_POINT = whole(
    {
        "point": means("the scientific knobs that all of its trials share", SETTING),
        "params": means("parameters of a model", NUMBER),
        "params_non_embedding": means("without embeddings and output head (N)", NUMBER),
        "tokens": means("tokens that a trial trains on (D)", NUMBER),
        "trials": means("trials of this point", COUNT),
        "flops": means("FLOPs of all of them", NUMBER),
        "memory_bytes": means("bytes that its largest trial holds", NUMBER),
        "resources": means("what a trial holds while it runs, in words; null where it fits no node", TEXT),
        "misfit": means("why no node fits a trial of this point; null if one does", TEXT),
        "device_hours": means("device-hours of all of them", NUMBER),
    }
)
_LISTED = {
    "trial_id": means("the id of the trial", WORDS),
    "params": means("parameters of the model, or the knob of this name", NUMBER),
    "tokens": means("tokens that it trains on, or the knob of this name", NUMBER),
    "flops": means("its FLOPs", NUMBER),
}
_PROPOSED = {
    "trial_ids": means("the trials of the setting, one for each seed", listed(WORDS)),
    "until": means("the step at which they pause; null to run to their end", NUMBER),
    "reason": means("why the search proposes it", WORDS),
}
_AXIS = whole(
    {
        "values": means(
            "the values; of knobs that are set together, a list of each",
            sometimes(listed({"anyOf": [KNOB, listed(KNOB)]})),
        ),
        "range": means("low and high of what the search draws from", sometimes(listed(NUMBER))),
    }
)


_OPTIONS = {
    "kind": "of the search",
    "seed": "of its random numbers",
    "early_stopping": "when trials end early",
    "early_stopping.checks": "times that a trial pauses for a forecast of its end",
    "early_stopping.first": "share of its steps before the first of them",
    "early_stopping.confidence": "probability of being worse than the best from which it is stopped",
    "samples": "settings drawn at each point",
    "objective": "the metric that it optimizes",
    "maximize": "whether it maximizes the metric",
    "sampler": "of Optuna, as module:Class",
    "options": "of the sampler's constructor",
    "objectives": "of several, the metrics",
    "maximized": "of these, those that are maximized",
    "start": "the setting of the first point, by knob",
    "moves": "steps along each axis that are taken together",
    "stop": "the price of a gain at which it stops",
    "target": "the point at which the interval of the law is narrowed",
    "reduction": "one in so many goes on",
    "first": "share of its steps at which a trial pauses first",
    "members": "trials that train side by side at each point",
    "intervals": "equal parts in which they train",
    "quantile": "share of the worst that continue from one of the best",
    "factor": "by which their knobs are multiplied or divided",
    "resample": "probability that a knob is drawn anew instead",
    "initial": "random settings at each point before any is changed",
    "step": "change along an axis, as a share of its length",
}


def _options() -> Mapping[str, Any]:
    """Return the schema of the settings of a search: the keys of all kinds, each there only for kinds that have it."""
    found: dict[str, Any] = {}
    for model in dict.fromkeys(search_options.KINDS.values()):
        own = {path: meaning for path, meaning in _OPTIONS.items() if path.split(".")[0] in model.model_fields}
        found |= {name: sometimes(part) for name, part in of_type(model, own)["properties"].items()}
    found["start"] = {**found["start"], "additionalProperties": KNOB}
    always = of_type(search_options.SearchOptions, {name: _OPTIONS[name] for name in ("kind", "seed")})["properties"]
    return whole(found | {name: always[name] for name in ("kind", "seed")})


PLAN = {
    "sweep": means("the name of the sweep", WORDS),
    "workload": means("what a trial runs", WORDS),
    "trials": means(
        "their number; of a search, the least and the most that its budget pays for, null where it does not say",
        {"type": ["integer", "array", "null"], "items": COUNT},
    ),
    "flops": means(
        "FLOPs of all trials; of a search, the least and the most",
        {"type": ["number", "array", "null"], "items": NUMBER},
    ),
    "points": means(
        "the scientific points; of a search, their number", {"type": ["array", "integer"], "items": _POINT}
    ),
    "budget": means("the bounds in the sweep file", named(NUMBER)),
    "tokens": means("of all trials", sometimes(NUMBER)),
    "trunks": means(
        "trials that continue the trunk of a shorter one, and the FLOPs that this saves",
        sometimes(
            whole(
                {
                    "trials": means("trials that continue one", COUNT),
                    "saved_flops": means("FLOPs that this saves", NUMBER),
                }
            )
        ),
    ),
    "flops_convention": means("how FLOPs were counted", sometimes(TEXT)),
    "memory_bytes": means("of the largest trial", sometimes(NUMBER)),
    "dropped": means("combinations left out, by reason", sometimes(COUNTS)),
    "retry": means("further attempts after each way to end", sometimes(COUNTS)),
    "device": means("the hardware of the profile", sometimes(WORDS)),
    "device_hours": means("of all trials", sometimes(NUMBER)),
    "hours": means("until all trials have ended", sometimes(NUMBER)),
    "time_basis": means("what the times were computed from", sometimes(TEXT)),
    "slots": means("trials at once", sometimes(NUMBER)),
    "listing": means(
        "with --trials: every trial, with the knobs of the axes and the derived ones beside these keys",
        sometimes(listed(beside(whole(_LISTED), KNOB))),
    ),
    "search": means(
        "the settings of the search: the table `[search]` of the sweep file, with defaults", sometimes(_options())
    ),
    "axes": means(
        "the knobs that the search sets, those that are set together joined by commas", sometimes(named(_AXIS))
    ),
    "settings": means("settings that the search may propose; null where it draws from a range", sometimes(NUMBER)),
    "seeds": means("seeds of each setting", sometimes(COUNT)),
    "known": means("settings whose outcome the store has", sometimes(COUNT)),
    "spent_flops": means("FLOPs of what the store has", sometimes(NUMBER)),
    "setting_flops": means("FLOPs of the cheapest and of the most expensive setting", sometimes(each(NUMBER))),
    "grid_flops": means("FLOPs of all settings", sometimes(NUMBER)),
    "proposals": means(
        "what the search would run first: the knobs of each setting beside these keys",
        sometimes(listed(beside(whole(_PROPOSED), KNOB))),
    ),
    "simulation": means("with --simulate: the launch on a virtual clock", sometimes(_SIMULATION)),
}
