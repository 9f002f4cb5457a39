"""One import: read the source, map its columns, record its new rows, its launch facts and the rejected rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.orchestrator.importing import presets, readers
from sweeplaw.orchestrator.importing.comparison import Row, RowComparison, batches, compare, known_runs, with_progress
from sweeplaw.orchestrator.importing.mapping import ColumnMapping, extended, from_toml
from sweeplaw.orchestrator.importing.presets import Preset
from sweeplaw.orchestrator.importing.readers import ImportSource
from sweeplaw.orchestrator.importing.removal import remove
from sweeplaw.orchestrator.importing.rows import Mapped, RunSource, map_rows
from sweeplaw.orchestrator.importing.warnings import warnings
from sweeplaw.orchestrator.store import atomic, exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.record import CURVE_COLUMNS
from sweeplaw.trials.store_format.layout import MARKER
from sweeplaw.trials.store_format.location import locate


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import. ``left_out`` is the number of rows excluded by the mapping's condition; ``rejected`` has row
    number (1 is the first) and reasons; ``rejects`` is the file with them. ``updated`` runs of the store took new
    values; ``wider`` of the ``present`` ones lack values that the file has; ``removed`` runs are no data any more;
    ``merged`` rows are earlier ones of a run's history."""

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
    updated: int = 0
    wider: int = 0
    removed: int = 0
    merged: int = 0
    warnings: Sequence[str] = ()
    faults: Sequence[str] = ()


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
    update: bool = False,
    removes: bool = False,
    progress: ProgressCallback = no_progress,
) -> Imported:
    """Import ``file`` into ``store``. Raise InputError with every fault, StoreWriteError.

    With ``update`` known runs take the values of the file; with ``removes`` the runs of an earlier import of this
    source are removed instead.

    ``progress`` counts rows: one half of each when its id is known, the other when it is recorded or compared.
    """
    known = presets.preset(preset) if preset else None
    read = _read(file, known)
    base = known.mapping if known else ColumnMapping()
    if mapping is not None:
        own = from_toml(mapping)
        base = replace(own, columns={**base.columns, **own.columns}, run=own.run or base.run, optional=base.optional)
    base = extended(base, pairs)
    base = replace(
        base,
        run=base.run if run is None else run,
        where=where or base.where,
        keep=base.keep if keep is None else keep,
        source=source or base.source,
    )
    if not (base.columns or removes) and (guess := presets.recognised(file, read.frame)):
        raise InputError(f"{file}: its columns are not mapped; they look like --preset {guess}")
    text = _source(read, base)
    if removes:
        return Imported(text, 0, 0, 0, 0, 0, (), {}, 0, None, removed=remove(store, text, dry=dry))
    own_ids = known is not None and base.run == known.mapping.run
    merges = bool(base.run) and not own_ids and read.curves is None
    # Before opening the store: a faulty mapping must not create one.
    mapped = map_rows(read.frame, base, cells=read.cells, merges=merges)
    read = read if own_ids else replace(read, tracker=None)
    return _import_runs(read, base, mapped, _open(store, dry), preset=known, dry=dry, update=update, progress=progress)


def _read(file: str, preset: Preset | None) -> ImportSource:
    """Read ``file`` as the preset does; without one it is a table. Raise InputError, which names a preset that fits."""
    if preset is not None:
        return preset.read(file)
    if guess := presets.kind_of(file):
        raise InputError(f"{file} looks like --preset {guess}")
    return readers.file(file)


def _source(read: ImportSource, mapping: ColumnMapping) -> str:
    """Return the text that the rows have as their source."""
    if not mapping.source or read.name in mapping.source:
        return mapping.source or read.name
    return f"{mapping.source}: {read.name}" if mapping.run else mapping.source


def _import_runs(
    read: ImportSource,
    mapping: ColumnMapping,
    mapped: Mapped,
    store: Store | None,
    *,
    preset: Preset | None,
    dry: bool,
    update: bool,
    progress: ProgressCallback,
) -> Imported:
    """Record the runs of ``read`` in ``store`` (None if it does not exist yet), or only count them if ``dry``.

    Rows are converted to objects in batches, twice: to find the new ones by their ids, then to record these.
    """
    source, known, height = _source(read, mapping), known_runs(store), mapped.frame.height
    runs = RunSource(mapped, mapping.run, source, read.tracker, known.ids)
    found = compare(runs, known, progress, update=update)
    added = found.fresh.len()
    rejected = sorted([*((row, "; ".join(why)) for row, why in mapped.reasons.items()), *found.clashes])
    launch_id = _launch_id(read, mapping, source, found)
    points = _points(read, mapped, _again(runs.rows(found.recorded), found))
    rejects = f"rejected/{launch_id}.ndjson" if rejected and not dry else None
    if store is not None and not dry:
        facts = _facts(read, mapping, source, preset, mapped, added, rejected)
        if found.recorded.len() or not store.location.exists(f"launches/{launch_id}.json"):
            store.add_launch(launch_id, {**facts, "updated": len(found.updated)})
        recorded = with_progress(runs.rows(found.recorded), 2 * height - found.recorded.len(), height, progress)
        _record(store, launch_id, _again(recorded, found), points)
        exclusions.restore(store, known.removed.intersection(found.attempts))
        if rejects:
            atomic.publish(store.location, rejects, _rejects(read.frame, rejected))
    strangers = 0 if mapping.where else found.strangers
    warned = warnings(mapped, known, mapping.run, source, strangers)
    return Imported(
        source, mapped.rows, mapped.left_out, added, found.present, found.repeated, rejected, mapped.used, len(points),
        rejects, updated=len(found.updated), wider=found.wider, warnings=warned,
        merged=mapped.histories.merged, faults=known.faults,
    )  # fmt: skip


def _again(rows: Iterable[tuple[int, Row]], found: RowComparison) -> Iterator[tuple[int, Row]]:
    """Yield ``rows`` with the attempt of each run that is recorded again."""
    for number, row in rows:
        yield number, {**row, "attempt": found.attempts.get(row["trial_id"], 1)}


def _open(store: str, dry: bool) -> Store | None:
    """Open the store, creating it if necessary; a dry run creates none."""
    if dry and not locate(store).exists(MARKER):
        return None
    return Store.open(store, create=not dry)


def _points(read: ImportSource, mapped: Mapped, fresh: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    """Return the curve points of the new rows, with metrics renamed where the mapping names a plain column."""
    if read.curves is None:
        return _history_points(mapped.histories.points, fresh)
    runs = {json.loads(row["spec"])["knobs"].get("run"): (row["trial_id"], row["attempt"]) for _, row in fresh}
    own = {column.name for column in CURVE_COLUMNS}
    ours = {theirs: name for name, theirs in mapped.used.items() if name in own}
    points = []
    for values in read.curves.iter_rows(named=True):
        trial_id, attempt = runs.get(values.pop("run"), (None, 1))
        if trial_id and values.get("step") is not None:
            known = {ours.get(name, name): value for name, value in values.items() if value is not None}
            points.append({**known, "trial_id": trial_id, "attempt": attempt})
    return points


def _history_points(points: pl.DataFrame, fresh: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    """Return the curve points of the new rows that are histories."""
    if points.is_empty():
        return []
    runs = {number: (row["trial_id"], row["attempt"]) for number, row in fresh}
    own = []
    for values in points.iter_rows(named=True):
        if run := runs.get(values.pop("row")):
            known = {name: value for name, value in values.items() if value is not None}
            own.append({**known, "trial_id": run[0], "attempt": run[1]})
    return own


def _record(store: Store, launch_id: str, fresh: Iterable[tuple[int, Row]], points: list[Row]) -> None:
    by_trial: dict[str, list[Row]] = {}
    for point in points:
        by_trial.setdefault(point["trial_id"], []).append(point)
    with store.writer(launch_id) as writer:
        for batch in batches(row for _, row in fresh):
            writer.write_rows(batch, [point for row in batch for point in by_trial.get(row["trial_id"], ())])


def _launch_id(read: ImportSource, mapping: ColumnMapping, source: str, found: RowComparison) -> str:
    attempts = sorted(found.attempts.items())  # an update is an import of its own
    content = json.dumps(
        [read.digest, source, dict(mapping.columns), mapping.where, *([attempts] if attempts else [])], default=str
    )
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
        "rows": mapped.rows,
        "left_out": mapped.left_out,
        "added": added,
        "rejected": len(rejected),
    }


def _rejects(frame: pl.DataFrame, rejected: Sequence[tuple[int, str]]) -> bytes:
    lines = []
    for number, reason in rejected:
        values = frame.row(number - 1, named=True)
        clear = {f"their_{name}" if name in ("row", "reason") else name: value for name, value in values.items()}
        lines.append(json.dumps({"row": number, "reason": reason, **clear}, default=str, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()
