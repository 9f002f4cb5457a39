"""One trial as a store knows it: of a row, of a plan alone, of a search; by the beginning of its id."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.adaptive import published_search
from sweeplaw.orchestrator.monitor import trial_view
from sweeplaw.orchestrator.store import exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.search_state import SearchState
from tests.conftest import make_points, make_record


@pytest.mark.heavy
def test_a_trial_that_is_only_planned_has_the_facts_of_the_launch_that_plans_it(store: Store) -> None:
    store.add_launch("one", {"sweep": "first"}, ["aaaa1", "aaaa2"])
    store.add_launch("two", {"sweep": "second"}, ["bbbb1"])
    for trial, sweep in (("aaaa2", "first"), ("bbbb1", "second")):
        assert trial_view.find(store, trial[:5]) == trial
        found = trial_view.view(store, trial)
        assert (found.launch["sweep"], dict(found.row), dict(found.knobs)) == (sweep, {}, {})
        assert (found.attempts.height, found.curve.height, found.proposed) == (0, 0, "")
    assert trial_view.view(store, "none").launch == {}
    with pytest.raises(InputError, match=r"2 trials of .* begin with 'aaaa': aaaa1, aaaa2… \(accepted: one id\)"):
        trial_view.find(store, "aaaa")


def test_a_trial_without_a_row_was_proposed_by_the_search_that_runs_it(store: Store) -> None:
    for number, (sweep, kind, trial) in enumerate([("first", "law", "aaaa1"), ("second", "tpe", "bbbb1")]):
        running = {trial: {"number": number, "reason": "to look here"}}
        state = SearchState(sweep, kind, "val_loss", False, 9, 5, {}, running=running)
        published_search.publish(store.location, sweep, state)
    proposed = [trial_view.view(store, trial).proposed for trial in ("aaaa1", "bbbb1", "none")]
    assert proposed == ["proposal 0 of the law search: to look here", "proposal 1 of the tpe search: to look here", ""]


@pytest.mark.heavy
def test_a_trial_that_ran_has_its_latest_row_its_attempts_and_the_curve_of_the_latest(store: Store) -> None:
    store.add_launch("one", {"sweep": "first"})
    store.add_launch("two", {"sweep": "second", "scientific": ["width"], "sweep_file": 'workload = "surrogate"'})
    rows = [make_record(5, attempt=1, state="failed", loss=None, launch="one"), make_record(5, attempt=2, launch="two")]
    for launch, row in zip(("one", "two"), rows, strict=True):
        with store.writer(launch) as writer:
            writer.write([row], make_points(row, steps=row.attempt + 1))
    found = trial_view.view(store, rows[0].spec.trial_id)
    assert (found.row["state"], found.row["attempt"], "message" in found.row) == ("completed", 2, False)
    assert dict(found.knobs) == dict(rows[1].spec.knobs)
    assert found.launch["sweep"] == "second"
    assert found.attempts.select("attempt", "state", "launch_id").rows() == [
        (1, "failed", "one"), (2, "completed", "two")
    ]  # fmt: skip
    assert found.curve["step"].to_list() == [1, 2, 3]
    assert "val_loss" not in found.curve.columns, "a column without a value is left out"
    assert toml_file.parse(trial_view.alone(found)) == {
        "name": "a sweep",
        "workload": "surrogate",
        "seeds": [5],
        "scientific": {"lr": [rows[1].spec["lr"]]},
        "fixed": {},
    }


@pytest.mark.heavy
def test_an_excluded_trial_is_shown_with_its_row_and_the_reason(store: Store) -> None:
    row = make_record(5, state="diverged", loss=None, launch="one")
    store.add_launch("one", {"sweep": "first"})
    with store.writer("one") as writer:
        writer.write([row], make_points(row, steps=2))
    trial = row.spec.trial_id
    exclusions.exclude(store, [trial], "bad node")
    found = trial_view.view(store, trial)
    assert (found.row["state"], found.row["exclusion_reason"], found.launch["sweep"]) == (
        "diverged", "bad node", "first"
    )  # fmt: skip
    assert dict(found.knobs) == dict(row.spec.knobs)
    assert toml_file.parse(trial_view.alone(found))["seeds"] == [5]
    shown = CliRunner().invoke(app, ["show", store.location.uri, trial]).output.splitlines()
    assert shown[:2] == [f"trial {trial}: diverged", "excluded from the data: bad node"]
