"""The law so far is the report's own, from complete cells alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.report import report
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.live.followed import FollowedStore
from sweeplaw.orchestrator.live.law import LawSoFar, law_so_far
from sweeplaw.orchestrator.live.overview import Observer, Overview
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from tests.orchestrator.live.stores import SWEEP, launched, partly_run

pytestmark = pytest.mark.heavy


def looked(store: Store) -> tuple[Overview, LawSoFar]:
    found = Observer(FollowedStore(store.location.uri)).look()
    law = law_so_far(found)
    assert law is not None
    return found, law


def test_of_a_finished_store_the_law_has_every_digit_of_the_report(tmp_path: Path) -> None:
    store = launched(tmp_path / "s")
    found, law = looked(store)
    (family,) = report.report_values(report.make(store.location.uri))["families"]
    assert law.values["params"] == family["surface"]["params"]
    assert law.values["intervals"] == family["surface"]["intervals"]
    assert (len(law.complete), law.cells, found.ended, found.total) == (12, 12, 288, 288)


def test_of_imported_runs_too(tmp_path: Path) -> None:
    point = pl.DataFrame({"params": [10**6, 10**7, 10**8]}).join(pl.DataFrame({"tokens": [10**9, 10**10]}), how="cross")
    runs = point.join(pl.DataFrame({"rate": [0.001, 0.01, 0.1]}), how="cross").with_columns(
        val_loss=2 + 400 / pl.col("params") ** 0.34 + 410 / pl.col("tokens") ** 0.28 + (pl.col("rate").log10() + 2) ** 2
    )
    runs.write_csv(tmp_path / "runs.csv")
    pairs = ("N=params", "D=tokens", "val_loss=val_loss")
    import_from(str(tmp_path / "runs.csv"), str(tmp_path / "s"), pairs=pairs)
    found, law = looked(Store.open(tmp_path / "s"))
    assert found.by is not None
    assert found.by.knobs == law.by.knobs == ("rate",)
    (family,) = report.report_values(report.make(str(tmp_path / "s")))["families"]
    assert law.values["params"] == family["surface"]["params"]


def test_cells_that_are_not_complete_are_counted_and_not_fitted(tmp_path: Path) -> None:
    store = partly_run(tmp_path / "s", 0.7)
    found, law = looked(store)
    assert found.cells is not None
    assert found.total == plan(parse(SWEEP)).trials
    rows = found.cells.frame
    assert set(rows["planned"]) == {24}, "each of the 12 points has 4 x 3 settings of 2 seeds"
    assert rows.filter("complete")["ended"].to_list() == [24] * len(law.complete)
    assert 4 <= len(law.complete) < law.cells <= 12
    fitted = law.surface.fit
    assert fitted is not None
    units = fitted.observations.units
    seen = zip(*(fitted.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D")), strict=True)
    assert {(round(n), round(d)) for n, d in seen} == {(round(n), round(d)) for n, d in law.complete}
    assert law.basis == f"from {len(law.complete)} of {law.cells} cells, those that are complete"


def test_before_a_trial_has_completed_there_is_a_reason(tmp_path: Path) -> None:
    found = Observer(FollowedStore(str(Store.open(tmp_path / "s", create=True).location.uri))).look()
    assert (found.cells, found.ended, found.total) == (None, 0, None)
    assert found.why_not == "no trial has completed yet"
    assert law_so_far(found) is None


def test_trials_without_n_and_d_have_no_cells_and_the_reason_names_the_command_that_takes_columns(
    tmp_path: Path,
) -> None:
    rows = pl.DataFrame({"state": ["completed"], "x": [1.0], "val_loss": [2.0]})
    found, why_not = Observer(FollowedStore(str(Store.open(tmp_path / "s", create=True).location.uri)))._roles(rows)
    assert found is None
    assert "give --x N=COLUMN" in why_not
    assert why_not.endswith("(--x and --y are options of sweeplaw report)")


def test_what_cannot_change_is_not_computed_again(tmp_path: Path) -> None:
    store = launched(tmp_path / "s", SWEEP.replace("num = 4", "num = 2"))
    observer = Observer(FollowedStore(store.location.uri))
    assert observer.look() is observer.look()


def test_a_narrower_launch_later_plans_no_fewer_trials_than_there_are(tmp_path: Path) -> None:
    store = launched(tmp_path / "s", SWEEP.replace("num = 4", "num = 2"))
    launched(tmp_path / "s", SWEEP.replace("num = 4", "num = 2").replace("seeds = 2", "seeds = 1"))
    found = Observer(FollowedStore(store.location.uri)).look()
    assert found.cells is not None
    assert found.cells.frame["planned"].to_list() == found.cells.frame["ended"].to_list() == [12] * 6
