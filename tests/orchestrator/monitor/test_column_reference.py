"""The column reference matches the schema, and the page in docs is what the command prints."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl

from sweeplaw.orchestrator.monitor.column_reference import WORKLOADS, entries, markdown, present
from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.workloads import registry
from tests.paths import ROOT

PAGE = ROOT / "docs" / "columns.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == markdown(entries()), "run: sweeplaw columns --markdown > docs/columns.md"


def test_every_core_column_has_a_meaning():
    meanings = {entry.column: entry.meaning for entry in entries() if entry.table == "trials"}
    assert all(meanings[column.name] for column in TRIAL_COLUMNS)


def test_every_workload_of_ours_is_described():
    """But those whose columns are the user's own: a recorded table, a function, a command."""
    assert WORKLOADS.keys() == registry._BUILT_IN.keys() - {"replay", "python", "command"}
    assert all(entry.meaning for entry in entries())


def test_the_columns_listed_for_a_store_are_those_it_has(store, record, points):
    with store.writer("one") as writer:
        writer.write([record(1, flavour="sweet")], points(record(1)))
    found = {(entry.table, entry.column): entry for entry in present(store.location.uri)}
    assert found[("trials", "val_loss")].unit == "nats/token"
    assert found[("trials", "flavour")].origin == "this source"
    assert ("curves", "grad_norm") in found
    types = {name: entry.type for (table, name), entry in found.items() if table == "trials"}
    assert types["flavour"] == "str"
    assert {column.name: types[column.name] for column in TRIAL_COLUMNS} == {
        column.name: column.type for column in TRIAL_COLUMNS
    }


def test_the_types_of_a_file_are_those_of_its_values_in_the_words_of_the_schema(tmp_path):
    frame = pl.DataFrame({
        "lr": ["1e-3", "auto"], "tokens": [0.5, 1.0], "width": pl.Series([1, 2], dtype=pl.UInt8), "tied": [True, None],
        "began": [dt.datetime(2026, 1, 1), None], "share": pl.Series([0.5, 1.0], dtype=pl.Float32),
    })  # fmt: skip
    frame.write_parquet(tmp_path / "runs.parquet")
    found = [entry for entry in present(str(tmp_path / "runs.parquet")) if entry.table == "trials"]
    assert {entry.column: entry.type for entry in found} == {
        "lr": "str", "tokens": "float", "width": "int", "tied": "bool", "began": "time", "share": "float"
    }  # fmt: skip


def test_the_losses_of_a_workload_of_ours_are_described_as_it_does(store, record, points):
    made = record(1)
    with store.writer("one") as writer:
        writer.write([replace(made, spec=replace(made.spec, workload="ridge"))], points(made))
    found = {(entry.table, entry.column): entry for entry in present(store.location.uri)}
    for table in ("trials", "curves"):
        loss = found[(table, "val_loss")]
        assert (loss.unit, loss.meaning.split(",")[0]) == (
            "squared error",
            "exact mean squared error on the population",
        )
    assert found[("trials", "tokens")].unit == "tokens"


def test_what_a_sweep_file_declares_describes_the_columns_of_its_store(store, record, points):
    made = record(1, flavour="sweet")
    with store.writer("one") as writer:
        writer.write([replace(made, spec=replace(made.spec, workload="command"))], points(made))
    sweep = """
    [workload.knobs]
    flavour = { type = "str", unit = "taste", meaning = "of the icing" }
    [workload.metrics]
    val_loss = { unit = "squared error" }
    """
    store.add_launch("20260101T000000-000000", {"workload": "command", "sweep": "cakes", "sweep_file": sweep})
    found = {(entry.table, entry.column): entry for entry in present(store.location.uri)}
    flavour, loss = found[("trials", "flavour")], found[("trials", "val_loss")]
    assert (flavour.unit, flavour.meaning, flavour.origin) == ("taste", "of the icing", "command")
    assert (loss.unit, loss.meaning) == ("squared error", "as the trial reported it")
    assert found[("trials", "train_loss")].unit == ""
    assert found[("trials", "params")].unit == "parameters"
