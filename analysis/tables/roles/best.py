"""The table `best`: at each scientific point the best setting of the knobs, by its mean loss over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.roles.budgets import TOKENS, planned_tokens, with_planned_tokens
from sweeplaw.analysis.tables.roles.families import family_key
from sweeplaw.analysis.tables.roles.guessed import KNOBS, RECIPES, plain
from sweeplaw.analysis.tables.roles.recorded import SEED, Recorded, recorded
from sweeplaw.analysis.tables.roles.roles import SOURCE, Roles, roles
from sweeplaw.analysis.tables.sql.expressions import not_numeric, resolve_columns
from sweeplaw.trials.errors import InputError

MOST_SEARCHED = 1_000_000  # rows of a table without launches whose values are searched for knobs; then names decide
SEEDS, SEED_STD = "seeds", "seed_std"


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
    standard deviation (null for one); a column in which they differ is null. ``columns`` are those returned, by default
    all. Rows without a finite loss or with a null cell column are omitted. Raise InputError.
    """
    schema = trials.collect_schema()
    names = resolve_columns([*cells, loss], schema.names())
    keys, target = names[:-1], names[-1]
    if not schema[target].is_numeric() and (fault := not_numeric(trials.select(target).collect()[target])):
        raise InputError(fault)
    usable = trials.filter(pl.col(target).is_finite(), *(pl.col(key).is_not_null() for key in keys))
    families, knobs = _roles(usable, launches, keys, target)
    tagged = [f"__family {name}" for name in families]
    usable = usable.with_columns(family_key(name).alias(key) for name, key in zip(families, tagged, strict=True))
    if TOKENS in keys and {"batch_sequences", "batch_tokens"} & set(knobs):  # D differs by the last partial batch
        usable = usable.with_columns(planned_tokens(schema.names()).cast(schema[TOKENS]))
    found = _settings(usable, [*keys, *tagged], [name for name in knobs if name not in keys], target)
    rows = _runs(usable.select(_needed(schema.names(), columns, [*keys, *knobs, target], tagged)), found, target)
    return _one_row_each(rows, found, [*keys, *tagged], target).drop(tagged)


def _roles(
    usable: pl.LazyFrame, launches: Sequence[Mapping[str, Any]], keys: Sequence[str], target: str
) -> tuple[list[str], list[str]]:
    """Return the columns that split the cells, and those that make up a setting."""
    present = usable.collect_schema().names()
    facts = recorded(launches)
    named = [name for name in present if plain(name) in KNOBS | RECIPES]
    if facts.known:
        return _recorded(facts, present, keys, named if facts.imports else [])
    if usable.select(pl.len()).collect().item() > MOST_SEARCHED:
        return [], named
    found: Roles = roles(with_planned_tokens(usable.collect())[0], launches, keys, [target])
    return list(found.families), list(found.knobs)


def _recorded(
    facts: Recorded, present: Sequence[str], keys: Sequence[str], named: Sequence[str]
) -> tuple[list[str], list[str]]:
    split = [*(["workload"] if len(facts.workloads) > 1 else []), *([SOURCE] if facts.imports else []), *facts.fixed]
    families = [name for name in split if name in present and name not in keys]
    settings = dict.fromkeys([*facts.scientific, *facts.nuisance, *facts.rederived, *named])
    taken = {*keys, *families, SEED}
    return families, [name for name in settings if name in present and name not in taken]


def _settings(usable: pl.LazyFrame, keys: Sequence[str], knobs: Sequence[str], target: str) -> pl.DataFrame:
    """Return the keys and knobs of the best setting of each cell, with its mean loss, seeds and their deviation."""
    mean = [pl.col(target).mean(), pl.len().alias(SEEDS), pl.col(target).std().alias(SEED_STD)]
    every = usable.group_by([*keys, *knobs]).agg(mean).collect()
    least = every.join(every.group_by(keys).agg(pl.col(target).min()), on=[*keys, target], how="semi", nulls_equal=True)
    return least.sort([*keys, *knobs], nulls_last=True).unique(keys, keep="first", maintain_order=True)


def _needed(
    every: Sequence[str], columns: Sequence[str] | None, own: Sequence[str], tagged: Sequence[str]
) -> list[str]:
    wanted = every if columns is None else [name for name in every if name in {*columns, *own, "trial_id"}]
    return [*wanted, *tagged]


def _runs(usable: pl.LazyFrame, found: pl.DataFrame, target: str) -> pl.DataFrame:
    """Return the runs of these settings. Their losses are found first: a filter by them reaches the files."""
    names = [name for name in found.columns if name not in (target, SEEDS, SEED_STD)]
    if (found[SEEDS] > 1).any():
        seen = usable.select([*names, target]).join(found.lazy().select(names), on=names, how="semi", nulls_equal=True)
        losses = seen.select(target).unique().collect()[target]
    else:
        losses = found[target]
    near = usable.filter(pl.col(target).is_in(losses.implode())).collect()
    return near.join(found.select(names), on=names, how="semi", nulls_equal=True)


def _one_row_each(rows: pl.DataFrame, found: pl.DataFrame, keys: Sequence[str], target: str) -> pl.DataFrame:
    """Return the runs of each setting as one row, with null where they differ and the mean as their loss."""
    rest = [name for name in rows.columns if name not in {*keys, SEEDS, SEED_STD}]
    if rows.height > found.height:
        alike = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in rest]
        order = ["trial_id"] if "trial_id" in rows.columns else []
        rows = rows.sort([*keys, *order]).group_by(keys, maintain_order=True).agg(alike).select(rows.columns)
    kept = [name for name in rows.columns if name not in (target, SEEDS, SEED_STD)]
    joined = rows.select(kept).join(found.select(*keys, target, SEEDS, SEED_STD), on=list(keys), nulls_equal=True)
    order = [name for name in rows.columns if name not in (SEEDS, SEED_STD)]
    return joined.select(*order, SEEDS, SEED_STD).sort(keys, nulls_last=True)
