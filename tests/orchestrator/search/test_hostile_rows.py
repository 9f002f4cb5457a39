"""Rows whose `search_*` values no search wrote: named, ignored and counted, and never the end of a launch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.adaptive.known import ledger
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.contract import RemainingBudget
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import Outcome, Provenance, SearchNote, TrialRecord
from sweeplaw.trials.spec import TrialSpec

SWEEP = """
name = "searched"
workload = "surrogate"
[search]
kind = "{kind}"
{options}
[budget]
trials = 60
[scientific]
params = [1e6, 1e7]
tokens = [1e8]
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 7 }}
batch_sequences = [16, 32, 64, 128]
"""
GOOD = json.dumps({"params": 1e6, "tokens": 1e8, "lr": 1e-3, "batch_sequences": 16})
NUMBERS = [-1, 10**12 + 1, 2**63 - 1, -(2**63)]
SETTINGS = [
    "",
    "{",
    "[1, 2]",
    "null",
    "[" * 100_000,
    '{"": 3}',
    '{"": {"lr": {"a": 1}}}',
    '{"lr": [1, 2]}',
    '{"lr": null}',
    "x" * 1_000_000,
]
ODD_SETTINGS = [  # a search of another sweep may have written these: no setting of this space, and no fault
    '{"params": 1e999, "tokens": "many", "lr": "NaN", "batch_sequences": true}',
    '{"": {"changes": "5: momentum=1; 4"}, "params": 1e6, "tokens": 1e8, "lr": 0.001, "batch_sequences": 16}',
    '{"": {"no_such_knob": 1}, "params": 1e6, "tokens": 1e8, "lr": 0.001, "batch_sequences": 16}',
    '{"params": 1e6}',
]


def sweep(kind: str = "tpe", options: str = "") -> Any:
    return parse(SWEEP.format(kind=kind, options=options))


def run(store: Store, kind: str = "tpe", options: str = "") -> Launched:
    return launch(plan(sweep(kind, options)), store, Profile(kind="inline"))


def plant(store: Store, notes: list[SearchNote]) -> None:
    """Write a row for each of these notes, as a launch of an earlier version or an attacker might have."""
    group = plan(sweep("grid")).groups[0]
    workload = sweep().workload
    with store.writer("launch-planted") as writer:
        for index, note in enumerate(notes):
            spec = TrialSpec.of(workload.name, workload.knobs, {**group.spec(0).knobs, "lr": 1e-3 + index * 1e-6})
            outcome = Outcome(spec.trial_id, "completed", metrics={"val_loss": 5.0})
            origin = Provenance(None, None, "", None)
            record = TrialRecord(spec, Cost(), outcome, "searched", 1, "p-1", "launch-planted", origin)
            writer.write([replace(record, search=note)], [])


@pytest.mark.parametrize(
    "note",
    [
        *(SearchNote(number, 0, "r", GOOD) for number in NUMBERS),
        *(SearchNote(0, number, "r", GOOD) for number in NUMBERS),
        *(SearchNote(0, 0, "r", setting) for setting in SETTINGS),
    ],
    ids=lambda note: f"{note.number}, {note.known}, {note.setting[:12]!r}",
)
def test_values_that_no_search_wrote_are_named_and_ignored(tmp_path: Path, note: SearchNote) -> None:
    store = Store.open(tmp_path / "s", create=True)
    plant(store, [note])
    found = ledger(Space(sweep()), store).history(RemainingBudget())
    assert found.number == 0
    assert all(seen.number is None for seen in found.observations)
    (problem,) = store.problems
    assert problem.startswith("1 row with search columns that no search wrote, such as ")


@pytest.mark.parametrize("number", [0, 1_000_000, 10**12])
def test_the_numbers_of_long_searches_are_believed(tmp_path: Path, number: int) -> None:
    store = Store.open(tmp_path / "s", create=True)
    plant(store, [SearchNote(number, number, "r", GOOD)])
    found = ledger(Space(sweep()), store).history(RemainingBudget())
    assert store.problems == ()
    assert [seen.number for seen in found.observations] == [number]


@pytest.mark.parametrize("setting", ODD_SETTINGS)
def test_settings_of_other_spaces_are_none_of_this_one(tmp_path: Path, setting: str) -> None:
    store = Store.open(tmp_path / "s", create=True)
    plant(store, [SearchNote(3, 0, "r", setting)])
    assert ledger(Space(sweep()), store).history(RemainingBudget()).observations == []
    assert store.problems == ()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "options"),
    [("tpe", ""), ("cmaes", ""), ("law", ""), ("local", ""), ("archive", ""), ("halving", "samples = 4\nfirst = 0.3")],
)
def test_a_launch_on_a_store_full_of_them_counts_them_and_runs(tmp_path: Path, kind: str, options: str) -> None:
    store = Store.open(tmp_path / "s", create=True)
    notes = [SearchNote(number, 0, "r" * 10_000, GOOD) for number in NUMBERS]
    notes += [SearchNote(0, 0, "r", setting) for setting in (*SETTINGS, *ODD_SETTINGS)]
    plant(store, notes)
    done = run(store, kind, options)
    assert done.search_end
    assert sum(done.states.values()) >= 5
    assert any(f"{len(NUMBERS) + len(SETTINGS)} rows with search columns" in problem for problem in done.problems)


@pytest.mark.heavy
def test_columns_of_the_wrong_type_do_not_end_a_launch(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    run(store)
    (path,) = (tmp_path / "s/trials").glob("*.parquet")
    table = pq.read_table(path)
    for name, values in (("search_number", "three"), ("search_setting", b"\xff\xfe"), ("search_known", 0.5)):
        table = table.set_column(table.column_names.index(name), name, pa.array([values] * table.num_rows))
    pq.write_table(table, path)
    again = launch(plan(sweep()), Store.open(tmp_path / "s"), Profile(kind="inline"))
    assert again.problems
    trials = tables.load(str(tmp_path / "s"), states=None).trials.collect()
    assert trials["trial_id"].n_unique() >= 30
