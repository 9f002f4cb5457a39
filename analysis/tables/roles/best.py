"""The table `best`: at each scientific point the best setting of the knobs, by its mean loss over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.roles.budgets import TOKENS, planned_tokens, with_planned_tokens
from sweeplaw.analysis.tables.roles.families import family_key
from sweeplaw.analysis.tables.roles.guessed import AMOUNTS, KNOBS, RECIPES, plain
from sweeplaw.analysis.tables.roles.recorded import SEED, RecordedRoles, recorded
from sweeplaw.analysis.tables.roles.roles import SOURCE, Roles, roles
from sweeplaw.analysis.tables.sql.expressions import not_numeric, resolve_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

MOST_SEARCHED = 1_000_000  # rows of a table without launches whose values are searched for knobs; then names decide
SAMPLE = 1000  # rows that show which columns may have one value
NEAR = 1e-6  # of the size of losses: means that differ by less may be in another order than when summed exactly
_SEEDS, _SEED_STD = "__seeds", "__seed_std"


def best(
    trials: pl.LazyFrame,
    cells: Sequence[str],
    loss: str = "val_loss",
    launches: Sequence[Mapping[str, Any]] = (),
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return a row for each cell: the setting of least mean ``loss`` over its seeds, sorted by the cells.

    A cell is one combination of the values of the columns ``cells`` (the scientific axes) and of those that split the
    runs into families. ``loss`` is the mean, ``seeds`` the number of runs of the setting and ``seed_std`` their
    standard deviation (null for one), named as `seed_columns` says; a column in which they differ is null. ``columns``
    are those returned, by default all. Rows without a finite loss or with a null cell column are omitted. Raise
    InputError.
    """
    check_names(cells=cells)
    schema = trials.collect_schema()
    if not cells:
        raise InputError("the best settings: no column of a cell is named (accepted: at least one)")
    names = resolve_columns([*cells, loss], schema.names())
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError([f"{name!r} is named twice, as a column of the cells or as the loss" for name in twice])
    keys, target = names[:-1], names[-1]
    if not schema[target].is_numeric() and (fault := not_numeric(trials.select(target).collect()[target])):
        raise InputError(fault)
    usable = trials.filter(pl.col(target).is_finite(), *(pl.col(key).is_not_null() for key in keys))
    families, knobs = _roles(usable, launches, keys, target)
    points = _points(schema, keys, families, knobs)
    tuned = _varying(usable, [name for name in knobs if name not in names])
    usable = usable.with_columns(*points.values())
    found, losses = _settings(usable.select(*points, *tuned, target), list(points), target)
    own = {*schema.names()} if columns is None else {*columns, *keys, *knobs, target, "trial_id"}
    wanted = [*(name for name in schema.names() if name in own), *(name for name in points if name not in schema)]
    runs = usable.select(wanted).filter(pl.col(target).is_in(losses.implode())).collect()  # a filter that files know
    rows = _one_row_each(runs, found, target).sort(list(points), nulls_last=True)
    return rows.drop(points.keys() - set(keys)).rename(
        dict(zip((_SEEDS, _SEED_STD), seed_columns(schema), strict=True))
    )


def require_values(trials: pl.LazyFrame, columns: Sequence[str], launches: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError naming those of ``columns`` that are null in every trial, if there are trials."""
    names = resolve_columns(columns, trials.collect_schema().names())
    known = trials.select(pl.len(), *(pl.col(name).count() for name in names)).collect().row(0, named=True)
    empty = [f"{name} is null in all {counted(known['len'], 'trial')}" for name in names if not known[name]]
    if empty and known["len"]:
        axes = recorded(launches).scientific
        named = f"the axes of the sweep are best([{', '.join(map(repr, axes))}])" if axes else "name other columns"
        raise InputError(empty, hints=[named])


def seed_columns(taken: Container[str]) -> tuple[str, str]:
    """Return the names that `best` gives to the number of seeds and their deviation, in a table that has ``taken``."""
    seeds, deviation = "seeds", "seed_std"
    while seeds in taken or deviation in taken:
        seeds, deviation = f"best_{seeds}", f"best_{deviation}"
    return seeds, deviation


def _points(
    schema: pl.Schema, keys: Sequence[str], families: Sequence[str], knobs: Sequence[str]
) -> dict[str, pl.Expr]:
    """Return the columns that make up a cell, those of families by names of their own."""
    points = {name: pl.col(name) for name in keys}
    if TOKENS in keys and {"batch_sequences", "batch_tokens"} & set(knobs):  # D differs by the last partial batch
        points[TOKENS] = planned_tokens(schema.names()).cast(schema[TOKENS])
    return points | {f"__family {name}": family_key(name).alias(f"__family {name}") for name in families}


def _roles(
    usable: pl.LazyFrame, launches: Sequence[Mapping[str, Any]], keys: Sequence[str], target: str
) -> tuple[list[str], list[str]]:
    """Return the columns that split the cells, and those that make up a setting."""
    present = usable.collect_schema().names()
    facts = recorded(launches)
    named = [name for name in present if plain(name) in KNOBS | RECIPES]
    if facts.known:
        return _recorded(facts, present, keys, named if facts.imports else [])
    if usable.select(target).head(MOST_SEARCHED + 1).collect(engine="streaming").height > MOST_SEARCHED:
        return [], named
    found: Roles = roles(with_planned_tokens(usable.collect())[0], launches, keys, [target])
    # The best over all sizes or budgets is what a user asks for who leaves them out of the cells.
    amounts = [name for name in found.families if plain(name) in AMOUNTS]
    return [name for name in found.families if name not in amounts], [*found.knobs, *amounts]


def _recorded(
    facts: RecordedRoles, present: Sequence[str], keys: Sequence[str], named: Sequence[str]
) -> tuple[list[str], list[str]]:
    split = [*(["workload"] if len(facts.workloads) > 1 else []), *([SOURCE] if facts.imports else []), *facts.fixed]
    families = [name for name in split if name in present and name not in keys]
    settings = dict.fromkeys([*facts.scientific, *facts.nuisance, *facts.rederived, *named])
    taken = {*keys, *families, SEED}
    return families, [name for name in settings if name in present and name not in taken]


def _varying(usable: pl.LazyFrame, names: Sequence[str]) -> list[str]:
    """Return ``names`` without those of one value in all rows: each column of a group costs time."""
    sample = usable.select(names).head(SAMPLE).collect()
    flat = [name for name, kind in sample.schema.items() if not kind.is_nested()]
    usual = {name: sample[name][0] for name in flat if sample[name].n_unique() == 1}
    other = [pl.col(name).ne_missing(pl.lit(value, sample.schema[name])).any() for name, value in usual.items()]
    varies = usable.select(other).collect(engine="streaming").row(0, named=True) if usual else {}
    return [name for name in names if varies.get(name, True)]


def _settings(usable: pl.LazyFrame, points: Sequence[str], target: str) -> tuple[pl.DataFrame, pl.Series]:
    """Return the best setting of each point, with its mean loss, seeds and their deviation; and the losses of its runs.

    The columns of ``usable`` are points, knobs and the loss.
    """
    names = [name for name in usable.collect_schema().names() if name != target]
    near = _of(usable, _near_best(usable, names, points, target), names).collect(engine="streaming")
    loss = pl.col(target).sort()  # the same sum in any order of the runs
    every = near.group_by(names).agg(loss.mean(), pl.len().alias(_SEEDS), loss.std().alias(_SEED_STD))
    least = every.filter(pl.col(target) == pl.col(target).min().over(points))
    found = least.sort(names, nulls_last=True).unique(points, keep="first", maintain_order=True)
    return found, _of(near.lazy(), found.lazy(), names).collect()[target].unique()


def _near_best(usable: pl.LazyFrame, names: Sequence[str], points: Sequence[str], target: str) -> pl.LazyFrame:
    """Return the settings whose mean loss may be the least of their point: with what rounding may change.

    Millions of rows are summed in an order that varies.
    """
    loss = pl.col(target)
    means = usable.group_by(names).agg(loss.mean()).collect(engine="streaming")
    extremes = usable.select(loss.min(), loss.max().alias("__most")).collect(engine="streaming").row(0)
    signed = (extremes[0] or 0) < 0  # then a mean is rounded by more than itself
    error = NEAR * (max(map(abs, extremes)) if signed else loss)
    return means.filter((loss - error).fill_nan(loss) <= (loss + error).min().over(points)).lazy()


def _of(runs: pl.LazyFrame, settings: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """Return the runs of these settings."""
    return runs.join(settings.select(names), on=list(names), how="semi", nulls_equal=True)


def _one_row_each(runs: pl.DataFrame, found: pl.DataFrame, target: str) -> pl.DataFrame:
    """Return the runs of each setting ``found`` as one row, with null where they differ and the mean as their loss."""
    names = [name for name in found.columns if name not in (target, _SEEDS, _SEED_STD)]
    rest = [name for name in runs.columns if name not in (*names, target)]
    order = runs.columns
    if (found[_SEEDS] > 1).any():
        first = {name: pl.col(name).first() for name in rest}
        alike = [pl.when(pl.col(name).eq_missing(one).all()).then(one).alias(name) for name, one in first.items()]
        runs = runs.group_by(names).agg(alike)
    joined = runs.select(*names, *rest).join(found, on=names, nulls_equal=True)
    return joined.select(*order, _SEEDS, _SEED_STD)
