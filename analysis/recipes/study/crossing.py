"""Where one recipe overtakes another along N, U or compute, as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Draws
from sweeplaw.analysis.laws.catalog import ASYMPTOTE
from sweeplaw.analysis.recipes.limits.asymptote import PARAMETERS
from sweeplaw.analysis.recipes.limits.levels import RecipeLimits
from sweeplaw.analysis.recipes.limits.limit import Curve, Limit, limits_of
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.scaling.crossover import Crossing, crossover
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.quantities import short

AHEAD = 10.0  # times the largest point of both recipes
ALONG = ("N", "U", "compute")


def recipe_crossing(
    study: RecipeStudy, first: str, second: str, along: str = "N", *, u: float | None = None,
    low: float | None = None, high: float | None = None, seed: int = 0,
) -> Crossing:  # fmt: skip
    """Return where the recipe ``first`` overtakes ``second`` along N, U or training FLOPs (compute).

    Along N and compute the laws are those at ``u`` unique tokens, by default the largest that both have. The range is
    by default from the smallest point of both to ten times the largest. Raise InputError if a recipe has no law there,
    or its errors are not known.
    """
    names = dict.fromkeys((first, second))
    faults = [f"no recipe {name!r}{nearest(name, study.recipes)}" for name in names if name not in study.recipes]
    if along not in ALONG:
        faults.append(f"along = {along!r} (accepted: {', '.join(ALONG)})")
    if first == second:
        faults.append(f"a crossing of {first} with itself (accepted: two recipes)")
    if faults:
        raise InputError(faults)
    recipes = study.recipes[first], study.recipes[second]
    at = u if u is not None or along == "U" else _common(recipes, first, second)
    one, other = (_limit(study, recipe, along, at) for recipe in recipes)
    points = np.concatenate([limit.curve.x[np.isfinite(limit.curve.x)] for limit in (one, other)])
    found = crossover(
        _fit(study, one), _fit(study, other), low or float(points.min()), high or AHEAD * float(points.max()),
        seed=seed, force=True,
    )  # fmt: skip
    return replace(found, axis=along)


def _common(recipes: Sequence[RecipeLimits], first: str, second: str) -> float:
    shared = set.intersection(*({model.u for model in recipe.models} for recipe in recipes))
    if not shared:
        raise InputError(f"{first} and {second} have no U in common")
    return max(shared)


def _limit(study: RecipeStudy, recipe: RecipeLimits, along: str, u: float | None) -> Limit:
    """Return the law of a recipe along an axis. Raise InputError if it has none, or none with known errors."""
    if along == "U":
        found = recipe.law
    elif along == "N":
        found = next((one for one in recipe.sizes if one.at["U"] == u), None) or _along_models(study, recipe, "N", u)
    else:
        found = _along_models(study, recipe, "compute", u)
    place = "" if u is None else f" at U = {short(u)}"
    if found is None or found.value is None or found.law is None:
        few = recipe.lawless if along == "U" else f"a law takes {PARAMETERS} N or more"
        if along == "compute":
            sizes = {one.n: bool(one.flops) for one in recipe.models if one.u == u and np.isfinite(one.n)}
            few += f", and the training FLOPs are known of {sum(sizes.values())} of {len(sizes)}"
        why = few if found is None else "; ".join(found.notes)
        raise InputError(f"{recipe.name} has no law along {along}{place}: {why}")
    if not found.noise or not study.scenarios.draws:
        raise InputError(f"{recipe.name}{place}: no errors of its law are known, so there is no distribution")
    return found


def _along_models(study: RecipeStudy, recipe: RecipeLimits, along: str, u: float | None) -> Limit | None:
    """Return the law through the measured models at U, those of least K at each N."""
    models = [one for one in recipe.models if one.u == u and np.isfinite(one.n) and np.isfinite(one.k)]
    least = {n: min((one for one in models if one.n == n), key=lambda one: one.k) for n in {one.n for one in models}}
    points = {one.n if along == "N" else one.flops: one for one in least.values()}
    known = sorted((x, one) for x, one in points.items() if x)
    if len(known) < PARAMETERS:
        return None
    losses = np.stack([one.losses for _, one in known], axis=1)
    noise = "" if any(not one.noise for _, one in known) else known[0][1].noise
    curve = Curve({"U": u}, np.array([x for x, _ in known]), losses, noise)
    return limits_of([curve], along, study.scenarios, np.random.default_rng(0))[0]


def _fit(study: RecipeStudy, limit: Limit) -> Fit:
    """Return the law as a fit of the library, with the draws of the study."""
    assert limit.law is not None
    used = np.isfinite(limit.curve.x) & ~np.isnan(limit.curve.losses[ESTIMATE])
    table = {"x": limit.curve.x[used], "loss": limit.curve.losses[ESTIMATE, used]}
    found = fit(table, ASYMPTOTE, "ls", "x", "loss", space="raw", all_rows=True, level=study.level)
    params = limit.law.params[study.scenarios.drawn]
    count = len(params)
    draws = Draws(ASYMPTOTE.names, params, np.zeros(count), np.ones(count, dtype=bool), limit.noise, int(used.sum()), 0)
    return replace(found, draws=draws)
