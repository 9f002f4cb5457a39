"""Answers of the commands about the tuning of knobs: what matters, what transfers, how many draws are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers.hyperlaws import NOTES, READING, SOURCE
from sweeplaw.orchestrator.schemas.answers.notation import (
    COUNT,
    KNOB,
    NUMBER,
    WORDS,
    each,
    listed,
    means,
    named,
    record,
    rows,
    whole,
)
from sweeplaw.orchestrator.schemas.answers.plans import COUNTS, SETTING

_NOISE = {
    "relative_sd": means("standard deviation of a run, relative to its loss", NUMBER),
    "freedom": means("degrees of freedom behind it", COUNT),
    "origin": means("seeds, or neighbours in the grid", WORDS),
}
_FROZEN = {
    "value": means("the value that the knob is held at: its default, or else the level that is best on average", KNOB),
    "cost": means("excess of the loss, the others at their best, relative to it; null if unknown", NUMBER),
}
DECOMPOSED = whole(
    {
        "cell": means("the scientific values", SETTING),
        "rows": means("runs", COUNT),
        "grid_points": means("points of the grid of the knobs", COUNT),
        "filled": means("share of the grid points without a run", NUMBER),
        "best": means("the lowest loss", NUMBER),
        "higher_orders": means("share of the variance that three knobs or more explain together", NUMBER),
        "noise_share": means("share of the variance that is noise; null if unknown", NUMBER),
        "knobs": means("the share of the variance that each knob explains", named(NUMBER)),
        "pairs": means("the share that two knobs explain together", named(NUMBER)),
        "ranking": means("the knobs by share, the largest first", listed(WORDS)),
        "noise": means("of a run; null if it cannot be estimated", record(_NOISE)),
        "within_noise": means("knobs whose share may be noise alone", listed(WORDS)),
        "frozen": means("what is lost where a knob stays at its default", named(whole(_FROZEN))),
    }
)
_SCORED = {
    "workload": means("the values that make the workload", SETTING),
    "phase": means("tuning or evaluation", WORDS),
    "rows": means("runs", COUNT),
    "best": means("its own lowest loss", NUMBER),
    "setting": means("the setting with this loss", SETTING),
    "single": means("relative excess of the one setting; null if it was not run there", NUMBER),
    "list": means("relative excess of the best of the first, of the first two, ... of the order", listed(NUMBER)),
}
TRANSFER = {
    "single": means("the one setting for all workloads", SETTING),
    "order": means("the settings to try, in this order", listed(SETTING)),
    "workloads": means("what each workload gets from them", rows(_SCORED)),
    "profiles": means("by phase, the share of workloads solved within each excess", named(listed(NUMBER))),
    "candidates": means("settings that could be chosen", COUNT),
    "dropped": means("rows left out, by reason", COUNTS),
}
_DRAWN = {
    "k": means("settings drawn", COUNT),
    "picked": means("expected lowest loss of k, by the loss that picks", NUMBER),
    "reported": means("expected loss that is reported of it", NUMBER),
    "flattery": means("the selection bias: by how much the loss that picks is lower than where the other is", NUMBER),
    "excess": means("of the loss reported over that of the best of all, relative to it", NUMBER),
    "reported_interval": means("low and high of the interval of the loss reported; null without one", each(NUMBER)),
    "flattery_interval": means("low and high of the interval of the bias; null without one", each(NUMBER)),
}
_PLACE = {
    "at": means("the cell", SETTING),
    "count": means("settings, the draws", COUNT),
    "best": means("the setting that the best of all is", SETTING),
    "needed": means("draws expected to be within the excess", COUNT),
    "most_needed": means("the same, by the upper ends of the intervals; null if no number is", NUMBER),
    "curve": means("what the best of k is expected to be", rows(_DRAWN)),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "best-of": record(
        {
            "source": SOURCE,
            "knobs": means("whose combinations are the draws", listed(WORDS)),
            "pick": means("the column of the loss that picks", WORDS),
            "report": means("the column of the loss that is reported", WORDS),
            "within": means("the relative excess asked for", NUMBER),
            "level": means("level of the intervals", NUMBER),
            "flattery": means("mean selection bias of the picking loss; null without another loss", NUMBER),
            "places": means("the curve over k of each cell", rows(_PLACE)),
            "notes": NOTES,
            "reading": READING,
        }
    ),
    "importance": record(
        {
            "source": SOURCE,
            "y": means("the column of the loss", WORDS),
            "cells": means("the decomposition of each cell", listed(DECOMPOSED)),
            "notes": NOTES,
        }
    ),
    "transfer": record(
        {
            "source": SOURCE,
            "y": means("the column of the loss", WORDS),
            "profile_at": means("excesses, relative to the best, at which profiles are evaluated", listed(NUMBER)),
            **TRANSFER,
            "notes": NOTES,
        }
    ),
}
