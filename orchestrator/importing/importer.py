"""One import: read the source, map its columns, record its new rows, its launch facts and the rejected rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.orchestrator.importing import presets, readers
from sweeplaw.orchestrator.importing.comparison import Row, batches, compare, with_progress
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


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import. ``left_out`` is the number of rows excluded by the mapping's condition; ``rejected`` has row
    number (1 is the first) and reasons; ``rejects`` is the file with them."""

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
    progress: ProgressCallback = no_progress,
) -> Imported:
    """Import ``file`` into ``store``. Raise InputError with every fault, StoreWriteError.

    ``progress`` counts rows: one half of each when its id is known, the other when it is recorded or compared.
    """
    known = presets.preset(preset) if preset else None
    read = known.read(file) if known else readers.file(file)
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
    if not base.columns and (guess := presets.recognised(read.frame)):
        raise InputError(f"{file}: its columns are not mapped; they look like --preset {guess}")
    mapped = map_rows(read.frame, base)  # before opening the store: a faulty mapping must not create one
    return _import_runs(read, base, mapped, _open(store, dry), preset=known, dry=dry, progress=progress)


def _import_runs(
    read: ImportSource,
    mapping: ColumnMapping,
    mapped: Mapped,
    store: Store | None,
    *,
    preset: Preset | None,
    dry: bool,
    progress: ProgressCallback,
) -> Imported:
    """Record the runs of ``read`` in ``store`` (None if it does not exist yet), or only count them if ``dry``.

    Rows are converted to objects in batches, twice: to find the new ones by their ids, then to record these.
    """
    source = mapping.source or read.name
    if mapping.source and read.name not in mapping.source:
        source = f"{mapping.source}: {read.name}" if mapping.run else mapping.source
    row_source = partial(rows, mapped, replace(mapping, source=source), source)
    height = mapped.frame.height
    found = compare(row_source, height, store, progress)
    added = found.fresh.len()
    rejected = sorted([*((row, "; ".join(why)) for row, why in mapped.reasons.items()), *found.clashes])
    launch_id = _launch_id(read, mapping, source)
    points = _points(read, mapped, row_source(found.fresh))
    rejects = f"rejected/{launch_id}.ndjson" if rejected and not dry else None
    if store is not None and not dry:
        store.add_launch(launch_id, _facts(read, mapping, source, preset, mapped, added, rejected))
        fresh = with_progress(row_source(found.fresh), 2 * height - added, height, progress)
        _record(store, launch_id, fresh, points)
        if rejects:
            atomic.publish(store.location, rejects, _rejects(read.frame, rejected))
    return Imported(
        source, height, mapped.left_out, added, found.present, found.repeated, rejected, mapped.used, len(points),
        rejects,
    )  # fmt: skip


def _open(store: str, dry: bool) -> Store | None:
    """Open the store, creating it if necessary; a dry run creates none."""
    if dry and not locate(store).exists(MARKER):
        return None
    return Store.open(store, create=not dry)


def _points(read: ImportSource, mapped: Mapped, fresh: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    """Return the curve points of the new rows, with metrics renamed where the mapping names a plain column."""
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
        for batch in batches(row for _, row in fresh):
            writer.write_rows(batch, [point for row in batch for point in by_trial.get(row["trial_id"], ())])


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
