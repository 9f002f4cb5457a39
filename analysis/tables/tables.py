"""Trials and curves of a store or a file: each trial once, by its latest attempt, and a count of the rows left out.

A source is a store (folder or URI) or a CSV, Parquet or NDJSON file. Frames are lazy; nothing is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from sweeplaw.analysis.tables.arguments import address, check_filters
from sweeplaw.analysis.tables.display import Shown, brief
from sweeplaw.analysis.tables.launches import launches, with_later_knobs, with_own_quantities, without_scores
from sweeplaw.analysis.tables.roles.best import best, require_values
from sweeplaw.analysis.tables.scans import column_types, polars_type, scan, scan_ids
from sweeplaw.analysis.tables.sql.expressions import condition
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.record import CURVE_COLUMNS, TASK_SCORES
from sweeplaw.trials.store_format.columns import ARROW
from sweeplaw.trials.store_format.damage import note
from sweeplaw.trials.store_format.exclusions import Exclusions, exclusions
from sweeplaw.trials.store_format.layout import RECENCY, identify, is_store
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, holding, snapshot, verified

Result = TypeVar("Result")
REPLACED = "earlier attempts or versions, replaced by later ones"  # why their rows are no trials of their own


class UnansweredError(InputError):
    """A query that looks valid failed in the engine: the data may be damaged."""


@dataclass(frozen=True, slots=True, repr=False)
class Tables(Shown):
    """The contents of a source.

    ``trials`` has a row for each trial kept, ``curves`` the curve points of every trial's latest attempt, in any state
    (running trials too). ``dropped`` is the number of omitted rows of ``trials`` by reason. ``faults`` describe damaged
    files, whose rows are missing. ``launches`` are the recorded facts of each launch, oldest first. ``narrowed`` maps
    trial ids to the rows of ``trials`` in the files that may contain them: all rows of these trials, and others.
    ``excluded`` has the rows of the trials that `sweeplaw exclude` took out, in any state, with
    `exclusion_reason`.
    """

    trials: pl.LazyFrame
    curves: pl.LazyFrame
    dropped: Mapping[str, int]
    source: str
    launches: tuple[Mapping[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    narrowed: Callable[[Collection[str]], pl.LazyFrame] | None = None
    excluded: pl.LazyFrame = field(default_factory=pl.LazyFrame)

    def headline(self) -> tuple[str, ...]:
        """Return the source, the number of trials and launches, the columns, and what is left out."""
        names = self.trials.collect_schema().names()
        launched = f"{len(self.launches)} launch{'es' * (len(self.launches) != 1)}"
        counts = f"{_height(self.trials)} trials, {launched}, {len(names)} columns: {brief(names)}"
        return (f"{self.source}: {counts}", *self._left_out())

    def to_dict(self) -> dict[str, Any]:
        """Return counts, columns, rows left out and damage as plain values for JSON."""
        return {
            "source": self.source,
            "trials": self.trials.select(pl.len()).collect().item(),
            "columns": self.trials.collect_schema().names(),
            "launches": len(self.launches),
            "dropped": dict(self.dropped),
            "faults": list(self.faults),
        }

    def best(self, cells: Sequence[str] = ("N", "D"), loss: str = "val_loss") -> pl.DataFrame:
        """Return the setting of least mean ``loss`` over its seeds at each combination of the columns ``cells``.

        As the table `best` of a query (`analysis.tables.roles.best`). Raise InputError, also if one of these columns
        is null in every trial: own workloads may have other axes than N and D.
        """
        found = best(self.trials, cells, loss, self.launches)
        if found.is_empty():
            require_values(self.trials, [*cells, loss], self.launches)
        return found

    def to_arrow(self) -> pa.Table:
        """Return the trials as an Arrow table."""
        return self.trials.collect().to_arrow()

    def to_pandas(self) -> Any:
        """Return the trials as a pandas frame. Raise InputError without pandas."""
        try:
            import pandas  # noqa: F401  deferred: an optional package
        except ImportError:
            raise InputError("to_pandas() needs pandas, which is not installed (pip install pandas)") from None
        return self.trials.collect().to_pandas()

    def _left_out(self) -> tuple[str, ...]:
        dropped = [f"{counted(count, 'row')} left out: {reason}" for reason, count in self.dropped.items()]
        return (*dropped, *(f"damaged: {fault}" for fault in self.faults))


def load(
    source: Any,
    *,
    states: Sequence[str] | None = ("completed",),
    where: str | pl.Expr | None = None,
    verify: bool = False,
) -> Tables:
    """Return the tables of a store or a file: ``source`` is its path or URI, or an open Store.

    Keeps trials in one of ``states`` (None: all) for which ``where``, an SQL expression such as ``"tokens > 1e6"`` or a
    Polars expression, is true. A file has no states unless it has a column `state`. ``verify`` reads every byte first
    and leaves damaged parts out. Raise InputError.
    """
    source = address(source)
    check_filters(states, where)
    if not is_store(source):
        from sweeplaw.analysis.tables.files import foreign
        from sweeplaw.trials import table_file

        trials = foreign.plain(table_file.scan(source), str(source))
        return keep(Tables(trials, _no_curves(), {}, str(source)), states, where)
    location = locate(source)
    identify(location)
    now = snapshot(location)
    try:
        return keep(_store_tables(location, verified(location, now) if verify else now), states, where)
    except pl.exceptions.ComputeError as error:
        sound = verified(location, now)
        if verify or sound.faults == now.faults:
            raise InputError(f"{location.uri} cannot be read: {error}") from None
        return keep(_store_tables(location, sound), states, where)


def keep(tables: Tables, states: Sequence[str] | None, where: str | pl.Expr | None) -> Tables:
    """Return ``tables`` with the trials in ``states`` for which ``where`` is true; the others are counted.

    Given states, scores of kept models on tasks are left out too: they are no runs.
    """
    columns = tables.trials.collect_schema()
    trials, dropped, conditions = tables.trials, dict(tables.dropped), []
    recorded = tables.launches
    if states is not None:
        runs, recorded = without_scores(trials, recorded)
        if runs is not trials:
            scores = trials.select((pl.col("workload") == TASK_SCORES).sum()).collect().item()
            dropped.update({"scores of kept models on tasks": scores} if scores else {})
            conditions.append(pl.col("workload").ne_missing(TASK_SCORES))
            trials = runs
    if states is not None and "state" in columns:
        counts = trials.group_by("state").len().collect()
        others = [(state or "null", count) for state, count in counts.iter_rows() if state not in states]
        dropped.update({f"state {state}": count for state, count in sorted(others)})
        conditions.append(pl.col("state").is_in(list(states)))
        trials = trials.filter(*conditions)
    if where is not None:
        wanted = condition(where, columns) if isinstance(where, str) else where
        left_out = trials.select((~wanted.fill_null(False)).sum()).collect().item()
        dropped.update({f"not where {where}": left_out} if left_out else {})
        conditions.append(wanted)
    near = tables.narrowed
    narrowed = None if near is None else lambda trial_ids: near(trial_ids).filter(*conditions)
    kept = tables.trials.filter(*conditions)
    return replace(tables, trials=kept, dropped=dropped, narrowed=narrowed, launches=recorded)


def read(source: Any, *, states: Sequence[str] | None = ("completed",), where: str | None = None) -> Tables:
    """As `load`, with the trials in memory, so that no damage is found later. Raise InputError."""

    def loaded(verify: bool) -> Tables:
        found = load(source, states=states, where=where, verify=verify)
        return replace(found, trials=found.trials.collect().lazy())

    return unless_damaged(loaded)


def unless_damaged(work: Callable[[bool], Result]) -> Result:
    """Return ``work(False)``, or ``work(True)`` if damage behind a valid footer stops it; True is `load`'s ``verify``.

    Raise InputError if the second attempt fails as well.
    """
    try:
        return work(False)
    except (pl.exceptions.ComputeError, UnansweredError):
        pass
    try:
        return work(True)
    except pl.exceptions.ComputeError as error:
        raise InputError(str(error).splitlines()[0]) from None


def _store_tables(location: Location, now: Snapshot) -> Tables:
    """Return every trial and curve of a store."""
    repeated, types = _repeated_ids(location, now), column_types(now, "trials")
    trials, superseded = _latest(location, now, repeated, types)
    faults = list(now.faults)
    recorded = launches(location, faults)
    trials = as_shown(trials, recorded)
    dropped = {REPLACED: superseded} if superseded else {}
    curves = scan(location, now, "curves", column_types(now, "curves"))
    if now.curves or now.journal_rows("curves"):
        curves = _latest_curves(curves)

    def narrowed(trial_ids: Collection[str]) -> pl.LazyFrame:
        near = replace(now, trials=holding(location, now.trials, trial_ids))
        return as_shown(_latest(location, near, repeated, types)[0], recorded)

    every = Tables(trials, curves, dropped, location.uri, recorded, tuple(faults), narrowed)
    found = _without_excluded(every, narrowed, exclusions(location))
    note(found.faults)
    return found


def as_shown(trials: pl.LazyFrame, recorded: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Return rows of a store with later knobs at their defaults, and N, D and C for our own columns."""
    return with_own_quantities(with_later_knobs(trials, recorded), recorded)


def _without_excluded(every: Tables, near: Callable[[Collection[str]], pl.LazyFrame], noted: Exclusions) -> Tables:
    """Return ``every`` without the excluded trials and their curves; they are counted and kept as ``excluded``."""
    faults, reasons = (*every.faults, *noted.faults), noted.reasons
    if not reasons:
        nothing = every.trials.limit(0).with_columns(exclusion_reason=pl.lit(None, pl.String))
        return replace(every, faults=faults, excluded=nothing)
    ids = pl.Series("trial_id", list(reasons), pl.String)
    inside = pl.col("trial_id").is_in(ids.implode())
    because = pl.DataFrame([ids, pl.Series("exclusion_reason", list(reasons.values()), pl.String)])
    excluded = near(ids).filter(inside).collect().join(because, on="trial_id", how="left")
    counts = excluded["exclusion_reason"].value_counts().sort("exclusion_reason").iter_rows()
    return replace(
        every,
        trials=every.trials.filter(~inside),
        curves=every.curves.filter(~inside),
        dropped={**every.dropped, **{f"excluded: {reason}": count for reason, count in counts}},
        faults=faults,
        narrowed=lambda trial_ids: near(trial_ids).filter(~inside),
        excluded=excluded.lazy(),
    )


def _latest(
    location: Location, now: Snapshot, repeated: pl.Series, types: Mapping[str, pa.DataType]
) -> tuple[pl.LazyFrame, int]:
    """Return every trial once, by its latest attempt, and the number of rows superseded.

    Merged parts contain each trial once; later rows may supersede these. Only the trials with several rows,
    ``repeated``, are resolved in memory; the rest stays a plain scan, so that filters reach the files.
    """
    every = scan(location, now, "trials", types)
    if not repeated.len():
        return every, now.earlier
    rows = every.filter(pl.col("trial_id").is_in(repeated.implode())).collect()
    latest = rows.sort(*RECENCY, nulls_last=False, maintain_order=True).unique(
        "trial_id", keep="last", maintain_order=True
    )
    rest = every.filter(~pl.col("trial_id").is_in(repeated.implode()))
    return pl.concat([rest, latest.lazy()]), now.earlier + rows.height - latest.height


def _repeated_ids(location: Location, now: Snapshot) -> pl.Series:
    """Return the ids with more than one row."""
    young = [part for part in now.trials if not part.merged]
    if not young and not now.journal.trials:
        return pl.Series("trial_id", [], pl.String)
    recent = scan_ids(location, young).collect().get_column("trial_id")
    journal = pl.Series("trial_id", [row["trial_id"] for row in now.journal.trials], pl.String)
    ids = pl.concat([recent, journal])
    repeated = ids.filter(ids.is_duplicated()).unique()
    merged = holding(location, [part for part in now.trials if part.merged], ids) if ids.len() else ()
    if merged:
        again = scan_ids(location, merged).filter(pl.col("trial_id").is_in(ids.implode())).collect()
        repeated = pl.concat([repeated, again.get_column("trial_id")]).unique()
    return repeated


def _latest_curves(curves: pl.LazyFrame) -> pl.LazyFrame:
    """Return the points without those of attempts for which a later attempt of the trial has points."""
    again = curves.filter(pl.col("attempt") > 1).group_by("trial_id").agg(latest=pl.col("attempt").max()).collect()
    if not again.height:
        return curves
    joined = curves.join(again.lazy(), on="trial_id", how="left")
    return joined.filter(pl.col("latest").is_null() | (pl.col("attempt") == pl.col("latest"))).drop("latest")


def _height(frame: pl.LazyFrame) -> str:
    """Return the number of rows, as far as the files can be read."""
    try:
        return str(frame.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError:
        return "an unknown number of"


def _no_curves() -> pl.LazyFrame:
    return pl.LazyFrame(schema={column.name: polars_type(ARROW[column.type]) for column in CURVE_COLUMNS})
