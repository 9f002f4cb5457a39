"""A study of recipes as tables that a person reads, and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.recipes.limits.columns import flops_notes
from sweeplaw.analysis.recipes.limits.levels import Model, Reached, RecipeLimits, model_name
from sweeplaw.analysis.recipes.limits.limit import Limit, limit_interval
from sweeplaw.analysis.recipes.limits.multiples import Multiple
from sweeplaw.analysis.recipes.study.compute import costs
from sweeplaw.analysis.recipes.study.decay import (
    BestDecay,
    RuleCheck,
    best_decays,
    decay_slopes,
    member_rule,
    rule_counts,
)
from sweeplaw.analysis.recipes.study.study import LeaveOneOut, RecipeStudy, largest_changes
from sweeplaw.analysis.tables.display import Card
from sweeplaw.trials.quantities import counted, percent, settings, short

MOST_NOTES = 12  # in text; JSON has all of them


def study_cards(study: RecipeStudy) -> list[Card]:
    """Return the tables of a study: what is reached, the laws of each level, sensitivity, compute, weight decay."""
    cards = [reached_card(study), laws_card(study), sensitivity_card(study), compute_card(study), decay_card(study)]
    return [card for card in (*cards, rule_card(study)) if card.rows]


def headline(study: RecipeStudy) -> tuple[str, ...]:
    """Return what each recipe reaches at the largest U, and its multiple there."""
    lines = []
    for name, recipe in study.recipes.items():
        if not recipe.reached:
            best = min(
                (model for u in recipe.budgets if (model := recipe.best(u))), key=lambda one: one.loss, default=None
            )
            seen = "" if best is None else f"; best measured {_measured(best)} at U = {short(best.u)}"
            lines.append(f"{name}: {recipe.lawless}{seen}")
            continue
        one = recipe.reached[-1]
        worth = next((m for m in study.multiples if m.recipe == name and m.u == one.u and m.what == one.what), None)
        data = "" if worth is None or name == study.standard else f", worth {_worth(worth)} of the data"
        lines.append(f"{name}: {one.value:.4f} at U = {short(one.u)} ({one.what}){data}")
    return tuple(lines)


def reached_card(study: RecipeStudy) -> Card:
    """Return the loss that each recipe reaches at each U, what it is, and what it is worth in data."""
    interval = f"{percent(study.level)} interval"
    heads = ("recipe", "U", "what", "loss", interval, "data multiple", interval)
    body: list[tuple[str, ...]] = []
    for name, recipe in study.recipes.items():
        for u in recipe.budgets:
            body += _reached_rows(study, name, recipe, u)
    notes = [*study.notes[:MOST_NOTES]]
    if len(study.notes) > MOST_NOTES:
        notes.append(f"{counted(len(study.notes) - MOST_NOTES, 'more note')} in --json")
    draws = f"intervals by {counted(study.scenarios.draws, 'draw')} carry the errors of all levels"
    return Card(("What each recipe reaches, and what it is worth in data",), heads, tuple(body), tuple(notes), draws)


def _reached_rows(study: RecipeStudy, name: str, recipe: RecipeLimits, u: float) -> Iterator[tuple[str, ...]]:
    """Yield what a recipe reaches at U, or that it has no limit there, and what else is worth data."""
    one, best = recipe.at(u), recipe.best(u)
    worth = [m for m in study.multiples if (m.recipe, m.u) == (name, u)]
    own = next((m for m in worth if one is not None and m.what == one.what), None)
    if one is not None:
        ends = _ends(limit_interval(one.values, study.scenarios, study.level, one.noise), 4)
        yield (name, short(u), one.what, f"{one.value:.4f}", ends, *_multiple_cells(study, own))
    else:
        yield (name, short(u), f"no limit in {'N' if 'N' in recipe.axes else 'K'}", "–", "", "–", "")
        if best is not None and not worth:
            yield (name, short(u), f"best measured, {model_name(best.n, best.k)}", f"{best.loss:.4f}", "", "–", "")
    yield from (
        (name, short(u), m.what, f"{m.loss:.4f}", "", *_multiple_cells(study, m)) for m in worth if m is not own
    )


def laws_card(study: RecipeStudy) -> Card:
    """Return the law C + A x^-alpha of every level."""
    heads = (
        "recipe",
        "along",
        "at",
        "points",
        "C, the limit",
        f"{percent(study.level)} interval",
        "A",
        "alpha",
        "law",
        "why not",
    )
    body = [
        (name, limit.axis, _place(limit), str(int(np.isfinite(limit.curve.x).sum())), *_law_cells(study, limit))
        for name, recipe in study.recipes.items()
        for limit in _laws(recipe)
        if limit.status not in ("given", "too few")
    ]
    return Card(("Laws C + A x^-alpha, by least squares on the loss",), heads, tuple(body))


def _laws(recipe: RecipeLimits) -> Iterator[Limit]:
    yield from (*recipe.chosen, *recipe.sizes)
    if recipe.law is not None:
        yield recipe.law


def sensitivity_card(study: RecipeStudy) -> Card:
    """Return the point of each axis whose absence moves each result most."""
    heads = ("recipe", "U", "result", "without", "becomes", "change")
    body = tuple((one.recipe, short(one.u), one.quantity, name, *_changed(one)) for one, name in largest_changes(study))
    return Card(("Sensitivity: the point of each axis that matters most",), heads, body)


def compute_card(study: RecipeStudy) -> Card:
    """Return the compute of each recipe's best measured model beside its loss."""
    costs_of = ("training FLOPs", "FLOPs of all runs, without teachers", "inference FLOPs a token: 2 N K")
    heads = ("recipe", "U", "best measured", "loss", *costs_of)
    body = tuple(
        (one.recipe, short(one.u), model_name(one.n, one.k), f"{one.loss:.4f}",
         f"{_flops(one.training)}{' (estimated)' if one.estimated and one.training else ''}", _flops(one.tuning),
         _flops(one.inference))
        for one in costs(study)
    )  # fmt: skip
    return Card(("Compute, beside the loss it bought",), heads, body, tuple(flops_notes(study.runs.frame)))


def decay_card(study: RecipeStudy) -> Card:
    """Return the best weight decay at each N and U."""
    decays = best_decays(study)
    heads = ("recipe", "N", "U", "best decay", "over .1", "tried", "")
    lines = ["Best weight decay of single models"]
    for one in decay_slopes(decays, study.level):
        exponents = [
            f"{axis}^{value:.2f} ± {half:.2f}"
            for axis, value, half in (("N", one.n, one.n_half), ("U", one.u, one.u_half))
            if value is not None
        ]
        lines.append(f"{one.recipe}: moves as {' '.join(exponents) or 'unknown'} over {counted(one.cells, 'place')}")
    return Card(tuple(lines), heads, tuple(map(_decay_row, decays)))


def _decay_row(one: BestDecay) -> tuple[str, ...]:
    edge = "at an end of those tried" if one.edge else ""
    tried = ", ".join(f"{value:g}" for value in one.tried)
    return (one.recipe, short(one.n), short(one.u), f"{one.decay:g}", f"{one.ratio:.3g}x", tried, edge)


def rule_card(study: RecipeStudy) -> Card:
    """Return whether twice the epochs at half the decay made the best members, where it was tested."""
    checks = member_rule(study)
    heads = ("recipe", "N", "U", "best single", "rule", "best members", "rule less best other", "held")
    lines = ("Members at twice the epochs and half the decay of the best single model", *rule_counts(checks))
    return Card(lines, heads, tuple(map(_rule_row, checks)))


def _rule_row(one: RuleCheck) -> tuple[str, ...]:
    ends = "" if one.interval is None else f" [{one.interval[0]:+.4f}, {one.interval[1]:+.4f}]"
    chance = "" if one.chance is None else f" ({percent(round(one.chance, 3))} of the draws)"
    held = "not tested" if one.held is None else f"{'yes' if one.held else 'no'}{chance}"
    gap = "–" if one.difference is None else f"{one.difference:+.4f}{ends}"
    names = (settings(one.single), settings(one.rule), settings(one.best or {}))
    return (one.recipe, short(one.n), short(one.u), *names, gap, held)


def study_values(study: RecipeStudy) -> dict[str, Any]:
    """Return the study as plain values."""
    decays = best_decays(study)
    return {
        "standard": study.standard, "level": study.level, "draws": study.scenarios.draws,
        "recipes": {name: _recipe_values(study, recipe) for name, recipe in study.recipes.items()},
        "multiples": [one.to_dict(study.scenarios, study.level) for one in study.multiples],
        "sensitivity": [asdict(one) for one in study.sensitivity],
        "compute": [asdict(one) for one in costs(study)],
        "weight_decay": [{**asdict(one), "ratio": one.ratio, "edge": one.edge} for one in decays],
        "weight_decay_slopes": [asdict(one) for one in decay_slopes(decays, study.level)],
        "member_rule": [asdict(one) for one in member_rule(study)],
        "notes": [*study.notes, *flops_notes(study.runs.frame)],
    }  # fmt: skip


def _recipe_values(study: RecipeStudy, recipe: RecipeLimits) -> dict[str, Any]:
    at = study.scenarios, study.level
    return {
        "limits": list(recipe.axes),
        "reached": [_reached_values(study, one) for one in recipe.reached],
        "K": [one.to_dict(*at) for one in recipe.members],
        "N": [one.to_dict(*at) for one in recipe.sizes],
        "U": recipe.law and recipe.law.to_dict(*at),
        "settings": recipe.settings_tried,
    }


def _reached_values(study: RecipeStudy, one: Reached) -> dict[str, Any]:
    interval = limit_interval(one.values, study.scenarios, study.level, one.noise)
    return {"U": one.u, "loss": one.value, "what": one.what, "noise": one.noise,
            "interval": interval and interval.values()}  # fmt: skip


def _multiple_cells(study: RecipeStudy, worth: Multiple | None) -> tuple[str, str]:
    if worth is None or worth.recipe == study.standard:
        return ("–", "")
    return (_worth(worth), _ends(worth.interval(study.scenarios, study.level), 2, "x"))


def _worth(worth: Multiple) -> str:
    if worth.value is None:
        return "unknown"
    return "infinite" if np.isinf(worth.value) else f"{worth.value:.2f}x"


def _ends(interval: Interval | None, digits: int, unit: str = "") -> str:
    if interval is None:
        return "unknown"
    low = "no lower end" if np.isinf(interval.low) and interval.low < 0 else _end(interval.low, digits, unit)
    return f"[{low}, {_end(interval.high, digits, unit)}]"


def _end(value: float, digits: int, unit: str) -> str:
    return "infinite" if np.isinf(value) else f"{value:.{digits}f}{unit}"


def _law_cells(study: RecipeStudy, limit: Limit) -> tuple[str, ...]:
    if limit.law is None or limit.value is None:
        return ("none", "", "", "", limit.status, "; ".join(limit.notes))
    _, scale, exponent = limit.law.params[0]
    ends = _ends(limit.interval(study.scenarios, study.level), 4)
    return (f"{limit.value:.4f}", ends, f"{scale:.4g}", f"{exponent:.3f}", limit.status, "")


def _place(limit: Limit) -> str:
    known = {key: value for key, value in limit.at.items() if value is not None and key != "recipe"}
    return settings({key: short(value) if isinstance(value, float) else value for key, value in known.items()})


def _measured(one: Model) -> str:
    return f"{one.loss:.4f} ({model_name(one.n, one.k)})"


def _flops(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _changed(one: LeaveOneOut) -> tuple[str, str]:
    """Return what a result becomes without a point, and by how much it changes, in words where it is no number."""
    if one.value is None:
        return (f"no {'limit' if one.quantity == 'loss' else one.quantity} without it", "–")
    becomes = "infinite" if np.isinf(one.value) else f"{one.value:.4f}"
    return (becomes, "–" if one.change is None else f"{one.change:+.4f}")


def retained_card(shares: Sequence[Any]) -> Card:
    """Return the share of the gain that students keep."""
    return Card(("Distillation: the share of the ensemble's gain over the best single model that a student keeps",
                 *(one.headline()[0] for one in shares)))  # fmt: skip
