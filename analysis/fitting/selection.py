"""Which of the rows of a fit are used: those of the best setting at each point of the law, of one family of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.roles.families import name_of, require_one_family, split
from sweeplaw.analysis.tables.roles.roles import Roles, roles, sweeps_note
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.points import BestPoints, best_points

Array = np.ndarray

ALL, BEST, PLAIN = "all rows", "the best setting of each point", "every row: no knob differs at a point"
_LOSS, _AT = "__loss", "__at"


@dataclass(frozen=True, slots=True)
class Selection:
    """``at`` (n,) are the positions of the rows used, ``losses`` (n,) their losses, with the correction of the best.

    ``rule`` is which rows these are, ``notes`` are sentences on it, ``values`` the points as plain values, None where
    nothing was selected.
    """

    at: Array
    losses: Array
    rule: str
    notes: tuple[str, ...]
    values: Mapping[str, Any] | None


def select(
    frame: pl.DataFrame,
    inputs: Mapping[str, Array],
    losses: Array,
    launches: Sequence[Mapping[str, Any]],
    *,
    ignored: Sequence[str] = (),
    all_rows: bool = False,
    pool: bool = False,
    knobs: Sequence[str] | None = None,
) -> Selection:
    """Return the rows of ``frame`` to fit. Raise InputError if they are of several families and not pooled.

    ``inputs`` (n,) are the law's, by name: their combinations are the points. ``ignored`` are columns without a role:
    the loss, weights. ``pool`` uses the best settings of every family, ``all_rows`` each row of all of them.
    """
    check_columns(frame, knobs or ())
    keys = [f"__point {name}" for name in inputs]
    columns = [pl.Series(key, value) for key, value in zip(keys, inputs.values(), strict=True)]
    table = frame.with_columns(*columns, pl.Series(_LOSS, losses)).with_row_index(_AT)
    found = roles(table, launches, keys, [*ignored, _LOSS, _AT], knobs)
    if all_rows:
        return Selection(np.arange(frame.height), losses, ALL, tuple(_of_all(table, found, keys)), None)
    if not pool:
        require_one_family(table.select([*keys, *found.families]), found.families)
    return _best(table, found, keys, (*found.notes, *sweeps_note(table)))


def _best(table: pl.DataFrame, found: Roles, keys: Sequence[str], more: Sequence[str]) -> Selection:
    """Return the rows of the best settings of each family."""
    parts = split(table, found.families)
    points = [best_points(part, keys, found.knobs, _LOSS) for _, part in parts]
    rows = [part[_AT].to_numpy()[one.rows] for (_, part), one in zip(parts, points, strict=True)]
    at = np.concatenate([*rows, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    order = np.argsort(at, kind="stable")
    losses = np.concatenate([*(one.losses for one in points), np.zeros(0)])[order]
    several = len(parts) > 1
    notes = [
        f"{name_of(values)}: {note}" if several else note
        for (values, _), one in zip(parts, points, strict=True)
        for note in one.notes()
    ]
    pooled = [f"runs of {len(parts)} families are fitted together: {'; '.join(name_of(one) for one, _ in parts)}"]
    chosen = any(one.selected for one in points)
    values = [_values(family, one) for (family, _), one in zip(parts, points, strict=True)]
    rule = BEST if chosen else PLAIN
    return Selection(
        at[order], losses, rule, (*(pooled if several else ()), *notes, *more),
        {"knobs": list(found.knobs), "families": values} if chosen else None,
    )  # fmt: skip


def _values(family: Mapping[str, Any], points: BestPoints) -> dict[str, Any]:
    """Return the points of a family as plain values, its keys named as the law's inputs."""
    values = points.values()
    names = {key: key.removeprefix("__point ") for key in points.keys}
    renamed = points.frame.select(pl.exclude(set(names.values()) & set(points.frame.columns))).rename(names)
    return {"family": dict(family), **values, "points": renamed.to_dicts()}


def _of_all(table: pl.DataFrame, found: Roles, keys: Sequence[str]) -> Iterator[str]:
    """Yield sentences on what a fit to all rows mixes."""
    if found.knobs:
        yield f"all rows are fitted (--all-rows): runs at one point differ in {', '.join(found.knobs)}"
    if found.families and len(parts := split(table.select([*keys, *found.families]), found.families)) > 1:
        yield f"runs of {len(parts)} families are fitted together: {'; '.join(name_of(one) for one, _ in parts)}"
    yield from sweeps_note(table)
