"""Which states end a trial: a preempted trial and one that ran into the budget are run again by the next launch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.mapping import STATES as IMPORTED
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import SCHEMA_VERSION, STATES, UNFINISHED
from sweeplaw.trials.store_format.layout import MARKER, identify


@pytest.mark.parametrize("state", STATES)
def test_a_trial_counts_as_finished_unless_something_from_outside_cut_it_short(store, record, state):
    with store.writer("one") as writer:
        writer.write([record(1, state=state)])
    trial = record(1).spec.trial_id
    assert store.finished() == ({} if state in UNFINISHED else {trial: state})
    with store.writer("two") as writer:
        writer.write([record(1, state="completed", attempt=2, launch="two")])
    assert store.finished() == {trial: "completed"}


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_what_another_launch_left_unfinished_meanwhile_is_granted(store, record, state):
    trial = record(1).spec.trial_id
    assert store.finished() == {}
    with Store.open(store.location.uri).writer("two") as writer:
        writer.write([record(1, state=state, launch="two")])
    assert store.claim([trial], "one", 60) == {trial}


def test_a_writer_marks_an_older_store_before_its_first_row_and_reading_leaves_it_as_it_is(store, record):
    marker = Path(store.location.path(MARKER))
    marker.write_text(json.dumps({"format": "sweeplaw store", "schema": 1}))
    older = Store.open(store.location.uri)
    assert older.finished() == {}
    assert tables.load(store.location.uri).trials.collect().height == 0
    assert identify(store.location) == 1
    with older.writer("one") as writer:
        assert identify(store.location) == SCHEMA_VERSION
        writer.write([record(1)])


def test_every_state_can_be_imported_under_its_own_name():
    assert all(IMPORTED[state] == state for state in STATES)
