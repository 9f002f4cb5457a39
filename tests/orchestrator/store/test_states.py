"""States that finish a trial; a trial that was preempted or ran into the budget is run again by the next launch."""

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
def test_a_trial_is_finished_unless_it_was_interrupted_from_outside(store, record, state):
    with store.writer("one") as writer:
        writer.write([record(1, state=state)])
    trial = record(1).spec.trial_id
    assert store.finished() == ({} if state in UNFINISHED else {trial: state})
    with store.writer("two") as writer:
        writer.write([record(1, state="completed", attempt=2, launch="two")])
    assert store.finished() == {trial: "completed"}


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_a_trial_that_another_launch_left_unfinished_is_granted(store, record, state):
    trial = record(1).spec.trial_id
    assert store.finished() == {}
    with Store.open(store.location.uri).writer("two") as writer:
        writer.write([record(1, state=state, launch="two")])
    assert store.claim([trial], "one", 60) == {trial}


def test_a_writer_raises_the_schema_version_before_its_first_row_and_a_reader_does_not(store, record):
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
