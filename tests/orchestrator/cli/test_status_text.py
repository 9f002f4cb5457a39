"""What `sweeplaw status` prints of a launch that lives."""

from __future__ import annotations

import dataclasses
import datetime as dt

from sweeplaw.orchestrator.cli.sweeps import status
from sweeplaw.orchestrator.cli.sweeps.status import _text as text
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.monitor.status import Progress
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.store.heartbeats import Lease

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)
TWO = frozenset({"a", "b"})
PROGRESS = Progress(
    states={"completed": 1200, "failed": 3},
    imported=7,
    missing=40,
    waiting=30,
    claimed=8,
    running=2,
    packs=(
        RunningPack("later", "L", None, 1.0, NOW - MINUTE, NOW - MINUTE, 1, {}),
        RunningPack("first", "L", "node", 1.0, NOW - 3 * MINUTE, NOW - 2 * MINUTE, 5, {"t": 1500, "u": 9, "v": None}),
    ),
    relaunch={"missing": 38, "failed": 3},
    leases=(
        Lease("L", "here:1", TWO, NOW + MINUTE),
        Lease("M", "there:2", frozenset("a"), NOW - MINUTE),
        Lease("N", "here:3", TWO, NOW + MINUTE, dead=True),
        Lease("O", "unknown", TWO, NEVER),
    ),
    dead=("N",),
    rate=0.25,
    seconds_left=160.0,
    best_loss=2.3456789,
    usage=Usage(5400.0, {"worker died": 600.0, "node died": 1200.0}, {"worker died": 2, "node died": 1}),
    faults=(),
)


def test_the_text_has_counts_losses_pace_leases_and_packs() -> None:
    assert text(PROGRESS, NOW, "s").splitlines() == [
        "       30  planned, not claimed by a launch",
        "        8  claimed by a launch",
        "        2  running",
        "    1,200  completed",
        "        3  failed",
        "        7  of these imported",
        "       41  a relaunch would run (38 missing, 3 failed)",
        "best loss 2.34568",
        "2.00 h of device time, 25.0 % of it wasted: 20.0 min node died (1x), 10.0 min worker died (2x)",
        "recently 15.0 trials a minute, 3 min left at this rate",
        "launch L on here:1 holds 2 trials, lease ends in 60 s",
        "launch M on there:2 holds 1 trial, lease ended 60 s ago",
        "launch N on here:3 holds 2 trials, its process is gone",
        "launch O on unknown holds 2 trials, no heartbeat",
        "  t and 2 in the same pack at step 1,500 on node, for 120 s, 2 queued behind",
        "  later, for 60 s, 1 queued behind",
    ]


def test_of_many_packs_those_that_began_first_are_shown() -> None:
    packs = tuple(
        RunningPack(f"p{number}", "L", None, 1.0, NOW - number * MINUTE, NOW - MINUTE, 0, {}) for number in range(21)
    )
    lines = text(dataclasses.replace(PROGRESS, packs=packs, leases=()), NOW, "s").splitlines()
    assert lines[-21:] == [
        *(f"  p{number}, for 60 s" for number in range(20, 0, -1)),
        "  (1 more pack; --json for all)",
    ]
    shown = text(dataclasses.replace(PROGRESS, packs=packs[1:], leases=()), NOW, "s")
    assert shown.endswith("  p1, for 60 s")
    idle = text(dataclasses.replace(PROGRESS, running=0, claimed=0, packs=(), leases=()), NOW, "s")
    assert "trials a minute" not in idle
    claimed = dataclasses.replace(PROGRESS, running=0, seconds_left=None, packs=(), leases=())
    assert text(claimed, NOW, "s").endswith("recently 15.0 trials a minute")


def test_as_json_every_field_is_there() -> None:
    values = status._values(PROGRESS, NOW)
    assert list(values) == [*status.PLAIN, "leases", "packs", "failures", "searches", "device_seconds"]
    assert {name: values[name] for name in status.PLAIN} == {name: getattr(PROGRESS, name) for name in status.PLAIN}
    assert values["leases"][1:] == [
        {"launch_id": "M", "holder": "there:2", "trials": 1, "alive": False, "expires_in_seconds": -60.0},
        {"launch_id": "N", "holder": "here:3", "trials": 2, "alive": False, "expires_in_seconds": 60.0},
        {"launch_id": "O", "holder": "unknown", "trials": 2, "alive": False, "expires_in_seconds": None},
    ]
    assert values["leases"][0]["alive"]
    assert [pack["pack_id"] for pack in values["packs"]] == ["later", "first"]
    usage = PROGRESS.usage
    assert values["device_seconds"] == {"useful": 5400.0, "wasted": usage.wasted, "losses": usage.losses}


def test_what_is_not_known_or_not_there_is_left_out() -> None:
    nothing = dataclasses.replace(
        PROGRESS, waiting=None, claimed=0, running=0, imported=0, packs=(), leases=(), best_loss=None, usage=Usage(90.0)
    )
    assert text(nothing, NOW, "s").splitlines() == [
        "        0  claimed by a launch",
        "        0  running",
        "    1,200  completed",
        "        3  failed",
        "       41  a relaunch would run (38 missing, 3 failed)",
        "90.0 s of device time, none of it wasted",
    ]
