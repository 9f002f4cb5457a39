"""A fit as a figure: the rows, the law, and the band of the law where there are bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeplaw.analysis.laws.catalog import INPUT_UNITS, LAWS
from sweeplaw.analysis.tables.units import labelled
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweeplaw.analysis.fitting.fitted_law import Fit

Array = np.ndarray

LINES = 6  # at most, of a law of several inputs
POINTS = 80  # of a line
BEYOND = 1.3  # factor by which a line goes beyond the rows on both sides
LEVEL = 0.95  # of the band
_ONE_COLOUR = "#31688e"


def plot(fit: Fit, along: str | None, ax: Axes | None) -> Axes:
    """Return the axes with the drawing; without ``ax``, those of a new figure. Raise InputError."""
    name = _axis(fit, along)
    panel = _new_panel() if ax is None else ax
    others = [other for other in fit.law.inputs if other != name]
    rows = {other: fit.observations.inputs[other] * fit.observations.units.get(other, 1.0) for other in fit.law.inputs}
    held = np.stack([rows[other] for other in others], axis=1) if others else np.zeros((fit.rows_used, 0))
    places, rank = np.unique(held, axis=0, return_inverse=True)
    colours = _colours(len(places))
    panel.scatter(rows[name], fit.observations.losses, s=18, c=[colours[at] for at in rank.ravel()], zorder=3)
    span = np.geomspace(rows[name].min() / BEYOND, rows[name].max() * BEYOND, POINTS)
    for at in np.unique(np.linspace(0, len(places) - 1, min(LINES, len(places))).round().astype(int)):
        _line(panel, fit, {name: span, **dict(zip(others, places[at], strict=True))}, span, colours[at], others)
    _label(panel, fit, name)
    return panel


def _axis(fit: Fit, along: str | None) -> str:
    if along is not None and along not in fit.law.inputs:
        raise InputError(f"along = {along!r} is no input of {fit.law.name} (its inputs: {', '.join(fit.law.inputs)})")
    return along or fit.law.inputs[0]


def _new_panel() -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(6.6, 4.2), layout="constrained")[1]


def _colours(count: int) -> list[Any]:
    """Return colours from dark to light for an ordered family."""
    from matplotlib import colormaps

    return [colormaps["viridis"](at) for at in np.linspace(0.05, 0.85, count)] if count > 1 else [_ONE_COLOUR]


def _line(panel: Axes, fit: Fit, x: dict[str, Any], span: Array, colour: Any, others: Sequence[str]) -> None:
    label = ", ".join(f"{name} = {short(float(x[name]))}" for name in others) or "law"
    panel.plot(span, fit.predict(x), color=colour, lw=1.4, label=label)
    if fit.draws is not None:
        panel.fill_between(span, *fit.band(x, LEVEL), color=colour, alpha=0.15, lw=0)


def _label(panel: Axes, fit: Fit, name: str) -> None:
    panel.set_xscale("log")
    panel.set_xlabel(_named(fit, name))
    panel.set_ylabel(_named(fit, "loss"))
    mark = "" if fit.verified else "  [not verified]"
    band = f", with the {percent(LEVEL)} band of the law" if fit.draws is not None else ""
    panel.set_title(f"{fit.law.name}{band}{mark}", loc="left", fontsize=10)
    panel.legend(frameon=False, fontsize=8)


def _named(fit: Fit, name: str) -> str:
    """Return the label of an input or the loss: its column and unit; published laws give the unit of other columns."""
    column = fit.observations.columns[name]
    usual = INPUT_UNITS.get(name, "") if fit.law.name in LAWS and not fit.observations.unit_names else ""
    unit = fit.observations.unit_names.get(name, usual)
    text = column if name in (column, "loss", "x") else f"{name}: {column}"
    return labelled(text, unit).replace("$", r"\$")
