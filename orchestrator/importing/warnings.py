"""What is likely to be wrong with an import that is valid: no N or D, numbers that become text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES
from sweeplaw.orchestrator.importing.comparison import KnownRuns
from sweeplaw.orchestrator.importing.presets import STATED_N
from sweeplaw.orchestrator.importing.rows import ROW, Mapped
from sweeplaw.orchestrator.importing.values import mostly_numbers
from sweeplaw.trials.quantities import counted

_AXES = {"N": "params", "D": "tokens"}
_ID = re.compile(r"(?i:(^|[^a-z])(id|uuid|guid|hash|sha|commit))$|[a-z](Id|ID|Uuid|UUID)$")
_SHOWN = 3  # cells that are listed


def warnings(
    mapped: Mapped, known: KnownRuns, run: Collection[str], source: str, strangers: int
) -> tuple[str, ...]:  # fmt: skip
    """Return sentences about an import, given the runs that the store has. ``run``: their id columns.

    ``strangers``: how many runs of ``source`` the store has if no row of the file is one of them.
    """
    ids = {name for name, theirs in mapped.used.items() if theirs in run or _ID.search(name)}
    merged = mapped.histories.sentence
    others = (
        f"the store has {counted(strangers, 'other run')} of {source}, and no row of the file is one of them: if they "
        "are the same runs, identified in another way (--run), remove the earlier import (--remove) and import again"
    )
    return (
        *([merged] if merged else []),
        *([others] if strangers else []),
        *_axes(mapped),
        *_texts(mapped.frame.drop(ids), known),
    )


def _axes(mapped: Mapped) -> Iterator[str]:
    for alias, example in _AXES.items():
        name = ALIASES[alias]
        if name not in mapped.used:
            yield f"no column is mapped to {alias} ({name}), which laws need: --map {alias}={example}"
        elif mapped.frame.height and not mapped.frame[name].count():
            yield f"{alias} ({name} = {mapped.used[name]}) is empty in every row"
    for alias, name in ALIASES.items():
        if (kept := f"their_{alias}") in mapped.used and name in mapped.used:
            yield f"column {alias} is kept as {kept}: {alias} stands for {name}, which is {mapped.used[name]}"
    stated = mapped.used.get("params_non_embedding")
    if stated and stated == mapped.used.get("params") and stated not in STATED_N:
        yield f"N is {stated}, which may count embeddings: --map N=COLUMN if another column does not"


def _texts(frame: pl.DataFrame, known: KnownRuns) -> Iterator[str]:
    """Yield a sentence for each column of text that is mostly numbers, or numbers in the store so far."""
    held: Mapping[str, pl.DataType] = known.trials.collect_schema()
    for column in frame:
        original = column.name.startswith("their_")  # of a column that the mapping reads
        if column.dtype != pl.String or column.name.startswith("\0") or original:
            continue
        numeric = column.name in held and held[column.name].is_numeric()
        odd = (column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()).arg_true()
        if odd.len() and (numeric or mostly_numbers(column)):
            yield _sentence(column, odd, frame[ROW], "numbers in the store" if numeric else "mostly numbers")


def _sentence(column: pl.Series, odd: pl.Series, rows: pl.Series, otherwise: str) -> str:
    cells = ", ".join(f"row {rows[at]} holds {column[at]!r}" for at in odd.head(_SHOWN))
    more = f" and {odd.len() - _SHOWN} more" if odd.len() > _SHOWN else ""
    name = column.name if column.name.isidentifier() else f'"{column.name}"'
    values = (
        f"{odd.len()} of {counted(column.count(), 'value')} {'is no number' if odd.len() == 1 else 'are no numbers'}"
    )
    return (
        f"{column.name} is {otherwise} but becomes text everywhere: {values} ({cells}{more}); "
        f"--map '{column.name}=TRY_CAST({name} AS DOUBLE)' makes these null"
    )
