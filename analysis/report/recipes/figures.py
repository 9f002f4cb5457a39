"""Figures of a study of recipes: losses against N, K and U with their laws and limits, multiples, and students."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sweeplaw.analysis.recipes.study.distillation import Retained
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.report.paper.figures import current_style, label_minor_ticks, shades
from sweeplaw.analysis.report.recipes import lines
from sweeplaw.analysis.report.recipes.lines import DrawnLaw
from sweeplaw.trials.quantities import percent, short

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
    found = lines.against_n(study)
    figure, panels = _panels(len(found))
    for panel, (u, drawn) in zip(panels, found.items(), strict=True):
        for one in drawn:
            _curve(panel, one, _COLOURS[one.rank % len(_COLOURS)], joined=not len(one.grid))
        _finish(panel, f"U = {short(u)} unique tokens", "N, parameters")
    return figure


def against_k(study: RecipeStudy) -> Figure:
    """Draw the loss of ensembles against their members K, a panel for each U and a line for each recipe and N."""
    found = lines.against_k(study)
    figure, panels = _panels(len(found))
    for panel, (u, drawn) in zip(panels, found.items(), strict=True):
        for colour, one in zip(shades(len(drawn)), drawn, strict=True):
            _curve(panel, one, colour)
        _finish(panel, f"U = {short(u)} unique tokens", "K, members")
    return figure


def against_u(study: RecipeStudy) -> Figure:
    """Draw what each recipe reaches against U, with its law; beside it the data-efficiency multiples."""
    figure, panels = _panels(2 if study.multiples else 1)
    for one in lines.against_u(study):
        _curve(panels[0], one, _COLOURS[one.rank % len(_COLOURS)])
    _finish(panels[0], "What each recipe reaches", "U, unique tokens")
    if study.multiples:
        for one in lines.multiples(study):
            _curve(panels[1], one, _COLOURS[one.rank % len(_COLOURS)])
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
        ends = lines.ends_of(one.interval)
        between = "" if ends is None else f"\n[{percent(round(ends[0], 3))}, {percent(round(ends[1], 3))}]"
        assert one.share is not None, "a student that retains no share is not drawn"
        retained = f"{percent(one.share, '.0f')} retained{between}"
        panel.annotate(retained, (place, one.single), ha="center", va="bottom", fontsize=8,
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


def _curve(panel: Panel, one: DrawnLaw, colour: Any, *, joined: bool = False) -> None:
    """Draw points with their intervals, the law with its band, and its limit; ``joined``: a dashed line instead."""
    label = one.name if one.limit is None else f"{one.name}: {one.limit:.3f}"
    style: dict[str, Any] = {"ls": "--", "lw": 0.9} if joined else {"ls": "none"}
    panel.plot(one.x, one.losses, marker="o", color=colour, ms=4.5, label=label, **style)
    for where, between in zip(one.x, one.ends, strict=True):
        if between is not None:
            panel.plot([where, where], between, color=colour, lw=1)
    if len(one.grid):
        panel.plot(one.grid, one.expected, color=colour, lw=1.4)
    if one.band is not None:
        panel.fill_between(one.grid, *one.band, color=colour, alpha=0.15, linewidth=0)
    if one.limit is not None:
        panel.axhline(one.limit, color=colour, lw=0.9, ls=":")
    if one.limit_ends is not None:
        panel.axhspan(*one.limit_ends, color=colour, alpha=0.07, linewidth=0)


def _finish(panel: Panel, title: str, x: str, y: str = "validation loss") -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    label_minor_ticks(panel.xaxis)
    panel.set(xlabel=x, ylabel=y)
    panel.set_title(title, fontsize=10)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize=7.5)
