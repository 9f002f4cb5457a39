"""Answers of the commands that run sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.launch.failures import Failure
from sweeplaw.orchestrator.launch.published_packs import RunningPack
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

_COUNTS = by_name(NUMBER)
_FAILURES = means("why trials failed, most frequent first, with one trial of each", each(of_type(Failure)))
_ENDS = record({"mean": NUMBER, "low": NUMBER, "high": NUMBER})
_SIMULATION = record(
    {
        **dict.fromkeys(("profile",), TEXT),
        **dict.fromkeys(
            (
                *("nodes", "devices", "launches", "seed", "failures_per_hour", "preemptions_per_hour", "away_seconds"),
                *("startup_seconds", "checkpoint_seconds", "least_hours", "device_hours", "useful_device_hours"),
                *("starting_device_hours", "away_device_hours", "idle_device_hours", "idle_share", "useful_flops"),
                *("interruptions", "ended", "given_up", "stalls"),
            ),
            NUMBER,
        ),
        "makespan_hours": _ENDS,
        "wasted_device_hours": _COUNTS,
        "wasted_flops": _COUNTS,
        "cost": ANYTHING,
        "budget": ANYTHING,
        "searches": each(ANYTHING),
    }
)
_POINT = record(
    {
        "point": means("the scientific knobs", by_name(ANYTHING)),
        **dict.fromkeys(("params", "params_non_embedding", "tokens", "trials", "flops", "memory_bytes"), NUMBER),
        "resources": TEXT,
        "misfit": means("why no node fits a trial of this point", TEXT),
        "device_hours": NUMBER,
    }
)
PLAN = {
    "sweep": means("the name of the sweep", TEXT),
    "workload": means("what a trial runs", TEXT),
    "trials": means("their number; of a search, the least and the most", {"type": ["number", "array"]}),
    "flops": means("of all trials; of a search, the least and the most", {"type": ["number", "array", "null"]}),
    "points": means("the scientific points; of a search, their number", {"type": ["array", "number"], "items": _POINT}),
    "budget": means("the bounds in the sweep file", by_name(NUMBER)),
    "tokens": means("of all trials", sometimes(NUMBER)),
    "trunks": means(
        "trials that continue the trunk of a shorter one, and the FLOPs that this saves",
        sometimes(record({"trials": NUMBER, "saved_flops": NUMBER})),
    ),
    "flops_convention": means("how FLOPs were counted", sometimes(TEXT)),
    "memory_bytes": means("of the largest trial", sometimes(NUMBER)),
    "dropped": means("combinations left out, by reason", sometimes(_COUNTS)),
    "retry": means("further attempts after each way to end", sometimes(_COUNTS)),
    "device": means("the hardware of the profile", sometimes(TEXT)),
    "device_hours": means("of all trials", sometimes(NUMBER)),
    "hours": means("until all trials have ended", sometimes(NUMBER)),
    "time_basis": means("what the times were computed from", sometimes(TEXT)),
    "slots": means("trials at once", sometimes(NUMBER)),
    "listing": means("with --trials: every trial, its id and knobs", sometimes(each(by_name(ANYTHING)))),
    "search": means("the settings of the search", sometimes(by_name(ANYTHING))),
    "axes": means("the knobs that the search sets, with their values or ends", sometimes(by_name(ANYTHING))),
    "settings": means("settings that the search may propose", sometimes(NUMBER)),
    "seeds": means("seeds of each setting", sometimes(NUMBER)),
    "known": means("settings whose outcome the store has", sometimes(NUMBER)),
    "spent_flops": means("of what the store has", sometimes(NUMBER)),
    "setting_flops": means("of the cheapest and of the most expensive setting", sometimes(each(NUMBER))),
    "grid_flops": means("of all settings", sometimes(NUMBER)),
    "proposals": means("what the search would run first, with the reasons", sometimes(each(by_name(ANYTHING)))),
    "simulation": means("with --simulate: the launch on a virtual clock", sometimes(_SIMULATION)),
}
_LEASE = record({"launch_id": TEXT, "holder": TEXT, "trials": NUMBER, "alive": FLAG, "expires_in_seconds": NUMBER})
_LOG = record(
    {
        "launch_id": means("the launch that ran the attempt", TEXT),
        "attempt": means("its number, from 1", NUMBER),
        "together": means("trials whose output this is, of one pack", NUMBER),
        "output": means("what was printed", TEXT),
    }
)
_REGRET = means("each search, with what it would have found", each(by_name(ANYTHING)))
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "plan": record(PLAN),
    "launch": record(
        {
            "launch_id": means("the id of this launch", TEXT),
            "store": means("where the rows are", TEXT),
            "planned": means("trials of the plan", NUMBER),
            "already": means("of them, in the store before", NUMBER),
            "elsewhere": means("of them, left to other launches", NUMBER),
            "ran": means("trials that ended in this launch", NUMBER),
            "states": means("the same by state", _COUNTS),
            "again": means("attempts that were repeated, by state", ANYTHING),
            "device_seconds": record({"useful": NUMBER, "wasted": _COUNTS}),
            "not_logged": means("rows that a sink did not take, by sink", _COUNTS),
            "ended": means("why the launch ended early", TEXT),
            "search_ended": means("why the search ended", TEXT),
            "recommended": means("what the search recommends at each point", ANYTHING),
            "failed_earlier": means("trials that had failed before and were not run again", NUMBER),
            "without_weights": means("trials that completed before weights were kept", ANYTHING),
            "failures": _FAILURES,
            "exit_code": means("that of this command", NUMBER),
            "problems": means("what went wrong beside the trials", each(TEXT)),
        }
    ),
    "serve": record(
        {
            "url": means("the page, with its token", TEXT),
            "host": means("always this machine's own address", TEXT),
            "port": means("the port, also where 0 was asked for", NUMBER),
            "token": means("what a browser needs to read the page", TEXT),
            "store": means("the store, as it was named", TEXT),
        }
    ),
    "status": record(
        {
            "states": means("trials by state", _COUNTS),
            "imported": means("runs made elsewhere", NUMBER),
            "missing": means("planned trials without an outcome", NUMBER),
            "waiting": means("of them, not claimed by a launch", NUMBER),
            "claimed": means("claimed by a launch", NUMBER),
            "running": means("running now", NUMBER),
            "relaunch": means("trials that a relaunch would run again, by state", _COUNTS),
            "rate": means("trials that ended a second", sometimes(NUMBER)),
            "seconds_left": means("at this rate", sometimes(NUMBER)),
            "best_loss": means("the lowest final loss", NUMBER),
            "faults": means("damage to the store", each(TEXT)),
            "leases": means("launches that hold claims", each(_LEASE)),
            "packs": means("what runs where", each(of_type(RunningPack))),
            "failures": _FAILURES,
            "searches": means("where each search stands", each(by_name(ANYTHING))),
            "device_seconds": means(
                "device time, of use and wasted by reason",
                record({"useful": NUMBER, "wasted": _COUNTS, "losses": _COUNTS}),
            ),
        }
    ),
    "show": record(
        {
            "trial_id": means("the whole id", TEXT),
            "row": means("its row in `trials`, without what is null", by_name(ANYTHING)),
            "knobs": means("the value of every knob", by_name(ANYTHING)),
            "proposed": means("why the search proposed it", TEXT),
            "attempts": means("every attempt, the first first", each(by_name(ANYTHING))),
            "curve": means("its rows in `curves`", each(by_name(ANYTHING))),
            "log": means("what its latest attempt printed", TEXT),
        }
    ),
    "logs": each(_LOG),
    "retry": record({"requeued": means("ids of the trials that the next launch runs again", each(TEXT))}),
    "next": record(
        {
            "source": means("what was read", TEXT),
            "plans": means("what to run next, the most useful for its price first", each(by_name(ANYTHING))),
        }
    ),
    "compare-searches": record(
        {
            "source": means("the recorded table", TEXT),
            "y": means("the column of the loss", TEXT),
            "seeds": means("runs of each search", NUMBER),
            "cells": means("scientific points", NUMBER),
            "settings": means("settings in the table", NUMBER),
            "flops": means("of all of them", NUMBER),
            "noise": record({"sd": NUMBER, "basis": TEXT, "regret": NUMBER, "shared": NUMBER, "shared_by": TEXT}),
            "searches": _REGRET,
            "exponents": means("how the best setting moves, from what each search recommends", each(by_name(ANYTHING))),
            "notes": means("remarks", each(TEXT)),
        }
    ),
}
