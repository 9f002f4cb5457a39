"""One recipe from its measured losses to a data-scaling law: the limit in K at each N and U, then in N, then over U."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeplaw.analysis.recipes.limits.cells import EnsembleCurve
from sweeplaw.analysis.recipes.limits.limit import Curve, Limit, limits_of
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, Scenarios
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, settings, short

Array = np.ndarray
NAMED = 3  # places that a fault names


@dataclass(frozen=True, slots=True)
class Model:
    """A measured model or ensemble: where it is, its loss in every scenario, (S,), and the cost of training it."""

    setting: Mapping[str, Any]
    n: float
    u: float
    k: float
    losses: Array
    noise: str
    flops: float | None

    @property
    def loss(self) -> float:
        """The measured loss, nats a token."""
        return float(self.losses[ESTIMATE])


@dataclass(frozen=True, slots=True)
class Reached:
    """What a recipe reaches at U unique tokens: a limit, or the lowest measured loss, in every scenario (S,)."""

    u: float
    values: Array
    noise: str
    what: str
    model: Model | None = None

    @property
    def value(self) -> float:
        """The loss reached, nats a token."""
        return float(self.values[ESTIMATE])


@dataclass(frozen=True, slots=True)
class RecipeLimits:
    """A recipe by levels. ``axes`` are those taken to their limit, of K and N.

    ``members`` are the limits in K, of each setting at each N and U; ``chosen`` those of the setting of lowest limit.
    ``sizes`` are the limits in N at each U, ``reached`` what the recipe reaches at each U, ``law`` the law over U.
    ``models`` are the measured ones of the best setting at each N, U and K; ``settings_tried`` counts settings.
    """

    name: str
    axes: tuple[str, ...]
    members: tuple[Limit, ...]
    chosen: tuple[Limit, ...]
    sizes: tuple[Limit, ...]
    reached: tuple[Reached, ...]
    law: Limit | None
    models: tuple[Model, ...]
    settings_tried: int
    notes: tuple[str, ...]

    @property
    def budgets(self) -> tuple[float, ...]:
        """Every U at which the recipe was measured or has a limit, rising."""
        return tuple(sorted({one.u for one in self.reached} | {one.u for one in self.models}))

    @property
    def lawless(self) -> str:
        """Why there is no law over U, empty if there is one."""
        if self.law is None:
            axis = "N" if "N" in self.axes else "K"
            return f"no limit in {axis} at any U"
        return "" if self.law.value is not None else "; ".join(self.law.notes)

    def at(self, u: float) -> Reached | None:
        """Return what the recipe reaches at U, None where it has nothing."""
        return next((one for one in self.reached if one.u == u), None)

    def best(self, u: float) -> Model | None:
        """Return the measured model or ensemble of lowest loss at U."""
        here = [one for one in self.models if one.u == u and np.isfinite(one.n) and np.isfinite(one.k)]
        return min(here, key=lambda one: one.loss, default=None)


def recipe_of(
    name: str, found: Sequence[EnsembleCurve], axes: Sequence[str], scenarios: Scenarios, rng: np.random.Generator,
    asked: bool = False,
) -> RecipeLimits:  # fmt: skip
    """Return the levels of a recipe. Raise InputError if a limit was ``asked`` for that no N and U has points for."""
    drawn = [_in_scenarios(one, scenarios, rng) for one in found]
    members = limits_of([curve for _, curve, _ in drawn], "K", scenarios, rng) if "K" in axes else []
    chosen = _lowest(members, _scores(drawn, members, rng)) if "K" in axes else []
    models = tuple(_models(drawn))
    bases = [_base_of(one) for one in chosen] if "K" in axes else [_base(one) for one in _single(models)]
    if asked and "K" in axes and all(one.status in ("too few", "degenerate") for one in chosen):
        raise InputError(_no_limit(name, "K", members))
    sizes = limits_of(_along(bases, "N", scenarios), "N", scenarios, rng) if "N" in axes else []
    if asked and "N" in axes and all(one.status in ("too few", "degenerate") for one in sizes):
        raise InputError(_no_limit(name, "N", sizes))
    reached = [_limit_reached(one) for one in sizes if one.value is not None] if "N" in axes else []
    reached = reached if "N" in axes else list(_least(bases, scenarios, "K" in axes))
    law = _law(name, reached, scenarios, rng)
    return RecipeLimits(
        name, tuple(axes), tuple(members), tuple(chosen), tuple(sizes), tuple(reached), law, models,
        len({(str(one.setting), one.n, one.u) for one in found}), tuple(_notes(name, chosen, sizes)),
    )  # fmt: skip


def _in_scenarios(
    one: EnsembleCurve, scenarios: Scenarios, rng: np.random.Generator
) -> tuple[EnsembleCurve, Curve, Array]:
    """Return a cell with its curve along K, and the losses by which its setting is picked."""
    losses = scenarios.constant(one.losses)
    losses[scenarios.drawn] += one.errors.draw(rng, scenarios.draws)
    at = {"N": one.n, "U": one.u, **one.setting}
    return one, Curve(at, one.k, losses, one.errors.origin), one.picks


def _scores(
    drawn: Sequence[tuple[EnsembleCurve, Curve, Array]], members: Sequence[Limit], rng: np.random.Generator
) -> list[float]:
    """Return the limits in K of the losses by which settings are picked; infinite without one."""
    found = list(members)
    if any((picks != cell.losses).any() for cell, _, picks in drawn):
        alone = [replace(curve, losses=picks[None]) for _, curve, picks in drawn]
        found = limits_of(alone, "K", Scenarios(0), rng)
    return [np.inf if one.value is None else one.value for one in found]


def _lowest(members: Sequence[Limit], picked: Sequence[float]) -> list[Limit]:
    """Return for each N and U the limit in K of the setting picked."""
    best: dict[tuple[float, float], tuple[float, Limit]] = {}
    for limit, score in zip(members, picked, strict=True):
        place = limit.at["N"], limit.at["U"]
        if place not in best or score < best[place][0]:
            best[place] = score, limit
    return sorted((limit for _, limit in best.values()), key=lambda one: (one.at["U"], one.at["N"]))


def _models(drawn: Sequence[tuple[EnsembleCurve, Curve, Array]]) -> Iterator[Model]:
    """Yield the model of the setting picked at each N, U and K."""
    best: dict[tuple[float, float, float], tuple[float, Model]] = {}
    for cell, curve, picks in drawn:
        for column, k in enumerate(cell.k):
            flops = float(cell.flops[column])
            place = cell.n, cell.u, float(k)
            if place not in best or picks[column] < best[place][0]:
                cost = flops if np.isfinite(flops) else None
                model = Model(cell.setting, *place, curve.losses[:, column], curve.noise, cost)
                best[place] = float(picks[column]), model
    yield from sorted((model for _, model in best.values()), key=lambda one: (one.u, one.n, one.k))


def _single(models: Sequence[Model]) -> list[Model]:
    """Return the models of the least K at each N and U: single models where there are some."""
    least: dict[tuple[float, float], Model] = {}
    for one in models:
        if (one.n, one.u) not in least or one.k < least[one.n, one.u].k:
            least[one.n, one.u] = one
    return list(least.values())


@dataclass(frozen=True, slots=True)
class _Base:
    """The loss of one N and U that the next level rests on, (S,)."""

    n: float
    u: float
    values: Array
    noise: str
    model: Model | None = None


def _base_of(limit: Limit) -> _Base:
    return _Base(limit.at["N"], limit.at["U"], limit.values, limit.noise)


def _base(model: Model) -> _Base:
    return _Base(model.n, model.u, model.losses, model.noise, model)


def _along(bases: Sequence[_Base], axis: str, scenarios: Scenarios) -> list[Curve]:
    """Return a curve along N at each U, from losses that are known."""
    curves = []
    for u in sorted({one.u for one in bases}):
        here = sorted((one for one in bases if one.u == u), key=lambda one: one.n)
        known = [one for one in here if np.isfinite(one.values[ESTIMATE])]
        losses = np.stack([one.values for one in known], axis=1) if known else np.zeros((scenarios.count, 0))
        curves.append(Curve({"U": u}, np.array([one.n for one in known]), losses, _shared_noise(known)))
    return curves


def _shared_noise(bases: Sequence[_Base]) -> str:
    """Return where the errors of some losses come from; empty if the error of one is not known."""
    origins = list(dict.fromkeys(one.noise for one in bases))
    return "" if "" in origins else ", ".join(origins)


def _limit_reached(limit: Limit) -> Reached:
    what = "given" if limit.status == "given" else "limit in N"
    return Reached(limit.at["U"], limit.values, limit.noise, what)


def _least(bases: Sequence[_Base], scenarios: Scenarios, limits: bool) -> Iterator[Reached]:
    """Yield the lowest loss over N at each U; where the N of the estimate is left out, the lowest of the others."""
    for u in sorted({one.u for one in bases}):
        here = [one for one in bases if one.u == u and np.isfinite(one.values[ESTIMATE])]
        if not here:
            continue
        sizes = np.array([one.n for one in here])
        best = min(range(len(here)), key=lambda index: here[index].values[ESTIMATE])
        every = np.stack([one.values for one in here], axis=1)
        kept = scenarios.weights("N", sizes) > 0 if len(here) > 1 else np.ones(1, dtype=bool)
        left = np.where(kept, every, np.inf)
        values = np.where(np.isfinite(left[:, best]), left[:, best], left.min(axis=1))
        what = f"{'limit in K' if limits else 'measured'} at N = {short(here[best].n)}"
        what = "given" if np.isinf(here[best].n) else what
        yield Reached(u, np.where(np.isinf(values), np.nan, values), here[best].noise, what, here[best].model)


def _law(name: str, reached: Sequence[Reached], scenarios: Scenarios, rng: np.random.Generator) -> Limit | None:
    """Return the law over U; None if nothing is known at any."""
    if not reached:
        return None
    losses = np.stack([one.values for one in reached], axis=1)
    noise = "" if any(not one.noise for one in reached) else ", ".join(dict.fromkeys(one.noise for one in reached))
    curve = Curve({"recipe": name}, np.array([one.u for one in reached]), losses, noise)
    return limits_of([curve], "U", scenarios, rng)[0]


def _no_limit(name: str, axis: str, limits: Sequence[Limit]) -> list[str]:
    """Return why there is no limit along an axis: the points there are, once for all places with the same points."""
    head = f"{name}: no limit in {axis}"
    places: dict[str, list[str]] = {}
    for one in limits:
        places.setdefault("; ".join(one.notes), []).append(_place(one))
    return [f"{head} at {_listed(found)}: {why}" for why, found in places.items()] or [f"{head}: no losses"]


def model_name(n: float, k: float) -> str:
    """Return the name of a single model or an ensemble for people."""
    return f"N = {short(n)}" if k == 1 else f"{k:g} of N = {short(n)}"


def _listed(places: Sequence[str]) -> str:
    """Return the only place, or how many there are with the first few."""
    if len(places) == 1:
        return places[0]
    more = "; …" if len(places) > NAMED else ""
    return f"{len(places)} places ({'; '.join(places[:NAMED])}{more})"


def _place(limit: Limit) -> str:
    return settings({key: short(value) if isinstance(value, float) else value for key, value in limit.at.items()})


def _notes(name: str, chosen: Sequence[Limit], sizes: Sequence[Limit]) -> Iterator[str]:
    """Yield what to know of the limits that the next level rests on."""
    for one in (*chosen, *sizes):
        for note in one.notes:
            yield f"{name}, {one.axis} at {_place(one)}: {note}"
    lost = sum(one.value is None for one in chosen)
    if lost:
        yield f"{name}: {counted(lost, 'limit')} in K of {len(chosen)} left out of the level of N"
