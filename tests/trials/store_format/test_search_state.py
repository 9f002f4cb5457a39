"""Where a search stands, as its launch publishes it: read as it was written, and nothing else passes for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format import search_state

WRITTEN: dict[str, Any] = {
    "sweep": "s",
    "kind": "law",
    "objective": "val_loss",
    "maximize": False,
    "proposals": 7,
    "known": 5,
    "left": {"flops": 1e18},
    "belief": "flat",
    "ended": "",
    "recommended": [
        {
            "setting": {"N": 1e6, "lr": 0.1},
            "value": 2,
            "intervals": {"lr": [0.05, 0.2]},
            "basis": "a law",
            "edges": {"lr": "low"},
            "trust": None,
            "certified": True,
        }
    ],
    "running": {"ab": {"number": 6, "reason": "it may be better"}},
}


def loaded(store: Store, **changed: Any) -> tuple[search_state.SearchState | None, list[str]]:
    faults: list[str] = []
    path = Path(store.location.path(f"{search_state.FOLDER}/one.json"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**WRITTEN, **changed}))
    return search_state.load(store.location, faults).get("one"), faults


@pytest.mark.parametrize("maximize", [True, False])
def test_a_state_is_read_as_it_was_written(store: Store, maximize: bool) -> None:
    state, faults = loaded(store, maximize=maximize)
    assert faults == []
    assert state is not None
    assert (state.sweep, state.kind, state.objective, state.maximize) == ("s", "law", "val_loss", maximize)
    assert (state.proposals, state.known, state.left) == (7, 5, {"flops": 1e18})
    assert (state.belief, state.ended, state.running) == ("flat", "", WRITTEN["running"])
    (row,) = state.recommended
    assert (row["value"], row["intervals"], row["trust"], row["certified"]) == (2.0, {"lr": (0.05, 0.2)}, None, True)


@pytest.mark.parametrize(
    "changed",
    [
        *({"sweep": 3}, {"kind": None}, {"proposals": 1.5}, {"known": "5"}, {"left": []}, {"left": {"flops": "much"}}),
        *({"running": {"ab": {"number": "x", "reason": ""}}}, {"running": {"ab": {}}}, {"recommended": 3}),
        *({"recommended": [{**WRITTEN["recommended"][0], **odd}]} for odd in (
            {"certified": 3}, {"trust": "a"}, {"value": None}, {"intervals": {"lr": [1]}}, {"edges": {"lr": 1}}
        )),
    ],
)  # fmt: skip
def test_what_is_no_state_is_damage(store: Store, changed: dict[str, Any]) -> None:
    state, faults = loaded(store, **changed)
    assert state is None
    assert len(faults) == 1
    assert f"{search_state.FOLDER}/one.json" in faults[0]


def test_of_several_launches_the_state_with_the_most_proposals_counts_and_of_equal_ones_the_latest() -> None:
    def state(sweep: str, proposals: int, belief: str) -> search_state.SearchState:
        return search_state.SearchState(sweep, "local", "val_loss", False, proposals, 0, {}, belief)

    states = {
        "1": state("a", 20, "knows"),
        "2": state("a", 11, "left"),
        "3": state("b", 5, "old"),
        "4": state("b", 5, "new"),
    }
    assert {sweep: found.belief for sweep, found in search_state.foremost(states).items()} == {"a": "knows", "b": "new"}
