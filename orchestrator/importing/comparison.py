"""Which rows of an imported file are new, and which repeat or contradict a known run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.progress import ProgressCallback

BATCH = 2_000
_COMPARED = 10_000  # rows held as objects at once, together with the known rows of the same runs

T = TypeVar("T")
Row = dict[str, Any]
RowSource = Callable[..., Iterator[tuple[int, Row]]]  # `rows.rows` of one import: all rows, or those of some numbers


@dataclass(frozen=True, slots=True)
class RowComparison:
    """Row numbers of the ``fresh`` rows, counts of rows ``present`` in the store and ``repeated`` in the file, and the
    ``clashes``: rows whose run is known with different content."""

    fresh: pl.Series
    present: int
    repeated: int
    clashes: list[tuple[int, str]]


def compare(source: RowSource, total: int, store: Store | None, progress: ProgressCallback) -> RowComparison:
    """Find the new ones among ``total`` rows by their ids, and compare the others with what is known of their run."""
    every = _ids(with_progress(source(), 0, total, progress))
    trials = pl.LazyFrame(schema={"trial_id": pl.String})
    if store is not None:
        trials = tables.load(store.location.uri, states=None).trials
    held = trials.select("trial_id").collect().to_series()
    known = every["trial_id"].is_in(held.implode())
    new = ~known & every["trial_id"].is_first_distinct()
    fresh = every.filter(new)
    # Sorted by id, as the store's files are, so that each batch reads few of them.
    again = every.filter(~new).join(fresh, on="trial_id", how="left", suffix="_first").sort("trial_id")
    clashes: list[tuple[int, str]] = []
    for start in range(0, again.height, _COMPARED):
        chunk = again[start : start + _COMPARED]
        earlier = _earlier(chunk, source, trials)
        for number, row in with_progress(source(chunk["row"]), total + start, total, progress):
            if differences := _differences(row, earlier[row["trial_id"]]):
                clashes.append((number, f"the run already exists with different content: {differences}"))
    same = again.filter(~pl.col("row").is_in([number for number, _ in clashes]))
    repeated = same["row_first"].count()
    return RowComparison(fresh["row"], same.height - repeated, repeated, clashes)


def with_progress(
    rows: Iterable[tuple[int, Row]], before: int, total: int, progress: ProgressCallback
) -> Iterator[tuple[int, Row]]:
    """Yield ``rows`` and report progress. An import yields each of ``total`` rows twice, ``before`` so far."""
    for done, row in enumerate(rows, start=before + 1):
        if done % BATCH == 0:
            progress(done // 2, total)
        yield row


def batches(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield ``values`` in lists of at most ``BATCH``."""
    remaining = iter(values)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _ids(rows: Iterable[tuple[int, Row]]) -> pl.DataFrame:
    """Return the columns row and trial_id of ``rows``."""
    pairs = ((number, row["trial_id"]) for number, row in rows)
    schema = {"row": pl.Int64, "trial_id": pl.String}
    frames = [pl.DataFrame(batch, schema, orient="row") for batch in batches(pairs)]
    return pl.concat([pl.DataFrame(schema=schema), *frames]).rechunk()


def _earlier(again: pl.DataFrame, source: RowSource, trials: pl.LazyFrame) -> dict[str, Row]:
    """Return trial_id -> known row of these runs: the store's row, or else the first row of the file."""
    own = {row["trial_id"]: row for _, row in source(again["row_first"].drop_nulls().unique())}
    ids = again.filter(pl.col("row_first").is_null())["trial_id"]
    near = pl.col("trial_id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    held = trials.filter(near, pl.col("trial_id").is_in(ids.implode())).collect() if ids.len() else pl.DataFrame()
    return own | {row["trial_id"]: row for row in held.iter_rows(named=True)}


def _differences(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    pairs = ((name, earlier.get(name), value) for name, value in row.items() if name not in ("sweep", "source"))
    return ", ".join(f"{name} was {old!r}, is {new!r}" for name, old, new in pairs if _differ(old, new))


def _differ(old: Any, new: Any) -> bool:
    if old is not None and hasattr(old, "isoformat"):
        old = old.isoformat()
    return bool(new != old and str(new) != str(old))
