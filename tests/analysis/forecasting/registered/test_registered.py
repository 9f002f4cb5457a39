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
from sweeplaw.analysis.forecasting.registered.record import digest_of, from_content, track_record
from sweeplaw.analysis.forecasting.registered.register import register_forecast
from sweeplaw.analysis.forecasting.registered.run_ids import run_ids, value_text
from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts
from sweeplaw.analysis.tuning.points import best_points
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
    texts = [value_text(inputs, one) for *inputs, one in table().iter_rows()]
    assert set(registered.runs.ids) == set(run_ids(table(), texts))
    assert target.inputs == BIG
    widths = [high - low for low, high in target.bands.values()]
    assert list(target.bands) == ["0.5", "0.8", "0.95"]
    assert widths == sorted(widths)
    assert target.bands["0.95"][0] < loss(BIG["N"], BIG["D"]) < target.bands["0.95"][1]
    (low, high), (least, most) = target.law_band, target.bands["0.95"]
    assert least < low < target.median < high < most  # without the noise of a run the band is narrower
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


def test_two_forecasts_that_differ_in_one_value_differ_in_one_line_of_their_files(registered: Any) -> None:
    ours, theirs = (text_of(one).splitlines() for one in (registered, replace(registered, registered_by="Bob")))
    changed = [line.strip() for line, other in zip(theirs, ours, strict=True) if line != other]
    assert changed == ['"registered_by": "Bob",']


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
    assert "1 ended, " in repr(sheet)


def test_before_the_run_there_is_nothing_to_score(registered):
    sheet = score_forecasts(table(), [registered])
    assert sheet.scored[0].observed is None
    assert sheet.calibration == ()
    assert "0 ended" in sheet.summary()


def test_a_forecast_says_what_became_of_the_runs_behind_it(registered):
    (same,) = score_forecasts(with_run(), [registered]).sources
    assert (same.state, same.changed, same.gone, same.sentence) == ("unchanged", 0, 0, "")
    edited = with_run().with_row_index("at").with_columns(loss=pl.col("loss") + 0.01 * (pl.col("at") < 3))
    sheet: Any = score_forecasts(edited.drop("at"), [registered])
    assert (sheet.sources[0].state, sheet.sources[0].gone) == ("changed", 3)
    assert "of the 20 runs that it was made from, 3 are not in this source as they were" in sheet.summary()
    assert sheet.to_dict()["runs_behind"][0]["gone"] == 3
    assert sheet.scored[0].error is not None  # the forecast stands: it was made before


def test_of_trials_with_ids_it_is_told_which_changed_and_which_are_gone():
    trials = table().with_columns(trial_id=pl.format("trial{}", pl.int_range(20)))
    made = register_forecast(forecaster(trials, x={"N": "N", "D": "D"}, y="loss"), [BIG])
    later = trials.with_row_index("at").with_columns(loss=pl.col("loss") * (1 + 0.001 * (pl.col("at") == 4)))
    (found,) = score_forecasts(later.filter(pl.col("at") > 1).drop("at"), [made]).sources
    assert (found.state, found.changed, found.gone) == ("changed", 1, 2)
    assert from_content(made.to_dict()) == made


def test_a_forecast_of_an_earlier_version_without_marks_stays_intact(registered):
    early = replace(registered, runs=replace(registered.runs, marks=()))
    early = replace(early, digest=digest_of(early.to_dict()))
    assert "marks" not in early.to_dict()["runs"]
    assert from_content(early.to_dict()).intact
    (found,) = score_forecasts(with_run(), [early]).sources
    assert (found.state, found.changed, found.gone, found.sentence) == ("unknown", None, None, "")


def test_a_changed_forecast_is_shown_as_changed_and_counts_nowhere(registered):
    target = registered.targets[0]
    forged = replace(registered, targets=(replace(target, median=1.0, bands={"0.95": (0.1, 9.0)}),))
    sheet = score_forecasts(with_run(), [forged])
    assert sheet.calibration == ()
    assert (sheet.scored[0].changed, sheet.scored[0].inside, sheet.scored[0].error) == (True, None, None)
    assert "was changed after it was registered" in sheet.notes[0]
    assert "1 ended, 0 counted" in sheet.headline()[0]
    row = sheet.card().rows[0]
    assert not any("yes" in cell for cell in row)
    assert "changed after it was registered: not counted" in row[-1]


def test_a_run_that_was_known_when_the_forecast_was_registered_does_not_count(registered):
    before = dt.datetime.fromisoformat(registered.registered_at) - dt.timedelta(hours=1)
    later = before + dt.timedelta(hours=2)
    late = score_forecasts(with_run(ended_at=pl.lit(before)), [registered])
    assert late.scored[0].late
    assert late.calibration == ()
    assert "had ended before" in late.notes[0]
    both = pl.concat([with_run(ended_at=pl.lit(when)) for when in (before, later)])
    assert score_forecasts(both, [registered]).scored[0].late  # one of its two runs was known
    assert not score_forecasts(with_run(ended_at=pl.lit(later)), [registered]).scored[0].late


def test_a_point_that_has_been_run_is_no_forecast():
    runs = table()
    here = runs.row(19, named=True)
    at = {name: here[name] * 1.01 for name in ("N", "D")}
    whole, few = (
        forecaster(runs, x={"N": "N", "D": "D"}, y="loss", where=where) for where in (None, f"N < {here['N']}")
    )
    for found, table_ in ((whole, None), (few, runs)):
        with pytest.raises(InputError, match=r"(?s)has been run \(1 run\).*before its run"):
            register_forecast(found, [BIG, at], table=table_)
    assert register_forecast(few, [{"N": 3 * at["N"], "D": at["D"]}], table=runs).intact


@pytest.mark.parametrize(
    ("at", "words"),
    [({"N": 1e3}, "D"), ({"N": 1e9, "D": 1e10, "U": 1.0}, "'U' is no input"), ({"U": 1.0}, "'U' is no input"),
     ({"N": 0.0, "D": 1e10}, "N = 0")],
)  # fmt: skip
def test_a_point_without_the_inputs_of_the_law_is_refused_for_them_and_not_as_one_that_was_run(at, words):
    found = forecaster(table(), x={"N": "N", "D": "D"}, y="loss")
    with pytest.raises(InputError, match=words) as refused:
        register_forecast(found, [at])
    assert "has been run" not in str(refused.value)


def test_runs_that_the_forecast_was_made_from_are_no_test_of_it(registered):
    made_from = value_text(list(BIG.values()), loss(BIG["N"], BIG["D"]))
    runs = with_run()
    ids = (*registered.runs.ids, *run_ids(runs.tail(1), [made_from]))
    known = replace(registered, runs=replace(registered.runs, ids=ids))
    known = replace(known, digest=digest_of(known.to_dict()))
    assert score_forecasts(runs, [known]).scored[0].observed is None
    again = pl.concat([runs, pl.DataFrame({**BIG, "loss": [3.0]})])
    scored = score_forecasts(again, [known]).scored[0]
    assert scored.observed == pytest.approx(3.0)
    assert scored.inside == {"0.5": False, "0.8": False, "0.95": False}


def test_the_loss_scored_is_the_one_that_a_law_would_be_fitted_to(registered):
    rng, true = np.random.default_rng(0), loss(BIG["N"], BIG["D"])
    lrs = np.repeat(np.geomspace(1e-4, 1e-1, 40), 2)
    losses = true * np.exp(0.02 * rng.normal(size=80))
    later = pl.DataFrame({"N": BIG["N"], "D": BIG["D"], "lr": lrs, "seed": [0, 1] * 40, "loss": losses})
    scored = score_forecasts(later, [registered]).scored[0]
    points = best_points(later, ["N", "D"], ["lr"], "loss").frame
    assert scored.observed == pytest.approx(points["used"].item())
    assert points["lowest"].item() < 0.98 * true  # 40 equal settings: the lowest mean flatters by two standard errors
    assert abs(scored.observed / true - 1) < 0.01


def test_a_store_or_a_path_is_scored_like_a_table(registered, tmp_path):
    path, runs = tmp_path / "forecast.json", tmp_path / "runs.csv"
    path.write_text(text_of(registered))
    with_run().write_csv(runs)
    assert score_forecasts(runs, [path]).to_dict() == score_forecasts(with_run(), [registered]).to_dict()
    with pytest.raises(InputError, match="no forecast is registered in this source"):
        score_forecasts(runs)
    with pytest.raises(InputError, match="a list of registered forecasts"):
        score_forecasts(runs, "forecast.json")


def test_of_several_settings_the_best_counts_with_its_seeds_averaged(registered):
    true = loss(BIG["N"], BIG["D"])
    rows = [(*BIG.values(), lr, seed, true * (1 + rise)) for lr, seed, rise in
            ((1e-3, 0, 0.0019), (1e-3, 1, 0.0021), (4e-3, 0, 0.0), (4e-3, 1, 0.1))]  # fmt: skip
    later = pl.DataFrame(rows, schema=["N", "D", "lr", "seed", "loss"], orient="row")
    scored = score_forecasts(later, [registered]).scored[0]
    points = best_points(later, ["N", "D"], ["lr"], "loss").frame
    assert points["lr"].item() == 1e-3
    assert points["lowest"].item() == pytest.approx(true * 1.002)
    assert scored.observed == pytest.approx(points["used"].item())
    assert scored.runs == 2
    assert "best of the settings in 4 runs" in scored.note


def test_a_forecast_from_every_row_says_so_and_is_scored_against_every_run():
    rng = np.random.default_rng(1)
    runs = pl.concat([table().with_columns(lr=pl.lit(lr)) for lr in (1e-3, 4e-3)])
    runs = runs.with_columns(
        loss=runs["loss"] * np.where(runs["lr"] == 1e-3, 1.0, 1.01) * np.exp(1e-3 * rng.normal(size=40))
    )
    every, best = (
        register_forecast(forecaster(runs, x={"N": "N", "D": "D"}, y="loss", all_rows=all_rows), [BIG])
        for all_rows in (True, False)
    )
    assert every.all_rows
    assert every.runs.count == 40
    assert "from 40 runs, every row (--all-rows)" in every.headline()[0]
    assert "all_rows" not in best.to_dict()  # files written before it was recorded stay intact
    read = from_content(json.loads(text_of(every)))
    assert read == every
    assert read.intact
    dropped = {name: value for name, value in every.to_dict().items() if name != "all_rows"}
    assert not from_content(dropped).intact
    true = loss(BIG["N"], BIG["D"])
    later = pl.DataFrame({**BIG, "lr": [1e-3, 4e-3], "loss": [true, 1.01 * true]})
    by_rule = {one.all_rows: score_forecasts(later, [one]).scored[0] for one in (every, best)}
    assert by_rule[True].observed == pytest.approx(1.005 * true)
    assert (by_rule[True].runs, by_rule[False].runs) == (2, 1)
    assert "every row" in by_rule[True].note
    assert by_rule[False].observed == pytest.approx(true, rel=1e-3)


def test_bad_arguments_are_refused(registered):
    found = forecaster(table(), x={"N": "N", "D": "D"}, y="loss")
    with pytest.raises(InputError, match="at least one run"):
        register_forecast(found, [])
    with pytest.raises(InputError, match="same inputs"):
        register_forecast(found, [BIG, {"N": 1e9}])
    with pytest.raises(InputError, match="tolerance = 2"):
        score_forecasts(table(), [registered], tolerance=2)
