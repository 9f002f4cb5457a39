"""The settings that one law rests on: seeds averaged, recipes apart, knobs outside the law at their best in each cell.

A column of text or booleans splits runs into recipes, each with cells of its own. A knob that was tuned but is not in
the law is held, in each cell, at its value in the setting of lowest mean loss. Runs that agree in all of these are
repeats, whose losses are averaged before anything is compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.roles.families import condition_of, family_key, name_of, split
from sweeplaw.analysis.tables.roles.guessed import MOST_LEVELS, SEEDS, plain, refining, varying_columns
from sweeplaw.analysis.tables.roles.recorded import recorded
from sweeplaw.analysis.tables.roles.roles import SOURCE, roles
from sweeplaw.analysis.tables.sql.expressions import ALIASES
from sweeplaw.analysis.tuning.design import LEAST_LEVELS
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.record import RESERVED_COLUMNS

Launches = Sequence[Mapping[str, Any]]

_FACTS = RESERVED_COLUMNS - {"workload", SOURCE}  # filled by the run itself, so not recipes
# Columns that describe a single run in other tools' tables.
_OF_A_RUN = re.compile(
    "id|name|notes?|message|tags?|user|host|hostname|node|gpu|device|state|status|version|commit|url"
)
SIZES = ("N", "D", ALIASES["N"], ALIASES["D"])  # no recipes: at cells of C, say, the best N and D are meant
_LISTED = 6  # recipes in a note
OWN, UNKNOWN = "own", "unknown"  # recipes: of runs that were not imported, and of those whose text is null


@dataclass(frozen=True, slots=True)
class Split:
    """Columns by role: numeric ``axes``, ``recipes`` that split cells, knobs ``held`` at their best in each cell."""

    axes: tuple[str, ...]
    recipes: tuple[str, ...]
    held: tuple[str, ...]
    notes: tuple[str, ...]


def is_group(column: pl.Series) -> bool:
    """Whether the values of a column are groups and no numbers: booleans, or texts most of which are no numbers."""
    if column.dtype == pl.String:
        numbers = column.cast(pl.Float64, strict=False).count()
        return bool(column.count() and numbers < column.count() / 2)
    return column.dtype in (pl.Boolean, pl.Categorical, pl.Enum)


def split_columns(
    frame: pl.DataFrame,
    axes: Sequence[str],
    knobs: Sequence[str],
    y: str,
    recipes: Sequence[str],
    launches: Launches,
    others: Sequence[str] = (),
) -> Split:
    """Return the roles of the columns of ``frame`` in a law of ``knobs``.

    ``recipes`` are those named by the user, ``others`` knobs known to be outside the law.
    """
    groups = [name for name in axes if is_group(frame[name])]
    numeric = tuple(name for name in axes if name not in groups)
    named = tuple(dict.fromkeys([*recipes, *groups]))
    found = roles(frame, launches, [*numeric, *named], [y, *knobs])
    apart = refining(
        frame, [], [name for name in found.families if name not in SIZES]
    )  # also where no cells are shared
    keys = [*numeric, *named, *apart]
    sizes = [name for name in SIZES if name in frame.columns and name not in {*keys, *knobs}]
    tuned = [name for name in dict.fromkeys([*others, *found.knobs]) if name not in SIZES]
    candidates = [*tuned, *varying_columns(frame, keys, sizes)]
    held = _held(frame, keys, knobs, candidates, tuple(recorded(launches).derived))
    more = _recipes(frame, [*keys, *knobs, *held], y)
    notes = [_as_recipes(groups)] if groups else []
    notes += [_apart(frame, [*apart, *more], "is a recipe with cells and a factor")] if apart or more else []
    return Split(numeric, (*named, *apart, *more), held, tuple(notes))


def _held(
    frame: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], candidates: Sequence[str], rules: Sequence[str]
) -> tuple[str, ...]:
    """Return the ``candidates`` to hold: none that says the same as ``knobs``, or leaves one of them nothing to vary.

    A knob that a rule of the sweep computed (``rules``) may be left with nothing: that is what the law must report.
    """
    distinct = frame.select([*keys, *knobs, *candidates]).unique(maintain_order=True)
    free = [name for name in knobs if name not in rules and refining(distinct, keys, [name])]
    held: list[str] = []
    for name in candidates:
        new = refining(distinct, [*keys, *held], [name]) and not any(_same(distinct, keys, name, one) for one in free)
        if new and all(refining(distinct, [*keys, *held, name], [knob]) for knob in free):
            held.append(name)
    return tuple(held)


def _same(frame: pl.DataFrame, keys: Sequence[str], a: str, b: str) -> bool:
    """Whether two columns determine each other at given ``keys``, as a batch size in two units does."""
    return not refining(frame, [*keys, a], [b]) and not refining(frame, [*keys, b], [a])


def _recipes(frame: pl.DataFrame, keys: Sequence[str], y: str) -> list[str]:
    """Return the columns of text or booleans in which most repeated settings differ, none that follows from others."""
    candidates = [
        name
        for name, kind in frame.schema.items()
        if kind in (pl.String, pl.Boolean) and name not in {*keys, *_FACTS, y} and not _OF_A_RUN.fullmatch(plain(name))
        if plain(name) not in SEEDS and 1 < frame[name].n_unique() <= MOST_LEVELS
    ]
    differing = [name for name in varying_columns(frame, keys, candidates) if _differs(frame, keys, name)]
    return refining(frame, keys, differing)


def _differs(frame: pl.DataFrame, keys: Sequence[str], name: str) -> bool:
    groups = frame.group_by(keys).agg(pl.len().alias("_rows"), pl.col(name).n_unique().alias("_values"))
    repeats = groups.filter(pl.col("_rows") > 1)
    return repeats.filter(pl.col("_values") > 1).height > repeats.height / 2


def _as_recipes(groups: Sequence[str]) -> str:
    what = "holds text or booleans: its values are" if len(groups) == 1 else "hold text or booleans: their values are"
    return f"{', '.join(groups)} {what} recipes with a factor each, and no axis (the same as --recipe)"


def _apart(frame: pl.DataFrame, names: Sequence[str], what: str) -> str:
    found = split(frame, names)
    shown = [f"{name_of(values)}: {counted(part.height, 'run')}" for values, part in found[:_LISTED]]
    more = [f"{len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return (
        f"runs differ in {', '.join(names)}: each value {what} of "
        f'its own ({"; ".join([*shown, *more])}); --where "{condition_of(found[0][0])}" selects one'
    )


def further_recipes(
    frame: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], y: str, launches: Launches = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of recipes beside ``keys``, whose runs are never averaged, and a note if there are some."""
    found = split_columns(frame, keys, knobs, y, (), launches).recipes
    names = tuple(name for name in found if name not in keys)
    return names, (_apart(frame, names, "has cells"),) if names else ()


def require_one_recipe(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], y: str, launches: Launches = ()
) -> None:
    """Raise InputError that lists the recipes of the runs, each with the condition that selects it, if several."""
    names = split_columns(frame, axes, knobs, y, (), launches).recipes
    found = split(frame, names)
    if len(found) > 1:
        lines = [
            f'{name_of(values)}: {counted(part.height, "run")}, --where "{condition_of(values)}"'
            for values, part in found[:_LISTED]
        ]
        more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
        head = f"the runs are of {len(found)} recipes, which differ in {', '.join(names)} and may differ in their best "
        raise InputError(f"{head}settings: select one", hints=[*lines, *more])


def keyed(frame: pl.DataFrame, recipes: Sequence[str]) -> pl.DataFrame:
    """Return ``frame`` with its recipe columns as they split runs: an unknown text is a recipe of its own."""
    texts = [name for name in recipes if frame[name].dtype == pl.String and name != SOURCE]
    unknown = [pl.col(name).fill_null(UNKNOWN) for name in texts]
    return frame.with_columns(*unknown, *[family_key(SOURCE).fill_null(OWN)] * (SOURCE in recipes))


def zero_levels(frame: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], y: str) -> dict[str, int]:
    """Return the number of runs at zero, by knob, of the ``knobs`` whose zero counts in the laws of the others.

    It counts if it is the best value in some cell, or if the positive values are too few for a law of their own; else
    the runs at zero can be left out. None if no knob would be left.
    """
    names = [name for name in knobs if name in frame.columns and frame[name].dtype.is_numeric()]
    zeros = {name: int((frame[name] == 0).sum()) for name in names}
    if not any(zeros.values()) or not {*keys, y} <= set(frame.columns) or not frame[y].dtype.is_numeric():
        return {}
    measured = frame.filter(pl.col(y).is_finite() & (pl.col(y) > 0))
    best = measured.sort(y).unique(keys, keep="first")
    positive = {name: measured.filter(pl.col(name) > 0).group_by(keys).agg(pl.col(name).n_unique()) for name in names}
    counting = {
        name: count
        for name, count in zeros.items()
        if count and ((best[name] == 0).any() or not (positive[name][name] >= LEAST_LEVELS).any())
    }
    return counting if len(counting) < len(knobs) else {}


def at_their_best(settings: pl.DataFrame, cell: Sequence[str], held: Sequence[str], y: str) -> pl.DataFrame:
    """Return the settings at which the knobs ``held`` have their values of the cell's setting of lowest loss."""
    best = settings.sort(y).unique(cell, keep="first", maintain_order=True).select([*cell, *held])
    return settings.join(best, on=[*cell, *held], how="semi", nulls_equal=True, maintain_order="left")


def other_differences(rows: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], y: str) -> tuple[str, ...]:
    """Return a note if settings occur several times in a cell, with the columns that differ and may be a recipe."""
    groups = rows.group_by([*keys, *knobs])
    repeats = groups.len("_rows").filter(pl.col("_rows") > 1)
    if repeats.height < max(1, rows.height // 20):  # a few repeated runs are seeds
        return ()
    others = [name for name in rows.columns if name not in {*keys, *knobs, y, *_FACTS} and plain(name) not in SEEDS]
    plain_columns = [name for name in others if not rows[name].dtype.is_nested()]
    few = [name for name in plain_columns if 1 < rows[name].n_unique() <= min(MOST_LEVELS, rows.height // 2)]
    differing = [name for name in few if _differs(rows, [*keys, *knobs], name)]
    if not differing:
        return ()
    return (
        f"{repeats.height} settings occur more than once in a cell and differ in {', '.join(differing)}: "
        "if those are recipes, name them with --recipe or put them into --cell",
    )
