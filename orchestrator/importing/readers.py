"""Readers of tracker exports: one flat frame of runs and, if available, curve points."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.tables import files
from sweeplaw.trials.errors import InputError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImportSource:
    """One row per run. ``curves`` has columns run (the identity of the run joined by "/"), step and metrics."""

    frame: pl.DataFrame
    name: str
    digest: str | None = None
    curves: pl.DataFrame | None = None


def file(source: str) -> ImportSource:
    """Read a CSV, Parquet or NDJSON file; nested records become dotted columns. Raise InputError."""
    path = Path(source)
    frame = _flat(files.scan(path).collect())
    with path.open("rb") as content:
        return ImportSource(frame, path.name, hashlib.file_digest(content, "sha256").hexdigest())


def wandb(source: str) -> ImportSource:
    """Read runs of Weights & Biases. Columns `config` and `summary`, as written by API scripts, are expanded."""
    read = file(source)
    frame = read.frame
    for column in ("config", "summary"):
        if column in frame.columns and frame[column].dtype == pl.String:
            frame = _expanded(frame, column)
    names = [name for name in ("ID", "id", "run_id", "Name", "name") if name in frame.columns]
    if not names:
        raise InputError(f"{source}: no column names the run (looked for ID, id, run_id, Name and name)")
    return ImportSource(frame.with_columns(pl.col(names[0]).alias("run")), read.name, read.digest)


def mlflow(source: str) -> ImportSource:
    """Read `mlflow.search_runs()`: prefixes `params.` and `metrics.` are removed, numeric text becomes numbers."""
    read = file(source)
    names: dict[str, str] = {}
    for name in read.frame.columns:
        short = name.removeprefix("params.").removeprefix("metrics.")
        taken = short in names.values() or (short != name and short in read.frame.columns)
        names[name] = name if taken else short
    numbers = [_number_where_possible(read.frame[name]) for name in read.frame.columns if name.startswith("params.")]
    return ImportSource(read.frame.with_columns(numbers).rename(names), read.name, read.digest)


def optuna(source: str) -> ImportSource:
    """Read all studies of an Optuna storage: parameters, user attributes, values, intermediate values as curves."""
    import optuna as library

    library.logging.set_verbosity(library.logging.WARNING)
    storage = _optuna_storage(source)
    trials, points = [], []
    for study in library.get_all_study_names(storage):
        for trial in library.load_study(study_name=study, storage=storage).get_trials(deepcopy=False):
            trials.append(_optuna_row(study, trial))
            run = f"{study}/{trial.number}"
            points += [{"run": run, "step": s, "val_loss": float(v)} for s, v in trial.intermediate_values.items()]
    if not trials:
        raise InputError(f"{source}: no trials in any study")
    return ImportSource(_frame(trials), source.rpartition("/")[2] or source, curves=_frame(points) if points else None)


def ray(source: str) -> ImportSource:
    """Read a Ray Tune experiment folder from result.json: the last line is the run, all lines are its curve."""
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(f"{source} is not a folder")
    trials, points = [], []
    for results in sorted(folder.rglob("result.json")):
        lines = [_flat_record(json.loads(line)) for line in results.read_text().splitlines() if line.strip()]
        row = _ray_row(results.parent, lines[-1] if lines else {})
        trials.append(row)
        points += [_ray_point(row["trial_id"], line) for line in lines]
    if not trials:
        raise InputError(f"{source}: no result.json in it (an experiment folder of Ray Tune has one per trial)")
    return ImportSource(_frame(trials), folder.name, curves=_frame(points) if points else None)


def _ray_row(folder: Path, last: Json) -> dict[str, Any]:
    """Infer the state from an error file or `done` in the last result, because Ray records it in a pickle."""
    error = folder / "error.txt"
    params = folder / "params.json"
    config = {} if last or not params.is_file() else _flat_record({"config": json.loads(params.read_text())})
    state = "failed" if error.is_file() else "completed" if last.get("done") else "stopped"
    message = error.read_text(errors="replace").strip().splitlines()[-1:] if error.is_file() else []
    row = {name.removeprefix("config/"): value for name, value in {**config, **last}.items()}
    return {**row, "trial_id": last.get("trial_id", folder.name), "state": state, "message": " ".join(message) or None}


def _ray_point(run: str, line: Json) -> dict[str, Any]:
    numbers = {k: v for k, v in line.items() if isinstance(v, int | float) and not k.startswith("config/")}
    return {**numbers, "run": run, "step": line.get("training_iteration")}


def _optuna_storage(source: str) -> Any:
    import optuna as library
    from optuna.storages.journal import JournalFileBackend

    if "://" in source:
        try:
            return library.storages.RDBStorage(source)
        except Exception as error:  # noqa: BLE001 - SQLAlchemy and each database driver have their own
            raise InputError(f"the Optuna storage cannot be opened: {type(error).__name__}") from None
    if not Path(source).is_file():
        raise InputError(f"{source} is neither a storage URL nor a journal file")
    try:
        return library.storages.JournalStorage(JournalFileBackend(source))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{source} is not a journal of an Optuna storage") from None


def _optuna_row(study: str, trial: Any) -> dict[str, Any]:
    values = trial.values or [None]
    return {
        "study": study,
        "number": trial.number,
        "state": trial.state.name,
        "value": values[0],
        **{f"value_{index}": value for index, value in enumerate(values[1:], start=1)},
        "datetime_start": trial.datetime_start.astimezone() if trial.datetime_start else None,
        "datetime_complete": trial.datetime_complete.astimezone() if trial.datetime_complete else None,
        **trial.params,
        **{name: value for name, value in trial.user_attrs.items() if name not in trial.params},
    }


def _expanded(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Expand the records in a text column into columns; existing names are kept."""
    records = [_flat_record(_record(text), separator=".") for text in frame[column]]
    wide = _frame(records)
    new = [name for name in wide.columns if name not in frame.columns]
    return frame.drop(column).hstack(wide.select(new))


def _record(text: str | None) -> dict[str, Any]:
    """Parse a record written as JSON or as a Python dict."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return {}
    return value if isinstance(value, dict) else {}


def _flat_record(record: Json, prefix: str = "", separator: str = "/") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= _flat_record(value, f"{prefix}{name}{separator}", separator)
        else:
            flat[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat


def _frame(records: Iterable[Json]) -> pl.DataFrame:
    """Return records with any columns as one frame; a column of mixed types becomes text."""
    from sweeplaw.trials.store_format.columns import table

    return pl.DataFrame(pl.from_arrow(table([{k: _simple(v) for k, v in record.items()} for record in records], ())))


def _simple(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _number_where_possible(series: pl.Series) -> pl.Series:
    numbers = series.cast(pl.Float64, strict=False)
    if series.dtype != pl.String or numbers.null_count() > series.null_count():
        return series
    known = numbers.drop_nulls()
    return (
        numbers.cast(pl.Int64)
        if known.len() and known.is_finite().all() and (known == known.round()).all()
        else numbers
    )


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    while nested := [name for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)]:
        frame = frame.with_columns(pl.col(name).name.prefix_fields(f"{name}.") for name in nested).unnest(*nested)
    return frame
