"""Clocks: one that no adjustment of the wall clock moves, and the store's own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace

from sweeplaw.orchestrator.store import clocks

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def test_a_steady_clock_starts_at_the_wall_clock_and_goes_on_by_itself(monkeypatch):
    wall, ticks = iter([NOON, NOON - dt.timedelta(days=1)]), iter([100.0, 100.0, 107.5])
    monkeypatch.setattr(clocks, "utc_now", lambda: next(wall))
    monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    now = clocks.steady()
    assert now() == NOON
    assert now() == NOON + dt.timedelta(seconds=7.5)


def test_the_time_of_a_store_is_between_two_looks_at_the_clock_and_leaves_no_file(store):
    before = clocks.utc_now()
    found = clocks.store_time(store.location)
    second = dt.timedelta(seconds=1)  # a file system may keep less than our clock shows
    assert before - second <= found <= clocks.utc_now() + second
    assert list((Path(store.location.root) / "claims").iterdir()) == []
