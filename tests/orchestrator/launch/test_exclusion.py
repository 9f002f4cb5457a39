"""Excluded trials: no data for any command, counted as excluded, never run again, and restored on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.tables import diff, tables
from sweeplaw.analysis.tables.files import export
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.exclusion import exclude_where, restore_where
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.retries import requeue
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = """name = "t"
workload = "surrogate"
[scientific]
params = [1000, 2000]
tokens = [50]
[nuisance]
behaviour = ["normal", "failed"]
[retry]
failed = 5
"""


def run(folder: Path) -> Store:
    store = Store.open(folder, create=True)
    launch(plan(parse(SWEEP.replace("failed = 5", "failed = 0"))), store, profile.load("inline"))
    return store


@pytest.fixture
def store(tmp_path):
    return run(tmp_path / "store")


def losses(store: Store) -> int:
    return tables.load(store.location.uri).trials.collect().height


@pytest.mark.heavy
def test_excluded_trials_are_in_no_table_and_counted_with_their_reason(store):
    found = exclude_where(store, "params = 1000 AND behaviour = 'normal'", "  bad node ")
    assert len(found) == 1
    loaded = tables.load(store.location.uri, states=None)
    assert loaded.dropped == {"excluded: bad node": 1}
    assert loaded.trials.collect().height == 3
    assert found[0] not in loaded.curves.collect()["trial_id"].to_list()
    assert loaded.narrowed is not None
    assert found[0] not in loaded.narrowed(found).collect()["trial_id"].to_list()
    answer = run_query(loaded, Query(sql="SELECT trial_id, exclusion_reason FROM excluded"))
    assert answer.frame.rows() == [(found[0], "bad node")]
    assert answer.notes == ("left out: 1 row (excluded: bad node)",)
    assert found[0] not in run_query(loaded, Query(sql="SELECT trial_id FROM best")).frame["trial_id"].to_list()


@pytest.mark.heavy
def test_exports_and_comparisons_leave_excluded_trials_out_and_say_so(store, tmp_path):
    exclude_where(store, "params = 1000", "bad node")
    exported = export.write(store.location.uri, tmp_path / "x.csv", table="trials", where=None)
    assert (exported.rows, exported.dropped) == (2, {"excluded: bad node": 2})
    other = run(tmp_path / "other")
    found = diff.difference(store.location.uri, other.location.uri)
    assert (len(found.only_b), found.same, found.excluded) == (2, 2, (2, 0))


@pytest.mark.heavy
def test_a_launch_never_runs_excluded_trials_again_whatever_the_retry_policy(store):
    exclude_where(store, "behaviour = 'failed'", "known crash")
    assert requeue(store, ["failed"]) == {}
    done = launch(plan(parse(SWEEP)), store, profile.load("inline"))
    assert (done.states, done.already) == ({}, 4)
    found = progress(store)
    assert (found.states, found.relaunch, found.missing) == ({"completed": 2, "excluded": 2}, {}, 0)
    assert restore_where(store, "params = 1000") != []
    assert launch(plan(parse(SWEEP)), store, profile.load("inline")).states == {"failed": 1}


@pytest.mark.heavy
def test_an_exclusion_is_undone_for_the_trials_that_are_named_and_may_be_made_again(store):
    (one,) = exclude_where(store, "params = 1000 AND state = 'completed'", "first")
    exclude_where(store, "state = 'completed'", "second")
    assert losses(store) == 0
    assert restore_where(store, f"trial_id = '{one}'") == [one]
    assert tables.load(store.location.uri).dropped == {"excluded: second": 1, "state failed": 2}
    assert restore_where(store, "state = 'failed'") == []
    assert exclude_where(store, f"trial_id = '{one}'", "third") == [one]
    assert losses(store) == 0
    assert len(restore_where(store, "state = 'completed'")) == 2
    assert losses(store) == 2
    assert tables.load(store.location.uri).dropped == {"state failed": 2}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "[" * 100_000, '{"trial_ids": ["a"]}', '{"trial_ids": "a", "reason": "x"}'),
        *('{"trial_ids": ["a"], "undoes": 3}', '{"trial_ids": ["a"], "reason": "x", "undoes": []}'),
        '{"trial_ids": [1], "reason": "x"}',
    ],
)
def test_a_damaged_file_is_named_and_the_others_count(store, content):
    exclude_where(store, "state = 'completed'", "bad node")
    Path(store.location.path("exclusions/damaged.json")).write_text(content)
    loaded = tables.load(store.location.uri)
    assert loaded.dropped["excluded: bad node"] == 2
    assert ["exclusions/damaged.json" in fault for fault in loaded.faults] == [True]
    assert len(Store.open(store.location.uri).finished()) == 4
    assert CliRunner().invoke(app, ["query", store.location.uri]).exit_code == 3


@pytest.mark.heavy
def test_the_command_excludes_and_restores(store):
    def ask(*words: str) -> list[str]:
        done = CliRunner().invoke(app, ["exclude", store.location.uri, "--json", "--where", *words])
        assert done.exit_code == 0, done.output
        return next(iter(json.loads(done.output).values()))

    assert len(ask("params = 1000", "--reason", "why not")) == 2
    assert len(ask("params = 1000", "--reason", "why not")) == 0
    assert len(ask("state = 'completed'", "--undo")) == 1
    for words in (["params > 0"], ["params > 0", "--undo", "--reason", "x"], ["nothing > 0", "--undo"]):
        with pytest.raises(InputError):
            CliRunner().invoke(app, ["exclude", store.location.uri, "--where", *words], catch_exceptions=False)
    with pytest.raises(InputError, match="needs a reason"):
        exclude_where(store, "params > 0", " ")


@pytest.mark.heavy
def test_the_command_says_in_words_how_many_trials_it_changed(store):
    notes = [
        CliRunner().invoke(app, ["exclude", store.location.uri, "--where", "params = 1000", *words]).output
        for words in (["--reason", "why not"], ["--reason", "why not"], ["--undo"], ["--undo"])
    ]
    assert notes == [
        "2 trials excluded from the data (--undo restores)\n",
        "nothing changed: EXPR holds for no trial in the data\n",
        "2 trials restored\n",
        "nothing changed: EXPR holds for no excluded trial\n",
    ]


@pytest.mark.heavy
def test_all_trials_are_excluded_by_true_or_their_ids_alone(store):
    for where in ("val_loss / 0 > 1 OR state = 'failed'", "params > 0", "1 = 1"):
        with pytest.raises(InputError, match="holds for all 4 trials in the data; --where true excludes all"):
            exclude_where(store, where, "a slip")
    assert tables.load(store.location.uri).dropped == {"state failed": 2}
    assert len(exclude_where(store, "params = 1000", "x")) == 2
    ids = tables.load(store.location.uri, states=None).trials.collect()["trial_id"].to_list()
    assert len(exclude_where(store, f"trial_id IN ('{ids[0]}', '{ids[1]}')", "x")) == 2
    assert len(restore_where(store, "params > 0")) == 4
    assert len(exclude_where(store, " True", "x")) == 4


@pytest.mark.heavy
def test_conditions_that_are_unknown_or_infinite_are_told(store):
    notes: list[str] = []
    assert len(exclude_where(store, "val_loss / (params - 1000) > 1e9", "x", notes.append)) == 1
    assert notes == [
        "the condition is unknown (a missing value) for 2 trials, left as before",
        "the condition computes an infinity (a division by zero?) for 1 trial",
    ]
    done = CliRunner().invoke(app, ["exclude", store.location.uri, "--undo", "--where", "val_loss / 0 > 1"])
    assert "1 trial restored" in done.output
    assert "infinity (a division by zero?) for 1 trial" in done.output


@pytest.mark.heavy
def test_the_command_says_that_nothing_matched(store):
    for words in (["--reason", "x"], ["--undo"]):
        done = CliRunner().invoke(app, ["exclude", store.location.uri, "--where", "params < 0", *words])
        assert (done.exit_code, done.output[:16]) == (0, "nothing changed:")


def test_a_fit_counts_what_was_excluded(store):
    exclude_where(store, "params = 2000", "bad node")
    with pytest.raises(InputError, match="excluded: bad node"):
        fit(store.location.uri, "additive")


@pytest.mark.heavy
@pytest.mark.parametrize("content", ["{", '{"reason": "\\ud800", "trial_ids": []}'])
@pytest.mark.parametrize("words", [["--reason", "x"], ["--undo"]])
def test_damage_to_what_was_excluded_is_named_when_more_is_excluded(store, content, words):
    (Path(store.location.root) / "exclusions").mkdir(exist_ok=True)
    (Path(store.location.root) / "exclusions" / "20260101T000000-aaaaaa.json").write_text(content)
    done = CliRunner().invoke(app, ["exclude", store.location.uri, "--where", "params < 0", *words])
    assert (done.exit_code, "exclusions/20260101T000000-aaaaaa.json cannot be read" in done.output) == (3, True)


@pytest.mark.heavy
@pytest.mark.parametrize("words", [["--reason", "x"], ["--undo"]])
def test_a_part_that_is_not_read_is_named_when_trials_are_excluded_or_restored(store, words):
    """Its trials are left as they were, whatever the condition says of them."""
    exclude_where(store, "params = 1000", "bad node")
    (part,) = Path(store.location.path("trials")).glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    done = CliRunner().invoke(app, ["exclude", store.location.uri, "--where", "params > 0", *words])
    assert (done.exit_code, f"damaged: trials/{part.name}" in done.output) == (3, True)
    assert "nothing changed" in done.output


def test_the_column_of_the_reason_is_no_name_for_a_knob():
    with pytest.raises(InputError, match="exclusion_reason"):
        parse('name = "t"\nworkload = { kind = "command", argv = ["true"] }\nscientific = { exclusion_reason = ["a"] }')
