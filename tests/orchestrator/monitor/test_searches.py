"""What is said of a search: where it stands, and why a trial was proposed; and the live line of its launch."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.monitor import progress_bar
from sweeplaw.orchestrator.monitor.progress_bar import LaunchProgress
from sweeplaw.orchestrator.monitor.searches import proposed, sentences
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.store_format.search_state import SearchState, foremost

STATE = SearchState("mine", "law", "val_loss", False, 12, 1, {"trials": 1.0, "flops": 2e18, "wall_seconds": 30.0},
                    "E = 1.7", "all is known", running={"t": {"number": 3, "reason": "least known"}})  # fmt: skip


def test_where_a_search_stands_in_words() -> None:
    assert list(sentences(STATE)) == [
        "law search of mine: 12 proposals, 1 setting known; budget left: 1 trial, 2e+18 FLOPs, 30 seconds",
        "  believes: E = 1.7",
        "  ended: all is known",
    ]
    (alone,) = sentences(replace(STATE, left={}, belief="", ended="", proposals=1, known=2))
    assert alone == "law search of mine: 1 proposal, 2 settings known; budget left: not bounded"


@pytest.mark.parametrize(
    ("state", "row", "trial", "sentence"),
    [
        (STATE, {"search_number": 0, "search_known": 1, "search_reason": "first"}, "x",
         "proposal 0 of the law search, which knew 1 result: first"),
        (None, {"search_number": 4, "search_known": 0, "search_reason": "first"}, "x",
         "proposal 4 of a search, which knew 0 results: first"),
        (STATE, {"search_number": 4}, "t", "proposal 4 of the law search: no reason kept"),
        (STATE, {}, "t", "proposal 3 of the law search: least known"),
        (STATE, {"search_number": None}, "x", ""),
        (None, {}, "t", ""),
    ],
)  # fmt: skip
def test_why_a_trial_was_proposed(state: SearchState | None, row: dict[str, Any], trial: str, sentence: str) -> None:
    assert proposed(state, row, trial) == sentence


def test_the_state_of_a_sweep_is_that_with_the_most_proposals_of_several_the_latest() -> None:
    few, many, again = (replace(STATE, proposals=count, belief=belief) for count, belief in
                        ((3, "few"), (5, "many"), (5, "again")))  # fmt: skip
    other = replace(STATE, sweep="other", proposals=0)
    assert foremost({"1": few, "2": many, "3": other, "4": few}) == {"mine": many, "other": other}
    assert foremost({"1": many, "2": again})["mine"].belief == "again"


def test_the_live_line_by_the_clock(record: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Of 4 trials of 1 to 4 GFLOPs, that of 4 took 10 seconds: at that rate the rest takes 15."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    text = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [{}]\ntokens = [1e3]\n[fixed]\nlr = 0.1\n'
    todo = plan(parse(text.format("1e6, 2e6, 3e6, 4e6")))
    state = LaunchState()
    drawn = LaunchProgress(state)
    drawn.started(todo, 2, ClusterInfo(address=None, nodes=(), slots=1, note="shared"))
    assert capsys.readouterr().err == "t: 4 trials on 1 slot, 2 already in the store\nshared\n"
    now[0] = 110.0
    drawn.recorded([replace(record(0, loss=2.25), cost=Cost(flops=6 * 4e6 * 1e3))])
    assert drawn.facts() == "6.0/min · 0:15 left · best 2.2500 · 0 not completed"
    assert capsys.readouterr().err == "", "lines come every 15 seconds"
    now[0] = 3710.0
    drawn.recorded([replace(record(1, state="diverged", loss=1.0), cost=Cost(flops=6 * 1e6 * 1e3))])
    assert drawn.facts() == "0.0/min · 1:00:10 left · best 2.2500 · 1 not completed"
    assert capsys.readouterr().err == f"2/4 {drawn.facts()}\n"
    now[0] = 100.5
    state.belief = "the optimum is inside"
    assert drawn.facts().startswith("4.0/s · ")
    assert drawn.facts().endswith(" · the optimum is inside")


@pytest.mark.parametrize(("seconds", "clock"), [(-1, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00")])
def test_a_clock(seconds: float, clock: str) -> None:
    assert progress_bar._clock(seconds) == clock
