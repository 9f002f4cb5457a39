"""The card of tuning as an experiment: the expected excess of the best of k settings of each size and budget."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import percent
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.findings.best_of import LEAST_SETTINGS
from sweeplaw.analysis.report.labels import point
from sweeplaw.analysis.report.panels.knobs import HEIGHT, MOST_CELLS, TOP, cell_key
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.experiment.experiment import WITHIN, Drawn, PlaceDrawn, TuningExperiment
from sweeplaw.trials.quantities import counted


def best_of_card(found: TuningExperiment, family: Family, by: Axes, key: str) -> Card:
    """Return the expected loss of the best of k settings above the best of all of its cell, a line for each cell."""
    scale = {id(place): place.at[by.n] * place.at[by.d] for place in found.places}
    shown = most_even(sorted(set(scale.values())), MOST_CELLS)
    places = sorted((one for one in found.places if scale[id(one)] in shown), key=lambda one: scale[id(one)])
    top = min(TOP, max(one.excess for place in places for one in place.curve) * 1.05) or WITHIN

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([1.0, float(max(place.count for place in places))], "draws k", log=True),
            Axis("expected loss above the best of all", 0.0, top, label=percent),
            width,
            HEIGHT,
            "expected excess of the best of k settings",
        )
        for rank, place in enumerate(places):
            name = cell_key(place.at[by.n], place.at[by.d])
            k, excess = [float(one.k) for one in place.curve], [one.excess for one in place.curve]
            chart.line(k, excess, f"cur {stroke(rank, len(places))}", name)
            for one in place.curve:
                text = (
                    f"{_cell(place, by)}: best of {one.k} expected at {one.reported:.4f}, {percent(one.excess)} above"
                )
                chart.dot(float(one.k), one.excess, f"pt {fill(rank, len(places))}", text, name, 3)
        return chart.svg()

    hidden, poor = len(found.places) - len(places), family.best.height - len(found.places)
    left_out = f" {counted(hidden, 'cell')} not drawn." if hidden else ""
    left_out += f" {counted(poor, 'cell')} with fewer than {LEAST_SETTINGS} left out." if poor > 0 else ""
    rows = (
        (place.at[by.n], place.at[by.d], one.k, one.reported, one.excess, *(_bias(one) if found.apart else ()))
        for place in found.places
        for one in place.curve
    )
    heads = (by.n, by.d, "k", "expected_loss", "excess", *(("selection_bias", "low", "high") if found.apart else ()))
    settings = sum(place.count for place in found.places)
    return card(
        key,
        _finding(found.places),
        "A line for each size and budget, dark to light as both grow: the best of k of its settings, drawn at random.",
        draw,
        f"{counted(settings, 'setting')}, means over seeds; unbiased for settings drawn at random."
        f"{_apart(found)}{left_out}",
        f"Expected excess of the best of k settings, {counted(len(places), 'line')}.",
        sheet(heads, rows),
        half=True,
    )


def _bias(one: Drawn) -> tuple[float | None, ...]:
    """Return by how much the loss that picks is biased low, and the ends of its interval."""
    return one.flattery, *(one.flattery_interval or (None, None))


def _apart(found: TuningExperiment) -> str:
    """Return what selection does to the loss that picks, where another one is reported."""
    if not found.apart:
        return ""
    known = [[one for one in place.curve if one.flattery_interval] or [place.curve[-1]] for place in found.places]
    k, bias = _range([curve[-1].k for curve in known]), [curve[-1].flattery for curve in known]
    spread = f"{min(bias):.4f}" if len(bias) == 1 else f"{min(bias):.4f} to {max(bias):.4f}"
    return f" Reported is {found.report}; selection biases {found.pick} low by {spread} for the best of {k}."


def _finding(places: Sequence[PlaceDrawn]) -> str:
    needed, of = (_range([getattr(place, name) for place in places]) for name in ("needed", "count"))
    best = "Any one setting" if needed == "1" else f"The best of {needed} random settings"
    return f"{best} is expected within {percent(WITHIN)} of the best of {of}"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} to {high}" if low < high else f"{low}"


def _cell(place: PlaceDrawn, by: Axes) -> str:
    return point(by, place.at[by.n], place.at[by.d])
