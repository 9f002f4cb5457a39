"""Families of runs: which runs a law may be fitted to together, and how to select one of several families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.display import brief
from sweeplaw.analysis.tables.roles.roles import SOURCE
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

LISTED = 12  # families in a message
IMPORTED = "imported"


def family_key(name: str) -> pl.Expr:
    """Return the column of this name as it splits runs: of `source`, only whether a run was imported."""
    if name != SOURCE:
        return pl.col(name)
    return pl.when(pl.col(SOURCE).is_not_null()).then(pl.lit(IMPORTED)).alias(SOURCE)


def split(frame: pl.DataFrame, families: Sequence[str]) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """Return the values and the rows of each family, in the order of the values."""
    if not families:
        return [({}, frame)] if frame.height else []
    names = [f"__family {name}" for name in families]
    keyed = frame.with_columns(family_key(name).alias(key) for name, key in zip(families, names, strict=True))
    parts = keyed.partition_by(names, as_dict=True, maintain_order=True, include_key=False)
    ordered = sorted(parts.items(), key=lambda item: [(value is None, str(type(value)), value) for value in item[0]])
    return [(dict(zip(families, values, strict=True)), part) for values, part in ordered]


def name_of(values: Mapping[str, Any]) -> str:
    """Return a family in words: ``schedule = cosine``."""
    words = [
        ("imported runs" if value else "own runs") if name == SOURCE else f"{name} = {_word(value)}"
        for name, value in values.items()
    ]
    return ", ".join(words) or "all trials"


def _word(value: Any) -> Any:
    return "unknown" if value is None else "''" if value == "" else value


def condition_of(values: Mapping[str, Any]) -> str:
    """Return the SQL condition that selects a family."""
    return " AND ".join(_equals(name, value) for name, value in values.items())


def _equals(name: str, value: Any) -> str:
    column = name if name.isidentifier() else f'"{name}"'
    if name == SOURCE or value is None:
        return f"{column} IS {'NOT ' * (value is not None)}NULL"
    text = str(value).replace("'", "''")
    return f"{column} = " + (
        f"'{text}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    )


def require_one_family(frame: pl.DataFrame, families: Sequence[str]) -> None:
    """Raise InputError that lists the families, each with the condition that selects it, if there are several."""
    found = split(frame, families)
    if len(found) < 2:
        return
    lines = [
        f"{_briefly(values)}: {counted(part.height, 'run')}, --where {_quoted(condition_of(values))}"
        for values, part in found[:LISTED]
    ]
    more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
    head = f"the runs are of {len(found)} families, which differ in {', '.join(families)}; one law is not fitted to all"
    raise InputError(f"{head} of them unasked: select one, or give --pool (pool=True)", hints=[*lines, *more])


def _briefly(values: Mapping[str, Any]) -> str:
    return name_of({name: brief(value) if isinstance(value, str) else value for name, value in values.items()})


def _quoted(condition: str) -> str:
    return '"' + condition.replace('"', '\\"') + '"'
