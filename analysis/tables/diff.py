"""Differences between two stores (or files with our columns), trial by trial."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

# Where and when a trial ran, and how long it took, differ between any two runs of it.
_INCIDENTAL = frozenset(
    {"attempt", "started_at", "ended_at", "train_seconds", "pack_id", "launch_id", "host", "device", "versions"}
    | {"commit", "message", "sweep", "source", "spec", "tokens_per_second"}
)


@dataclass(frozen=True, slots=True)
class Difference:
    """``changes`` has a row for each value that differs: trial_id, column, and its text in a and in b. ``excluded`` are
    the numbers of trials left out because a or b excludes them."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same: int
    changes: pl.DataFrame
    faults: tuple[str, ...]
    excluded: tuple[int, int] = (0, 0)

    @property
    def equal(self) -> bool:
        """Whether both sources contain the same trials with the same results."""
        return not (self.only_a or self.only_b or self.changes.height)


def difference(a: str, b: str, tolerance: float = 0.0) -> Difference:
    """Compare the trials of two sources; numbers within ``tolerance`` (relative) are equal. Raise InputError.

    Trials are matched by id alone, then columns are read one at a time, so memory does not grow with their number. A
    column of text in one source and numbers in the other is compared as text.
    """
    return tables.unless_damaged(lambda verify: _difference(a, b, tolerance, verify))


def _difference(a: str, b: str, tolerance: float, verify: bool) -> Difference:
    left, right = (tables.load(source, states=None, verify=verify) for source in (a, b))
    first, second = (loaded.trials.collect_schema().names() for loaded in (left, right))
    for source, names in ((a, first), (b, second)):
        if "trial_id" not in names:
            raise InputError(f"{source} has no column trial_id to compare by")
    compared = [name for name in first if name in second and name != "trial_id" and name not in _INCIDENTAL]
    matched = _matched(_ids(left.trials, a), _ids(right.trials, b))
    both = matched.drop_nulls(["a", "b"])
    changes = [
        _changes(
            both["trial_id"],
            _column(left.trials, name).gather(both["a"]),
            _column(right.trials, name).gather(both["b"]),
            tolerance,
        )
        for name in compared
    ]
    changed = pl.concat(changes) if changes else _no_changes()
    return Difference(
        only_a=tuple(matched.filter(pl.col("b").is_null())["trial_id"].sort().to_list()),
        only_b=tuple(matched.filter(pl.col("a").is_null())["trial_id_right"].sort().to_list()),
        same=both.height - changed["trial_id"].n_unique(),
        changes=changed.sort("trial_id", "column"),
        faults=(*left.faults, *right.faults),
        excluded=(_height(left.excluded), _height(right.excluded)),
    )


def _ids(trials: pl.LazyFrame, source: str) -> pl.DataFrame:
    """Return the ids of the trials. Raise InputError if a file has rows without one, or one id in several rows."""
    ids = trials.select("trial_id").collect()
    without = ids["trial_id"].null_count()
    repeated = ids.height - without - ids["trial_id"].drop_nulls().n_unique()
    faults = [f"{source}: {counted(without, 'row')} without trial_id"] if without else []
    faults += [f"{source}: {counted(repeated, 'row')} with a trial_id that another row has"] if repeated else []
    if faults:
        raise InputError(faults)
    return ids


def _matched(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return all trials: trial_id and its row ``a`` in ``left``, trial_id_right and its row ``b`` in ``right``."""
    first, second = left.with_row_index("a"), right.with_row_index("b")
    return first.join(second, on="trial_id", how="full", coalesce=False)


def _height(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())


def _column(trials: pl.LazyFrame, name: str) -> pl.Series:
    """Return the column in one chunk: gathering rows from many chunks is five times slower."""
    return trials.select(name).collect().to_series().rechunk()


def _changes(trial_id: pl.Series, here: pl.Series, there: pl.Series, tolerance: float) -> pl.DataFrame:
    """Return the rows in which ``here`` and ``there``, the same column of both sources, differ."""
    numbers = here.dtype.is_numeric() and there.dtype.is_numeric()
    if not numbers and (here.dtype != there.dtype or _is_compound(here.dtype)):
        here, there = _texts(here), _texts(there)
    a, b = pl.col(here.name), pl.col(f"{here.name}\0b")
    both = pl.DataFrame([trial_id, here, there.alias(f"{here.name}\0b")]).filter(a.ne_missing(b))
    if numbers:
        close = (a - b).abs() <= tolerance * pl.max_horizontal(a.abs(), b.abs())
        both = both.filter(~close.fill_null(False))
    texts = [a.cast(pl.String).alias("a"), b.cast(pl.String).alias("b")]
    return both.select("trial_id", pl.lit(here.name).alias("column"), *texts)


def _is_compound(kind: pl.DataType) -> bool:
    return kind.is_nested() or kind == pl.Binary


def _texts(column: pl.Series) -> pl.Series:
    if not _is_compound(column.dtype):
        return column.cast(pl.String)
    return pl.Series(column.name, [None if value is None else repr(value) for value in column.to_list()], pl.String)


def _no_changes() -> pl.DataFrame:
    return pl.DataFrame(schema={"trial_id": pl.String, "column": pl.String, "a": pl.String, "b": pl.String})
