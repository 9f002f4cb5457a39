"""Answers of the commands that compare recipes, and the sizes of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.analysis.recipes.comparison import RecipeComparison
from sweeplaw.analysis.recipes.rungs import Rung
from sweeplaw.analysis.recipes.study.compute import RecipeCost
from sweeplaw.analysis.recipes.study.decay import BestDecay, RuleCheck, Slopes
from sweeplaw.analysis.recipes.study.study import LeaveOneOut
from sweeplaw.orchestrator.schemas.answers.hyperlaws import NOTES, SOURCE
from sweeplaw.orchestrator.schemas.answers.laws import INTERVAL
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
    of_type,
    record,
    rows,
    whole,
)

_EFFECT = {
    "name": "which points",
    "points": "points compared",
    "pairs": "pairs of runs",
    "difference": "second minus first, mean over the points, in the unit of the loss",
    "low": "low end of its interval; null if the noise is unknown",
    "high": "high end of its interval; null if the noise is unknown",
    "p": "p-value of no difference; null if the noise is unknown",
    "corrected": "the same, corrected for the number of comparisons (Holm)",
    "noise": "standard deviation of one run over seeds; null if unknown",
    "detectable": "the smallest difference that as many runs would show with a chance of 80 %; null if unknown",
    "more": "further pairs that would show this difference with that chance; null if unknown or out of reach",
    "seconds": "device-seconds of these; null if unknown",
    "flops": "FLOPs of these; null if unknown",
    "size": "N of the points; null for all of them",
}
_COMPARISON = {
    "first": "name of the first recipe",
    "second": "name of the second recipe",
    "differing": "the knobs in which they differ, with the values of both as text",
    "paired": "whether runs of one seed were subtracted from each other",
    "level": "of the intervals",
    "overall": "the difference over all points",
    **{f"overall.{name}": meaning for name, meaning in _EFFECT.items()},
    "by_size": "the difference at each N",
    **{f"by_size.{name}": meaning for name, meaning in _EFFECT.items()},
    "speed_up": "of the second: compute that the first needs over that of the second, for the second's loss",
    "speed_up.value": "the factor, below 1 where the first is better; null with the reason in the note",
    "speed_up.low": "low end of its interval",
    "speed_up.high": "high end of its interval",
    "speed_up.points": "points behind it",
    "speed_up.law": "the law of the first that it is read from",
    "speed_up.note": "a remark; empty without one",
    "notes": "remarks",
    "same": "whether both have the same losses in all runs and no knob differs: then nothing is tested",
}
COMPARISON = of_type(RecipeComparison, _COMPARISON)
_RUNG = {
    "value": "the size",
    "rows": "runs there",
    "excess": "of their losses over the law of the others, relative to the loss; null without a law",
    "error": "standard error of the excess; null without a law",
    "errors_off": "the excess in standard errors; null if it cannot be judged",
    "corrected": "p-value of no excess, corrected for the number of sizes (Holm); null if it cannot be judged",
    "edges": "sentences on knobs whose best value is the lowest or the highest tried",
}


def _rung() -> dict[str, Any]:
    found = of_type(Rung, _RUNG)
    found["properties"]["off"] = means("whether it deviates from the others", TRUTH)
    found["required"] = [*found["required"], "off"]
    return found


RUNGS = {
    "axis": means("the axis of the sizes", WORDS),
    "law": means("the law through all the others", WORDS),
    "rungs": means("each size, and how far the law is off there", listed(_rung())),
    "warnings": NOTES,
}
_LIMIT = {
    "axis": means("the axis that grows without end", WORDS),
    "x": means("its values", listed(NUMBER)),
    "losses": means("the loss at each, nats a token", listed(NUMBER)),
    "limit": means("the loss that they tend to; null if there is none", NUMBER),
    "interval": means("of the limit; null without a limit or without errors", INTERVAL),
    "status": means("law, interpolation, given, degenerate or too few", WORDS),
    "params": means("C, A and alpha of C + A x^-alpha; null without a law", by_name(NUMBER)),
    "noise": means("where its errors come from; empty if none are known", WORDS),
    "notes": NOTES,
}
_REACHED = {
    "U": means("unique tokens", NUMBER),
    "loss": means("the loss reached, nats a token", NUMBER),
    "what": means("a limit, or the lowest measured", WORDS),
    "noise": means("where its error comes from; empty if none is known", WORDS),
    "interval": means("of the loss; null if no errors are known", INTERVAL),
}
_RECIPE = {
    "limits": means("the axes taken to their limit, of K and N", listed(WORDS)),
    "reached": means("what it reaches at each U", rows(_REACHED)),
    "K": means(
        "limits of many members, of each setting at each N and U: these beside the keys",
        listed(beside(whole(_LIMIT), KNOB)),
    ),
    "N": means("limits of large models at each U", rows({"U": means("unique tokens", NUMBER), **_LIMIT})),
    "U": means("the law over the data; null without one", record({"recipe": means("the recipe", WORDS), **_LIMIT})),
    "settings": means("settings tried", COUNT),
}
_MULTIPLE = {
    "recipe": means("the recipe", WORDS),
    "U": means("unique tokens", NUMBER),
    "what": means("whose loss it is", WORDS),
    "loss": means("this loss, nats a token", NUMBER),
    "multiple": means("times more data that the standard recipe needs for it; null if infinite or unknown", NUMBER),
    "infinite": means("whether no data is enough", TRUTH),
    "interval": means("of the multiple; null if no errors are known", INTERVAL),
}
_LEFT_OUT = {
    "recipe": "the recipe",
    "u": "unique tokens",
    "quantity": "what changes: its loss, or its multiple",
    "axis": "the axis of which one value is left out",
    "without": "this value",
    "value": "the quantity without it; null if it is not defined",
    "change": "how much it changes; null if it is not defined",
}
_COST = {
    "recipe": "the recipe",
    "u": "unique tokens",
    "n": "parameters of its best measured model there",
    "k": "members of it",
    "loss": "its loss, nats a token",
    "training": "FLOPs of all members and of the teachers that they learnt from; null if unknown",
    "estimated": "whether some are estimated as 6 N K tokens",
    "tuning": "FLOPs of all runs of the recipe there, without teachers; null if unknown",
    "inference": "FLOPs of a token: 2 N K",
}
_DECAY = {
    "recipe": "the recipe",
    "n": "parameters",
    "u": "unique tokens",
    "decay": "the weight decay of lowest loss, the other knobs at their best",
    "loss": "this loss, nats a token",
    "tried": "all decays there, rising",
}


def _decay() -> dict[str, Any]:
    found = of_type(BestDecay, _DECAY)
    found["properties"]["ratio"] = means("over the usual 0.1", NUMBER)
    found["properties"]["edge"] = means("whether it is the lowest or the highest tried", TRUTH)
    found["required"] = [*found["required"], "ratio", "edge"]
    return found


_SLOPES = {
    "recipe": "the recipe",
    "n": "exponent of N in the best decay; null if unknown",
    "n_half": "half the width of its interval",
    "u": "exponent of U in the best decay; null if unknown",
    "u_half": "half the width of its interval",
    "cells": "places behind it",
}
_RULE = {
    "recipe": "the recipe",
    "n": "parameters",
    "u": "unique tokens",
    "single": "the setting of the best single model",
    "rule": "the same at twice the epochs and half the decay",
    "best": "the setting of the best members",
    "difference": "limit by the rule less the lowest limit of the other settings, nats; null if not tested",
    "interval": "low and high of its interval; null if unknown",
    "chance": "share of draws in which the rule has the lowest limit; null if not tested",
    "held": "whether it has the lowest limit; null if not tested",
    "tested": "settings with a limit there",
}


def _rule() -> dict[str, Any]:
    found = of_type(RuleCheck, _RULE)
    for name in ("single", "rule", "best"):
        found["properties"][name]["additionalProperties"] = dict(KNOB)
    return found


STUDY = {
    "standard": means("the recipe whose data the others save; null without one", TEXT),
    "level": means("of the intervals", NUMBER),
    "draws": means("draws behind the intervals", COUNT),
    "recipes": means("each recipe by name", named(whole(_RECIPE))),
    "multiples": means("what each is worth in data of the standard recipe", rows(_MULTIPLE)),
    "sensitivity": means("how much changes if one value is left out", listed(of_type(LeaveOneOut, _LEFT_OUT))),
    "compute": means("the best measured model of each recipe, and its FLOPs", listed(of_type(RecipeCost, _COST))),
    "weight_decay": means("the best weight decay at each N and U", listed(_decay())),
    "weight_decay_slopes": means("how it moves with N and U", listed(of_type(Slopes, _SLOPES))),
    "member_rule": means("whether members want twice the epochs at half the decay", listed(_rule())),
    "notes": NOTES,
}
_RETAINED = {
    "name": means("where: the N and U, or what was asked for", WORDS),
    "single": means("loss of the best single model, nats a token", NUMBER),
    "student": means("loss of the student, nats a token", NUMBER),
    "teacher": means("loss of the teacher, nats a token", NUMBER),
    "share": means("of the gain from single model to teacher; null if the teacher is not better", NUMBER),
    "note": means("a remark; empty without one", WORDS),
    "interval": means("of the share; null if no errors are known", INTERVAL),
}
RETAINED = means("the share of an ensemble's gain that its student keeps", rows(_RETAINED))
CROSSING = {
    "axis": means("the horizontal axis", WORDS),
    "low": means("low end of the range searched", NUMBER),
    "high": means("high end of the range searched", NUMBER),
    "estimate": means("where the two estimates cross; null if they do not in the range", NUMBER),
    "probability": means("share of paired draws that cross", NUMBER),
    "interval": means("of the crossing, over the draws that cross", INTERVAL),
    "a_better_at_low": means("share of draws in which the first is lower at the low end", NUMBER),
    "a_better_at_high": means("share of draws in which the first is lower at the high end", NUMBER),
    "overtakes": means("share in which the first is below the second at the high end and not at the low one", NUMBER),
    "multiple": means("draws that cross more than once", COUNT),
    "within": means(
        "of where the winner is ahead for good, over all draws; an end outside the range is null", INTERVAL
    ),
    "located": means("whether the draws show that one overtakes the other inside the range", TRUTH),
    "verdict": means("the same as a sentence, in which A is the first and B the second", WORDS),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "compare": listed(COMPARISON),
    "rungs": record({"source": SOURCE, **RUNGS}),
    "recipes": record(
        {
            "sources": means("the stores or tables", listed(WORDS)),
            **STUDY,
            "retained": RETAINED,
            "crossings": means(
                "where one recipe overtakes another",
                rows(
                    {"first": means("the first recipe, A", WORDS), "second": means("the second, B", WORDS), **CROSSING}
                ),
            ),
        }
    ),
}
