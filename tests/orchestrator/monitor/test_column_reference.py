"""The column reference matches the schema, and the page in docs is what the command prints."""

from __future__ import annotations

from sweeplaw.orchestrator.monitor.column_reference import entries, markdown, present
from sweeplaw.trials.record import TRIAL_COLUMNS
from tests.paths import ROOT

PAGE = ROOT / "docs" / "columns.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == markdown(entries()), "run: sweeplaw columns --markdown > docs/columns.md"


def test_every_core_column_has_a_meaning():
    meanings = {entry.column: entry.meaning for entry in entries() if entry.table == "trials"}
    assert all(meanings[column.name] for column in TRIAL_COLUMNS)


def test_the_columns_listed_for_a_store_are_those_it_has(store, record, points):
    with store.writer("one") as writer:
        writer.write([record(1, flavour="sweet")], points(record(1)))
    found = {(entry.table, entry.column): entry for entry in present(store.location.uri)}
    assert found[("trials", "val_loss")].unit == "nats/token"
    assert found[("trials", "flavour")].origin == "this source"
    assert ("curves", "grad_norm") in found
