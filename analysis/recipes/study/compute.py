"""The compute of each recipe beside its loss: to train its best measured model, to tune it, and to use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from sweeplaw.analysis.recipes.limits.columns import ESTIMATED, WHOLE
from sweeplaw.analysis.recipes.study.study import RecipeStudy

INFERENCE = 2.0  # FLOPs per parameter and token (Kaplan et al. 2020)


@dataclass(frozen=True, slots=True)
class RecipeCost:
    """The best measured model of a recipe at U, its loss, and its FLOPs.

    ``training`` are those of all its members and of the teachers that they learnt from, None if they are not known.
    ``tuning`` are those of all runs of the recipe at this U, without teachers, None if one's are not known.
    ``estimated``: some of these runs have none of their own (see `limits.columns.Runs`). ``inference`` are those of a
    token: 2 N K.
    """

    recipe: str
    u: float
    n: float
    k: float
    loss: float
    training: float | None
    estimated: bool
    tuning: float | None
    inference: float


def costs(study: RecipeStudy) -> list[RecipeCost]:
    """Return the costs of each recipe at each U where it has a measured model."""
    return list(_costs(study))


def _costs(study: RecipeStudy) -> Iterator[RecipeCost]:
    for name, recipe in study.recipes.items():
        for u in sorted({one.u for one in recipe.models}):
            best = recipe.best(u)
            if best is None:
                continue
            runs = study.runs.frame.filter(pl.col("recipe") == name, pl.col("U") == u)
            trained = _trained(runs)
            known = trained.height and trained["flops"].null_count() == 0
            tuning = float(trained["flops"].sum()) if known else None
            yield RecipeCost(name, u, best.n, best.k, best.loss, best.flops, bool(runs[ESTIMATED].any()), tuning,
                       INFERENCE * best.n * best.k)  # fmt: skip


def _trained(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs that were trained, excluding subset losses and ensembles of other runs."""
    whole = runs.filter(pl.col(WHOLE).is_null() | (pl.col("K") == pl.col(WHOLE)))
    return pl.concat([
        whole.filter(pl.col("subset").is_null()),
        whole.filter(pl.col("subset").is_not_null(), pl.col("K") == 1).unique("subset", maintain_order=True),
    ])  # fmt: skip
