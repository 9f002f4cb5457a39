"""Where a search stands, as its launch publishes it in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import Row
from sweeplaw.trials.store_format import search_state
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.store_format.search_state import SearchState

SWEEP = """
name = "searched"
workload = "surrogate"
[search]
kind = "local"
[budget]
trials = {trials}
[scientific]
params = [1e6, 1e7]
tokens = [1e8]
[nuisance]
lr = {{ log = [1e-4, {highest}], num = 7 }}
batch_sequences = [16, 32, 64, 128, 256]
[fixed]
noise = 0.0
"""


class Watching:
    """Notes what is published while the trials are recorded."""

    def __init__(self, store: Path) -> None:
        self.store, self.seen = store, list[SearchState]()

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None: ...

    def recorded(self, rows: Sequence[Row]) -> None:
        self.seen += search_state.load(locate(str(self.store))).values()


def searched(store: Path, trials: int = 60, highest: float = 1e-1, *observers: Watching) -> SearchState:
    sweep = parse(SWEEP.format(trials=trials, highest=highest))
    launch(plan(sweep), Store.open(store, create=True), Profile(kind="inline"), *observers)
    return list(search_state.load(locate(str(store))).values())[-1]


@pytest.mark.heavy
def test_the_end_of_a_launch_is_published_with_its_certificates(tmp_path: Path) -> None:
    state = searched(tmp_path / "s")
    assert (state.sweep, state.kind, state.objective, state.running) == ("searched", "local", "val_loss", {})
    assert state.ended == "no neighbour is better at any of 2 points"
    assert state.proposals == state.known == 60 - state.left["trials"]
    assert [row["certified"] for row in state.recommended] == [True, True]
    assert [row["edges"] for row in state.recommended] == [{}, {}]
    assert "2 of 2 points certified" in state.belief


@pytest.mark.heavy
def test_an_optimum_at_the_end_of_a_ladder_is_flagged(tmp_path: Path) -> None:
    state = searched(tmp_path / "s", highest=1e-3)
    assert [row["edges"].get("lr") for row in state.recommended] == ["highest", "highest"]
    assert all(row["certified"] for row in state.recommended)


@pytest.mark.heavy
def test_a_search_that_ran_out_of_its_budget_certifies_nothing_it_has_not_looked_at(tmp_path: Path) -> None:
    state = searched(tmp_path / "s", trials=3)
    assert state.ended == "budget.trials = 3 is spent"
    assert state.recommended[0]["certified"] is False
    assert state.left == {"trials": 0}


@pytest.mark.heavy
def test_it_is_published_while_the_launch_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplaw.orchestrator.launch.adaptive.proposals.PUBLISH_SECONDS", 0.0)
    watching = Watching(tmp_path / "s")
    searched(tmp_path / "s", 12, 1e-1, watching)
    assert [state.known for state in watching.seen] == list(range(1, 13))
    assert not any(state.ended for state in watching.seen[:-1])


@pytest.mark.heavy
def test_a_damaged_state_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    searched(tmp_path / "s", 3)
    (name,) = (tmp_path / "s" / "searches").iterdir()
    (tmp_path / "s" / "searches" / "19990101T000000-aaaaaa.json").write_text('{"sweep": 1}')
    faults: list[str] = []
    assert list(search_state.load(locate(str(tmp_path / "s")), faults)) == [name.stem]
    assert len(faults) == 1
    assert "searches/19990101T000000-aaaaaa.json" in faults[0]
    with pytest.raises(InputError, match="cannot be read"):
        search_state.load(locate(str(tmp_path / "s")))
