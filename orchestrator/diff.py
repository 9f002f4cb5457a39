"""What two stores (or files with our columns) have in common and where they differ, trial by trial."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analysis import tables
from trials.errors import InputError

# Where and when a trial ran, and how long it took, differ between any two runs of it.
_INCIDENTAL = frozenset(
    {"attempt", "started_at", "ended_at", "train_seconds", "pack_id", "launch_id", "host", "device", "versions"}
    | {"commit", "message", "sweep", "source", "spec", "tokens_per_second"}
)


@dataclass(frozen=True, slots=True)
class Difference:
    """``changes`` has a row for each value that differs: trial_id, column, and its text in a and in b."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: int
    changes: pl.DataFrame
    faults: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both hold the same trials with the same results."""
        return not (self.only_a or self.only_b or self.changes.height)


def difference(a: str, b: str, tolerance: float = 0.0) -> Difference:
    """Compare the trials of two sources; numbers within ``tolerance`` (relative) are equal. Raises InputError."""
    left, right = (tables.load(source, states=None) for source in (a, b))
    first, second = left.trials.collect(), right.trials.collect()
    for source, frame in ((a, first), (b, second)):
        if "trial_id" not in frame.columns:
            raise InputError(f"{source} has no column trial_id to compare by")
    both = first.join(second, on="trial_id", how="inner", suffix="\0b")
    changes = [
        _changes(both, name, tolerance)
        for name in first.columns
        if name in second.columns and name != "trial_id" and name not in _INCIDENTAL
    ]
    changed = pl.concat(changes) if changes else _none()
    return Difference(
        only_a=tuple(first.join(second, on="trial_id", how="anti")["trial_id"].sort().to_list()),
        only_b=tuple(second.join(first, on="trial_id", how="anti")["trial_id"].sort().to_list()),
        same=both.height - changed["trial_id"].n_unique(),
        changes=changed.sort("trial_id", "column"),
        faults=(*left.faults, *right.faults),
    )


def _changes(both: pl.DataFrame, name: str, tolerance: float) -> pl.DataFrame:
    here, there = pl.col(name), pl.col(f"{name}\0b")
    differ = here.ne_missing(there)
    if both[name].dtype.is_numeric() and both[f"{name}\0b"].dtype.is_numeric():
        close = (here - there).abs() <= tolerance * pl.max_horizontal(here.abs(), there.abs())
        differ = differ & ~close.fill_null(False)
    texts = [here.cast(pl.String).alias("a"), there.cast(pl.String).alias("b")]
    return both.filter(differ).select("trial_id", pl.lit(name).alias("column"), *texts)


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema={"trial_id": pl.String, "column": pl.String, "a": pl.String, "b": pl.String})
