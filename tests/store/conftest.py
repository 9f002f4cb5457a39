"""Records to put into stores."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import Store
from trials.accounting import Cost
from trials.record import CurvePoint, Outcome, Provenance, TrialRecord
from trials.spec import TrialSpec

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def make_record(
    seed: int,
    *,
    attempt: int = 1,
    state: Any = "completed",
    loss: float | None = 2.0,
    launch: str = "one",
    **knobs: Any,
) -> TrialRecord:
    spec = TrialSpec("surrogate", {"lr": 0.1 * (1 + seed % 3), "seed": seed, **knobs})
    ended = EPOCH + dt.timedelta(seconds=seed + 1000 * attempt)
    outcome = Outcome(spec.trial_id, state, None, 10, EPOCH, ended, 1.5, {"val_loss": loss, "surprise": 1.0})
    cost = Cost(params_non_embedding=100 * (1 + seed % 4), tokens=1000 * (1 + seed % 5), flops=1e9)
    return TrialRecord(spec, cost, outcome, "a sweep", attempt, "pack", launch, Provenance("host", "cpu", "{}", None))


def make_points(record: TrialRecord, steps: int = 3) -> list[CurvePoint]:
    return [
        CurvePoint(record.spec.trial_id, step, 100 * step, 3.0 / step, attempt=record.attempt)
        for step in range(1, steps + 1)
    ]


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    """A function that makes the record of a seed."""
    return make_record


@pytest.fixture
def points() -> Callable[..., list[CurvePoint]]:
    """A function that makes curve points of a record."""
    return make_points


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open(tmp_path / "store", create=True)
