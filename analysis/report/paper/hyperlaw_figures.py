"""Figures of hyperparameter laws: functions from values to a matplotlib Figure; nothing is shown or saved here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw
from sweeplaw.analysis.report.paper.figures import letters, literal, log_axis
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.importance import Importance
from sweeplaw.analysis.tuning.plateau import THRESHOLDS
from sweeplaw.trials.quantities import short

Array = NDArray[np.float64]

COLUMNS = 4
SHOWN_EXCESS = 0.02  # end of the colour scale
COLOURS = ("#e07b39", "#c44e52", "#8d4fa8", "#35b779", "#17becf", "#bcbd22", "#7f7f7f")


def heatmaps(
    scorer: Scorer, found: Hyperlaw | None = None, others: Mapping[str, Array] | None = None, most: int = 20
) -> Figure:
    """Draw the loss above the best over the first two knobs, one panel per cell (the first ``most``).

    A panel has the runs, the fitted optimum, the contours of the plateau, the law's prediction, and ``others``: log
    predictions (cells, knobs) by name.
    """
    table = scorer.table
    shown = min(len(table.cells), most)
    rows = -(-shown // COLUMNS)
    figure = Figure(figsize=(3.2 * min(COLUMNS, shown), 3.0 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, shown), squeeze=False)
    dots = None
    for c, panel in enumerate(panels.flat):
        if c >= shown:
            panel.set_axis_off()
            continue
        dots = _runs(panel, table, c)
        _optimum(panel, scorer, c)
        if found is not None:
            point = _law_point(found, table, c)
            panel.plot(*np.exp(point[:2]), "*", color="black", ms=11, label="fitted law")
        for (name, predicted), colour in zip((others or {}).items(), COLOURS, strict=False):
            if np.isfinite(predicted[c, :2]).all():
                panel.plot(*np.exp(predicted[c, :2]), "D", color=colour, ms=5, label=literal(name))
        title = "\n".join(f"{name} = {_short(value)}" for name, value in table.label(c).items())
        panel.set_title(literal(title), fontsize=letters(8))
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_minor_formatter(NullFormatter())
        panel.use_sticky_edges = False  # contours end at the grid's edge and would cut the outermost runs in half
        panel.margins(0.06)
    if dots is not None:
        figure.colorbar(dots, ax=panels, label="loss above the cell's best", shrink=0.7)
    figure.supxlabel(literal(table.knobs[0]))
    figure.supylabel(literal(table.knobs[1]))
    marks: dict[str, Any] = {}  # a panel may have no fitted optimum
    for panel in panels.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    figure.legend([*marks.values()], [*marks], loc="outside upper center", ncols=6, fontsize=letters(8))
    return figure


def law_lines(table: CellTable, found: Hyperlaw) -> Figure:
    """Draw each knob's law with its band against each axis (others at their median), and each cell's lowest run."""
    laws = [found.law(name) for name in table.knobs]
    axes = [axis for axis in table.axes if any(axis in law.exponents for law in laws)] or list(table.axes)
    figure = Figure(figsize=(4.2 * len(axes), 3.2 * len(laws)), layout="constrained")
    panels = figure.subplots(len(laws), len(axes), squeeze=False)
    middle = {axis: float(np.exp(np.median(table.log_axes[:, i]))) for i, axis in enumerate(table.axes)}
    best = np.array([table.x[table.rows_of(c)][table.z[table.rows_of(c)].argmin()] for c in range(len(table.cells))])
    for k, law in enumerate(laws):
        for panel, axis in zip(panels[k], axes, strict=True):
            i = table.axes.index(axis)
            panel.plot(
                np.exp(table.log_axes[:, i]),
                np.exp(best[:, k]),
                "o",
                ms=4,
                color="#7f7f7f",
                label="lowest run of a cell",
            )
            span = np.exp(np.linspace(table.log_axes[:, i].min(), table.log_axes[:, i].max(), 60))
            values = [law.at({**middle, axis: float(value)}) for value in span]
            panel.plot(span, [one.value for one in values], color="#31688e", label="law")
            if values[0].low is not None:
                low, high = [one.low or np.nan for one in values], [one.high or np.nan for one in values]
                panel.fill_between(span, low, high, color="#31688e", alpha=0.2, linewidth=0, label="95 % band")
            log_axis(panel, literal(axis))
            log_axis(panel, literal(law.knob), vertical=True)
        panels[k][0].set_title(literal(law.formula), loc="left", fontsize=letters(8))  # wider than a panel, at times
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=letters(8))
    return figure


def importance_bars(found: Sequence[Importance]) -> Figure:
    """Draw the share of the variance of the loss by knob, one bar per cell: how rankings change with budget."""
    names = list(found[0].knobs)
    figure = Figure(figsize=(max(4.5, 0.45 * len(found) + 3), 3.4), layout="constrained")
    panel = figure.subplots()
    at, bottom = np.arange(len(found)), np.zeros(len(found))
    layers = {name: np.array([one.knobs[name] for one in found]) for name in names}
    layers["pairs"] = np.array([sum(one.pairs.values()) for one in found])
    layers["higher orders"] = np.array([one.rest for one in found])
    for (name, share), colour in zip(layers.items(), (*COLOURS, "#31688e", "#cccccc") * 3, strict=False):
        panel.bar(at, share, bottom=bottom, color=colour, label=literal(name))
        bottom = bottom + share
    labels = [", ".join(f"{name}={_short(value)}" for name, value in one.cell.items()) or "all rows" for one in found]
    panel.set_xticks(
        at, [literal(label) for label in labels], rotation=90 if len(found) > 3 else 0, fontsize=letters(7)
    )
    panel.set(ylabel="share of the variance of the loss", ylim=(0, 1))
    panel.legend(fontsize=letters(8), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _runs(panel: Axes, table: CellTable, c: int) -> PathCollection:
    rows = table.rows_of(c)
    x, y = np.exp(table.x[rows, 0]), np.exp(table.x[rows, 1])
    panel.set(xscale="log", yscale="log")
    return panel.scatter(x, y, c=table.excess[rows], cmap="viridis_r", vmin=0, vmax=SHOWN_EXCESS, marker="s", s=26)


def _optimum(panel: Axes, scorer: Scorer, c: int) -> None:
    """Draw the cell's fitted optimum and the contours of the plateau, further knobs at their optimum."""
    quadratic, rows = scorer.quadratics[c], scorer.table.rows_of(c)
    lowest = scorer.table.x[rows][scorer.table.z[rows].argmin()]
    panel.plot(*np.exp(lowest[:2]), "o", mfc="none", mec="#c44e52", ms=9, mew=1.5, label="lowest run")
    if quadratic is None:
        return
    panel.plot(*np.exp(quadratic.optimum[:2]), "+", color="black", ms=9, mew=2, label="fitted optimum")
    ends = [(scorer.table.x[rows, k].min(), scorer.table.x[rows, k].max()) for k in range(2)]
    a, b = np.meshgrid(*(np.linspace(low, high, 80) for low, high in ends))
    points = np.broadcast_to(quadratic.optimum, (*a.shape, len(quadratic.optimum))).copy()
    points[..., 0], points[..., 1] = a, b
    panel.contour(np.exp(a), np.exp(b), quadratic.excess(points), levels=THRESHOLDS, colors="black", linewidths=0.7)


def _law_point(found: Hyperlaw, table: CellTable, c: int) -> Array:
    label = table.label(c)
    axes = {name: float(label[name]) for name in table.axes}
    recipe = {name: str(label[name]) for name in table.recipes}
    return np.log([found.law(name).at(axes, recipe).value for name in table.knobs])


def _short(value: object) -> str:
    return short(value) if isinstance(value, int | float) else str(value)
