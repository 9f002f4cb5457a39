"""Comparison of two tables trial by trial: what counts as a difference, and how it is reported."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables.diff import difference
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError


def parquet(path, rows, **columns):
    """Write a file of these ``columns``, with one value for each of the trials ``rows``."""
    pl.DataFrame({"trial_id": list(rows), **columns}).write_parquet(path)
    return str(path)


def changed(a, b, tolerance=0.0):
    """Return (trial, column, a, b) of every change."""
    return difference(a, b, tolerance).changes.rows()


def test_trials_are_matched_by_id_in_any_order(tmp_path):
    a = parquet(tmp_path / "a.parquet", "dbca", val_loss=[4.0, 2.0, 3.0, 1.0])
    b = parquet(tmp_path / "b.parquet", "ecbaf", val_loss=[5.0, 3.0, 2.5, 1.0, 6.0])
    found = difference(a, b)
    assert (found.only_a, found.only_b, found.same) == (("d",), ("e", "f"), 2)
    assert found.changes.rows() == [("b", "val_loss", "2.0", "2.5")]
    assert not found.equal
    assert difference(a, a).equal


def test_nan_equals_nan_and_null_equals_null_but_neither_equals_a_number(tmp_path):
    a = parquet(tmp_path / "a.parquet", "abcde", val_loss=[math.nan, None, math.nan, None, math.inf])
    b = parquet(tmp_path / "b.parquet", "abcde", val_loss=[math.nan, None, 1.0, 1.0, math.inf])
    for tolerance in (0.0, 0.5):
        assert changed(a, b, tolerance) == [("c", "val_loss", "NaN", "1.0"), ("d", "val_loss", None, "1.0")]


def test_tolerance_is_relative_to_the_larger_value_and_applies_to_numbers_only(tmp_path):
    a = parquet(tmp_path / "a.parquet", "abc", val_loss=[100.0, 100.0, 0.0], seed=[100, 100, 0], optimizer=["1"] * 3)
    b = parquet(tmp_path / "b.parquet", "abc", val_loss=[101.0, 102.1, 1e-9], seed=[101, 103, 0], optimizer=["1.0"] * 3)
    found = difference(a, b, 0.02)
    assert found.changes.filter(pl.col("column") != "optimizer").rows() == [
        ("b", "seed", "100", "103"),
        ("b", "val_loss", "100.0", "102.1"),
        ("c", "val_loss", "0.0", "1e-9"),
    ]
    assert found.changes.filter(pl.col("column") == "optimizer")["trial_id"].to_list() == ["a", "b", "c"]
    assert found.same == 0


def test_numbers_of_different_types_are_compared_as_numbers_and_reported_as_written(tmp_path):
    a = parquet(tmp_path / "a.parquet", "abc", depth=[4, 5, None])
    b = parquet(tmp_path / "b.parquet", "abc", depth=[4.0, 5.5, None])
    assert changed(a, b) == [("b", "depth", "5", "5.5")]


def test_text_booleans_and_times_are_compared_but_not_missing_or_incidental_columns(tmp_path):
    times = pl.Series([0, 1], dtype=pl.Datetime("us", "UTC"))
    a = parquet(
        tmp_path / "a.parquet", "ab", name=["x", None], tied=[True, False], at=times, host=["n1", "n2"], mine=[1, 2]
    )
    b = parquet(
        tmp_path / "b.parquet", "ab", at=times.reverse(), tied=[True, None], name=["y", None], host=["n3", "n4"]
    )
    assert [change[:2] for change in changed(a, b)] == [("a", "at"), ("a", "name"), ("b", "at"), ("b", "tied")]
    assert changed(a, b)[1] == ("a", "name", "x", "y")
    assert changed(a, b)[3] == ("b", "tied", "false", None)


def test_equal_ids_without_comparable_columns_are_no_difference(tmp_path):
    a = parquet(tmp_path / "a.parquet", "ab", host=["n1", "n2"])
    b = parquet(tmp_path / "b.parquet", "ba", host=["n3", "n4"])
    assert (difference(a, b).same, difference(a, b).equal) == (2, True)


def test_a_file_without_ids_is_rejected(tmp_path):
    a = parquet(tmp_path / "a.parquet", "ab", val_loss=[1.0, 2.0])
    (tmp_path / "b.csv").write_text("val_loss\n1.0\n")
    with pytest.raises(InputError, match=r"b\.csv has no column trial_id"):
        difference(a, str(tmp_path / "b.csv"))


@pytest.mark.heavy
def test_a_store_and_its_export_are_compared_by_the_latest_attempt(store, record, tmp_path):
    with store.writer("one") as writer:
        writer.write([record(seed, loss=2.0 + seed) for seed in range(5)])
        writer.write([record(9, state="failed", loss=None), record(9, attempt=2, loss=3.0)])
    file, run = str(tmp_path / "runs.parquet"), CliRunner().invoke
    assert run(app, ["export", store.location.uri, file]).exit_code == 0
    same = run(app, ["diff", store.location.uri, file])
    assert (same.exit_code, "6 the same, 0 differ" in same.output) == (0, True)
    pl.read_parquet(file).with_columns(pl.col("val_loss") + (pl.col("seed") == 9)).write_parquet(file)
    other = run(app, ["diff", store.location.uri, file, "--json"])
    found = json.loads(other.stdout)
    assert (other.exit_code, found["same"]) == (1, 5)
    (change,) = found["changes"]
    assert (change["column"], change["a"], change["b"]) == ("val_loss", "3.0", "4.0")


def test_a_column_of_text_in_one_source_and_numbers_in_the_other_is_compared_as_text(tmp_path):
    a = parquet(tmp_path / "a.parquet", "abc", warmup=["0.1", "none", None])
    b = parquet(tmp_path / "b.parquet", "abc", warmup=[0.1, 0.2, None])
    assert changed(a, b) == [("b", "warmup", "none", "0.2")]
    assert changed(b, a) == [("b", "warmup", "0.2", "none")]


@pytest.mark.parametrize(("ids", "words"), [("a,", "1 row without trial_id"), ("a,a", "1 row with a trial_id that")])
def test_rows_that_no_id_tells_apart_are_refused(tmp_path, ids, words):
    for name, given in (("good", "a,b"), ("bad", ids)):
        rows = [f"{trial},1.0" for trial in given.split(",")]
        (tmp_path / f"{name}.csv").write_text("\n".join(["trial_id,val_loss", *rows]) + "\n")
    with pytest.raises(InputError, match=words):
        difference(str(tmp_path / "good.csv"), str(tmp_path / "bad.csv"))
