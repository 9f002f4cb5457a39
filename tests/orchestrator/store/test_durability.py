"""Round trips of arbitrary records, and a writer that dies at each of its steps."""

from __future__ import annotations

import datetime as dt
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store import atomic, writer
from sweeplaw.orchestrator.store.journal import LocalJournal
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import StoreWriteError, Writer, recover
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS, CurvePoint, Outcome, Provenance, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import columns
from sweeplaw.trials.store_format.journal import decode, encode

WORDS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
COUNTS = st.integers(0, 2**53)
NUMBERS = st.floats(allow_nan=False)
TIMES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))
KNOBS = st.dictionaries(
    st.sampled_from(["alpha", "beta", "gamma", "δ"]),
    st.one_of(st.integers(-(2**62), 2**62), NUMBERS.filter(math.isfinite), WORDS, st.booleans()),
)


@st.composite
def records(draw):
    spec = TrialSpec("surrogate", {"seed": draw(st.integers(0, 10**9)), **draw(KNOBS)})
    metrics = {"val_loss": draw(st.none() | NUMBERS), "surprise": draw(st.none() | NUMBERS)}
    outcome = Outcome(
        spec.trial_id,
        "completed",
        draw(st.none() | WORDS),
        draw(st.none() | COUNTS),
        draw(TIMES),
        draw(TIMES),
        1.0,
        metrics,
    )
    cost = Cost(params=draw(st.none() | COUNTS), tokens=draw(st.none() | COUNTS), flops=draw(st.none() | NUMBERS))
    return TrialRecord(spec, cost, outcome, draw(WORDS), 1, "p", "one", Provenance("h", "cpu", "{}", None))


@settings(max_examples=60, deadline=None)
@given(st.lists(records(), max_size=4))
@pytest.mark.heavy
def test_a_journal_line_round_trips(written):
    rows = [record.row() for record in written]
    line = encode(rows, [])
    assert line.count(b"\n") == 1
    back = columns.table(decode(line).trials, TRIAL_COLUMNS)
    assert back.equals(columns.table(rows, TRIAL_COLUMNS).select(back.column_names))
    assert decode(line[:-1]).trials == []


@pytest.mark.heavy
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records())
def test_any_record_round_trips_through_parquet(tmp_path_factory, record):
    store = Store.open(tmp_path_factory.mktemp("any") / "store", create=True)
    with store.writer("one") as opened:
        opened.write([record], [CurvePoint(record.spec.trial_id, 1, val_loss=record.outcome.metrics["val_loss"])])
    loaded = tables.load(store.location.uri)
    row = loaded.trials.collect().row(0, named=True)
    for name, value in record.row().items():
        assert row.get(name) == value, name
    assert loaded.curves.collect()["val_loss"].to_list() == [record.outcome.metrics["val_loss"]]


class Killed(BaseException):
    """Simulated death of the process."""


def dying(call, left, cut=None):
    """Return ``call`` that raises `Killed` once the steps are used up, after ``cut`` has done part of the work."""

    def wrapped(*arguments, **options):
        if left["steps"] == 0:
            if cut is not None and not left["dead"]:
                cut(*arguments)
            left["dead"] = True
            raise Killed
        left["steps"] -= 1
        return call(*arguments, **options)

    return wrapped


@pytest.mark.heavy
def test_a_writer_that_dies_at_any_step_loses_no_acknowledged_row_and_leaves_no_partial_write(
    tmp_path, record, points, monkeypatch
):
    """Dies at each write, fsync, rename and unlink of eight writes with sealing in between."""
    step, died, real = 0, True, {name: getattr(os, name) for name in ("write", "fsync", "replace", "unlink")}
    while died:
        store = Store.open(tmp_path / f"store{step}", create=True)
        acknowledged = []
        with monkeypatch.context() as patch:
            left = {"steps": step, "dead": False}
            patch.setattr(
                os, "write", dying(real["write"], left, lambda file, data: real["write"](file, bytes(data)[:37]))
            )
            for name in ("fsync", "replace", "unlink"):
                patch.setattr(os, name, dying(real[name], left))
            opened = Writer(store.location, "one", segment_bytes=4_000)
            try:
                for seed in range(8):
                    opened.write([record(seed)], points(record(seed)))
                    acknowledged.append(seed)
                opened.close()
                died = False
            except Killed:
                if isinstance(opened._journal, LocalJournal):  # the kernel closes the files of a dead process
                    os.close(opened._journal._file)
        check(store, acknowledged)
        Store.open(store.location.uri).writer("two").close()
        check(store, acknowledged)
        step += 1
    assert step > 30


def check(store, acknowledged):
    loaded = tables.load(store.location.uri)
    seeds = sorted(loaded.trials.collect()["seed"].to_list()) if loaded.trials.collect().height else []
    assert loaded.faults == ()
    assert seeds == [*range(len(acknowledged))] or seeds == [*range(len(acknowledged) + 1)]
    assert loaded.curves.collect().height == 3 * len(seeds)


def test_a_file_is_synced_before_it_is_renamed(store, monkeypatch):
    """The order that survives a power failure: fsync the file, rename it, fsync the folder."""
    calls = []

    def spy(name):
        real = getattr(os, name)

        def call(*arguments):
            calls.append(name)
            return real(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, spy(name))
    atomic.publish(store.location, "launches/x.json", b"{}")
    assert calls == ["fsync", "replace", "fsync"]


def test_an_acknowledged_write_has_been_synced(store, record, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    opened = Writer(store.location, "one")
    opened.write([record(1)])
    before = len(synced)
    opened.write([record(2)])
    assert len(synced) == before + 1
    opened.close()


@pytest.mark.heavy
def test_a_writer_starts_a_compaction_of_many_small_parts(store, record, monkeypatch):
    monkeypatch.setattr(writer, "SMALL_PARTS", 4)
    with Writer(store.location, "one", segment_bytes=500) as opened:
        for seed in range(12):
            opened.write([record(seed)])
    assert store.location.names("merges", ".json")
    assert tables.load(store.location.uri).trials.collect().height == 12


@pytest.mark.parametrize("count", [0, 3])
def test_curve_rows_keep_additional_metrics(store, record, count):
    with store.writer("one") as opened:
        opened.write(
            [record(1)], [CurvePoint(record(1).spec.trial_id, step, metrics={"z": 0.5}) for step in range(count)]
        )
    curves = tables.load(store.location.uri).curves.collect()
    assert curves.height == count
    assert set(curves.columns) >= {column.name for column in CURVE_COLUMNS}
    assert ("z" in curves.columns) == (count > 0)


@pytest.mark.parametrize("reused", [False, True])
def test_a_journal_whose_descriptor_code_of_a_trial_has_closed_goes_on(store, record, tmp_path, reused):
    """The number may be that of another file by then, which is neither written nor closed."""
    with store.writer("one") as writer:
        writer.write([record(1)])
        number = writer._journal._file
        os.close(number)
        if reused:
            other = os.open(tmp_path / "of a user", os.O_RDWR | os.O_CREAT)
            os.dup2(other, number)
        writer.write([record(2)])
    assert len(store.finished()) == 2
    assert tables.load(store.location.uri).faults == ()
    if reused:
        assert (tmp_path / "of a user").read_bytes() == b""
        assert os.path.samestat(os.fstat(number), os.fstat(other))
        os.close(number)


def test_a_journal_that_others_sealed_after_its_descriptor_was_closed_loses_and_doubles_no_row(store, record):
    """Closing it gave up the lock, by which others know that its writer lives."""
    with store.writer("one") as writer:
        writer.write([record(1)])
        os.close(writer._journal._file)
        assert recover(store.location) == []
        with pytest.raises(StoreWriteError):
            writer.write([record(2)])
        writer.write([record(2)])
    assert sorted(tables.load(store.location.uri).trials.collect()["seed"]) == [1, 2]
    assert tables.load(store.location.uri).faults == ()
