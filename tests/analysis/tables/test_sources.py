"""Every source of runs is the same frame, whatever its columns hold."""

from __future__ import annotations

import datetime as dt

import pytest

from sweeplaw import analysis
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.analysis.tables.tables import load
from sweeplaw.trials.errors import InputError


def test_the_rows_of_a_store_as_a_mapping_of_lists_are_its_rows(store, record):
    with store.writer("one") as writer:
        writer.write([record(seed, loss=2.0 + seed / 7) for seed in range(9)])
    frame = load(store).trials.collect()
    found = rows(frame.to_dict(as_series=False)).frame
    assert found.to_dicts() == frame.to_dicts()  # with nulls, text, times, and columns without a value
    assert analysis.importance(found, ["lr"])[0] == analysis.importance(frame, ["lr"])[0]


@pytest.mark.parametrize("column", [[None] * 3, [1, None, 2], [dt.datetime(2026, 1, 1), None, None], [b"x"] * 3])
def test_a_column_that_numpy_has_no_type_for_keeps_its_values(column):
    assert rows({"c": column}).frame["c"].to_list() == column


def test_a_column_of_several_types_is_refused_in_a_message():
    with pytest.raises(InputError, match="columns are no table"):
        rows({"c": ["a", 1, None]})
