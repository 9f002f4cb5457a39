"""Exports of Weights & Biases: the table of runs, runs written by API scripts, and charts with a column per run."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import polars as pl

from sweeplaw.orchestrator.importing import readers
from sweeplaw.orchestrator.importing.histories import STEP_COLUMNS
from sweeplaw.orchestrator.importing.readers import ImportSource, without_prefixes
from sweeplaw.orchestrator.importing.records import flat_record, frame_of
from sweeplaw.trials.errors import InputError

_IDS, _NAMES = ("ID", "id", "run_id"), ("Name", "name")
_OF_RUN = re.compile(r"(?P<run>.+) - (?P<metric>.+?)(?P<bound>__MIN|__MAX)?")


def read(source: str) -> ImportSource:
    """Read an export: one row per run, or a chart's CSV, where `RUN - METRIC` is a column. Raise InputError."""
    found = readers.file(source)
    frame = found.frame
    if names := [name for name in (*_IDS, *_NAMES) if name in frame.columns]:
        for column in ("config", "summary"):
            if column in frame.columns and frame[column].dtype == pl.String:
                frame = _expanded(frame, column)
        frame = without_prefixes(frame, "config.", "config/", "summary.", "summary/", "summary_metrics.", "metrics.")
        tracker = "wandb" if names[0] in _IDS else None
        return ImportSource(frame.with_columns(pl.col(names[0]).alias("run")), found.name, found.digest, None, tracker)
    axis = next((name for name in STEP_COLUMNS if name in frame.columns), None)
    points = _points(frame, axis) if axis else None
    if points is None:
        looked = ", ".join((*_IDS, *_NAMES))
        raise InputError(f"{source}: no column names the run (looked for {looked}, or Step and columns RUN - METRIC)")
    return ImportSource(_last(points), found.name, found.digest, points)


def _points(frame: pl.DataFrame, axis: str) -> pl.DataFrame | None:
    """Return the points of a chart's table: run, step and a column per metric. None without a column `RUN - METRIC`.

    `__MIN` and `__MAX` bound the values of a group of runs, or repeat those of one.
    """
    columns = {name: match for name in frame.columns if (match := _OF_RUN.fullmatch(name)) and not match["bound"]}
    by_run: dict[str, list[pl.Expr]] = {}
    for name, match in columns.items():
        if not match["metric"].startswith("_"):  # _step, _runtime
            by_run.setdefault(match["run"], []).append(pl.col(name).alias(match["metric"]))
    parts = []
    for run, metrics in by_run.items():
        part = frame.select(pl.lit(run).alias("run"), pl.col(axis).alias("step"), *metrics)
        parts.append(part.filter(pl.any_horizontal(pl.exclude("run", "step").is_not_null())))
    return pl.concat(parts, how="diagonal_relaxed") if parts else None


def _last(points: pl.DataFrame) -> pl.DataFrame:
    """Return one row per run: the last value of every metric, and the step of the last point."""
    metrics = pl.exclude("run", "step").drop_nulls().last()
    return points.sort("step").group_by("run", maintain_order=True).agg(metrics, last_step=pl.col("step").max())


def _expanded(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Expand the records in a text column into columns; existing names are kept."""
    records = [flat_record(_record(text), ".") for text in frame[column]]
    wide = frame_of(records)
    new = [name for name in wide.columns if name not in frame.columns]
    return frame.drop(column).hstack(wide.select(new))


def _record(text: str | None) -> dict[str, Any]:
    """Parse a record written as JSON or as a Python dict."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text or "{}")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, dict) else {}
    return {}
