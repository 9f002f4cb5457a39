"""Reading for a report: the families of a source, their columns by role, and the trials that did not complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sweeplaw.analysis.report.family import Family, families
from sweeplaw.analysis.tables.families import Axes, axes, n_note
from sweeplaw.analysis.tables.roles.budgets import budget_note, with_planned_tokens
from sweeplaw.analysis.tables.roles.families import family_key
from sweeplaw.analysis.tables.runs import computable, range_notes
from sweeplaw.analysis.tables.sql.expressions import check_columns, condition, parse
from sweeplaw.analysis.tables.tables import Tables, keep, load
from sweeplaw.trials.errors import InputError

_SUMMED = ("flops", "train_seconds")
_USUAL = ("params_non_embedding", "tokens")  # N and D of our own stores


@dataclass(frozen=True, slots=True)
class FamiliesRead:
    """The families of a source: ``whole`` and ``tables`` with trials in any state and completed ones, ``everything``
    the trials in any state that the condition kept. ``note`` says of which trials N or D is not known, or the loss
    is out of range.
    """

    whole: Tables
    tables: Tables
    everything: pl.DataFrame
    by: Axes
    families: list[Family]
    note: str


def read_families(
    source: str | Path,
    *,
    where: str | None,
    loss: str,
    x: Mapping[str, str] | None,
    verify: bool,
    unfinished: bool = False,
) -> FamiliesRead:
    """Return the families of a store or a table file. Raise InputError if there is no completed trial.

    With ``unfinished``, trials or launches of which none has completed are no fault; then there are no families.
    """
    whole = load(source, states=None, verify=verify)
    tables = keep(whole, ("completed",), where)
    rows = whole.trials if where is None else whole.trials.filter(condition(where, whole.trials.collect_schema()))
    known, planned = with_planned_tokens(rows.collect())
    everything = _with_expressions(known, [*(x or {}).values(), loss])
    beyond = range_notes(everything, loss) if loss in everything.columns else ()
    everything = computable(everything, loss) if loss in everything.columns else everything
    trials = everything.filter(pl.col("state") == "completed") if "state" in everything.columns else everything
    if not trials.height and unfinished and (everything.height or tables.launches) and not tables.faults:
        return FamiliesRead(whole, tables, everything, Axes(*_USUAL, loss, (), ()), [], "")
    if not trials.height:
        counts = ", ".join(f"{rows} {reason}" for reason, rows in tables.dropped.items())
        none = "what there is cannot be read" if tables.faults else "the store is empty"
        raise InputError(f"{tables.source}: no completed trials to report ({counts or none})")
    check_columns(everything, [], numbers=_SUMMED)
    by = axes(tables, trials, loss=loss, x=x)
    found = families(trials, by)
    note = "; ".join([*filter(None, ["" if x and "N" in x else n_note(trials)]), *budget_note(planned), *beyond])
    return FamiliesRead(whole, tables, everything, by, found, note)


def _with_expressions(trials: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    """Return the trials with a column for each of ``texts`` that is an expression and no name. Raise InputError."""
    computed = [
        parse(text, trials.schema).alias(text)
        for text in texts
        if text not in trials.columns and not text.isidentifier()
    ]
    try:
        return trials.with_columns(computed)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{', '.join(texts)}: {str(error).splitlines()[0]}") from None


def same_family(everything: pl.DataFrame, family: Family) -> pl.DataFrame:
    """Return the trials of a family in any state: whether a best value is at an edge depends on diverged neighbours."""
    return everything.filter(
        *(family_key(name).eq_missing(pl.lit(value)) for name, value in family.values.items()), pl.lit(True)
    )
