"""The runs that commands about hyperparameters read: only completed ones count, and the unit of a batch is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.orchestrator.cli.shared.runs import read_runs
from sweeplaw.trials.errors import InputError


def file(folder: Path, **columns: Any) -> str:
    frame = pl.DataFrame({"N": [1e6, 2e6], "lr": [0.1, 0.2], "loss": [3.0, 2.0], **columns})
    frame.write_parquet(folder / "runs.parquet")
    return str(folder / "runs.parquet")


def losses(source: str, **options: Any) -> list[float | None]:
    found = read_runs(source, ["N", "lr"], "loss", None, options.get("where"), "")
    return found.frame["loss"].to_list()


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["completed", "completed"], [3.0, 2.0]),
        (["failed", "completed"], [None, 2.0]),
        (["diverged", None], [None, 2.0]),  # a state that a file does not say: it has a loss, so it ran
        ([None, None], [3.0, 2.0]),
    ],
)
def test_losses_of_completed_runs_only(tmp_path: Path, states: list[str | None], kept: list[float | None]) -> None:
    assert losses(file(tmp_path, state=pl.Series(states, dtype=pl.String))) == kept


def test_a_table_without_states_is_taken_whole(tmp_path: Path) -> None:
    assert losses(file(tmp_path)) == [3.0, 2.0]
    assert losses(file(tmp_path), where="N > 1500000") == [2.0]


def test_a_source_without_a_completed_run_is_refused_by_name(tmp_path: Path) -> None:
    source = file(tmp_path, state=["failed", "stopped"])
    with pytest.raises(InputError, match=r"runs\.parquet has no completed run"):
        losses(source)


@pytest.mark.parametrize(
    ("columns", "steps", "notes"),
    [
        ({"D": [4e6, 8e6], "steps": [100, 200]}, "steps", ["Batch counts sequences of 2000 tokens"]),
        ({"tokens": [4e6, 8e6], "steps": [100, 200]}, "steps", ["Batch counts sequences of 2000 tokens"]),
        ({"D": [2000, 4000], "updates": [100, 200]}, "updates", ["Batch counts tokens"]),
        ({"D": [4e6, 8e6], "steps": [100, 200]}, "", []),  # no check was asked for
        ({"steps": [100, 200]}, "steps", []),
        ({"D": [4e6, 8e6]}, "steps", []),
    ],
)
def test_the_unit_of_a_batch_is_said_where_tokens_and_steps_tell(
    tmp_path: Path, columns: dict[str, list[float]], steps: str, notes: list[str]
) -> None:
    source = file(tmp_path, Batch=[20, 20], **columns)
    assert read_runs(source, ["N", "lr", "Batch"], "loss", None, None, steps).notes == notes


def test_a_column_of_steps_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="updates"):
        read_runs(file(tmp_path), ["N", "lr"], "loss", None, None, "updates")
    assert read_runs(file(tmp_path), ["N", "lr"], "loss", None, None, "steps").notes == [], "the usual name may miss"
