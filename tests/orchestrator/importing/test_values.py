"""Cells of foreign columns, one by one: as numbers, times and simple types; nested records as flat names."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.orchestrator.importing import presets
from sweeplaw.orchestrator.importing.comparison import batches, with_progress
from sweeplaw.orchestrator.importing.plain import plain, simple
from sweeplaw.orchestrator.importing.readers import file, is_sqlite, number_where_possible, without_prefixes
from sweeplaw.orchestrator.importing.records import flat_record, frame_of
from sweeplaw.orchestrator.importing.trackers import mlflow_runs, ray_runs
from sweeplaw.orchestrator.importing.values import mostly_numbers, numbers_of, times_of
from sweeplaw.trials.errors import InputError

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["150M", " 2.5k ", "1e3B", ".5", "7", "x", None, "true"], [1.5e8, 2500.0, 1e12, 0.5, 7.0, None, None, None]),
        ([1, 2, None], [1.0, 2.0, None]),
        ([None, None], [None, None]),
        ([True, False], [None, None]),
    ],
)
def test_cells_as_numbers(cells: list[Any], numbers: list[float | None]) -> None:
    found = numbers_of(pl.Series("x", cells))
    assert found.to_list() == numbers
    assert found.dtype == pl.Float64


def test_a_column_is_mostly_numbers_if_more_than_half_of_its_cells_are() -> None:
    texts = (["1", "2", "x"], ["1", "x"], ["1", "x", None], ["1M", None])
    assert [mostly_numbers(pl.Series(cells)) for cells in texts] == [True, False, False, True]
    assert not mostly_numbers(pl.Series([1.0, 2.0])), "it is no text"


def test_times_are_iso_seconds_or_milliseconds_since_1970_in_utc() -> None:
    seconds = MOMENT.timestamp()
    found = times_of(pl.Series([seconds, 1e3 * seconds, None, 1e300]))
    assert found.to_list() == [MOMENT, MOMENT, None, None]
    assert times_of(pl.Series([int(1e11) - 1, int(1e11)])).dt.year().to_list() == [5138, 1973]
    texts = ["2026-01-02T03:04:05", "2026-01-02 04:04:05+01:00", " 2026-01-02T03:04:05Z ", "", "soon", None]
    assert times_of(pl.Series(texts)).to_list() == [MOMENT, MOMENT, MOMENT, None, None, None]
    naive = pl.Series([MOMENT.replace(tzinfo=None)], dtype=pl.Datetime("ms"))
    assert times_of(naive).to_list() == [MOMENT]
    assert times_of(naive.dt.replace_time_zone("Asia/Tokyo")).to_list() == [MOMENT - dt.timedelta(hours=9)]
    assert times_of(pl.Series([MOMENT.date()])).to_list() == [MOMENT.replace(hour=0, minute=0, second=0)]
    assert times_of(pl.Series([True])).to_list() == [None]


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        (pl.Series([2**63], dtype=pl.UInt64), [2.0**63]),
        (pl.Series([2**62, None], dtype=pl.UInt64), [2**62, None]),
        (pl.Series([Decimal("1.25")]), [1.25]),
        (pl.Series([dt.timedelta(minutes=1.5)]), [90.0]),
        (pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
        (pl.Series([[1, 2], None]), ["[1, 2]", None]),
        (pl.Series([b"text", b"\xff\x00", b"a\n"]), ["text", "0xff00", "0x610a"]),
        (pl.Series([dt.time(3, 4)]), ["03:04:00"]),
    ],
)  # fmt: skip
def test_columns_in_simple_types(column: pl.Series, kept: list[Any]) -> None:
    found = simple(column)
    assert found.to_list() == kept


YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # in seconds since 1970


@pytest.mark.parametrize(("unit", "per_second"), [("ms", 10**3), ("us", 10**6)])
def test_the_years_1_to_9999_are_times_and_others_text(unit: Any, per_second: int) -> None:
    def found(*counts: int | None) -> pl.Series:
        return simple(pl.Series(counts, dtype=pl.Int64).cast(pl.Datetime(unit)))

    first, last = YEAR_1 * per_second, YEAR_10000 * per_second - 1
    within = found(first, last, None)
    assert within.dtype == pl.Datetime(unit)
    microsecond = 999_999 if unit == "us" else 999_000
    assert within.to_list() == [dt.datetime.min, dt.datetime.max.replace(microsecond=microsecond), None]
    assert found(last + 1, 0, None).to_list() == ["2.53402e+11 s since 1970", "1970-01-01T00:00:00", None]
    assert found(first - 1, 1500 * per_second // 1000).to_list() == ["-6.21356e+10 s since 1970",
                                                                     "1970-01-01T00:00:01.500000"]  # fmt: skip


def test_days_and_times_in_a_zone_have_the_same_years() -> None:
    def days(*counts: int) -> list[Any]:
        return simple(pl.Series(counts, dtype=pl.Int32).cast(pl.Date)).to_list()

    first, last = YEAR_1 // 86_400, YEAR_10000 // 86_400 - 1
    assert days(first, last) == [dt.date.min, dt.date.max]
    assert days(last + 1, 1) == ["2.53402e+11 s since 1970", "1970-01-02"]
    assert days(first - 1)[0].endswith(" s since 1970")
    nanoseconds = pl.Series([2**63 - 1, 1 - 2**63]).cast(pl.Datetime("ns"))
    assert [at.year for at in simple(nanoseconds).to_list()] == [2262, 1677]
    for zone in ("Asia/Tokyo", "America/New_York"):  # one is in year 10000 by then, the other still in year 0
        ends = pl.Series([1000 * YEAR_10000 - 1, 1000 * YEAR_1]).cast(pl.Datetime("ms", zone))
        assert all(text.endswith(" s since 1970") for text in simple(ends).to_list())
        assert simple(pl.Series([0]).cast(pl.Datetime("ms", zone))).to_list() == [
            dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        ]


def test_nested_records_are_dotted_columns() -> None:
    assert plain(pl.DataFrame({"a": [{"b": {"c": 1}, "d": 2}], "e": [3]})).columns == ["a.b.c", "a.d", "e"]
    assert flat_record({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}) == {"a/b": 1, "a/c/d": "[1, 2]", "e": None}
    with pytest.raises(ValueError, match="'a/b' occurs twice"):
        flat_record({"a/b": 1, "a": {"b": 2}})
    with pytest.raises(InputError, match="nested records cannot become columns"):
        plain(pl.DataFrame({"a": [{"b": 1}], "a.b": [2]}))
    mixed = frame_of([{"x": 1, "y": 2**63, "z": -(2**63)}, {"x": "a", "y": 0.5}, {"u": True, "x": None}])
    assert mixed.to_dict(as_series=False) == {
        "x": ["1", "a", None], "y": [2.0**63, 0.5, None], "z": [-(2**63), None, None], "u": [None, None, True],
    }  # fmt: skip


def test_prefixes_are_dropped_where_the_name_is_free() -> None:
    frame = pl.DataFrame({"params.lr": [1], "metrics.lr": [2], "metrics.loss": [3], "params.": [4], "loss": [5]})
    assert without_prefixes(frame, "params.", "metrics.").columns == [
        "lr", "metrics.lr", "metrics.loss", "params.", "loss",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        (["1", "2.0", None], [1, 2, None]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1", "x"], ["1", "x"]),
        (["1e300"], [1e300]),
        (["inf", "1"], [float("inf"), 1.0]),
        ([str(2**53 - 1)], [2**53 - 1]),
    ],
)
def test_texts_of_a_tracker_are_numbers_where_all_are(cells: list[Any], kept: list[Any]) -> None:
    found = number_where_possible(pl.Series("x", cells)).to_list()
    assert (found, list(map(type, found))) == (kept, list(map(type, kept)))
    assert number_where_possible(pl.Series([str(2**53)])).dtype == pl.Float64


def test_a_file_with_decimal_commas_and_a_nameless_column(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(";loss;note\n0;2,5;a,1\n1;3;b\n")
    found = file(str(path))
    assert found.frame.columns == ["unnamed_0", "loss", "note"]
    assert found.frame["loss"].to_list() == [2.5, 3.0]
    assert found.frame["note"].to_list() == ["a,1", "b"], "text stays text"
    assert found.cells is not None
    assert found.cells["loss"].to_list() == ["2,5", "3"]
    empty = tmp_path / "empty.csv"
    empty.write_text("a,b\n")
    with pytest.raises(InputError, match="has no rows"):
        file(str(empty))


def test_databases_and_folders_are_told_apart(tmp_path: Path) -> None:
    for name, table in (("mlflow", "latest_metrics"), ("optuna", "studies")):
        with closing(sqlite3.connect(tmp_path / name)) as database:
            database.execute(f"CREATE TABLE {table} (x)")
        assert (is_sqlite(tmp_path / name), presets.kind_of(str(tmp_path / name))) == (True, name)
    assert not mlflow_runs.is_database(tmp_path / "optuna")
    (tmp_path / "text").write_text("SQLite")
    assert not is_sqlite(tmp_path / "text")
    assert not is_sqlite(tmp_path)
    for kind, file_name in (("mlflow", "meta.yaml"), ("ray", "result.json")):
        (tmp_path / f"of_{kind}" / "a").mkdir(parents=True)
        (tmp_path / f"of_{kind}" / "a" / file_name).write_text("")
        assert presets.kind_of(str(tmp_path / f"of_{kind}")) == kind
    (tmp_path / "nothing").mkdir()
    assert presets.kind_of(str(tmp_path / "nothing")) is None
    assert presets.kind_of(str(tmp_path / "missing")) is None


def test_a_run_of_mlflow_has_its_times_its_status_and_its_last_step(tmp_path: Path) -> None:
    for name, meta, metrics in (
        ("a", {"status": 3, "start_time": 1000, "end_time": 3000}, "1000 2.5 10\n2000 2.0 20\n"),
        ("b", {"status": "RUNNING", "lifecycle_stage": "active"}, "1000 4\n"),
        ("gone", {"status": 3, "lifecycle_stage": "deleted"}, "1000 9.0 1\n"),
    ):
        folder = tmp_path / "0" / name
        for kind in ("params", "tags", "metrics"):
            (folder / kind).mkdir(parents=True)
        (folder / "meta.yaml").write_text(json.dumps({"run_id": name, "experiment_id": "0", **meta}))
        (folder / "params" / "lr").write_text("0.1")
        (folder / "tags" / "mlflow.user").write_text("me")
        (folder / "metrics" / "loss").write_text(metrics)
    found = mlflow_runs.read(str(tmp_path))
    assert found.tracker == "mlflow"
    assert found.frame.select("run_id", "status", "start_time", "end_time", "last_step", "lr", "loss").rows() == [
        ("a", "FINISHED", 1000, 3000, 20, 0.1, 2.0), ("b", "RUNNING", None, None, None, 0.1, 4.0),
    ]  # fmt: skip
    assert "user" not in str(found.frame.columns)
    assert found.curves is not None
    assert found.curves.rows() == [("a", 10, 2.5), ("a", 20, 2.0), ("b", 0, 4.0)]


def test_the_state_of_a_ray_trial_is_that_of_its_experiment_or_is_inferred(tmp_path: Path) -> None:
    for name, line in (("t1", {"done": True}), ("t2", {}), ("t3", {"done": True}), ("t4", {}), ("t5", {})):
        (tmp_path / "exp" / name).mkdir(parents=True)
        content = {"trial_id": name, "training_iteration": 2, "val_loss": 3.0, "config": {"lr": 0.1}, **line}
        (tmp_path / "exp" / name / "result.json").write_text(json.dumps(content))
    (tmp_path / "exp" / "t3" / "error.txt").write_bytes(b"Traceback\n\xffboom\n")
    states = [(json.dumps({"trial_id": name, "status": status}), "") for name, status in
              (("t4", "PAUSED"), ("t5", "odd"))]  # fmt: skip
    (tmp_path / "exp" / "experiment_state-1.json").write_text(json.dumps({"trial_data": states}))
    found = ray_runs.read(str(tmp_path))
    assert dict(zip(found.frame["trial_id"], found.frame["state"], strict=True)) == {
        "t1": "completed", "t2": "stopped", "t3": "failed", "t4": "paused", "t5": "failed",
    }  # fmt: skip
    assert found.frame["message"].to_list() == [None, None, "�boom", None, None]
    assert found.frame.select("last_step", "lr", "tune_experiment").unique().rows() == [(2, 0.1, "exp")]
    assert found.curves is not None
    assert found.curves.select("run", "step", "val_loss").row(0) == ("exp/t1", 2, 3.0)


def test_progress_counts_each_row_once_though_it_is_read_twice() -> None:
    seen: list[tuple[int, int]] = []
    rows: list[tuple[int, dict[str, Any]]] = [(number, {}) for number in range(5000)]
    for before in (0, 5000):
        assert len(list(with_progress(rows, before, 5000, lambda done, total: seen.append((done, total))))) == 5000
    assert seen == [(1000, 5000), (2000, 5000), (3000, 5000), (4000, 5000), (5000, 5000)]
    assert [len(part) for part in batches(range(4001))] == [2000, 2000, 1]
