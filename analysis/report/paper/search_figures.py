"""Figures of a sweep that searched: its regret against the FLOPs spent, and its path over the surface of two knobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sweeplaw.analysis.report.paper.figures import current_style, label_minor_ticks, letters, shades
from sweeplaw.analysis.report.search_section import Proposed, SearchSection
from sweeplaw.trials.quantities import short

MOST_POINTS = 8  # scientific points that are drawn
LEAST_EXCESS = 0.01  # % of the loss: the end of the logarithmic axis, about a tenth of the noise of a run
LOG_RATIO = 20.0  # largest over smallest value of a knob from which its axis is logarithmic
_LOST = "#c44e52"


def search_figures(section: SearchSection) -> dict[str, Figure]:
    """Return the figures by name; none without a finished proposal."""
    if not section.best:
        return {}
    drawn = {"search_path": path(section)}
    if len(knobs := section.numeric_knobs) >= 2:
        drawn["search_surface"] = surface(section, knobs[0], knobs[1])
    return drawn


def path(section: SearchSection) -> Figure:
    """Draw the best of each point so far against the FLOPs spent, and the proposals in their order.

    Both in per cent above the best of the point in the end. A stopped trial is a cross at its prediction.
    """
    points = section.shown_points(MOST_POINTS)
    with rc_context(current_style()):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        known = all(one.spent is not None for one in section.path)
        for colour, (name, ran) in zip(shades(len(points)), points, strict=True):
            ended = [one for one in ran if one.best is not None]
            where = [one.spent if known else section.path.index(one) + 1 for one in ended]
            best = [_floor(section.excess(one, one.best)) for one in ended if one.best is not None]
            left.step([*where, _end(section, known)], [*best, best[-1]], where="post", color=colour, lw=1.4, label=name)
            _proposals(right, section, ran, colour)
        left.set_yscale("log")
        left.set_ylabel(f"{section.objective} worse than the best of its point, %")
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        left.set_xlabel("FLOPs spent by the search" if known else "proposals ended")
        if known and section.path[0].spent:
            left.set_xscale("log")
            left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            label_minor_ticks(left.xaxis)
        right.set_xlabel("number of the proposal")
        hidden = len(section.best) - len(points)
        right.set_title("cross: stopped early, at its prediction", fontsize=letters(9))
        left.set_title(
            f"{hidden} more points are not drawn" if hidden else "best of each point so far", fontsize=letters(9)
        )
        left.legend(fontsize=letters(7.5))
        return figure


def surface(section: SearchSection, across: str, up: str) -> Figure:
    """Draw the proposals of each point over two knobs, from light to dark as they came; a star where it recommends."""
    points = section.shown_points(MOST_POINTS)[:6]
    columns = min(3, len(points))
    rows = -(-len(points) // columns)
    with rc_context(current_style()):
        figure = Figure(figsize=(3.3 * columns, 2.9 * rows), layout="constrained")
        panels: list[Panel] = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for panel, (name, ran) in zip(panels, points, strict=False):
            _over(panel, section, ran, across, up)
            panel.set_title(name, fontsize=letters(9))
        for panel in panels[len(points) :]:
            panel.set_axis_off()
        for panel in panels[max(0, len(points) - columns) : len(points)]:
            panel.set_xlabel(across)
        for panel in panels[::columns]:
            panel.set_ylabel(up)
        _scale(section, panels[0], across, up)
        return figure


def _proposals(panel: Panel, section: SearchSection, ran: Sequence[Proposed], colour: Any) -> None:
    finished = [(one.number, _floor(section.excess(one, one.value))) for one in ran if one.value is not None]
    stopped = [
        (one.number, _floor(section.excess(one, one.predicted)))
        for one in ran
        if one.state == "stopped" and one.predicted is not None
    ]
    panel.plot(*_columns(finished), "o", ms=3, color=colour, alpha=0.8)
    panel.plot(*_columns(stopped), "x", ms=5, color=colour)


def _over(panel: Panel, section: SearchSection, ran: Sequence[Proposed], across: str, up: str) -> None:
    finished = [one for one in ran if one.value is not None]
    lost = [one for one in ran if one.value is None]
    panel.scatter(
        [one.knobs[across] for one in finished],
        [one.knobs[up] for one in finished],
        c=[one.number for one in finished],
        cmap="viridis_r",
        vmin=0,
        vmax=max(one.number for one in section.path),
        s=16,
        zorder=3,
    )
    panel.plot([one.knobs[across] for one in lost], [one.knobs[up] for one in lost], "x", ms=4, color=_LOST)
    for row in section.state.recommended if section.state else ():
        here = all(row.get(name) == value for name, value in ran[0].point.items())
        if here and None not in (row[across], row[up]):  # a knob whose condition does not hold has no place
            panel.plot(row[across], row[up], "*", ms=13, mfc="none", mec="#1d1f23", mew=1.2, zorder=4)


def _scale(section: SearchSection, panel: Panel, across: str, up: str) -> None:
    """Make the axis of a knob logarithmic where its values span far."""
    for knob, axis in ((across, panel.xaxis), (up, panel.yaxis)):
        values = [one.knobs[knob] for one in section.path]
        if min(values) > 0 and max(values) / min(values) >= LOG_RATIO:
            (panel.set_xscale if axis is panel.xaxis else panel.set_yscale)("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            label_minor_ticks(axis)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _end(section: SearchSection, known: bool) -> float:
    spent = section.path[-1].spent
    return spent if known and spent is not None else len(section.path)


def _floor(excess: float) -> float:
    return max(excess, LEAST_EXCESS)
