"""Figures of isoFLOP curves, of the growth of the best size, of the importance of knobs, and of times to events."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from sweeplaw.analysis.event_times.observations import EventTimes
from sweeplaw.analysis.event_times.time_law import TimeLaw
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.scales import FARTHEST
from sweeplaw.analysis.report.findings.importance import KnobShares
from sweeplaw.analysis.report.labels import axis_label, loss_label
from sweeplaw.analysis.report.paper.figures import current_style, literal, log_axis, shades
from sweeplaw.analysis.scaling.isoflop_curves import IsoflopCurve, IsoflopCurves
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import short

OPTIMUM, LAW, KNOB, REST = "#c44e52", "#31688e", "#31688e", "#aaaaaa"
GRID = 60  # points of a curve
MOST_LINES = 8  # of a law of times
ROOM = 0.35  # of the range of the losses fitted: the frame ends so far above them


def isoflop(found: IsoflopCurves, by: Axes) -> Figure:
    """Draw the loss against N at each budget, with the parabola of the runs in its window (filled) and its minimum."""
    with rc_context(current_style()):
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        panel = figure.subplots()
        for colour, one in zip(shades(len(found.curves)), found.curves, strict=True):
            _curve(panel, one, colour)
        log_axis(panel, axis_label(by, "N"))
        panel.set_ylabel(loss_label(by))
        used = [v for one in found.curves for v in one.losses[one.used]] or [one.losses.min() for one in found.curves]
        low, high = min(used), max(used)
        panel.set_ylim(low - 0.06 * (high - low), high + ROOM * (high - low or 0.05 * low))
        panel.legend(title="FLOPs", ncols=2 if len(found.curves) > 4 else 1)
        return figure


def _curve(panel: Panel, one: IsoflopCurve, colour: Any) -> None:
    panel.plot(one.params[one.used], one.losses[one.used], "o", ms=4, color=colour, label=short(one.budget.flops))
    panel.plot(one.params[~one.used], one.losses[~one.used], "o", ms=4, color=colour, mfc="none")
    if one.parabola is not None:
        sizes = one.params[one.used]
        grid = np.geomspace(sizes.min(), sizes.max(), GRID)
        panel.plot(grid, one.parabola(np.log(grid)), color=colour, lw=1.2)
    if one.optimum is not None:
        size, least = one.optimum
        panel.plot([size], [least], "D", ms=5, color=OPTIMUM, zorder=4)
        if one.interval is not None:
            panel.plot([one.interval.low, one.interval.high], [least, least], color=OPTIMUM, lw=1.4, zorder=3)


def growth(found: IsoflopCurves, by: Axes) -> Figure:
    """Draw the best size of each budget against its compute, with the line through them where there is one."""
    with rc_context(current_style()):
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        panel = figure.subplots()
        for one in found.found:
            size = one.optimum[0] if one.optimum is not None else np.nan
            panel.plot([one.budget.flops], [size], "D", ms=5, color=OPTIMUM, zorder=3)
            if one.interval is not None:
                ends = [one.interval.low, one.interval.high]
                panel.plot([one.budget.flops] * 2, ends, color=OPTIMUM, lw=1.4, zorder=2)
        if found.line is not None:
            compute = [one.budget.flops for one in found.found]
            grid = np.geomspace(min(compute) * 0.8, max(compute) * 1.25, GRID)
            sizes = [found.line.params(c) for c in grid]
            panel.plot(grid, sizes, color=LAW, lw=1.6, label=f"C to the power {found.line.a:.3f}")
            panel.legend()
        log_axis(panel, "training compute C, FLOPs")
        log_axis(panel, f"best {axis_label(by, 'N')}", vertical=True)
        return figure


def knob_importance(found: KnobShares) -> Figure:
    """Draw the share of the variance of the loss that each knob explains, a bar each with its interval over cells."""
    names = [*found.ranking, *(name for name in found.shares if name not in found.knobs)]
    with rc_context(current_style()):
        figure = Figure(figsize=(6.6, 0.9 + 0.38 * len(names)), layout="constrained")
        panel = figure.subplots()
        for place, name in enumerate(names):
            panel.barh(place, found.shares[name], 0.6, color=KNOB if name in found.knobs else REST)
            if (ends := found.intervals.get(name)) is not None:
                panel.plot([ends.low, ends.high], [place, place], color="black", lw=1.4)
        panel.set_yticks(range(len(names)), [literal(name) for name in names])
        panel.invert_yaxis()
        panel.set_xlim(0, 1)
        panel.set_xlabel("share of the variance of the loss")
        return figure


def event_time(data: EventTimes, law: TimeLaw, title: str) -> Figure:
    """Draw the times against the input that changes them most, coloured by the next one, with the law.

    A hollow dot is a trial without the event by its last look. Of many levels of the next input, `MOST_LINES` have a
    colour and a line, and dots that of the level at or below theirs.
    """
    along, *others = law.by_effect(data)
    xs, shade = data.inputs[:, along], others[0] if others else None
    of_shade = data.inputs[:, shade] if shade is not None else np.ones(len(xs))
    levels = np.unique(of_shade)
    ends = np.array([float(xs.min()) * 0.9, min(float(xs.max()) * 1.1, FARTHEST)])
    with rc_context(current_style()):
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        panel = figure.subplots()
        lines = most_even(levels.tolist(), MOST_LINES)
        groups = np.searchsorted(lines, of_shade, side="right") - 1
        for place, (colour, level) in enumerate(zip(shades(len(lines)), lines, strict=True)):
            for occurred, face in ((True, colour), (False, "none")):
                own = (groups == place) & (data.event == occurred)
                panel.plot(xs[own], data.times[own], "o", ms=4, color=colour, mfc=face)
            if law.exponents:
                label = None if shade is None else f"{level:g}"
                at: dict[str, Any] = {data.names[along]: ends, **({} if shade is None else {data.names[shade]: level})}
                panel.plot(ends, law.times(at), color=colour, lw=1.2, label=label)
        log_axis(panel, literal(data.names[along]))
        panel.set_ylim(float(data.times.min()) * 0.8, min(float(data.times.max()) * 1.25, FARTHEST))
        log_axis(panel, literal(title), vertical=True)
        if shade is not None and law.exponents:
            panel.legend(title=literal(data.names[shade]))
        return figure
