"""Runs of MLflow: what search_runs() returns as a file, or a tracking store: an `mlruns` folder or an SQLite file.

A store is read without MLflow: its files and tables are simple, and have been for years.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from sweeplaw.orchestrator.importing import readers
from sweeplaw.orchestrator.importing.readers import ImportSource, is_sqlite, number_where_possible, without_prefixes
from sweeplaw.orchestrator.importing.records import frame_of
from sweeplaw.trials.errors import InputError

_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_PREFIXES = ("metrics.", "params.", "tags.")

Record = dict[str, Any]
Run = tuple[Record, list[Record]]  # the run's row, and the points of its curve


def read(source: str) -> ImportSource:
    """Read `mlflow.search_runs()` written as a file, or a tracking store. Raise InputError."""
    path = Path(source)
    if path.is_dir():
        return _source(path.resolve().name, list(_folder_runs(path)), source)
    if is_sqlite(path):
        return _source(path.name, _database_runs(path), source)
    found = readers.file(source)
    numbers = [number_where_possible(found.frame[name]) for name in found.frame.columns if name.startswith("params.")]
    frame = without_prefixes(found.frame.with_columns(numbers), "params.", "metrics.")
    return ImportSource(frame, found.name, found.digest, tracker="mlflow")


def is_database(path: Path) -> bool:
    """Return whether the SQLite database ``path`` is one of MLflow."""
    try:
        with closing(sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'latest_metrics'").fetchone() is not None
    except sqlite3.Error:
        return False


def _source(name: str, runs: list[Run], where: str) -> ImportSource:
    if not runs:
        raise InputError(f"{where}: no runs in it (accepted: an `mlruns` folder, or the database of a tracking store)")
    frame = frame_of(row for row, _ in runs)
    frame = frame.with_columns(number_where_possible(frame[n]) for n in frame.columns if n.startswith("params."))
    points = [point for _, curve in runs for point in curve]
    return ImportSource(
        without_prefixes(frame, *_PREFIXES), name, None, frame_of(points) if points else None, tracker="mlflow"
    )


def _folder_runs(root: Path) -> Iterator[Run]:
    """Yield the active runs in ``root``: a store, one experiment or one run. Raise InputError with every fault."""
    faults = []
    for meta in sorted(root.rglob("meta.yaml")):
        if ".trash" in meta.relative_to(root).parts[:-1]:
            continue
        try:
            content = yaml.safe_load(meta.read_text(encoding="utf-8"))
            if "run_id" not in content and "run_uuid" not in content:  # of an experiment
                continue
            if content.get("lifecycle_stage", "active") == "active":
                yield _folder_run(meta.parent, content)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
            faults.append(f"{meta.parent.relative_to(root)}: {type(error).__name__}: {str(error).splitlines()[0]}")
    if faults:
        raise InputError(faults, where=str(root))


def _folder_run(folder: Path, meta: Record) -> Run:
    row = _started(str(meta.get("run_id", meta.get("run_uuid"))), meta)
    for kind in ("params", "tags"):
        files = (pair for pair in _named(folder / kind) if not pair[0].startswith("mlflow."))
        row |= {f"{kind}.{name}": path.read_text(encoding="utf-8") for name, path in files}
    points: dict[int, Record] = {}
    for name, path in _named(folder / "metrics"):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, value, *step = line.split()  # milliseconds, value, step
            row[f"metrics.{name}"] = float(value)
            _add(points, name, float(value), int(step[0]) if step else 0, row["run_id"])
    return _ended(row, points)


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of ``folder`` by their name, which may contain slashes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _database_runs(path: Path) -> list[Run]:
    """Return the active runs of a database of MLflow. Raise InputError."""
    try:
        with closing(sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return list(_rows_of(database))
    except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} is not a database of MLflow: {error}") from None


def _rows_of(database: sqlite3.Connection) -> Iterator[Run]:
    for run in database.execute("SELECT * FROM runs WHERE lifecycle_stage = 'active' ORDER BY run_uuid").fetchall():
        run_id = run["run_uuid"]
        row = _started(run_id, dict(run))
        for kind in ("params", "tags"):
            pairs = database.execute(f"SELECT key, value FROM {kind} WHERE run_uuid = ? ORDER BY key", (run_id,))
            row |= {f"{kind}.{name}": value for name, value in pairs if not name.startswith("mlflow.")}
        points: dict[int, Record] = {}
        metrics = "SELECT key, value, is_nan, step FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp"
        for name, value, is_nan, step in database.execute(metrics, (run_id,)):
            number = float("nan") if is_nan else float(value)
            row[f"metrics.{name}"] = number
            _add(points, name, number, step, run_id)
        yield _ended(row, points)


def _started(run_id: str, meta: Record) -> Record:
    status = meta.get("status")
    names = {"name": "run_name", "experiment_id": "experiment_id", "start_time": "start_time", "end_time": "end_time"}
    known = {ours: meta.get(theirs) for ours, theirs in names.items()}
    return {"run_id": run_id, **known, "status": _STATUS.get(status, status) if status is not None else None}


def _ended(row: Record, points: dict[int, Record]) -> Run:
    """Return the run with its last step, which is not known if all metrics are at step 0: they were logged without."""
    return {**row, "last_step": max(points, default=0) or None}, list(points.values())


def _add(points: dict[int, Record], name: str, value: float, step: int, run: str) -> None:
    points.setdefault(step, {"run": run, "step": step})[name] = value
