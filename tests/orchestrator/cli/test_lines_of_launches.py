"""What plans, simulations, searches and launches print, line by line, of values written by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sweeplaw.orchestrator.cli.sweeps import launch, plan, search, simulation
from sweeplaw.orchestrator.launch.failures import Failure
from sweeplaw.orchestrator.launch.launch import Launched
from sweeplaw.orchestrator.launch.state import EarlyEnd
from sweeplaw.orchestrator.schedule.device_time import Usage

DONE = Launched(
    launch_id="L",
    planned=12,
    already=3,
    elsewhere=2,
    states={"preempted": 1, "completed": 4, "failed": 2},
    retries=5,
    usage=Usage(60.0),
    end=None,
    problems=("a heartbeat was late",),
    failures=(Failure("no disk", 2, "abc"),),
    failed_earlier=1,
    search_end="its budget is spent",
    recommended=({"N": 1e6, "value": 2.5, "basis": "law", "intervals": {}},),
    without_weights=tuple("abcdefghi"),
)
QUIET = Launched("L", 3, 3, 0, {}, 0, Usage(), None, ())


def test_a_launch_says_all_that_became_of_its_trials(capsys: pytest.CaptureFixture[str]) -> None:
    launch._print(DONE, "my store")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "4 completed, 2 failed, 1 preempted (5 attempts were retried); 3 of 12 were in the store before",
        "60.0 s of device time, none of it wasted",
        "the search ended: its budget is spent",
        "recommended by the search:",
        "  N 1e+06: 2.5 (law)",
        "        2  no disk",
        "           sweeplaw show 'my store' abc",
        "preempted trials will run again on the next launch",
        "1 trial failed in earlier launches; to run them again: sweeplaw retry 'my store' --state failed,out_of_memory",
        "9 completed trials have no saved weights; to retrain them: "
        "sweeplaw retry 'my store' a b c d e f g h …, then launch",
        "2 are being run by another launch",
    ]
    assert printed.err == "problem: a heartbeat was late\n"


@pytest.mark.parametrize(
    ("done", "lines"),
    [
        (QUIET, ["nothing to run; 3 of 3 were in the store before"]),
        (replace(QUIET, end=EarlyEnd("budget", "x")), ["no trial ended; 3 of 3 were in the store before"]),
        (
            replace(QUIET, already=2, states={"preempted": 1}, end=EarlyEnd("preempted", "x")),
            ["1 preempted; 2 of 3 were in the store before", "0.0 s of device time, none of it wasted"],
        ),
        (
            replace(QUIET, without_weights=tuple("abcdefgh")),
            [
                "nothing to run; 3 of 3 were in the store before",
                "8 completed trials have no saved weights; to retrain them: "
                "sweeplaw retry s a b c d e f g h, then launch",
            ],
        ),
    ],
)
def test_a_launch_says_nothing_of_what_did_not_happen(
    done: Launched, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    launch._print(done, "s")
    assert capsys.readouterr() == ("\n".join([*lines, ""]), "")


def test_one_attempt_is_singular(capsys: pytest.CaptureFixture[str]) -> None:
    launch._print(replace(QUIET, retries=1), "s")
    assert capsys.readouterr().out.startswith("nothing to run (1 attempt was retried); 3 of 3")


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (QUIET, 0),
        (replace(QUIET, states={"completed": 1, "diverged": 1}), 0),
        (replace(QUIET, states={"completed": 1, "failed": 1}), 5),
        (replace(QUIET, states={"out_of_memory": 1}), 5),
        (replace(QUIET, states={"preempted": 1}), 5),
        (replace(QUIET, failed_earlier=1), 5),
        (replace(QUIET, end=EarlyEnd("budget", "x"), failed_earlier=1), 4),
        (replace(QUIET, end=EarlyEnd("preempted", "x")), 143),
        (replace(QUIET, end=EarlyEnd("preempted", "x", failing=True)), 5),
    ],
)
def test_the_exit_code_of_a_launch_says_how_it_ended(done: Launched, code: int) -> None:
    assert launch._exit_code(done) == code


def test_a_launch_as_json_has_every_field() -> None:
    assert launch._values(DONE, "s", {"wandb:p": 7}) == {
        "launch_id": "L", "store": "s", "planned": 12, "already": 3, "elsewhere": 2, "ran": 7, "states": DONE.states,
        "again": 5, "device_seconds": {"useful": 60.0, "wasted": {}}, "not_logged": {"wandb:p": 7}, "ended": None,
        "search_ended": "its budget is spent", "recommended": DONE.recommended, "failed_earlier": 1,
        "without_weights": DONE.without_weights, "exit_code": 5, "problems": ("a heartbeat was late",),
        "failures": [{"reason": "no disk", "count": 2, "trial_id": "abc"}],
    }  # fmt: skip
    ended = launch._values(replace(QUIET, end=EarlyEnd("budget", "used up")), "s", {})
    assert (ended["ended"], ended["search_ended"], ended["exit_code"]) == ("used up", None, 4)


COST: dict[str, Any] = {
    "points": [{"misfit": None}] * 41,
    "tokens": 2e9,
    "flops": 4e15,
    "flops_convention": "6ND",
    "device_hours": 3.0,
    "device": "h100",
    "hours": 1.0,
    "slots": 1,
    "trunks": {"trials": 1, "saved_flops": 1e15},
    "time_basis": "as rated",
    "dropped": {"where": 3},
    "retry": {"failed": 1, "hung": 0, "worker_died": 2},
    "budget": {"trials": 7},
}


def test_below_the_table_of_a_plan_is_what_holds_for_all_of_it() -> None:
    unit = "N: parameters without embeddings and output head; memory: per trial; time: device time of all trials"
    assert plan._lines(COST) == [
        "20 points at each end of 41 (--json for all)",
        unit,
        "total: 2B tokens, 4e+15 FLOPs (6ND), about 3.0 h of h100, 60 min on 1 slot",
        "trunks: 1 trial continues the trunk of a shorter one, saving 1e+15 FLOPs (25 %)",
        "basis of the time: as rated",
        "dropped: 3 (where)",
        "retries: failed 1, worker_died 2",
        "budget: trials 7",
    ]
    points = "20 points at each end of 42 (--json for all)"
    unknown = dict.fromkeys(("tokens", "flops", "device_hours", "hours", "trunks", "time_basis", "budget"))
    few = {
        **COST,
        **unknown,
        "points": [{"misfit": f"m{k // 2}"} for k in range(42)],
        "dropped": {},
        "retry": {"failed": 0},
    }
    assert plan._lines(few) == [
        points,
        unit,
        *(f"too large: m{k}" for k in range(20)),
        "too large: 1 more (--json for all)",
        "retries: none",
    ]
    assert plan._lines({**few, "points": [{"misfit": None}] * 40, "flops": 1e6, "flops_convention": ""}) == [
        unit, "total: 1M FLOPs", "retries: none"
    ]  # fmt: skip


def test_memory_has_the_unit_of_its_size() -> None:
    assert [plan._memory(value) for value in (None, 9.4e6, 999e6, 1e9, 2.55e10)] == [
        "–", "9 MB", "999 MB", "1.0 GB", "25.5 GB"
    ]  # fmt: skip


SIMULATED: dict[str, Any] = {
    "profile": "p", "nodes": 1, "devices": 8.0, "launches": 3, "seed": 4, "failures_per_hour": 0.5,
    "preemptions_per_hour": 0.0, "away_seconds": 600.0, "makespan_hours": {"mean": 5.0, "low": 4.0, "high": 6.0},
    "least_hours": 3.0, "device_hours": 40.0, "useful_device_hours": 20.0, "idle_device_hours": 8.0,
    "starting_device_hours": 4.0, "away_device_hours": 2.0, "wasted_device_hours": {"hung": 2.0, "node died": 4.0},
    "wasted_flops": {"node died": 2e12}, "interruptions": 2.5, "cost": 1234.6, "given_up": 0.0, "searches": [],
    "stalls": 0.0, "budget": "",
}  # fmt: skip


def test_a_simulation_says_where_the_time_goes() -> None:
    assert list(simulation.lines(SIMULATED)) == [
        "simulated on p (1 node, 8 devices; 3 launches, seeds from 4):",
        "  makespan  5.0 h (90 %: 4.0 h to 6.0 h); lower bound 3.0 h",
        "  devices   40.0 h: 50.0 % useful, 20.0 % idle, 10.0 % starting, 5.0 % away, 15.0 % wasted",
        "  wasted    2.0 h and 0 FLOPs: hung",
        "  wasted    4.0 h and 2T FLOPs: node died",
        "  nodes     2.5 times away, for 10 min each: failures 0.5 an hour",
        "  cost      1,235 (device_hour_price, without the time that nodes were away)",
    ]
    nothing = {name: 0.0 for name in SIMULATED if name.endswith("device_hours")}
    other = {
        **SIMULATED, **nothing, "nodes": 2, "launches": 1, "wasted_device_hours": {}, "interruptions": 0.0,
        "cost": None, "given_up": 2.0, "stalls": 1.0, "budget": "hours",
        "searches": [{"proposals": 3, "flops": 1e6, "ended": "the budget is spent"}, {"proposals": 4}],
    }  # fmt: skip
    assert list(simulation.lines(other)) == [
        "simulated on p (2 nodes, 8 devices; nothing random):",
        "  makespan  5.0 h",
        "  devices   0 s: 0.0 % useful, 0.0 % idle, 0.0 % starting, 0.0 % away, 0.0 % wasted",
        "  given up  2 trials, whose workers died more often than retry.worker_died allows",
        "  search    3.5 proposals, 1M FLOPs; the budget is spent",
        "  stalls    1 times no node was there for ready_seconds: a launch ends then",
        "  budget    hours: the launch ends before its trials have",
    ]


def test_the_picture_is_of_the_first_launch_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def gantt(launch: str, title: str) -> Any:
        drawn.extend([launch, title])
        return SimpleNamespace(savefig=lambda path, dpi: drawn.extend([path, dpi]))

    monkeypatch.setattr("sweeplaw.orchestrator.schedule.simulated.gantt.gantt", gantt)
    found: Any = SimpleNamespace(
        launches=("first", "second"),
        plan=SimpleNamespace(sweep=SimpleNamespace(name="mine")),
        profile=SimpleNamespace(name="p"),
        conditions=SimpleNamespace(seed=4),
    )
    simulation.draw(found, "x.png")
    assert drawn == ["first", "mine on p, seed 4", "x.png", 150]


OUTLOOK: dict[str, Any] = {
    "sweep": "mine", "search": {"kind": "law"}, "workload": "surrogate", "points": 1,
    "axes": {"lr": {"range": [0.001, 0.1]}, "depth": {"values": [2, 12_000]}},
    "settings": 6, "seeds": 2, "grid_flops": 4e12, "setting_flops": [1e9, 3e9], "budget": {"trials": 9},
    "known": 2, "spent_flops": 5e9, "trials": [0, 9], "flops": [1e10, 1e10],
    "proposals": [
        {"N": 1e6, "lr": 0.0001, "depth": None, "trial_ids": ["a"], "reason": "known best"},
        {"N": 1e6, "lr": [0.01, 0.1], "reason": "edge"},
    ],
}  # fmt: skip


def test_the_outlook_of_a_search_has_its_space_its_cost_and_its_first_proposals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    search.print_outlook(OUTLOOK)
    assert capsys.readouterr().out.splitlines() == [
        "mine: law search of surrogate at 1 point",
        "lr: 0.001 to 0.1",
        "depth: 2, 12k",
        "space: 6 settings x 2 seeds, 4T FLOPs as a grid",
        "a setting costs 1B to 3B FLOPs",
        "budget: trials 9; 2 settings known, 5B FLOPs spent",
        "in all: up to 9 trials, 10B FLOPs",
        "first: N 1e+06, lr 0.0001 (known best)",
        "then: N 1e+06, lr 0.01/0.1 (edge)",
    ]
    absent = {**dict.fromkeys(("settings", "grid_flops", "setting_flops", "trials", "flops")), "known": 0}
    search.print_outlook({**OUTLOOK, **absent, "axes": {}, "budget": {}, "proposals": []})
    assert capsys.readouterr().out.splitlines() == ["mine: law search of surrogate at 1 point", "budget: none"]
    search.print_outlook(
        {**OUTLOOK, **absent, "axes": {}, "settings": 1, "seeds": 1, "trials": [3, 3], "proposals": []}
    )
    assert capsys.readouterr().out.splitlines()[1:] == ["space: 1 setting", "budget: trials 9", "in all: 3 trials"]


def test_a_long_list_of_recommended_settings_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"N": 2_000_000.0, "value": 2.345678, "basis": "surface", "intervals": {"lr": (0.001, 0.002)}, "trust": "x"}
    search.print_recommended([row] * 21)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recommended by the search:"
    assert lines[1:] == ["  N 2e+06: 2.3457 (surface; 95 %: lr 0.001 to 0.002)"] * 20 + [
        "  and 1 more (--json for all)"
    ]
    search.print_recommended([row] * 20)
    assert len(capsys.readouterr().out.splitlines()) == 21
    search.print_recommended([])
    assert capsys.readouterr().out == ""
