"""Joining columns of different types never raises and never rounds."""

from __future__ import annotations

import datetime as dt
import itertools

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.spec import Knob
from sweeplaw.trials.store_format import columns

BEYOND = 2**53 + 1  # the first integer that no float holds
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.sampled_from([2**53, BEYOND, 2**63 - 1, 2**63, -BEYOND]),
    st.floats(allow_nan=False, width=32),
    st.booleans(),
    st.text(alphabet="ab1.", max_size=3),
)


def written(store, rows, record):
    """Write each of the ``rows`` of values of a knob by a launch of its own; return what is read before compaction."""
    for number, values in enumerate(rows):
        with Writer(store.location, f"launch{number}") as writer:
            trials = [record(100 * number + index).row() for index in range(len(values))]
            writer.write_rows([row | {"x": value} for row, value in zip(trials, values, strict=True)])
    return read(store)


def read(store):
    frame = tables.load(store.location.uri).trials.collect().sort("seed")
    return frame["x"] if "x" in frame.columns else pl.Series("x", [None] * frame.height)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[BEYOND], [0.5]], [str(BEYOND), "0.5"]),
        ([[0.5], [2**53]], [0.5, 2.0**53]),
        ([[1, 2.5, BEYOND]], ["1", "2.5", str(BEYOND)]),
        ([[2**64 - 1]], [str(2**64 - 1)]),
        ([[2**63 - 1], [1]], [2**63 - 1, 1]),
        ([[1], [2.5], ["a"], [True]], ["1", "2.5", "a", "true"]),
        ([[1e16], [1.0], ["a"]], ["1e+16", "1.0", "a"]),
    ],
)
def test_values_of_several_types_are_read_exactly_before_and_after_a_compaction(store, record, rows, expected):
    assert written(store, rows, record).to_list() == expected
    compact(store.location, grace=dt.timedelta(0))
    assert read(store).to_list() == expected


@pytest.mark.heavy
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=2, max_size=3))
def test_no_value_is_lost_or_rounded_in_any_mixture(tmp_path_factory, record, rows):
    store = Store.open(tmp_path_factory.mktemp("any") / "store", create=True)
    before = written(store, rows, record)
    compact(store.location, grace=dt.timedelta(0))
    assert read(store).equals(before)
    for value, found in zip(itertools.chain(*rows), before, strict=True):
        # An integer among fractions is one of them, also where these become text with others.
        assert found in (value, columns._text(value)) or float(found) == value


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        ("float", BEYOND, False),
        ("float", 2**60, True),
        ("float", -BEYOND, False),
        ("float", 10**400, False),
        ("int", 2**63 - 1, True),
        ("int", 2**63, False),
        ("int", 2**64 - 1, False),
        ("int", 1e19, False),
    ],
)
def test_a_plan_refuses_a_value_that_cannot_be_stored_exactly(kind, value, accepted):
    knob = Knob("x", kind, None, "", "")
    if accepted:
        assert knob.coerce(value) == value
    else:
        with pytest.raises(ValueError, match="64"):
            knob.coerce(value)
