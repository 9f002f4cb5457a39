"""What the pictures of a study of recipes draw: points with intervals, and the law through them with its limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.recipes.limits.levels import RecipeLimits
from sweeplaw.analysis.recipes.limits.limit import Limit, limit_interval
from sweeplaw.analysis.recipes.limits.multiples import Multiple
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.trials.quantities import short

Array = NDArray[np.float64]
Ends = tuple[float, float] | None

MOST_PANELS = 4  # values of U, the smallest ones
AHEAD = 3.0  # times the largest point, to which a law is drawn
GRID = 60  # points of a law


@dataclass(frozen=True, slots=True)
class DrawnLaw:
    """Points (n,) with their intervals, None where unknown, and the law through them on a ``grid``, empty without one.

    ``band`` are the ends of the law, None if its errors are not known. ``limit`` has its interval in ``limit_ends``.
    ``rank`` is the place of its colour.
    """

    name: str
    rank: int
    x: Array
    losses: Array
    ends: tuple[Ends, ...]
    grid: Array
    expected: Array
    band: tuple[Array, Array] | None = None
    limit: float | None = None
    limit_ends: Ends = None


def against_n(study: RecipeStudy) -> dict[float, list[DrawnLaw]]:
    """Return the recipes at each U, against N; the points of one taken to its limit in K are those limits."""
    budgets = sorted({one.at["U"] for recipe in study.recipes.values() for one in recipe.sizes})[:MOST_PANELS]
    return {u: list(_of_budget(study, u)) for u in budgets}


def _of_budget(study: RecipeStudy, u: float) -> Iterator[DrawnLaw]:
    for rank, (name, recipe) in enumerate(study.recipes.items()):
        limit = next((one for one in recipe.sizes if one.at["U"] == u and one.law), None)
        if limit is not None:
            yield drawn(study, limit, f"{name}, K to infinity" if "K" in recipe.axes else name, rank)
        elif (found := _measured(recipe, u, name, rank)) is not None:
            yield found


def against_k(study: RecipeStudy) -> dict[float, list[DrawnLaw]]:
    """Return the ensembles at each U, a line for each recipe and N, against their members K."""
    found = [(name, one) for name, recipe in study.recipes.items() for one in recipe.chosen if one.law and one.value]
    budgets = sorted({one.at["U"] for _, one in found})[:MOST_PANELS]
    lines: dict[float, list[DrawnLaw]] = {}
    for u in budgets:
        here = sorted(((name, one) for name, one in found if one.at["U"] == u), key=lambda pair: pair[1].at["N"])
        lines[u] = [
            drawn(study, one, f"{name}, N = {short(one.at['N'])}", rank) for rank, (name, one) in enumerate(here)
        ]
    return lines


def against_u(study: RecipeStudy) -> list[DrawnLaw]:
    """Return what each recipe reaches, against U."""
    lines = []
    for rank, (name, recipe) in enumerate(study.recipes.items()):
        if recipe.law is not None and recipe.reached:
            what = "" if not recipe.axes else f", limit in {' and '.join(recipe.axes)}"
            lines.append(drawn(study, recipe.law, f"{name}{what}", rank, limits=False))
    return lines


def multiples(study: RecipeStudy) -> list[DrawnLaw]:
    """Return the finite data multiples of each recipe but the standard one, against U."""
    lines = []
    for rank, name in enumerate(study.recipes):
        finite = [one for one in _of_limits(study, name) if one.value is not None and np.isfinite(one.value)]
        if finite:
            ends = tuple(ends_of(one.interval(study.scenarios, study.level)) for one in finite)
            values = np.array([one.value for one in finite], float)
            lines.append(DrawnLaw(name, rank, np.array([one.u for one in finite]), values, ends, *_nothing()))
    return lines


def endless(study: RecipeStudy) -> dict[str, list[float]]:
    """Return each recipe with the U at which no amount of data brings the standard one to its loss."""
    found = {name: [one.u for one in _of_limits(study, name) if one.value == np.inf] for name in study.recipes}
    return {name: budgets for name, budgets in found.items() if budgets}


def _of_limits(study: RecipeStudy, name: str) -> list[Multiple]:
    reached = {one.what for one in study.recipes[name].reached}
    return [one for one in study.multiples if one.recipe == name != study.standard and one.what in reached]


def drawn(study: RecipeStudy, limit: Limit, name: str, rank: int, *, limits: bool = True) -> DrawnLaw:
    """Return the points of a law, the law with its band, and with ``limits`` where it ends."""
    curve, at = limit.curve, study.scenarios
    used = np.isfinite(curve.x) & ~np.isnan(curve.losses[ESTIMATE])
    x, losses = curve.x[used], curve.losses[ESTIMATE, used]
    ends = tuple(ends_of(limit_interval(one, at, study.level, limit.noise)) for one in curve.losses[:, used].T)
    if limit.law is None or limit.value is None:
        return DrawnLaw(name, rank, x, losses, ends, *_nothing())
    grid = np.geomspace(x.min(), AHEAD * x.max(), GRID)
    predicted = limit.law.at(grid)
    band = None
    if limit.noise and at.draws:
        tail = (1 - study.level) / 2
        low, high = np.nanquantile(predicted[at.drawn], [tail, 1 - tail], axis=0)
        band = (low, high)
    reached = (limit.value, ends_of(limit.interval(at, study.level))) if limits else (None, None)
    return DrawnLaw(name, rank, x, losses, ends, grid, predicted[ESTIMATE], band, *reached)


def _measured(recipe: RecipeLimits, u: float, name: str, rank: int) -> DrawnLaw | None:
    """Return the measured models of least K of a recipe that has no law along N; None without any."""
    models = [one for one in recipe.models if one.u == u and np.isfinite(one.n) and np.isfinite(one.k)]
    least = sorted((one for one in models if one.k == min(other.k for other in models)), key=lambda one: one.n)
    if not least:
        return None
    x, losses = np.array([one.n for one in least], float), np.array([one.loss for one in least], float)
    return DrawnLaw(name, rank, x, losses, (None,) * len(least), *_nothing())


def ends_of(interval: Any) -> Ends:
    """Return the finite ends of an interval; None if it is not known or has no such ends."""
    if interval is None or not np.isfinite([interval.low, interval.high]).all():
        return None
    return interval.low, interval.high


def _nothing() -> tuple[Array, Array]:
    return np.empty(0), np.empty(0)


def heights(lines: Sequence[DrawnLaw]) -> list[float]:
    """Return what a frame has to hold: points, finite ends of intervals, the ends of laws, and limits."""
    found: list[float] = []
    for one in lines:
        found += [*map(float, one.losses), *(end for ends in one.ends if ends is not None for end in ends)]
        found += [float(one.expected[-1])] if len(one.expected) else []
        found += [one.limit] if one.limit is not None else []
    return found
