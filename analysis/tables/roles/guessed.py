"""Roles of columns that no launch recorded, as in a table of any origin: by name, and by how their values are laid out.

A column in which runs at one point differ is a knob if its name is that of a hyperparameter, or if it is a number with
few values of which half occur at half of the points (a grid). It splits the table if it has few values and its name is
that of a recipe, or of N or D where a law leaves these out. Ids, times and results are neither: they have a value for
each run, or values that belong to few points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

MOST_LEVELS = 20  # of a grid; the widest published grid of one knob has 26 values and is known by its name
USUAL = ("lr", "weight_decay", "batch_tokens", "batch_sequences", "epochs")  # our own names, the first of equals
_KNOBS = """lr learningrate maxlr peaklr minlr wd weightdecay bs batch batchsize globalbatch globalbatchsize batchtokens
batchsequences epochs epoch dropout warmup warmupsteps warmupratio warmuptokens decaysteps beta1 beta2 momentum
eps epsilon adameps clip gradclip gradnormclip labelsmoothing initstd zloss"""
_RECIPES = """recipe optimizer optim schedule lrschedule scheduler corpus dataset mixture arch architecture tokenizer
workload method precision"""
_AMOUNTS = "n d u params parameters nparams modelsize tokens ntokens uniquetokens paramsnonembedding"
_SEEDS = "seed seeds rngseed randomseed dataseed initseed replicate rep trial repeat repetition"
KNOBS, RECIPES, AMOUNTS, SEEDS = (frozenset(words.split()) for words in (_KNOBS, _RECIPES, _AMOUNTS, _SEEDS))
_RUNS = "__runs"  # of each combination of the columns that matter
_RESULT = re.compile(
    r"loss|nll|ppl|perplex|bpb|bpc|acc|score|metric|error|flop|compute|budget|second|minute|hour|time|date|"
    r"throughput|mfu|(^|_)id$|^id|name|run|url|path|host|node|gpu|device|commit|version|step|iter|token|param|"
    r"outlier|note|reason|tolerance|weight$",
    re.IGNORECASE,
)
_HYPERPARAMETER = re.compile(
    r"batch|warm_?up|decay|learning|(^|_)(lr|bs|wd)(_|$)", re.IGNORECASE
)  # whatever else it has
_IMPORTED = "their_"  # before a column of a foreign table whose own name has another meaning in a store


def guessed(
    frame: pl.DataFrame, keys: Sequence[str], candidates: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the knobs, the columns of families, and others with few values, of ``candidates`` that vary at a point."""
    varying = [name for name in varying_columns(frame, keys, candidates) if plain(name) not in SEEDS]
    first = [name for name in USUAL if name in varying]
    named = [*first, *(name for name in varying if plain(name) in KNOBS and name not in first)]
    scales = [name for name in varying if plain(name) in AMOUNTS]
    others = [*scales, *(name for name in varying if name not in (*named, *scales) and not _is_result(name))]
    few = [name for name in others if frame[name].n_unique() <= min(MOST_LEVELS, frame.height // 2)]
    # Not beside the knobs: recipes tuned over different values are still recipes.
    recipes = [name for name in candidates if plain(name) in RECIPES and 1 < frame[name].n_unique() <= MOST_LEVELS]
    columns = list(dict.fromkeys([*keys, *named, *scales, *few, *recipes]))
    frame = frame.group_by(columns).agg(pl.len().alias(_RUNS)) if columns else frame
    knobs = refining(frame, keys, named)
    families = refining(frame, [], recipes)  # also those whose points differ: one law is not fitted to both unasked
    families += refining(frame, [*keys, *knobs, *families], [name for name in few if plain(name) in AMOUNTS])
    grids = [name for name in few if frame[name].dtype.is_numeric() and _is_crossed(frame, keys, name)]
    knobs += refining(frame, [*keys, *knobs, *families], [name for name in grids if name not in families])
    few = [name for name in dict.fromkeys([*few, *scales]) if name not in (*knobs, *families)]
    return knobs, families, refining(frame, [*keys, *knobs, *families], few)


def plain(name: str) -> str:
    """Return the last part of a dotted or slashed name in lower case, without signs: ``optim.Learning_Rate``."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[./]", name.removeprefix(_IMPORTED))[-1].lower())


def _is_result(name: str) -> bool:
    """Whether a column is a fact or a result by its name; ``batch_size_tokens`` and ``warmup_iters`` are neither."""
    return bool(_RESULT.search(name)) and not _HYPERPARAMETER.search(name)


def varying_columns(frame: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return those of ``names`` that take several values, null included, at some combination of ``keys``."""
    kinds = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
    usable = [name for name in names if frame[name].dtype.is_numeric() or frame[name].dtype in kinds]
    if not usable or frame.is_empty():
        return []
    several = [_several(frame[name].dtype, name) for name in usable]
    found = frame.group_by(keys).agg(several).select(pl.col(usable).any()) if keys else frame.select(several)
    return [name for name in usable if found[name].item(0)]


def _several(kind: pl.DataType, name: str) -> pl.Expr:
    """Return whether a column takes several values in a group, null and NaN included: cheaper than counting them."""
    column = pl.col(name)
    if not (kind.is_numeric() or kind in (pl.String, pl.Boolean)):
        return column.n_unique() > 1
    parts = [(column.min() != column.max()).fill_null(False), column.null_count().is_between(1, pl.len() - 1)]
    if kind.is_float():
        parts.append(column.is_nan().any() & ~column.is_nan().all())
    return pl.any_horizontal(parts).alias(name)


def refining(frame: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return ``names`` without those that the keys and the earlier ones determine (a batch in another unit)."""
    kept: list[str] = []
    groups = _groups(frame, keys) if names else 0
    for name in names:
        if groups == frame.height:
            break  # each row is a group: nothing is finer
        finer = _groups(frame, [*keys, *kept, name])
        if finer > groups:
            kept.append(name)
            groups = finer
    return kept


def _groups(frame: pl.DataFrame, names: Sequence[str]) -> int:
    return int(frame.select(pl.struct(names).n_unique()).item()) if names else min(frame.height, 1)


def _is_crossed(frame: pl.DataFrame, keys: Sequence[str], name: str) -> bool:
    """Whether half of the column's values occur at half of the points that have several runs."""
    several = frame.filter(pl.col(_RUNS).sum().over(keys) > 1) if keys else frame
    points = _groups(several, keys)
    at = several.group_by(name).agg(pl.struct(keys).n_unique().alias("points") if keys else pl.lit(1).alias("points"))
    return float(at["points"].median() or 0) >= points / 2  # type: ignore[arg-type]
