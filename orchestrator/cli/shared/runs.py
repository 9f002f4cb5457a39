"""Options of the commands that rank and fit hyperparameters, and the runs they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.options import pairs

if TYPE_CHECKING:
    import polars as pl

STEPS = "steps"

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A store, or a CSV, Parquet or NDJSON file.")]
Cell = Annotated[str, typer.Option("--cell", metavar="N,D", help="Columns that define a cell, the axes of a law.")]
Knobs = Annotated[list[str], typer.Option("--knob", metavar="NAME", help="A knob to analyse (repeatable).")]
Y = Annotated[str, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")]
Let = Annotated[
    list[str] | None,
    typer.Option("--let", metavar="NAME=EXPR", help="Add a column given by an SQL expression (repeatable)."),
]
Where = Annotated[str | None, typer.Option(metavar="EXPR", help="Use only the runs for which this holds.")]
Steps = Annotated[
    str, typer.Option(metavar="COLUMN", help="Column of optimizer steps, to check the unit of the batch size.")
]


Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", metavar="COLUMN", help="Column whose values have their own cells (repeatable)."),
]


@dataclass(frozen=True, slots=True)
class SourceRuns:
    """The rows of a source, notes on how they were read, a sentence per damaged file, and what launches recorded."""

    frame: pl.DataFrame
    notes: list[str]
    faults: tuple[str, ...]
    launches: tuple[Mapping[str, Any], ...]


def read_runs(
    source: str, columns: Sequence[str], y: str, let: Sequence[str] | None, where: str | None, steps: str
) -> SourceRuns:
    """Return the rows of ``source`` with these columns.

    ``steps`` is the column that batch sizes are checked against; empty for no check. Raise InputError.
    """
    from sweeplaw.analysis.tables import tables
    from sweeplaw.analysis.tables.runs import prepare
    from sweeplaw.analysis.tables.sql.expressions import check_columns
    from sweeplaw.trials.errors import InputError
    from sweeplaw.trials.quantities import counted

    loaded = tables.read(source, states=None, where=where)
    frame, beyond = prepare(loaded.trials.collect(), columns, y, pairs(let, "--let"))
    if steps not in ("", STEPS):
        check_columns(frame, [steps])
    if "state" in frame.columns and "completed" not in frame["state"].fill_null("completed"):
        raise InputError(f"{source} has no completed run")
    notes = [f"{counted(count, 'row')} left out: {reason}" for reason, count in loaded.dropped.items()]
    notes += beyond
    return SourceRuns(frame, notes + _batch_units(frame, columns, steps), loaded.faults, loaded.launches)


def recipes_apart(runs: SourceRuns, keys: Sequence[str], knobs: Sequence[str], y: str) -> tuple[str, ...]:
    """Return ``keys`` and the columns of recipes beside them, whose runs are never averaged, with a note in ``runs``.

    Raise InputError.
    """
    from sweeplaw.analysis.tables.sql.expressions import check_columns
    from sweeplaw.analysis.tuning.settings import further_recipes

    check_columns(runs.frame, [*keys, *knobs, y], numbers=[y])
    recipes, notes = further_recipes(runs.frame, keys, knobs, y, runs.launches)
    runs.notes.extend(notes)
    return (*keys, *recipes)


def _batch_units(frame: pl.DataFrame, columns: Sequence[str], steps: str) -> list[str]:
    """Return a sentence on the unit of each batch size. Raise InputError if a unit contradicts its column."""
    from sweeplaw.analysis.hyperlaws.batch_unit import check_batch_unit
    from sweeplaw.analysis.hyperlaws.features import TOKEN_AXES

    tokens = next((name for name in TOKEN_AXES if name in frame.columns), None)
    if tokens is None or steps not in frame.columns:
        return []
    batches = [name for name in columns if name.lower().startswith("b")]
    units = [check_batch_unit(frame, batch, tokens, steps) for batch in batches if batch in frame.columns]
    return [unit for unit in units if unit]
