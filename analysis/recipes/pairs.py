"""Runs of two recipes matched by every other knob: the pairs that a comparison rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.roles.recorded import SEED, spec_knobs
from sweeplaw.analysis.tables.sources import Rows
from sweeplaw.analysis.tables.sql.expressions import ALIASES, check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, plain
from sweeplaw.trials.record import RESERVED_COLUMNS

SIZES = ("params_non_embedding", "params", "N")
DATA = ("tokens", "D")
COSTS = ("train_seconds", "flops")
KEY = "key:"  # before the names of the columns that runs are matched by
_SHOWN = 3  # values of a knob in a message


@dataclass(frozen=True, slots=True)
class Pairs:
    """``points`` has a row for each combination of the ``keys`` that both recipes have.

    Its columns: ``a`` and ``b``, the mean losses of the first and the second recipe; ``n_a`` and ``n_b``, their runs;
    ``difference``, b minus a; ``n``, the differences that it is the mean of; ``size`` and ``data``, N and D where they
    are known; ``train_seconds`` and ``flops``, means of a run of both recipes. ``paired``: whether runs of one seed
    were subtracted from each other; ``squares`` are then those of the differences around their mean.
    ``squares_a`` and ``squares_b`` are those of each recipe's runs around its mean, ``dof_a`` and ``dof_b`` their
    degrees of freedom. ``differing`` are the values of the knobs in which the recipes differ.
    """

    points: pl.DataFrame
    keys: tuple[str, ...]
    differing: Mapping[str, tuple[str, str]]
    paired: bool
    notes: tuple[str, ...]


def match(a: pl.DataFrame, b: pl.DataFrame, y: str, compared: Sequence[str], on: Sequence[str] | None) -> Pairs:
    """Match the runs of two frames with finite losses ``y``.

    ``compared`` are knobs in which the recipes may differ; without any, all those without a common value. ``on`` are
    the columns that must be equal, by default every other knob but the seed. Raise InputError if a column is unknown or
    nothing matches.
    """
    for frame in (a, b):
        check_columns(frame, compared)
    knobs = _knobs(a, b, y, on)
    apart = {name: _values(a, b, name) for name in knobs if name not in (on or ()) and not _common(a, b, name)}
    if compared:
        _refuse_others(apart, compared)
    else:
        _refuse_scales(apart)
    differing = {name: apart.get(name) or _values(a, b, name) for name in compared or apart if name != SEED}
    keys = tuple(name for name in knobs if name not in differing and name != SEED)
    if not on:
        _refuse_hidden(a, b, y, keys)
    paired = SEED in knobs and SEED not in apart
    points = _paired(a, b, keys, y) if paired else _unpaired(a, b, keys, y)
    if points.is_empty():
        raise _nothing(a, b, keys)
    return Pairs(points, keys, differing, paired, _left_out(a, b, points))


def same_unit(first: Rows, second: Rows, y: str) -> None:
    """Raise InputError if the losses of the two sources have different units."""
    units = [rows.units.get(y, "") for rows in (first, second)]
    if all(units) and units[0] != units[1]:
        raise InputError(f"{y} is in {units[0]} in the first source and in {units[1]} in the second")


def _knobs(a: pl.DataFrame, b: pl.DataFrame, y: str, on: Sequence[str] | None) -> list[str]:
    """Return the columns to match by, with the seed where both have it."""
    seed = [SEED] if SEED in a.columns and SEED in b.columns else []
    if on:
        for frame in (a, b):
            check_columns(frame, on)
        return [*dict.fromkeys([*on, *seed])]
    own = [name for name in spec_knobs(a) if name in spec_knobs(b)]
    shared = [name for name in a.columns if name in b.columns and name not in (y, SEED, *RESERVED_COLUMNS)]
    found = own or [name for name in shared if _may_be_knob(a, name) and _may_be_knob(b, name)]
    if not found:
        raise InputError("no knob is common to both; name the columns that must be equal: --on N,D")
    return [*found, *seed]


def _may_be_knob(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a column of a foreign table has repeated values, as a result or an identifier has not."""
    kind = frame[name].dtype
    return not kind.is_nested() and (name in ALIASES or frame[name].n_unique() <= frame.height / 2)


def _common(a: pl.DataFrame, b: pl.DataFrame, name: str) -> bool:
    return not set(a[name].unique()).isdisjoint(b[name].unique())


def _values(a: pl.DataFrame, b: pl.DataFrame, name: str) -> tuple[str, str]:
    return _some(a[name]), _some(b[name])


def _some(column: pl.Series) -> str:
    values = column.unique().sort().to_list()
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join("null" if value is None else plain(value) for value in values[:_SHOWN]) + more


def _refuse_others(apart: Mapping[str, tuple[str, str]], compared: Sequence[str]) -> None:
    others = {name: values for name, values in apart.items() if name not in (*compared, SEED)}
    if others:
        named = ", ".join(f"{name} ({one}; {other})" for name, (one, other) in others.items())
        options = " ".join(f"--with {name}" for name in others)
        raise InputError(
            f"the recipes differ not only in {', '.join(compared)} but also in {named}; "
            f"{options} compares them together"
        )


def _refuse_scales(apart: Mapping[str, tuple[str, str]]) -> None:
    """Raise InputError if the recipes have no size or no amount of data in common, which then is no recipe's knob."""
    if scales := {name: values for name, values in apart.items() if name in (*SIZES, *DATA)}:
        raise InputError(
            [
                f"no {name} is common to both: {one} in the first, {other} in the second"
                for name, (one, other) in scales.items()
            ],
            hints=[f"{' '.join(f'--with {name}' for name in scales)} compares runs that differ in it anyway"],
        )


def _refuse_hidden(a: pl.DataFrame, b: pl.DataFrame, y: str, keys: Sequence[str]) -> None:
    """Raise InputError if runs that are equal in the keys and the seed differ in a knob that the other recipe lacks:
    their mean is that of several settings, not of seeds.
    """
    faults = []
    for frame, other, which, lacks in ((a, b, "first", "second"), (b, a, "second", "first")):
        seed = [SEED] if SEED in frame.columns else []
        columns = spec_knobs(frame) or [name for name in frame.columns if _may_be_knob(frame, name)]
        alone = [name for name in columns if name not in (y, SEED, *RESERVED_COLUMNS, *other.columns)]
        for name in alone if keys else ():
            if frame.group_by(*keys, *seed).agg(pl.col(name).n_unique())[name].max() != 1:
                faults.append(f"{name} is {_some(frame[name])} in the {which}, and the {lacks} has no such column")
    if faults:
        hint = f"to average such runs anyway, name the columns that must be equal (--on {','.join(keys)})"
        raise InputError(faults, where="runs that are equal in all that both have", hints=[hint])


def _slim(frame: pl.DataFrame, keys: Sequence[str], y: str, *, seeds: bool) -> pl.DataFrame:
    """Return what pairs need: the keys under names of their own, seed, loss, N, D and costs (null where unknown)."""
    scales = {
        "size": _first(frame, SIZES),
        "data": _first(frame, DATA),
        **{name: _first(frame, [name]) for name in COSTS},
    }
    numbers = {name: pl.col(column) if column in frame.columns else pl.lit(None) for name, column in scales.items()}
    return frame.select(
        *(pl.col(name).alias(f"{KEY}{name}") for name in keys), *((pl.col(SEED),) if seeds else ()),
        pl.col(y).cast(pl.Float64).alias("loss"),
        *(column.cast(pl.Float64).alias(name) for name, column in numbers.items()),
        pl.lit(0).alias(f"{KEY}"),  # a table without keys is one point
    )  # fmt: skip


def _first(frame: pl.DataFrame, names: Sequence[str]) -> str:
    """Return the first of these columns that has a number, else an empty name."""
    numeric = [name for name in names if name in frame.columns and frame[name].dtype.is_numeric()]
    return next((name for name in numeric if frame[name].null_count() < frame.height), "")


def _means(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the mean loss at each value of ``by``, its runs and their squares around it, N, D and mean costs."""
    loss = pl.col("loss")
    return frame.group_by(by, maintain_order=True).agg(
        loss.mean(), pl.len().alias("n"), ((loss - loss.mean()) ** 2).sum().alias("squares"),
        pl.col("size", "data").first(), pl.col(COSTS).mean(),
    )  # fmt: skip


def _joined(a: pl.DataFrame, b: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    both = a.join(b, on=list(by), how="inner", nulls_equal=True, suffix="_b", maintain_order="left")
    costs = [((pl.col(name) + pl.col(f"{name}_b")) / 2).alias(name) for name in COSTS]
    return both.with_columns((pl.col("loss_b") - pl.col("loss")).alias("difference"), *costs)


def _paired(a: pl.DataFrame, b: pl.DataFrame, keys: Sequence[str], y: str) -> pl.DataFrame:
    one, other = (_slim(frame, keys, y, seeds=True) for frame in (a, b))
    points = [name for name in one.columns if name.startswith(KEY)]
    by = [*points, SEED]
    both = _joined(_means(one, by), _means(other, by), by)
    return both.group_by(points, maintain_order=True).agg(
        pl.col("loss").mean().alias("a"), pl.col("loss_b").mean().alias("b"), pl.col("difference").mean(),
        pl.len().alias("n"), pl.col("n").sum().alias("n_a"), pl.col("n_b").sum(),
        _squares("difference").alias("squares"), _squares("loss").alias("squares_a"),
        _squares("loss_b").alias("squares_b"), (pl.len() - 1).alias("dof_a"), (pl.len() - 1).alias("dof_b"),
        pl.col("size", "data").first(), pl.col(COSTS).mean(),
    )  # fmt: skip


def _squares(name: str) -> pl.Expr:
    return ((pl.col(name) - pl.col(name).mean()) ** 2).sum()


def _unpaired(a: pl.DataFrame, b: pl.DataFrame, keys: Sequence[str], y: str) -> pl.DataFrame:
    one, other = (_slim(frame, keys, y, seeds=False) for frame in (a, b))
    points = [name for name in one.columns if name.startswith(KEY)]
    both = _joined(_means(one, points), _means(other, points), points)
    return both.select(
        *points, pl.col("loss").alias("a"), pl.col("loss_b").alias("b"), "difference",
        pl.min_horizontal("n", "n_b").alias("n"), pl.col("n").alias("n_a"), "n_b",
        pl.lit(None, pl.Float64).alias("squares"), pl.col("squares").alias("squares_a"),
        "squares_b", (pl.col("n") - 1).alias("dof_a"), (pl.col("n_b") - 1).alias("dof_b"),
        "size", "data", *COSTS,
    )  # fmt: skip


def _left_out(a: pl.DataFrame, b: pl.DataFrame, points: pl.DataFrame) -> tuple[str, ...]:
    """Return a note on the runs without a partner."""
    alone = [(a.height - int(points["n_a"].sum()), "first"), (b.height - int(points["n_b"].sum()), "second")]
    return tuple(
        f"{counted(count, 'run')} of the {which} recipe left out: no partner in the other, or a repeated seed"
        for count, which in alone
        if count > 0
    )


def _nothing(a: pl.DataFrame, b: pl.DataFrame, keys: Sequence[str]) -> InputError:
    """Return why no run has a partner: the knobs whose values hardly agree."""
    apart, equal = [], []
    for name in keys:
        common = set(a[name].unique()) & set(b[name].unique())
        if len(common) < max(a[name].n_unique(), b[name].n_unique()):
            one, other = _values(a, b, name)
            apart.append(f"{name}: {one} in the first, {other} in the second")
        else:
            equal.append(name)
    return InputError(
        "no run of one recipe has the same other knobs as a run of the other: name fewer columns that must be equal "
        f"(--on {','.join(equal) or 'A,B'})",
        hints=apart,
    )


def level_frames(frame: pl.DataFrame, by: str) -> dict[Any, pl.DataFrame]:
    """Return the runs of each value of the column ``by``, the most frequent first. Raise InputError without two."""
    check_columns(frame, [by])
    parts = frame.drop_nulls([by]).partition_by(by, as_dict=True, maintain_order=True)
    found = {key[0]: part for key, part in sorted(parts.items(), key=lambda item: (-item[1].height, str(item[0][0])))}
    if len(found) < 2:
        only = ", ".join(map(plain, found)) or "none"
        raise InputError(f"{by} takes one value only ({only}): there are no two recipes to compare")
    return found
