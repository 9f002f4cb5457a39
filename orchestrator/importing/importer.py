"""One import, from reading the source to recording its rows, its launch facts and what was refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing import presets, readers
from sweeplaw.orchestrator.importing.mapping import ColumnMapping, extended, from_toml
from sweeplaw.orchestrator.importing.presets import Preset
from sweeplaw.orchestrator.importing.readers import ImportSource
from sweeplaw.orchestrator.importing.rows import Mapped, map_rows, rows
from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.record import CURVE_COLUMNS
from sweeplaw.trials.store_format.layout import MARKER, locate

BATCH = 2_000
_COMPARED = 10_000  # rows as objects at once, beside what is known of the same runs

T = TypeVar("T")
Row = dict[str, Any]
Made = Callable[..., Iterator[tuple[int, Row]]]  # `rows` of one import: all of them, or those of some numbers


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What the rows of a file are: the numbers of the ``fresh`` ones, how many the store has, how many the file
    repeats, and rows whose run is known with other content."""

    fresh: pl.Series
    present: int
    repeated: int
    clashes: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. ``left_out``: rows for which the mapping's condition does not hold; ``rejected``: row number
    (1 is the first) and reasons; ``rejects``: the file with them."""

    source: str
    rows: int
    left_out: int
    added: int
    present: int
    repeated: int
    rejected: Sequence[tuple[int, str]]
    used: Mapping[str, str]
    curve_points: int
    rejects: str | None


def import_from(
    file: str,
    store: str,
    *,
    preset: str | None = None,
    pairs: Iterable[str] = (),
    mapping: Path | None = None,
    run: tuple[str, ...] | None = None,
    where: str | None = None,
    keep: tuple[str, ...] | None = None,
    source: str | None = None,
    dry: bool = False,
    watch: ProgressCallback = no_progress,
) -> Imported:
    """Import ``file`` into ``store`` as a person asks for it. Raises InputError with every fault, StoreWriteError.

    ``watch`` is told of rows: each counts half when its id is known and half when it is recorded or compared.
    """
    known = presets.preset(preset) if preset else None
    read = known.read(file) if known else readers.file(file)
    base = known.mapping if known else ColumnMapping()
    if mapping is not None:
        told = from_toml(mapping)
        base = replace(told, columns={**base.columns, **told.columns}, run=told.run or base.run, optional=base.optional)
    base = extended(base, pairs)
    base = replace(
        base,
        run=base.run if run is None else run,
        where=where or base.where,
        keep=base.keep if keep is None else keep,
        source=source or base.source,
    )
    if not base.columns and (guess := presets.recognised(read.frame)):
        raise InputError(f"{file}: nothing says what its columns mean; they look like --preset {guess}")
    mapped = map_rows(read.frame, base)  # before the store: a mapping that does not fit leaves none behind
    return _import_runs(read, base, mapped, _opened(store, dry), preset=known, dry=dry, watch=watch)


def _import_runs(
    read: ImportSource,
    mapping: ColumnMapping,
    mapped: Mapped,
    store: Store | None,
    *,
    preset: Preset | None,
    dry: bool,
    watch: ProgressCallback,
) -> Imported:
    """Record the runs of ``read`` in ``store`` (None: there is none yet), or ``dry`` only say what would be.

    Rows become objects a few at a time, twice: to tell by their ids which are new, then to record these.
    """
    source = mapping.source or read.name
    if mapping.source and read.name not in mapping.source:
        source = f"{mapping.source}: {read.name}" if mapping.run else mapping.source
    made = partial(rows, mapped, replace(mapping, source=source), source)
    told = _compare(made, mapped.frame.height, store, watch)
    added = told.fresh.len()
    rejected = sorted([*((row, "; ".join(why)) for row, why in mapped.reasons.items()), *told.clashes])
    launch_id = _launch_id(read, mapping, source)
    points = _points(read, mapping, mapped, made(told.fresh), source)
    rejects = f"rejected/{launch_id}.ndjson" if rejected and not dry else None
    if store is not None and not dry:
        store.add_launch(launch_id, _facts(read, mapping, source, preset, mapped, added, rejected))
        height = mapped.frame.height
        _record(store, launch_id, _watched(made(told.fresh), 2 * height - added, height, watch), points)
        if rejects:
            atomic.publish(store.location, rejects, _rejects(read.frame, rejected))
    return Imported(
        source, mapped.frame.height, mapped.left_out, added, told.present, told.repeated, rejected, mapped.used,
        len(points), rejects,
    )  # fmt: skip


def _compare(made: Made, offered: int, store: Store | None, watch: ProgressCallback) -> _Comparison:
    """Which of ``offered`` rows are new, by their ids; those of a known run are compared with what is known of it."""
    every = _ids(_watched(made(), 0, offered, watch))
    trials = pl.LazyFrame(schema={"trial_id": pl.String})
    if store is not None:
        trials = tables.load(store.location.uri, states=None).trials
    held = trials.select("trial_id").collect().to_series()
    known = every["trial_id"].is_in(held.implode())
    new = ~known & every["trial_id"].is_first_distinct()
    fresh = every.filter(new)
    # By id, as the store's files are, so that each batch reads few of them.
    again = every.filter(~new).join(fresh, on="trial_id", how="left", suffix="_first").sort("trial_id")
    clashes: list[tuple[int, str]] = []
    for start in range(0, again.height, _COMPARED):
        some = again[start : start + _COMPARED]
        earlier = _earlier(some, made, trials)
        for number, row in _watched(made(some["row"]), offered + start, offered, watch):
            if differing := _differing(row, earlier[row["trial_id"]]):
                clashes.append((number, f"the same run is there with other content: {differing}"))
    same = again.filter(~pl.col("row").is_in([number for number, _ in clashes]))
    repeated = same["row_first"].count()
    return _Comparison(fresh["row"], same.height - repeated, repeated, clashes)


def _ids(made: Iterable[tuple[int, Row]]) -> pl.DataFrame:
    """row and trial_id of each."""
    left = ((number, row["trial_id"]) for number, row in made)
    schema = {"row": pl.Int64, "trial_id": pl.String}
    found = [pl.DataFrame(some, schema, orient="row") for some in _batches(left)]
    return pl.concat([pl.DataFrame(schema=schema), *found]).rechunk()


def _earlier(again: pl.DataFrame, made: Made, trials: pl.LazyFrame) -> dict[str, Row]:
    """What is known of these runs, by their ids: the store's rows, and the first rows in the file of the others."""
    own = {row["trial_id"]: row for _, row in made(again["row_first"].drop_nulls().unique())}
    ids = again.filter(pl.col("row_first").is_null())["trial_id"]
    near = pl.col("trial_id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    held = trials.filter(near, pl.col("trial_id").is_in(ids.implode())).collect() if ids.len() else pl.DataFrame()
    return own | {row["trial_id"]: row for row in held.iter_rows(named=True)}


def _watched(
    made: Iterable[tuple[int, Row]], before: int, total: int, watch: ProgressCallback
) -> Iterator[tuple[int, Row]]:
    """``made`` as it is; of the two times that each of ``total`` rows comes by, ``before`` were over at its start."""
    for done, one in enumerate(made, start=before + 1):
        if done % BATCH == 0:
            watch(done // 2, total)
        yield one


def _opened(store: str, dry: bool) -> Store | None:
    """The store, made when needed; a dry run makes none."""
    if dry and not locate(store).exists(MARKER):
        return None
    return Store.open(store, create=not dry)


def _differing(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    pairs = ((name, value, earlier.get(name)) for name, value in row.items() if name not in ("sweep", "source"))
    return ", ".join(f"{name} {there!r} there, {here!r} here" for name, here, there in pairs if _other(here, there))


def _other(here: Any, there: Any) -> bool:
    if there is not None and hasattr(there, "isoformat"):
        there = there.isoformat()
    return here != there and str(here) != str(there)


def _points(
    read: ImportSource,
    mapping: ColumnMapping,
    mapped: Mapped,
    fresh: Iterable[tuple[int, Mapping[str, Any]]],
    source: str,
) -> list[dict[str, Any]]:
    """Curve points of the new rows; their metrics under our names where the mapping names a plain column."""
    if read.curves is None:
        return []
    ids = {json.loads(row["spec"])["knobs"].get("run"): row["trial_id"] for _, row in fresh}
    own = {column.name for column in CURVE_COLUMNS}
    ours = {theirs: name for name, theirs in mapped.used.items() if name in own}
    points = []
    for values in read.curves.iter_rows(named=True):
        trial = ids.get(values.pop("run"))
        if trial and values.get("step") is not None:
            known = {ours.get(name, name): value for name, value in values.items() if value is not None}
            points.append({**known, "trial_id": trial, "attempt": 1})
    return points


def _record(store: Store, launch_id: str, fresh: Iterable[tuple[int, Row]], points: list[Row]) -> None:
    by_trial: dict[str, list[Row]] = {}
    for point in points:
        by_trial.setdefault(point["trial_id"], []).append(point)
    with store.writer(launch_id) as writer:
        for batch in _batches(row for _, row in fresh):
            writer.write_rows(batch, [point for row in batch for point in by_trial.get(row["trial_id"], ())])


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    left = iter(values)
    while batch := list(islice(left, BATCH)):
        yield batch


def _launch_id(read: ImportSource, mapping: ColumnMapping, source: str) -> str:
    content = json.dumps([read.digest, source, dict(mapping.columns), mapping.where], default=str)
    return f"import-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _facts(
    read: ImportSource,
    mapping: ColumnMapping,
    source: str,
    preset: Preset | None,
    mapped: Mapped,
    added: int,
    rejected: Sequence[tuple[int, str]],
) -> dict[str, Any]:
    return {
        "kind": "import",
        "source": source,
        "file": read.name,
        "sha256": read.digest,
        "preset": preset.name if preset else None,
        "columns": dict(mapped.used),
        "where": mapping.where,
        "rows": mapped.frame.height,
        "left_out": mapped.left_out,
        "added": added,
        "rejected": len(rejected),
    }


def _rejects(frame: pl.DataFrame, rejected: Sequence[tuple[int, str]]) -> bytes:
    lines = []
    for number, reason in rejected:
        values = frame.row(number - 1, named=True)
        lines.append(json.dumps({"row": number, "reason": reason, **values}, default=str, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()
