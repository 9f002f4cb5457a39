"""Mean losses of each recipe and setting at each N, U and K, with their errors: what the laws are fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.recipes.limits.columns import WHOLE, Runs
from sweeplaw.analysis.recipes.limits.noise import Errors, member_effects

Array = np.ndarray

SEEDS, MEMBERS, GIVEN, UNKNOWN = "seeds", "members", "given errors", ""
AXES = ("N", "U", "K")


@dataclass(frozen=True, slots=True)
class EnsembleCurve:
    """Mean losses of one recipe and setting along K at one N and U: ascending ``k``, ``losses`` and their errors.

    ``picks`` are the losses by which settings are chosen, ``flops`` the mean FLOPs of a run with its teachers, (n,).
    """

    setting: Mapping[str, Any]
    n: float
    u: float
    k: Array
    losses: Array
    picks: Array
    flops: Array
    errors: Errors


def cells(runs: Runs, noise: float | None = None) -> dict[str, list[EnsembleCurve]]:
    """Return the curves of each recipe. ``noise`` is the standard deviation of one run where no seeds repeat."""
    return {
        str(recipe): list(_of_recipe(part, runs.knobs, noise))
        for (recipe,), part in runs.frame.group_by("recipe", maintain_order=True)
    }


def _of_recipe(frame: pl.DataFrame, knobs: tuple[str, ...], noise: float | None) -> Iterator[EnsembleCurve]:
    measured, by = pl.col("loss"), [*knobs, *AXES]
    spent = pl.col("flops") + pl.col("teacher_flops").fill_null(0)
    means = frame.group_by(by, maintain_order=True).agg(
        measured.mean(), pl.len().alias("runs"), ((measured - measured.mean()) ** 2).sum().alias("squares"),
        (pl.col("error") ** 2).mean().sqrt(), pl.coalesce("pick", "loss").mean().alias("pick"), spent.mean(),
        pl.col("subset").is_not_null().all().alias("subsets"), pl.col(WHOLE).min(),
    )  # fmt: skip
    means = means.sort(by, nulls_last=True)
    repeats = means.filter(~pl.col("subsets") | (pl.col("K") == 1))  # subsets of several models share members
    pooled = {one: _pooled(repeats.filter((pl.col("K") > 1) == one)) for one in (False, True)}
    subsets = frame.filter(pl.col("subset").is_not_null())
    for key, part in means.group_by([*knobs, "N", "U"], maintain_order=True):
        setting = dict(zip(knobs, key[: len(knobs)], strict=True))
        errors = _by_members(subsets, setting, part) or _by_runs(part, pooled, noise)
        k, loss, pick, flops = (part[name].cast(pl.Float64).to_numpy() for name in ("K", "loss", "pick", "flops"))
        yield EnsembleCurve(setting, float(part["N"][0]), float(part["U"][0]), k, loss, pick, flops, errors)


def _pooled(means: pl.DataFrame) -> tuple[float, float]:
    """Return the variance of a run over seeds, and its degrees of freedom."""
    freedom = float((means["runs"] - 1).sum())
    return (float(means["squares"].sum()) / freedom, freedom) if freedom else (math.nan, 0.0)


def _by_runs(part: pl.DataFrame, pooled: Mapping[bool, tuple[float, float]], noise: float | None) -> Errors:
    """Return the errors by seeds where they repeat, else those given in the table and by ``noise``.

    Means over all subsets of the same M members have one error in common, to first order that of the members' mean
    (Hoeffding 1948): by ``noise`` it is noise / sqrt(M). What differs from K to K is left to the residuals.
    """
    runs, given = part["runs"].to_numpy(), part["error"].cast(pl.Float64).fill_null(math.nan).to_numpy()
    seeds = np.array([pooled[k > 1][0] for k in part["K"]])
    freedom = [pooled[k > 1][1] for k in part["K"] if pooled[k > 1][1] > 0]
    known = ~np.isnan(seeds)
    whole = part[WHOLE].fill_null(1.0).to_numpy()
    shared = bool((whole > 1).all())
    if known.all():
        return Errors(np.sqrt(seeds / runs), min(freedom), SEEDS, shared=shared)
    extra = np.where(np.isinf(part["K"].to_numpy()) | np.isinf(part["N"].to_numpy()), 0.0, (noise or 0.0) ** 2 / whole)
    variance = (np.nan_to_num(given) ** 2 + extra) / runs
    variance = np.where(known, seeds / runs, variance)
    measured = known | ~np.isnan(given) | (extra > 0)
    if not measured.any() or not (variance > 0).any():
        return Errors(np.zeros(len(runs)), math.inf, UNKNOWN)
    return Errors(np.sqrt(variance), min(freedom, default=math.inf), SEEDS if known.any() else GIVEN, shared=shared)


def _by_members(subsets: pl.DataFrame, setting: Mapping[str, Any], part: pl.DataFrame) -> Errors | None:
    """Return the errors of means over all subsets of the members; None where a row is no subset, or some are missing.

    A subset is the names of its members with commas between them.
    """
    if not part["subsets"].all():
        return None
    same = [pl.col(name).eq_missing(pl.lit(value)) for name, value in setting.items()]
    rows = subsets.filter(*same, N=part["N"][0], U=part["U"][0]).sort("K")
    members = [frozenset(name.strip() for name in text.split(",")) for text in rows["subset"]]
    effects = member_effects(rows["K"].to_numpy(), rows["loss"].to_numpy(), members)
    if effects is None:
        return None
    count = len(effects)
    standard = np.sqrt(np.sum(effects**2, axis=0) / (count * (count - 1)))
    return Errors(standard, float(count - 1), MEMBERS, effects)
