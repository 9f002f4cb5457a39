"""A trial as a row: what is unknown is null, and why a search proposed it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeplaw.trials.record import TRIAL_COLUMNS, SearchNote, flops_done
from tests.conftest import EPOCH, make_record


def test_a_row_has_every_column_of_the_table_and_the_knobs_and_metrics_of_the_trial() -> None:
    record = make_record(3, attempt=2, state="failed", loss=None)
    row = record.row()
    assert {column.name for column in TRIAL_COLUMNS} <= row.keys()
    known: dict[str, Any] = {
        "trial_id": record.spec.trial_id,
        "workload": "surrogate",
        "sweep": "a sweep",
        "state": "failed",
    }
    known |= {"attempt": 2, "last_step": 10, "started_at": EPOCH, "train_seconds": 1.5, "pack_id": "pack"}
    known |= {"launch_id": "one", "host": "host", "device": "cpu", "versions": "{}", "spec": record.spec.canonical()}
    known |= {"seed": 3, "lr": 0.1, "surprise": 1.0, "flops": 1e9, "tokens": 4000}
    assert {name: row[name] for name in known} == known
    for unknown in ("val_loss", "commit", "message", "unique_tokens", "source"):
        assert row[unknown] is None, "unknown is null"
    assert record.outcome.ended_at == row["ended_at"]


def test_a_trial_that_a_search_proposed_says_why() -> None:
    names = ("search_number", "search_known", "search_reason", "search_setting")
    assert [make_record(1).row()[name] for name in names] == [None] * 4
    noted = replace(make_record(1), search=SearchNote(7, 5, "the lowest expected loss", '{"lr": 0.1}'))
    assert [noted.row()[name] for name in names] == [7, 5, "the lowest expected loss", '{"lr": 0.1}']


@pytest.mark.parametrize(
    ("row", "before", "flops"),
    [
        (("completed", 100.0, 10, 10), 0, 100.0),
        (("completed", 100.0, 10, None), 4, 60.0),
        (("failed", 100.0, 10, 4), 0, 40.0),
        (("failed", 100.0, 10, 4), 3, 10.0),
        (("failed", 100.0, 10, 2), 3, 0.0),
        (("failed", 100.0, 10, 12), 0, 100.0),
        (("failed", 100.0, None, 4), 3, 100.0),
        (("failed", None, 10, 4), 0, None),
    ],
)
def test_the_flops_of_the_steps_that_were_done(row: tuple[Any, ...], before: int, flops: float | None) -> None:
    assert flops_done(dict(zip(("state", "flops", "steps", "last_step"), row, strict=True)), before) == flops
