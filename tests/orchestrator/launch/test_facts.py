"""What a store keeps about a launch, field by field, and what it holds of other launches of a search."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch import checkpoints, facts
from sweeplaw.orchestrator.launch.adaptive import known
from sweeplaw.orchestrator.launch.adaptive.others import OtherLaunches
from sweeplaw.orchestrator.launch.facts import launch_facts, planned_points
from sweeplaw.orchestrator.launch.metric_names import MetricNames
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store import claims
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker import provenance
from sweeplaw.trials.record import CurvePoint, TrialRecord
from sweeplaw.trials.spec import later_knobs
from tests.conftest import make_record

SWEEP = """
name = "mine"
description = "why"
workload = "surrogate"
seeds = 2
where = "lr < 0.5 or params > 20"
[scientific]
params = [10, 30]
tokens = [100]
[nuisance]
lr = [0.1, 1.0]
[fixed]
noise = 0.5
[derived]
weight_decay = "lr / 2"
[retry]
failed = 3
[budget]
trials = 99
"""


def test_the_facts_of_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    monkeypatch.setattr(sys, "argv", ["sweeplaw", "launch"])
    made = plan(parse(SWEEP))
    found = launch_facts(made, profile.load("inline"))
    assert found.pop("versions") == provenance.versions()
    assert found.pop("commit") == provenance.commit()
    assert found.pop("later_knobs") == later_knobs(made.sweep.workload.knobs)
    retry = found.pop("retry")
    assert retry["failed"] == 3
    assert found == {
        "sweep": "mine", "description": "why", "sweep_file": SWEEP, "workload": "surrogate",
        "scientific": ["params", "tokens"], "nuisance": ["lr"], "fixed": {"noise": 0.5},
        "derived": {"weight_decay": "lr / 2"}, "planned": 6, "dropped": dict(made.dropped), "budget": {"trials": 99},
        "points": [
            {"params": 10, "params_non_embedding": 10, "tokens": 100, "trials": 2},
            {"params": 30, "params_non_embedding": 30, "tokens": 100, "trials": 4},
        ],
        "cluster": "inline", "host": "here", "command": ["sweeplaw", "launch"],
    }  # fmt: skip
    assert sum(made.dropped.values()) == 2


def test_points_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(parse(SWEEP))
    monkeypatch.setattr(facts, "MOST_POINTS", 2)
    assert len(planned_points(made)) == 2
    monkeypatch.setattr(facts, "MOST_POINTS", 1)
    assert planned_points(made) == []


SEARCH = """
name = "mine"
workload = "surrogate"
[search]
kind = "tpe"
[scientific]
params = [1000, 3000]
tokens = [100000]
[nuisance]
lr = [0.1, 0.2]
[budget]
trials = 9
"""


@pytest.mark.heavy
def test_what_other_launches_of_a_search_hold_counts_and_their_rows_do_not(store: Store) -> None:
    space = Space(parse(SEARCH))
    ledger = known.ledger(space, store)
    small, large = (next(one for one in space.candidates if one.setting.cell == cell) for cell in (0, 1))
    assert small.flops is not None
    assert large.flops == 3 * small.flops
    others = OtherLaunches(space, ledger, store.location, "own")
    assert (others.look([]), others.trials, others.launches, others.flops) == (False, frozenset(), (), 0.0)
    for launch, sweep, held in (
        ("own", "mine", ["mine"]),
        ("other", "mine", [*small.ids, "shared"]),
        ("foreign", "another", ["far"]),
        ("unknown", "", [*large.ids]),
    ):
        if sweep:
            store.add_launch(launch, {"sweep": sweep})
        claims.claim(store.location, held, launch, 60)
    assert others.look(["shared"])
    assert others.trials == {*small.ids, *large.ids}
    assert set(others.launches) == {"other", "unknown"}
    assert others.unrecorded == 2
    assert others.flops == small.flops + large.flops
    assert others.look([])
    assert others.flops == small.flops + 2 * large.flops, (
        "a trial of unknown setting costs as much as the most expensive"
    )
    names = ", ".join(others.launches)
    assert others.sentence([]).startswith(
        f"it can propose nothing until trials that another launch runs ({names}) have"
    )


def test_a_name_beyond_the_limit_is_left_out_of_rows_and_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplaw.orchestrator.launch.metric_names.NAME_LIMIT", 2)
    names = MetricNames()

    def record(**metrics: Any) -> TrialRecord:
        made = make_record(0)
        object.__setattr__(made.outcome, "metrics", metrics)
        return made

    same = record(val_loss=1.0, a=1.0)
    assert names.bounded(same) is same
    point = CurvePoint("t", 1, metrics={"b": 1.0})
    assert names.bounded(point) is point
    assert (names.cut, names.problem()) == (0, None)
    cut = names.bounded(record(val_loss=1.0, a=2.0, c=3.0))
    assert isinstance(cut, TrialRecord)
    assert cut.outcome.metrics == {"val_loss": 1.0, "a": 2.0}
    assert names.bounded(CurvePoint("t", 1, metrics={"b": 1.0, "d": 1.0})) == point
    assert (names.problem() or "").startswith("2 rows had metrics beyond the first 2 names of this launch")


def test_checkpoints_and_weights_have_their_folders(store: Store) -> None:
    assert checkpoints.folder(store.location) == f"{store.location.uri}/checkpoints"
    assert checkpoints.weights_folder(store.location) == f"{store.location.uri}/weights"
