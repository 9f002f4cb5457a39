"""Tables to work on: every trial once, by its latest attempt, and a count of every row that was left out and why.

A source is a store (folder or URI) or a CSV, Parquet or NDJSON file. Frames are lazy; nothing is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from sweeplaw.analysis.tables.expressions import condition, known, no_numbers
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CURVE_COLUMNS, STATES
from sweeplaw.trials.store_format.columns import ARROW, POLARS, schema, union
from sweeplaw.trials.store_format.layout import RECENCY, Location, identify, is_store, locate
from sweeplaw.trials.store_format.snapshot import DECLARED, Snapshot, StorePart, holding, snapshot, verified

Result = TypeVar("Result")


class UnansweredError(InputError):
    """The question is sound as far as it can be told, and the engine failed on it: the data may be damaged."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What a source holds.

    ``trials`` has a row for each trial that was kept, ``curves`` the curve points of every trial's latest attempt,
    whatever its state (running trials too). ``dropped`` counts, for each reason, the rows of ``trials`` that were left
    out. ``faults`` are sentences about damaged files, whose rows are missing. ``launches`` are the recorded facts of
    each launch, oldest first. ``narrowed`` gives the rows of ``trials`` in those files alone that may hold one of some
    trial ids: all rows of these trials, and others.
    """

    trials: pl.LazyFrame
    curves: pl.LazyFrame
    dropped: Mapping[str, int]
    source: str
    launches: tuple[Mapping[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    narrowed: Callable[[Collection[str]], pl.LazyFrame] | None = None


def load(
    source: str | Path,
    *,
    states: Sequence[str] | None = ("completed",),
    where: str | pl.Expr | None = None,
    verify: bool = False,
) -> Tables:
    """The tables of a store or a file.

    Keeps trials in one of ``states`` (None: all) for which ``where``, an SQL expression such as ``"tokens > 1e6"`` or a
    Polars expression, is true. A file has no states unless it has a column `state`. ``verify`` reads every
    byte first and leaves damaged parts out. Raises InputError.
    """
    if states is not None and (unknown := set(states) - set(STATES)):
        raise InputError(f"states: {', '.join(sorted(unknown))} not known (accepted: {', '.join(STATES)})")
    if not is_store(source):
        from sweeplaw.analysis.tables import files

        return _kept(Tables(files.scan(source), _no_curves(), {}, str(source)), states, where)
    location = locate(source)
    identify(location)
    now = snapshot(location)
    try:
        return _kept(_whole(location, verified(location, now) if verify else now), states, where)
    except pl.exceptions.ComputeError as error:
        sound = verified(location, now)
        if verify or sound.faults == now.faults:
            raise InputError(f"{location.uri} cannot be read: {error}") from None
        return _kept(_whole(location, sound), states, where)


def read(source: str | Path, *, states: Sequence[str] | None = ("completed",), where: str | None = None) -> Tables:
    """As `load`, with the trials in memory, so that nothing can be found damaged later on. Raises InputError."""

    def loaded(verify: bool) -> Tables:
        found = load(source, states=states, where=where, verify=verify)
        return replace(found, trials=found.trials.collect().lazy())

    return unless_damaged(loaded)


def unless_damaged(work: Callable[[bool], Result]) -> Result:
    """``work(False)``; or, where damage behind a good footer stops it, ``work(True)``: with ``verify`` for `load`.

    Raises InputError when that does not help.
    """
    try:
        return work(False)
    except (pl.exceptions.ComputeError, UnansweredError):
        pass
    try:
        return work(True)
    except pl.exceptions.ComputeError as error:
        raise InputError(str(error).splitlines()[0]) from None


def _whole(location: Location, now: Snapshot) -> Tables:
    """Every trial and curve of a store."""
    contested, types = _contested(location, now), _types(now, "trials")
    trials, superseded = _latest(location, now, contested, types)
    recorded = launches(location)
    trials = _with_later_knobs(trials, recorded)
    dropped = {"superseded by a later attempt": superseded} if superseded else {}
    curves = _scan(location, now, "curves", _types(now, "curves"))
    if now.curves or now.journal_rows("curves"):
        curves = _current(curves)

    def narrowed(trial_ids: Collection[str]) -> pl.LazyFrame:
        near = replace(now, trials=holding(location, now.trials, trial_ids))
        return _with_later_knobs(_latest(location, near, contested, types)[0], recorded)

    return Tables(trials, curves, dropped, location.uri, recorded, now.faults, narrowed)


def _with_later_knobs(trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Fill the knobs that a workload gained later with the default at which its older trials ran."""
    later = {
        (launch.get("workload"), name): default
        for launch in recorded
        for name, default in (launch.get("later_knobs") or {}).items()
    }
    if not later:
        return trials
    held = trials.collect_schema().names()
    filled = {name: pl.col(name) for _, name in later if name in held}
    for (workload, name), default in later.items():
        if name in filled:
            ran_at_default = (pl.col("workload") == workload) & pl.col("source").is_null() & filled[name].is_null()
            filled[name] = pl.when(ran_at_default).then(pl.lit(default)).otherwise(filled[name]).alias(name)
    return trials.with_columns(**filled)


def launches(location: Location) -> tuple[Mapping[str, Any], ...]:
    """The facts of each launch, oldest first."""
    facts = [location.read_json(f"launches/{name}.json") for name in location.names("launches", ".json")]
    return tuple(sorted(facts, key=lambda launch: str(launch.get("recorded_at"))))


def best(trials: pl.LazyFrame, cells: Sequence[str], loss: str = "val_loss") -> pl.DataFrame:
    """The row of least ``loss`` in each cell: the best over every other axis, sorted by the cells.

    A cell is one combination of the values of the columns ``cells`` (the scientific axes). Rows without a finite loss
    or without a value in one of the cells are in none. Of equal losses the least trial_id counts. Raises InputError.
    """
    schema = trials.collect_schema()
    names = known([*cells, loss], schema.names())
    keys, target = names[:-1], names[-1]
    if not schema[target].is_numeric() and (fault := no_numbers(trials.select(target).collect()[target])):
        raise InputError(fault)
    usable = trials.filter(pl.col(target).is_finite(), *(pl.col(key).is_not_null() for key in keys))
    # Two passes: the first reads cells and loss only; the second the few rows, by a filter that reaches the files.
    least = usable.group_by(keys).agg(pl.col(target).min()).collect()
    candidates = usable.filter(pl.col(target).is_in(least.get_column(target).implode())).collect()
    found = candidates.join(least, on=[*keys, target], how="semi")
    ties = [name for name in ("trial_id",) if name in found.columns]
    return found.sort([*keys, *ties]).unique(keys, keep="first", maintain_order=True)


def _latest(
    location: Location, now: Snapshot, contested: pl.Series, types: Mapping[str, pa.DataType]
) -> tuple[pl.LazyFrame, int]:
    """Every trial once, by its latest attempt, and how many rows that leaves out.

    Merged parts hold each trial once; what was recorded since may supersede rows there. Only trials with several rows,
    the ``contested``, are resolved in memory; the rest stays a plain scan, so filters reach the files.
    """
    every = _scan(location, now, "trials", types)
    if not contested.len():
        return every, now.earlier
    several = every.filter(pl.col("trial_id").is_in(contested.implode())).collect()
    one = several.sort(*RECENCY, nulls_last=False, maintain_order=True).unique(
        "trial_id", keep="last", maintain_order=True
    )
    rest = every.filter(~pl.col("trial_id").is_in(contested.implode()))
    return pl.concat([rest, one.lazy()]), now.earlier + several.height - one.height


def _contested(location: Location, now: Snapshot) -> pl.Series:
    """The ids with more than one row."""
    young = [part for part in now.trials if not part.merged]
    if not young and not now.journal.trials:
        return pl.Series("trial_id", [], pl.String)
    recent = _only_ids(location, young).collect().get_column("trial_id")
    journal = pl.Series("trial_id", [row["trial_id"] for row in now.journal.trials], pl.String)
    ids = pl.concat([recent, journal])
    several = ids.filter(ids.is_duplicated()).unique()
    merged = holding(location, [part for part in now.trials if part.merged], ids) if ids.len() else ()
    if merged:
        again = _only_ids(location, merged).filter(pl.col("trial_id").is_in(ids.implode())).collect()
        several = pl.concat([several, again.get_column("trial_id")]).unique()
    return several


def _types(now: Snapshot, name: str) -> Mapping[str, pa.DataType]:
    """Every column of the table, by the widest type it occurs with."""
    return union([_first(now, name), *(alike[0].schema for alike in _alike(now.parts(name)))])


def _first(now: Snapshot, name: str) -> pa.Schema:
    """The schema of the table's rows in journals, or as it is declared."""
    return now.journal_table(name).schema if now.journal_rows(name) else schema(DECLARED[name])


def _scan(location: Location, now: Snapshot, name: str, types: Mapping[str, pa.DataType]) -> pl.LazyFrame:
    """Every row of the table, in the columns ``types``: one scan for each schema that occurs, and the journal."""
    scans = [conform(_frame(location, parts), parts[0].schema, types) for parts in _alike(now.parts(name))]
    if now.journal_rows(name):
        journal = now.journal_table(name)
        scans.append(conform(pl.LazyFrame(pl.from_arrow(journal)), journal.schema, types))
    if not scans:
        return pl.LazyFrame(schema={name: polars_type(kind) for name, kind in types.items()})
    return pl.concat(scans) if len(scans) > 1 else scans[0]


def _alike(parts: Sequence[StorePart]) -> list[list[StorePart]]:
    """``parts`` by their schema, those of one schema together."""
    groups: list[list[StorePart]] = []
    for part in parts:
        same = next((group for group in groups if group[0].schema.equals(part.schema)), None)
        if same is None:
            groups.append([part])
        else:
            same.append(part)
    return groups


def conform(frame: pl.LazyFrame, schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pl.LazyFrame:
    """``frame`` with exactly the columns of ``types``: cast to the wider type, null where it has none."""
    held = dict(zip(schema.names, schema.types, strict=True))
    if list(held.items()) == list(types.items()):
        return frame
    columns = [
        (pl.col(name) if name in held else pl.lit(None)).cast(polars_type(kind)).alias(name)
        if held.get(name) != kind
        else pl.col(name)
        for name, kind in types.items()
    ]
    return frame.select(columns)


def polars_type(kind: pa.DataType) -> pl.DataType:
    """The Polars type of one of our Arrow types."""
    return POLARS[kind]


def _frame(location: Location, parts: Sequence[StorePart]) -> pl.LazyFrame:
    """Parts of one schema as a scan: Polars' own on local files, pyarrow's wherever pyarrow reaches."""
    paths = [location.path(part.path) for part in parts]
    if location.local:
        held = parts[0].schema  # given, so that Polars need not read the footers for it
        return pl.scan_parquet(paths, glob=False, schema={field.name: polars_type(field.type) for field in held})
    return _dataset(location, paths)


def _only_ids(location: Location, parts: Sequence[StorePart]) -> pl.LazyFrame:
    """The trial_id column of parts of any schema."""
    paths = [location.path(part.path) for part in parts]
    if not paths:
        return pl.LazyFrame(schema={"trial_id": pl.String})
    if location.local:
        return pl.scan_parquet(paths, glob=False, schema={"trial_id": pl.String}, extra_columns="ignore")
    return _dataset(location, paths, pa.schema([("trial_id", pa.string())]))


def _dataset(location: Location, paths: Sequence[str], schema: pa.Schema | None = None) -> pl.LazyFrame:
    import pyarrow.dataset as pads  # here: it takes a quarter of a second, and a local store never needs it

    found = pads.dataset(paths, schema=schema, filesystem=location.filesystem, format="parquet")
    return pl.scan_pyarrow_dataset(found)


def _current(curves: pl.LazyFrame) -> pl.LazyFrame:
    """Without the points of attempts that a later attempt of the same trial has points for."""
    again = curves.filter(pl.col("attempt") > 1).group_by("trial_id").agg(latest=pl.col("attempt").max()).collect()
    if not again.height:
        return curves
    joined = curves.join(again.lazy(), on="trial_id", how="left")
    return joined.filter(pl.col("latest").is_null() | (pl.col("attempt") == pl.col("latest"))).drop("latest")


def _no_curves() -> pl.LazyFrame:
    return pl.LazyFrame(schema={column.name: polars_type(ARROW[column.type]) for column in CURVE_COLUMNS})


def _kept(tables: Tables, states: Sequence[str] | None, where: str | pl.Expr | None) -> Tables:
    """``tables`` with only the wanted trials, the others counted."""
    held = tables.trials.collect_schema()
    trials, dropped, conditions = tables.trials, dict(tables.dropped), []
    if states is not None and "state" in held:
        counts = trials.group_by("state").len().collect()
        dropped.update({f"state {state}": count for state, count in sorted(counts.iter_rows()) if state not in states})
        conditions.append(pl.col("state").is_in(list(states)))
        trials = trials.filter(*conditions)
    if where is not None:
        wanted = condition(where, held) if isinstance(where, str) else where
        left_out = trials.select((~wanted.fill_null(False)).sum()).collect().item()
        dropped.update({f"not where {where}": left_out} if left_out else {})
        conditions.append(wanted)
    near = tables.narrowed
    narrowed = None if near is None else lambda trial_ids: near(trial_ids).filter(*conditions)
    return replace(tables, trials=tables.trials.filter(*conditions), dropped=dropped, narrowed=narrowed)
