"""Registered forecasts: immutable, complete, scored against runs that came later and no others."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.forecasting.forecaster import forecaster
from sweeplaw.analysis.forecasting.registered.files import read_files, text_of
from sweeplaw.analysis.forecasting.registered.record import from_content, track_record
from sweeplaw.analysis.forecasting.registered.register import register_forecast
from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy  # a track record takes about a second

BIG = {"N": 1e9, "D": 2e10}


def loss(n: Any, d: Any) -> Any:
    return 1.7 + 400 / n**0.34 + 410 / d**0.28


def table(noise: float = 0.003) -> pl.DataFrame:
    """Return runs of a known law at five budgets, four sizes each."""
    rng = np.random.default_rng(0)
    compute = np.repeat(6e16 * 4.0 ** np.arange(5), 4)
    n = np.sqrt(compute / 120) * np.tile([0.5, 0.8, 1.25, 2.0], 5)
    d = compute / 6 / n
    return pl.DataFrame({"N": n, "D": d, "loss": loss(n, d) * np.exp(noise * rng.normal(size=20))})


@pytest.fixture(scope="module")
def registered() -> Any:
    found = forecaster(table(), x={"N": "N", "D": "D"}, y="loss")
    return register_forecast(found, [BIG], source="runs.csv", who="Ada", assume=["the same corpus"])


def with_run(**columns: Any) -> pl.DataFrame:
    """Return the table with the run that was forecast."""
    run = pl.DataFrame({**BIG, "loss": [loss(BIG["N"], BIG["D"])]})
    return pl.concat([table(), run]).with_columns(**columns)


def test_a_forecast_says_what_where_from_and_by_whom(registered):
    (target,) = registered.targets
    assert registered.registered_by == "Ada"
    assert registered.runs.count == 20
    assert len(set(registered.runs.ids)) == 20
    assert target.inputs == BIG
    widths = [high - low for low, high in target.bands.values()]
    assert list(target.bands) == ["0.5", "0.8", "0.95"]
    assert widths == sorted(widths)
    assert target.bands["0.95"][0] < loss(BIG["N"], BIG["D"]) < target.bands["0.95"][1]
    assert target.beyond["compute"] > 1
    assert "forecasts of later budgets" in track_record(registered)
    assert "Ada" in registered.summary()
    assert "1 %" not in registered.digest


def test_each_assumption_has_its_worth_and_words_of_a_person_have_none(registered):
    worth = {one.text: one.change for one in registered.assumptions}
    assert worth["the same corpus"] == (None,)
    known = [change for text, (change,) in worth.items() if text != "the same corpus"]
    assert len(known) == 3
    assert all(change is not None and 0 < abs(change) < 0.05 for change in known)


def test_it_is_read_as_it_was_written_and_any_change_shows(registered, tmp_path):
    path = tmp_path / "forecast.json"
    path.write_text(text_of(registered))
    (again,) = read_files([path])
    assert again == registered
    assert again.intact
    content = json.loads(path.read_text())
    content["targets"][0]["median"] *= 1.0000001
    assert not from_content(content).intact
    assert not replace(registered, registered_by="Bob").intact


def test_files_that_are_no_forecasts_are_all_named(tmp_path):
    paths = [tmp_path / name for name in ("empty.json", "list.json", "gone.json", "old.json")]
    for path, text in zip(paths, ("{}", "[1]", None, '{"format": 9}'), strict=True):
        if text is not None:
            path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_files(paths)
    assert len(raised.value.faults) == 4
    assert "lacks 'format'" in raised.value.faults[0]
    assert "format 9" in raised.value.faults[3]


def test_a_run_that_came_later_is_scored(registered):
    sheet: Any = score_forecasts(with_run(), [registered])
    (one,) = sheet.scored
    assert one.observed == pytest.approx(loss(BIG["N"], BIG["D"]))
    assert one.error == pytest.approx(one.median / one.observed - 1)
    assert abs(one.error) < 0.02
    assert one.inside["0.95"] is True
    assert [item.count for item in sheet.calibration] == [1, 1, 1]
    assert sheet.calibration[2].low == pytest.approx(0.025)  # exact binomial, 1 of 1
    assert "1 of them have ended" in repr(sheet)


def test_before_the_run_there_is_nothing_to_score(registered):
    sheet = score_forecasts(table(), [registered])
    assert sheet.scored[0].observed is None
    assert sheet.calibration == ()
    assert "0 of them" in sheet.summary()


def test_a_changed_forecast_and_a_run_that_had_ended_do_not_count(registered):
    forged = replace(registered, targets=(replace(registered.targets[0], median=1.0),))
    sheet = score_forecasts(with_run(), [forged])
    assert sheet.calibration == ()
    assert "was changed after it was registered" in sheet.notes[0]
    before = dt.datetime.fromisoformat(registered.registered_at) - dt.timedelta(hours=1)
    late = score_forecasts(with_run(ended_at=pl.lit(before)), [registered])
    assert late.scored[0].late
    assert late.calibration == ()
    assert "had ended before" in late.notes[0]


def test_runs_that_the_forecast_was_made_from_are_no_test_of_it():
    runs = table()
    here = runs.row(19, named=True)
    at = {name: here[name] for name in ("N", "D")}
    forecast = register_forecast(forecaster(runs, x={"N": "N", "D": "D"}, y="loss"), [at])
    assert score_forecasts(runs, [forecast]).scored[0].observed is None
    again = pl.concat([runs, pl.DataFrame({**at, "loss": [here["loss"] * 1.5]})])
    scored = score_forecasts(again, [forecast]).scored[0]
    assert scored.observed == pytest.approx(here["loss"] * 1.5)
    assert scored.inside == {"0.5": False, "0.8": False, "0.95": False}


def test_of_several_settings_the_best_counts_with_its_seeds_averaged(registered):
    true = loss(BIG["N"], BIG["D"])
    rows = [(*BIG.values(), lr, seed, true * (1 + rise)) for lr, seed, rise in
            ((1e-3, 0, 0.001), (1e-3, 1, 0.003), (4e-3, 0, 0.0), (4e-3, 1, 0.1))]  # fmt: skip
    later = pl.DataFrame(rows, schema=["N", "D", "lr", "seed", "loss"], orient="row")
    scored = score_forecasts(later, [registered]).scored[0]
    assert scored.observed == pytest.approx(true * 1.002)
    assert scored.runs == 2
    assert "best of the settings in 4 runs" in scored.note


def test_bad_arguments_are_refused(registered):
    found = forecaster(table(), x={"N": "N", "D": "D"}, y="loss")
    with pytest.raises(InputError, match="at least one run"):
        register_forecast(found, [])
    with pytest.raises(InputError, match="same inputs"):
        register_forecast(found, [BIG, {"N": 1e9}])
    with pytest.raises(InputError, match="tolerance = 2"):
        score_forecasts(table(), [registered], tolerance=2)
