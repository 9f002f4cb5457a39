"""The card of the time to an event: when it occurred in each trial, or the last look without it, and its law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeplaw.analysis.event_times.summary import SMALL, summary
from sweeplaw.analysis.event_times.time_law import TimeLaw
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import drawn_dots, most_even
from sweeplaw.analysis.report.charts.numbers import estimate, people
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.analysis.report.findings.event_laws import EventLaw
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.trials.quantities import counted, settings

HEIGHT = 320.0
ROUNDING = 1e-3  # of the width of the interval of an exponent: the part of it that is called zero
MOST_LINES = 5  # of the law in one chart


def event_card(found: EventLaw, key: str) -> Card | None:
    """Return the times against the input that changes them most, coloured by the next one; None without times."""
    data, law = found.data, found.law
    if data is None or law is None:
        return None
    order = law.by_effect(data)
    along, shade = order[0], order[1] if len(order) > 1 else None
    levels, ranks = np.unique(
        data.inputs[:, shade] if shade is not None else np.ones(len(data.times)), return_inverse=True
    )
    lines = most_even(levels.tolist(), MOST_LINES)
    shown = drawn_dots(len(data.times))
    marks = list(zip(data.inputs[shown], data.times[shown], data.event[shown], ranks[shown].tolist(), strict=True))
    title = f"{found.name}, steps"

    def draw(width: float) -> str:
        chart = Chart(
            axis_over(data.inputs[:, along].tolist(), data.names[along], log=True, room=0.08),
            axis_over(data.times.tolist(), title, log=True, room=0.08),
            width,
            HEIGHT,
            f"{title} against {data.names[along]}",
            right=text_width([people(value) for value in lines]) if shade is not None else 16.0,
        )
        for level in lines if law.exponents else ():
            ends = np.array([chart.x.low, chart.x.high])
            times = law.times({data.names[along]: ends, **({} if shade is None else {data.names[shade]: level})})
            rank, name = int(np.searchsorted(levels, level)), people(level)
            chart.line(ends, times, f"iso {stroke(rank, len(levels))}", f"{key}-{rank}")
            if shade is not None:
                chart.end(float(ends[1]), float(times[1]), name, "l", f"{key}-{rank}")
        for row, time, occurred, rank in marks:
            where = settings(dict(zip(data.names, map(float, row), strict=True)))
            text = f"{where}: {'at step' if occurred else 'not by step'} {time:,.0f}"
            css = f"pt {fill(rank, len(levels))}" if occurred else f"hollow {stroke(rank, len(levels))}"
            chart.dot(float(row[along]), float(time), css, text, f"{key}-{rank}")
        return chart.svg()

    said = summary(law, found.time).splitlines()
    if len(marks) < len(data.times):
        said.append(f"{len(marks):,} of {counted(len(data.times), 'trial')} are drawn, and in the CSV")
    colour = f" Colour: {data.names[shade]}, dark low, light high." if shade is not None else ""
    return card(
        key,
        _finding(found, law, [data.names[place] for place in order]),
        f"A dot is a trial; a hollow one had no event by its last look.{colour} Lines: the law, t*.",
        draw,
        " ".join(f"{line.strip()}." for line in said if "exponent of" not in line),
        f"{title} of {counted(len(data.times), 'trial')} against {data.names[along]}.",
        sheet(
            (*data.names, found.time, found.censored),
            (
                (*map(float, row), *((float(time), None) if occurred else (None, float(time))))
                for row, time, occurred, _ in marks
            ),
        ),
    )


def _finding(found: EventLaw, law: TimeLaw, names: Sequence[str]) -> str:
    if not law.exponents or law.status != "verified":
        words = {"no events": "no event in", "not determined": "no law in"}.get(law.status, "no verified law in")
        return f"{found.name}: {words} {counted(law.rows, 'trial')}"
    powers = []
    for name in names:
        one = law.exponents[name]
        low, high = one.interval.low, one.interval.high
        least = ROUNDING * (high - low)  # of an interval about zero
        value, inside = estimate(one.value if abs(one.value) > least else 0.0, low, high, units=False)
        powers.append(f"{name} to the power {value} ({inside})")
    curved = law.curvature_p is not None and law.curvature_p < SMALL
    return f"{found.name} goes as {' and '.join(powers)}{'; powers alone are rejected' if curved else ''}"
