"""Recipes compared by the limits of their laws where data, not compute, is what is short.

Each recipe is taken to its limit in K (members), in N (parameters) or in both, at each U (unique tokens); its law over
U and that of the standard recipe then say what it is worth in data (Kim et al. 2025, arXiv 2509.14786).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.recipes.limits.cells import EnsembleCurve, cells
from sweeplaw.analysis.recipes.limits.columns import Runs, read_runs
from sweeplaw.analysis.recipes.limits.levels import RecipeLimits, recipe_of
from sweeplaw.analysis.recipes.limits.multiples import Multiple, multiples
from sweeplaw.analysis.recipes.limits.noise import LARGEST
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, Scenarios
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.quantities import short

AXES = ("K", "N")
LEAST = 3  # points of an axis for a limit
STANDARD = "standard"
SAME = 1e-6  # relative change that is rounding


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """What a recipe reaches at U, or its multiple (``quantity``), ``without`` one N, K or U; None if undefined."""

    recipe: str
    u: float
    quantity: str
    axis: str
    without: float
    value: float | None
    change: float | None


@dataclass(frozen=True, slots=True, repr=False)
class RecipeStudy(Shown):
    """Recipes by name, each with its levels; what they are worth in data; and how that hangs on single points.

    ``standard`` is the recipe whose law is inverted, None without one. ``scenarios`` are the estimate, the draws that
    carry the errors of all levels, and each point left out.
    """

    recipes: Mapping[str, RecipeLimits]
    standard: str | None
    multiples: tuple[Multiple, ...]
    scenarios: Scenarios
    level: float
    runs: Runs
    notes: tuple[str, ...]

    @property
    def sensitivity(self) -> tuple[LeaveOneOut, ...]:
        """What each recipe reaches, and its multiples, without each N, K or U that matters."""
        return tuple(_changes(self))

    def headline(self) -> tuple[str, ...]:
        """Return what each recipe reaches and is worth, a line each."""
        from sweeplaw.analysis.recipes.study.cards import headline

        return headline(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain values for JSON."""
        from sweeplaw.analysis.recipes.study.cards import study_values

        return dict(finite(study_values(self)))

    def card(self) -> Card:
        """Return what the recipes reach with their multiples, as a table."""
        from sweeplaw.analysis.recipes.study.cards import reached_card

        return reached_card(self)

    def summary(self) -> str:
        """Return all tables of the study as text."""
        from sweeplaw.analysis.recipes.study.cards import study_cards

        return "\n\n".join(card.text() for card in study_cards(self))


def recipe_limits(
    source: Any, *, standard: str = STANDARD, limits: Mapping[str, Sequence[str]] | None = None,
    columns: Mapping[str, str] | None = None, knobs: Sequence[str] | None = None, where: str | None = None,
    noise: float | None = None, draws: int = 1000, level: float = 0.95, seed: int = 0,
) -> RecipeStudy:  # fmt: skip
    """Return the limits of the recipes in ``source``, and what they are worth in data.

    ``source``: any source of runs (see `fit`) with a column that names the recipe, or a mapping of recipes to sources.
    ``columns`` maps roles to columns or SQL expressions of them: recipe, N, U, K, loss, error (the standard error of a
    loss), subset (the members of an ensemble, with commas), pick (the loss by which settings are chosen), epochs, lr,
    weight_decay, tokens (trained on), flops, teacher_flops (of the teachers of a student), validation. Infinite N or K:
    the row has a limit already. ``knobs`` are further tuned columns.

    ``limits`` maps a recipe to the axes taken to their limit, of K and N. By default the standard recipe is its lowest
    measured loss, and others are taken to the limit along each axis with three points or more. Errors come from
    repeated seeds, from the members of subsets, from ``error``, or from ``noise``, the standard deviation of one run;
    where these do not explain the residuals of the laws, or nothing is known, also from the residuals. ``draws`` draws
    carry them through all levels; 0 for none.

    Raise InputError, also for losses on different validation sets, and for a limit with too few points.
    """
    _check(noise, draws, level)
    runs = read_runs(source, columns, where, knobs)
    found = cells(runs, noise)
    if not found:
        raise InputError("no run has all of N, U and a finite loss")
    axes = {name: _axes(name, one, standard) for name, one in found.items()}
    asked = _asked(limits or {}, found)
    scenarios = Scenarios(draws, tuple(_left_out(found)))
    rng = np.random.default_rng(seed)
    recipes = {
        name: recipe_of(name, one, asked.get(name, axes[name]), scenarios, rng, name in asked)
        for name, one in found.items()
    }
    base = recipes.get(standard)
    worth = [one for recipe in recipes.values() for one in multiples(recipe, base)] if base else []
    own = tuple(note for recipe in recipes.values() for note in recipe.notes)
    lawless = (
        f"{name}, law over U: none: {one.lawless}" for name, one in recipes.items() if one.lawless and one is not base
    )
    notes = (*runs.notes, *_base_notes(standard, base, recipes), *lawless, *own)
    return RecipeStudy(recipes, standard if base else None, tuple(worth), scenarios, level, runs, notes)


def _check(noise: Any, draws: Any, level: Any) -> None:
    faults = []
    if noise is not None and not (isinstance(noise, int | float) and 0 <= noise <= LARGEST):
        faults.append(f"noise = {shown(noise)} (accepted: a standard deviation in nats, 0 to {LARGEST:g})")
    if not isinstance(draws, int) or draws < 0:
        faults.append(f"draws = {shown(draws)} (accepted: a whole number, 0 or more)")
    if not isinstance(level, int | float) or not 0.5 <= level < 1:
        faults.append(f"level = {shown(level)} (accepted: 0.5 to 0.999)")
    if faults:
        raise InputError(faults)


def _asked(limits: Mapping[str, Sequence[str]], found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the axes asked for, in the order of the levels. Raise InputError for unknown recipes and axes."""
    faults = [
        f"limits of {name!r}: no such recipe{nearest(name, found)} (there are {', '.join(found)})"
        for name in limits
        if name not in found
    ]
    faults += [
        f"limits of {name!r}: {shown(axis)} (accepted: K, N)"
        for name, axes in limits.items()
        for axis in axes
        if axis not in AXES
    ]
    if faults:
        raise InputError(faults)
    return {name: tuple(axis for axis in AXES if axis in axes) for name, axes in limits.items()}


def _axes(name: str, found: Sequence[EnsembleCurve], standard: str) -> tuple[str, ...]:
    """Return the axes along which a recipe has the points of a limit, or limits; none for the standard recipe."""
    if name == standard:
        return ()
    members = any(np.isfinite(one.k).sum() >= LEAST or np.isinf(one.k).any() for one in found)
    sizes: dict[float, set[float]] = {}
    for one in found:
        sizes.setdefault(one.u, set()).add(one.n)
    large = any(len(here) >= LEAST or np.inf in here for here in sizes.values())
    return (*(("K",) if members else ()), *(("N",) if large else ()))


def _left_out(found: Mapping[str, Sequence[EnsembleCurve]]) -> Iterator[tuple[str, float]]:
    """Yield each finite N, K and U."""
    every = [one for cells_ in found.values() for one in cells_]
    values = {
        "K": {float(k) for one in every for k in one.k},
        "N": {one.n for one in every},
        "U": {one.u for one in every},
    }
    for axis, found_values in values.items():
        if len(found_values) > 1:
            yield from ((axis, value) for value in sorted(found_values) if np.isfinite(value))


def _base_notes(standard: str, base: RecipeLimits | None, recipes: Mapping[str, RecipeLimits]) -> Iterator[str]:
    if base is None:
        if len(recipes) > 1:
            yield f"no recipe {standard!r}: nothing is said of data efficiency (there are {', '.join(recipes)})"
    elif base.law is None or base.law.value is None:
        yield f"no law of the recipe {standard!r} over U, so nothing is said of data efficiency: {base.lawless}"
    else:
        yield from (f"{standard}, law over U: {note}" for note in base.law.notes)


def _changes(study: RecipeStudy) -> Iterator[LeaveOneOut]:
    first = 1 + study.scenarios.draws
    for row, (axis, value) in enumerate(study.scenarios.left_out, start=first):
        for name, recipe in study.recipes.items():
            for one in recipe.reached:
                yield from _change(name, one.u, "loss", axis, value, one.values, row)
        for worth in study.multiples:
            if worth.recipe != study.standard and not worth.what.startswith(("best", "limit in K at")):
                yield from _change(worth.recipe, worth.u, "multiple", axis, value, worth.values, row)


def _change(
    name: str, u: float, quantity: str, axis: str, without: float, values: np.ndarray, row: int
) -> Iterator[LeaveOneOut]:
    """Yield the change of a quantity in one scenario, nothing if it stays the same."""
    here, there = float(values[ESTIMATE]), float(values[row])
    if np.isnan(here) or here == there or abs(here - there) < SAME * abs(here):
        return
    known = not np.isnan(there)
    yield LeaveOneOut(
        name, u, quantity, axis, without, there if known else None,
        there - here if known and np.isfinite(there) and np.isfinite(here) else None,
    )  # fmt: skip


def largest_changes(study: RecipeStudy) -> list[tuple[LeaveOneOut, str]]:
    """Return for each recipe, U and quantity the largest change along each axis, with its name for people."""
    largest: dict[tuple[str, float, str, str], LeaveOneOut] = {}
    for one in study.sensitivity:
        key = one.recipe, one.u, one.quantity, one.axis
        size = np.inf if one.change is None else abs(one.change)
        known = largest.get(key)
        if known is None or size > (np.inf if known.change is None else abs(known.change)):
            largest[key] = one
    return [(one, f"{one.axis} = {short(one.without)}") for one in largest.values()]
