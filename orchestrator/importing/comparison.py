"""Which rows of an imported file are new, and which repeat, extend or contradict a known run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.identity import WORKLOAD
from sweeplaw.orchestrator.importing.rows import RunSource
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.progress import ProgressCallback
from sweeplaw.trials.store_format.exclusions import exclusions

BATCH = 2_000
_COMPARED = 10_000  # rows held as objects at once, together with the known rows of the same runs
_OWN = ("sweep", "source", "spec", "attempt")  # of an import, not of its run

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The imported runs of a store, excluded ones too. ``removed`` are those that an import may add again.

    ``faults`` are sentences about damage, which may hide runs.
    """

    trials: pl.LazyFrame = field(default_factory=pl.LazyFrame)
    ids: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class RowComparison:
    """Row numbers to record: those that are ``fresh``, and ``updated`` ones, whose run is known with other values.

    Counts of rows ``present`` in the store, ``repeated`` in the file, and ``wider``: present, but with values that the
    store has none of. ``clashes`` are rows whose run is known with different content. ``attempts``: trial_id -> attempt
    of a run that is recorded again. ``strangers`` counts the runs of the source in the store if no row is one of them.
    """

    fresh: pl.Series
    updated: list[int] = field(default_factory=list)
    present: int = 0
    repeated: int = 0
    wider: int = 0
    clashes: list[tuple[int, str]] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    strangers: int = 0

    @property
    def recorded(self) -> pl.Series:
        """Row numbers to record, ascending."""
        return pl.concat([self.fresh, pl.Series("row", self.updated, pl.Int64)]).sort()


def known_runs(store: Store | None) -> KnownRuns:
    """Return the imported runs of ``store``; none if it does not exist. Raise InputError."""
    if store is None:
        return KnownRuns()
    loaded = tables.load(store.location.uri, states=None)
    every = pl.concat([loaded.trials, loaded.excluded.drop("exclusion_reason")], how="diagonal_relaxed")
    trials = every.filter(pl.col("workload") == WORKLOAD)
    ids = frozenset(trials.select("trial_id").collect().to_series())
    return KnownRuns(trials, ids, exclusions(store.location).removed & ids, loaded.faults)


def compare(source: RunSource, known: KnownRuns, progress: ProgressCallback, *, update: bool = False) -> RowComparison:
    """Find the new ones among the rows of ``source`` by their ids, and compare the others with what is known of their
    run. With ``update`` a run of the store takes the values of the file instead of contradicting it.
    """
    total = source.mapped.frame.height
    every = _ids(with_progress(source.rows(), 0, total, progress))
    first = every["trial_id"].is_first_distinct()
    held = every["trial_id"].is_in(list(known.ids - known.removed))
    fresh = every.filter(~held & first)
    firsts = every.filter(first) if update else fresh
    # Sorted by id, as the store's files are, so that each batch reads few of them.
    again = every.filter(held | ~first).join(firsts, on="trial_id", how="left", suffix="_first")
    again = again.with_columns(pl.when(pl.col("row_first") < pl.col("row")).then("row_first")).sort("trial_id")
    found = RowComparison(fresh["row"])
    if known.ids and fresh.height and not held.any():
        theirs = known.trials.filter(pl.col("source") == source.source).select("trial_id").collect()["trial_id"]
        found.strangers = len({*theirs} - known.removed)
    for start in range(0, again.height, _COMPARED):
        chunk = again[start : start + _COMPARED]
        rows = with_progress(source.rows(chunk["row"]), total + start, total, progress)
        _compare_chunk(chunk, rows, _Earlier.of(chunk, source, known.trials), found, update)
    _count_attempts(found, fresh.filter(pl.col("trial_id").is_in(list(known.removed)))["trial_id"], known.trials)
    return found


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


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What is known of the runs of some rows, by trial id: in the store, and in an earlier row of the file."""

    in_store: Mapping[str, Row]
    in_file: Mapping[str, Row]

    @classmethod
    def of(cls, again: pl.DataFrame, source: RunSource, trials: pl.LazyFrame) -> _Earlier:
        """Return what is known of the rows ``again`` (columns row, trial_id, row_first)."""
        in_store = again.filter(pl.col("row_first").is_null())["trial_id"]
        first = again["row_first"].drop_nulls().unique().sort()
        return cls(_held(in_store, trials), {row["trial_id"]: row for _, row in source.rows(first)})


def _compare_chunk(
    chunk: pl.DataFrame, rows: Iterable[tuple[int, Row]], earlier: _Earlier, found: RowComparison, update: bool
) -> None:
    """Add what the rows of ``chunk`` are to ``found``; ``earlier`` is what is known of their runs."""
    first = dict(chunk.select("row", "row_first").iter_rows())
    for number, row in rows:
        held = first[number] is None
        old = (earlier.in_store if held else earlier.in_file)[row["trial_id"]]
        gained, changed = _differences(row, old)
        if update and held and (gained or changed):
            found.updated.append(number)
            found.attempts[row["trial_id"]] = int(old["attempt"]) + 1
        elif changed:
            what = ", ".join(f"{name} was {old[name]!r}, is {row[name]!r}" for name in changed)
            where = "the run already exists" if held else f"row {first[number]} is the same run"
            found.clashes.append((number, f"{where} with different content: {what}"))
        elif held:
            found.present += 1
            found.wider += bool(gained)
        else:
            found.repeated += 1


def _ids(rows: Iterable[tuple[int, Row]]) -> pl.DataFrame:
    """Return the columns row and trial_id of ``rows``."""
    pairs = ((number, row["trial_id"]) for number, row in rows)
    schema = {"row": pl.Int64, "trial_id": pl.String}
    frames = [pl.DataFrame(batch, schema, orient="row") for batch in batches(pairs)]
    return pl.concat([pl.DataFrame(schema=schema), *frames]).rechunk()


def _held(ids: pl.Series, trials: pl.LazyFrame) -> dict[str, Row]:
    """Return trial_id -> row of these trials of the store."""
    if not ids.len():
        return {}
    near = pl.col("trial_id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    held = trials.filter(near, pl.col("trial_id").is_in(ids.implode())).collect()
    return {row["trial_id"]: row for row in held.iter_rows(named=True)}


def _count_attempts(found: RowComparison, removed: pl.Series, trials: pl.LazyFrame) -> None:
    """Give each of the ``removed`` runs, which are recorded again, its next attempt."""
    for trial_id, row in _held(removed, trials).items():
        found.attempts[trial_id] = int(row["attempt"]) + 1


def _differences(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the columns of ``row`` that ``earlier`` has no value of, and those with another one."""
    gained, changed = [], []
    for name, value in row.items():
        old = earlier.get(name)
        if name in _OWN:
            continue
        if old is None and value is not None:
            gained.append(name)
        elif _differ(old, value):
            changed.append(name)
    return gained, changed


def _differ(old: Any, new: Any) -> bool:
    if old is not None and hasattr(old, "isoformat"):
        old = old.isoformat()
    return bool(new != old and str(new) != str(old))
