"""One import, from reading the source to recording its rows, its launch facts and what was refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from analysis import tables
from orchestrator import durable
from orchestrator.importing import presets, readers
from orchestrator.importing.mapping import ColumnMapping, extended, from_toml
from orchestrator.importing.presets import Preset
from orchestrator.importing.readers import Source
from orchestrator.importing.rows import Mapped, map_rows, rows
from orchestrator.store import Store
from trials.errors import InputError
from trials.layout import MARKER, locate
from trials.record import CURVE_COLUMNS

BATCH = 2_000


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
) -> Imported:
    """Import ``file`` into ``store`` as a person asks for it. Raises InputError with every fault, StoreWriteError."""
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
    return _import_runs(read, base, mapped, _opened(store, dry), preset=known, dry=dry)


def _import_runs(
    read: Source, mapping: ColumnMapping, mapped: Mapped, store: Store | None, *, preset: Preset | None, dry: bool
) -> Imported:
    """Record the runs of ``read`` in ``store`` (None: there is none yet), or ``dry`` only say what would be."""
    source = mapping.source or read.name
    if mapping.source and read.name not in mapping.source:
        source = f"{mapping.source}: {read.name}" if mapping.run else mapping.source
    fresh, present, repeated, clashes = _fresh(mapped, replace(mapping, source=source), source, store)
    rejected = sorted([*((row, "; ".join(why)) for row, why in mapped.reasons.items()), *clashes])
    launch_id = _launch_id(read, mapping, source)
    points = _points(read, mapping, mapped, fresh, source)
    rejects = f"rejected/{launch_id}.ndjson" if rejected and not dry else None
    if store is not None and not dry:
        facts = _facts(read, mapping, source, preset, mapped, len(fresh), rejected)
        _record(store, launch_id, facts, [row for _, row in fresh], points)
        if rejects:
            durable.publish(store.location, rejects, _rejects(read.frame, rejected))
    return Imported(
        source, mapped.frame.height, mapped.left_out, len(fresh), present, repeated, rejected, mapped.used,
        len(points), rejects,
    )  # fmt: skip


def _fresh(
    mapped: Mapped, mapping: ColumnMapping, source: str, store: Store | None
) -> tuple[list[tuple[int, dict[str, Any]]], int, int, list[tuple[int, str]]]:
    """New rows; how many the store has; how many the file repeats; rows whose run is known with other content."""
    offered = list(rows(mapped, mapping, source))
    known = _known([row["trial_id"] for _, row in offered], store)
    fresh: list[tuple[int, dict[str, Any]]] = []
    clashes: list[tuple[int, str]] = []
    present = repeated = 0
    seen: dict[str, Mapping[str, Any]] = {}
    for number, row in offered:
        earlier = seen.get(row["trial_id"], known.get(row["trial_id"]))
        if earlier is None:
            seen[row["trial_id"]] = row
            fresh.append((number, row))
        elif differing := _differing(row, earlier):
            clashes.append((number, f"the same run is there with other content: {differing}"))
        elif row["trial_id"] in seen:
            repeated += 1
        else:
            present += 1
    return fresh, present, repeated, clashes


def _opened(store: str, dry: bool) -> Store | None:
    """The store, made when needed; a dry run makes none."""
    if dry and not locate(store).exists(MARKER):
        return None
    return Store.open(store, create=not dry)


def _known(ids: Sequence[str], store: Store | None) -> dict[str, Mapping[str, Any]]:
    """The store's rows of these ids."""
    if store is None:
        return {}
    trials = tables.load(store.location.uri, states=None).trials
    frame = trials.filter(pl.col("trial_id").is_in(pl.Series(ids, dtype=pl.String).implode())).collect()
    return {row["trial_id"]: row for row in frame.iter_rows(named=True)}


def _differing(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    pairs = ((name, value, earlier.get(name)) for name, value in row.items() if name not in ("sweep", "source"))
    return ", ".join(f"{name} {there!r} there, {here!r} here" for name, here, there in pairs if _other(here, there))


def _other(here: Any, there: Any) -> bool:
    if there is not None and hasattr(there, "isoformat"):
        there = there.isoformat()
    return here != there and str(here) != str(there)


def _points(
    read: Source, mapping: ColumnMapping, mapped: Mapped, fresh: Iterable[tuple[int, Mapping[str, Any]]], source: str
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


def _record(
    store: Store, launch_id: str, facts: Mapping[str, Any], trials: list[dict[str, Any]], points: list[dict[str, Any]]
) -> None:
    store.add_launch(launch_id, facts)
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        by_trial.setdefault(point["trial_id"], []).append(point)
    with store.writer(launch_id) as writer:
        for batch in _batches(trials):
            writer.write_rows(batch, [point for row in batch for point in by_trial.get(row["trial_id"], ())])


def _batches(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


def _launch_id(read: Source, mapping: ColumnMapping, source: str) -> str:
    content = json.dumps([read.digest, source, dict(mapping.columns), mapping.where], default=str)
    return f"import-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _facts(
    read: Source,
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
