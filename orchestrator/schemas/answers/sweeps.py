"""Answers of the commands that run sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.launch.failures import Failure
from sweeplaw.orchestrator.launch.published_packs import RunningPack
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
    of_type,
    record,
    rows,
    sometimes,
    whole,
)
from sweeplaw.orchestrator.schemas.answers.plans import COUNTS, PLAN, RECOMMENDED, SETTING
from sweeplaw.orchestrator.search.rehearsal.comparison import Exponent, Row
from sweeplaw.trials.store_format.search_state import SearchState

_USED = {
    "useful": means("device-seconds of training that was kept", NUMBER),
    "wasted": means("device-seconds of training that was lost, by reason", named(NUMBER)),
}
_FAILURE = {
    "reason": "what one of the trials says of its end",
    "count": "trials with this reason",
    "trial_id": "the id of the one whose words they are",
}
_FAILURES = means("why trials failed, most frequent first, with one trial of each", listed(of_type(Failure, _FAILURE)))
_PACK = {
    "pack_id": "the id of the pack",
    "launch_id": "the launch that runs it",
    "host": "the machine that it runs on",
    "devices": "devices that it holds",
    "since": "when it started, as the store's clock says",
    "idle_since": "when it last recorded a trial, or started: what it would lose by dying",
    "left": "trials of it that have not ended",
    "steps": "the latest step of each trial that has begun and not ended",
    "about": "the knobs of the first of these, with its planned size, budget and steps",
}
_SEARCH = {
    "sweep": "the sweep that searches",
    "kind": "of the search",
    "objective": "the metric that it optimizes",
    "maximize": "whether it maximizes the metric",
    "proposals": "settings proposed so far",
    "known": "settings with an outcome",
    "left": "what is left of each bound of the budget: trials, FLOPs, device_seconds, wall_seconds",
    "belief": "what it believes, in words; empty without a model",
    "ended": "why it ended; empty while it goes on",
    "recommended": "what it recommends at each point: its knobs beside these keys",
    "running": "trials that run, with the number of their proposal and its reason",
}
SEARCH_STATE = of_type(SearchState, _SEARCH)
SEARCH_STATE["properties"]["recommended"]["items"] = RECOMMENDED
SEARCH_STATE["properties"]["running"]["additionalProperties"] = whole(
    {"number": means("of its proposal, from 0", COUNT), "reason": means("why it was proposed", WORDS)}
)
_LEASE = whole(
    {
        "launch_id": means("the launch", WORDS),
        "holder": means("its host and process", WORDS),
        "trials": means("trials that it claims", COUNT),
        "alive": means("whether its lease is current and its process not known to be dead", TRUTH),
        "expires_in_seconds": means("seconds until the lease ends; null without a heartbeat", NUMBER),
    }
)
_LOG = whole(
    {
        "launch_id": means("the launch that ran the attempt", WORDS),
        "attempt": means("its number, from 1", COUNT),
        "together": means("trials whose output this is, of one pack", COUNT),
        "output": means("what was printed", WORDS),
    }
)
_ATTEMPT = whole(
    {
        "attempt": means("its number, from 1", COUNT),
        "state": means("how it ended", WORDS),
        "message": means("what it says of its end", TEXT),
        "launch_id": means("the launch that ran it", TEXT),
        "pack_id": means("the pack that it was in", TEXT),
        "host": means("the machine that ran it", TEXT),
        "started_at": means("when training began, in UTC", TEXT),
        "ended_at": means("when it ended, in UTC", TEXT),
        "train_seconds": means("seconds of training", NUMBER),
    }
)
_CURVE = {
    "trial_id": means("the id of the trial", WORDS),
    "step": means("updates done", COUNT),
    **{
        name: sometimes(means(meaning, NUMBER))
        for name, meaning in {
            "attempt": "the attempt that measured it, from 1",
            "tokens": "tokens seen",
            "train_loss": "loss of training, nats a token",
            "val_loss": "loss of validation, nats a token",
            "lr": "learning rate",
            "grad_norm": "norm of the gradient",
        }.items()
    },
}
RUN_PLAN = {
    "title": means("the plan in a few words", WORDS),
    "why": means("what it is good for", WORDS),
    "points": means("pairs of N and D to run at, in the table's units", listed(listed(NUMBER))),
    "trials": means("trials of the plan", COUNT),
    "flops": means("FLOPs of all of them", NUMBER),
    "narrower": means(
        "share by which the standard error of the law's loss at the target falls; null for a plan about a setting",
        NUMBER,
    ),
    "knobs": means("values of knobs to try there; null for the best ones", by_name(each(KNOB))),
}
_ROW = {
    "search": "the search",
    "share": "FLOPs that it spent, as a share of those of all settings",
    "mean_regret": "excess of the best run over the best of its cell, relative to the loss: mean over cells and seeds",
    "low": "10 % quantile of the mean regret over seeds",
    "high": "90 % quantile of the mean regret over seeds",
    "worst_cell_regret": "the largest regret of a cell, each a mean over seeds",
    "recommended_regret": "mean regret of what the search recommends",
    "recommended_worst_cell_regret": "the same of the worst cell",
    "trials": "trials run, mean over seeds",
    "seconds": "seconds of CPU for all proposals, mean over seeds",
}
_EXPONENT = {
    "search": "the search whose recommended settings are fitted",
    "knob": "the knob whose best value moves",
    "axis": "the axis that it moves with",
    "mean": "the exponent, mean over seeds",
    "low": "10 % quantile over seeds",
    "high": "90 % quantile over seeds",
    "whole_table": "the same through the noise-free optima of the table",
}
_NOISE = {
    "sd": means("standard deviation of one run, relative to its loss", NUMBER),
    "basis": means("where it comes from", WORDS),
    "regret": means("mean regret of the noise-free optimum, below which differences are noise", NUMBER),
    "shared": means(
        "part of the standard deviation that runs of one value of a knob share; null if none shows", NUMBER
    ),
    "shared_by": means("the knob by which they share it; null if none shows", TEXT),
}
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "plan": record(PLAN),
    "launch": record(
        {
            "launch_id": means("the id of this launch", WORDS),
            "store": means("where the rows are", WORDS),
            "planned": means("trials of the plan", COUNT),
            "already": means("of them, in the store before", COUNT),
            "elsewhere": means("of them, left to other launches", COUNT),
            "ran": means("trials that ended in this launch", COUNT),
            "states": means("the same by state", COUNTS),
            "again": means("attempts that were followed by another", COUNT),
            "device_seconds": means(
                "device time of training",
                whole(_USED),
            ),
            "not_logged": means("rows that a sink did not take, by sink", COUNTS),
            "ended": means("why the launch ended early", TEXT),
            "search_ended": means("why the search ended", TEXT),
            "recommended": means(
                "what the search recommends at each point: its knobs beside these keys", listed(RECOMMENDED)
            ),
            "failed_earlier": means("trials that had failed before and were not run again", COUNT),
            "without_weights": means(
                "ids of completed trials whose weights the sweep keeps and the store lacks", listed(WORDS)
            ),
            "failures": _FAILURES,
            "exit_code": means("that of this command", COUNT),
            "problems": means("what went wrong beside the trials", listed(WORDS)),
        }
    ),
    "serve": record(
        {
            "url": means("the page, with its token", WORDS),
            "host": means("always this machine's own address", WORDS),
            "port": means("the port, also where 0 was asked for", COUNT),
            "token": means("what a browser needs to read the page", WORDS),
            "store": means("the store, as it was named", WORDS),
        }
    ),
    "status": record(
        {
            "states": means("trials by state", COUNTS),
            "imported": means("runs made elsewhere", COUNT),
            "missing": means("planned trials without an outcome; null where no launch recorded its plan", NUMBER),
            "waiting": means("of them, not claimed by a launch", NUMBER),
            "claimed": means("claimed by a launch", COUNT),
            "running": means("running now", COUNT),
            "relaunch": means("trials that a relaunch would run again, by reason", COUNTS),
            "rate": means("trials that ended a second", NUMBER),
            "seconds_left": means("seconds left at this rate; null while nothing runs", NUMBER),
            "best_loss": means("the lowest final loss", NUMBER),
            "faults": means("damage to the store", listed(WORDS)),
            "leases": means("launches that hold claims", listed(_LEASE)),
            "packs": means("what runs where", listed(of_type(RunningPack, _PACK))),
            "failures": _FAILURES,
            "searches": means("where the search of each sweep stands", listed(SEARCH_STATE)),
            "device_seconds": means(
                "device time of training",
                whole({**_USED, "losses": means("number of losses, by reason", COUNTS)}),
            ),
        }
    ),
    "show": record(
        {
            "trial_id": means("the whole id", WORDS),
            "row": means(
                "its row in `trials` (in `excluded` if it is excluded), without what is null: see the columns", SETTING
            ),
            "knobs": means("the value of every knob", SETTING),
            "proposed": means("why the search proposed it; null if none did", TEXT),
            "attempts": means("every attempt with a row, the first first", listed(_ATTEMPT)),
            "curve": means(
                "its rows in `curves`, metrics of the workload beside these keys",
                listed(beside(whole(_CURVE), KNOB)),
            ),
            "log": means("what its latest attempt printed; null if it printed nothing", TEXT),
        }
    ),
    "logs": listed(_LOG),
    "retry": record({"requeued": means("ids of the trials that the next launch runs again", listed(WORDS))}),
    "next": record(
        {
            "source": means("what was read", WORDS),
            "plans": means(
                "what to run next, the most useful for its price first",
                rows({"family": means("the family of runs that it is about", WORDS), **RUN_PLAN}),
            ),
        }
    ),
    "compare-searches": record(
        {
            "source": means("the recorded table", WORDS),
            "y": means("the column of the loss", WORDS),
            "seeds": means("runs of each search", COUNT),
            "cells": means("scientific points", COUNT),
            "settings": means("settings in the table", COUNT),
            "flops": means("FLOPs of all of them", NUMBER),
            "noise": means("of the table", whole(_NOISE)),
            "searches": means("what each search found at each share of the cost", listed(of_type(Row, _ROW))),
            "exponents": means(
                "how the best setting moves, by what each search recommends at its end",
                listed(of_type(Exponent, _EXPONENT)),
            ),
            "notes": means("remarks", listed(WORDS)),
        }
    ),
}
