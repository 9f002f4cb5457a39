"""Figures of a study of recipes: losses against N, K and U with their laws and limits, multiples, and students."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from sweeplaw.analysis.recipes.limits.levels import RecipeLimits
from sweeplaw.analysis.recipes.limits.limit import Limit, limit_interval
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE
from sweeplaw.analysis.recipes.study.distillation import Retained
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.report.paper.figures import current_style, label_minor_ticks, shades
from sweeplaw.trials.quantities import percent, short

Array = NDArray[np.float64]

MOST_PANELS = 4  # values of U, the smallest ones
AHEAD = 3.0  # times the largest point, to which a law is drawn
_COLOURS = ("#c44e52", "#8d4fa8", "#31688e", "#35b779", "#e07b39", "#7f7f7f")


def study_figures(study: RecipeStudy, shares: Sequence[Retained] = ()) -> dict[str, Figure]:
    """Return the figures by name, those that have something to show."""
    drawn = {}
    with rc_context(current_style()):
        if any(limit.law for recipe in study.recipes.values() for limit in recipe.sizes):
            drawn["recipes_n"] = against_n(study)
        if any(limit.law for recipe in study.recipes.values() for limit in recipe.chosen):
            drawn["recipes_k"] = against_k(study)
        if any(recipe.law and recipe.law.law for recipe in study.recipes.values()):
            drawn["recipes_u"] = against_u(study)
        if known := [one for one in shares if one.share is not None]:
            drawn["recipes_students"] = students(known)
    return drawn


def against_n(study: RecipeStudy) -> Figure:
    """Draw the loss of each recipe against N, a panel for each U: points, law with band, and the limit with its own.

    Of a recipe that is taken to its limit in K, the points are those limits.
    """
    budgets = sorted({one.at["U"] for recipe in study.recipes.values() for one in recipe.sizes})[:MOST_PANELS]
    figure, panels = _panels(len(budgets))
    for panel, u in zip(panels, budgets, strict=True):
        for colour, (name, recipe) in zip(_cycle(study), study.recipes.items(), strict=True):
            limit = next((one for one in recipe.sizes if one.at["U"] == u and one.law), None)
            if limit is not None:
                _curve(panel, study, limit, colour, f"{name}, K to infinity" if "K" in recipe.axes else name)
            else:
                _measured(panel, recipe, u, colour, name)
        _finish(panel, f"U = {short(u)} unique tokens", "N, parameters")
    return figure


def against_k(study: RecipeStudy) -> Figure:
    """Draw the loss of ensembles against their members K, a panel for each U and a line for each recipe and N."""
    found = [(name, one) for name, recipe in study.recipes.items() for one in recipe.chosen if one.law and one.value]
    budgets = sorted({one.at["U"] for _, one in found})[:MOST_PANELS]
    figure, panels = _panels(len(budgets))
    for panel, u in zip(panels, budgets, strict=True):
        here = sorted(((name, one) for name, one in found if one.at["U"] == u), key=lambda pair: pair[1].at["N"])
        for colour, (name, one) in zip(shades(len(here)), here, strict=True):
            _curve(panel, study, one, colour, f"{name}, N = {short(one.at['N'])}")
        _finish(panel, f"U = {short(u)} unique tokens", "K, members")
    return figure


def against_u(study: RecipeStudy) -> Figure:
    """Draw what each recipe reaches against U, with its law; beside it the data-efficiency multiples."""
    figure, panels = _panels(2 if study.multiples else 1)
    for colour, (name, recipe) in zip(_cycle(study), study.recipes.items(), strict=True):
        if recipe.law is not None and recipe.reached:
            what = "" if not recipe.axes else f", limit in {' and '.join(recipe.axes)}"
            _curve(panels[0], study, recipe.law, colour, f"{name}{what}", limits=False)
        own = [
            one
            for one in study.multiples
            if one.recipe == name != study.standard and any(one.what == reached.what for reached in recipe.reached)
        ]
        finite = [one for one in own if one.value is not None and np.isfinite(one.value)]
        if finite:
            _bars(panels[1], [one.u for one in finite], [one.value or 0.0 for one in finite],
                  [_ends(one.interval(study.scenarios, study.level)) for one in finite], colour, name)  # fmt: skip
    _finish(panels[0], "What each recipe reaches", "U, unique tokens")
    if study.multiples:
        panels[1].axhline(1, color="#888888", lw=0.8, ls=":")
        _finish(
            panels[1], f"As much data as the recipe {study.standard} would need", "U, unique tokens", "data multiple"
        )
    return figure


def students(shares: Sequence[Retained]) -> Figure:
    """Draw the losses of the best single model, the student and the teacher, with the share of the gain retained."""
    figure = Figure(figsize=(max(4.8, 2.6 * len(shares) + 2), 3.6), layout="constrained")
    panel = figure.subplots()
    for place, one in enumerate(shares):
        for shift, (loss, colour) in enumerate(zip((one.single, one.student, one.teacher), _COLOURS, strict=False)):
            label = ("best single model", "student", "teacher")[shift] if place == 0 else None
            panel.bar(place + 0.25 * (shift - 1), loss, 0.22, color=colour, label=label)
        ends = _ends(one.interval)
        between = "" if ends is None else f"\n[{percent(round(ends[0], 3))}, {percent(round(ends[1], 3))}]"
        panel.annotate(f"{one.share:.0%} retained{between}", (place, one.single), ha="center", va="bottom", fontsize=8,
                       xytext=(0, 3), textcoords="offset points")  # fmt: skip
    losses = [loss for one in shares for loss in (one.single, one.student, one.teacher)]
    spread = max(losses) - min(losses)
    panel.set_ylim(min(losses) - 0.4 * spread, max(losses) + 0.5 * spread)
    panel.set_xticks(range(len(shares)), [one.name.replace(" at ", "\n") for one in shares], fontsize=8)
    panel.set_ylabel("validation loss")
    panel.set_axisbelow(True)
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    return figure


def _panels(count: int) -> tuple[Figure, list[Panel]]:
    figure = Figure(figsize=(4.8 * count if count > 1 else 5.6, 3.8), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _cycle(study: RecipeStudy) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(len(study.recipes))]


def _curve(panel: Panel, study: RecipeStudy, limit: Limit, colour: Any, label: str, *, limits: bool = True) -> None:
    """Draw the points of a law with their intervals, the law with its band, and its limit."""
    curve, at = limit.curve, study.scenarios
    used = np.isfinite(curve.x) & ~np.isnan(curve.losses[ESTIMATE])
    x, losses = curve.x[used], curve.losses[ESTIMATE, used]
    ends = [_ends(limit_interval(column, at, study.level, limit.noise)) for column in curve.losses[:, used].T]
    if limit.law is None or limit.value is None:
        _bars(panel, x, losses, ends, colour, label)
        return
    _bars(panel, x, losses, ends, colour, f"{label}: {limit.value:.3f}" if limits else label)
    grid = np.geomspace(x.min(), AHEAD * x.max(), 60)
    predicted = limit.law.at(grid)
    panel.plot(grid, predicted[ESTIMATE], color=colour, lw=1.4)
    tail = (1 - study.level) / 2
    if limit.noise and at.draws:
        low, high = np.nanquantile(predicted[at.drawn], [tail, 1 - tail], axis=0)
        panel.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
    if limits:
        panel.axhline(limit.value, color=colour, lw=0.9, ls=":")
        between = _ends(limit.interval(at, study.level))
        if between is not None and np.isfinite(between).all():
            panel.axhspan(between[0], between[1], color=colour, alpha=0.07, linewidth=0)


def _measured(panel: Panel, recipe: RecipeLimits, u: float, colour: Any, name: str) -> None:
    """Draw the measured models of least K of a recipe that has no law along N."""
    models = [one for one in recipe.models if one.u == u and np.isfinite(one.n) and np.isfinite(one.k)]
    least = sorted((one for one in models if one.k == min(other.k for other in models)), key=lambda one: one.n)
    if least:
        panel.plot(
            [one.n for one in least], [one.loss for one in least], "o--", color=colour, ms=4.5, lw=0.9, label=name
        )


def _bars(panel: Panel, x: Any, y: Any, ends: Sequence[tuple[float, float] | None], colour: Any, label: str) -> None:
    panel.plot(x, y, "o", color=colour, ms=4.5, label=label)
    for where, between in zip(x, ends, strict=True):
        if between is not None and np.isfinite(between).all():
            panel.plot([where, where], between, color=colour, lw=1)


def _ends(interval: Any) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _finish(panel: Panel, title: str, x: str, y: str = "validation loss") -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    label_minor_ticks(panel.xaxis)
    panel.set(xlabel=x, ylabel=y)
    panel.set_title(title, fontsize=10)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize=7.5)
