"""Figures of a report: functions from values to a matplotlib Figure; nothing is shown or saved here."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes as Panel
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.family import Family, drawn_lines
from sweeplaw.analysis.report.labels import AXES, axis_label, loss_label
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.units import labelled
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.quantities import counted, short

Array = NDArray[np.float64]
Band = Callable[[Mapping[str, Array]], tuple[Array, Array]]  # low and high ends at the inputs of a law

STYLE: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a value may contain $
    "svg.hashsalt": "sweeplaw",
}
USUAL, FAR = 0.8, 3.0  # the axis ends near this quantile if some settings exceed it by this factor; they are counted
TICKS = 8  # labels that fit on an axis
_COLOURS = ("#31688e", "#35b779", "#e07b39", "#8d4fa8", "#c44e52", "#7f7f7f", "#17becf", "#bcbd22")


_OWN: ContextVar[Mapping[str, Any]] = ContextVar("own_style", default=MappingProxyType({}))


def current_style() -> Any:
    """Return the parameters of figures: `STYLE` with those of the reader's own style (`styled`) over it.

    Sizes of letters in `STYLE` keep their ratio to the size of the font.
    """
    own = _OWN.get()
    ratio = own.get("font.size", STYLE["font.size"]) / STYLE["font.size"]
    return {**STYLE, **{name: ratio * STYLE[name] for name in ("axes.titlesize", "legend.fontsize")}, **own}


def letters(points: float) -> float:
    """Return a size of letters, given for the size of the font in `STYLE`, at the size of the font now."""
    return points * float(rcParams["font.size"]) / float(STYLE["font.size"])


def own_style() -> Any:
    """Return the parameters of the reader's own style alone (`styled`)."""
    return dict(_OWN.get())


@contextmanager
def styled(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Draw with matplotlib ``parameters`` over those of `STYLE`."""
    token = _OWN.set(parameters)
    try:
        yield
    finally:
        _OWN.reset(token)


def literal(text: str) -> str:
    """Return ``text`` for a figure of another style, where text between two $ would be a formula."""
    return text.replace("$", r"\$")


def svg(figure: Figure) -> str:
    """Return the figure as SVG text for a page, without the XML prologue."""
    out = io.StringIO()
    with rc_context({**current_style(), "text.parse_math": True}):  # for the powers of ten of ticks, which are made now
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def loss_curves(
    family: Family,
    by: Axes,
    surface: Fit | None,
    slices: Mapping[Any, Fit],
    *,
    along: str,
    forecast: Band | None = None,
) -> Figure:
    """Draw the best loss against N (a line for each D) or against D (a line for each N), with the laws and their bands.

    ``along`` is the column on the axis. Solid: the surface, with its 95 % band. Dashed: the line's own power law with
    an asymptote, from ``slices`` by the fixed value. Beyond the runs of a line, between dots: the band that carries the
    error of the form, by ``forecast``.
    """
    held = by.d if along == by.n else by.n
    with rc_context(current_style()):
        figure, panel = _panel()
        shown = drawn_lines(family, held)
        for colour, value in zip(shades(len(shown)), shown, strict=True):
            line = family.best.filter(pl.col(held) == value).sort(along)
            label = f"{'D' if held == by.d else 'N'} = {short(value)}"
            panel.errorbar(
                line[along], line["used"], yerr=_spread(line), fmt="o", ms=5, color=colour, label=label, capsize=2
            )
            where = line[along].cast(pl.Float64).to_numpy()
            grid = np.geomspace(where.min() * 0.9, where.max() * 1.5, 80)
            if surface is not None:
                fixed = np.full_like(grid, value)
                inputs = {"N": fixed, "D": grid} if along == by.d else {"N": grid, "D": fixed}
                _draw_surface(panel, surface, inputs, grid, colour)
                if forecast is not None:
                    _draw_forecast(panel, forecast, inputs, grid, where.max(), colour)
            if value in slices:
                panel.plot(grid, slices[value].predict(grid), color=colour, lw=1, ls="--")
        log_axis(panel, axis_label(by, "N" if along == by.n else "D"))
        panel.set_ylabel(loss_label(by))
        panel.legend(ncols=2 if len(shown) > 4 else 1)
        return figure


def _draw_surface(panel: Panel, surface: Fit, inputs: Mapping[str, Array], grid: Array, colour: Any) -> None:
    panel.plot(grid, surface.predict(inputs), color=colour, lw=1.4)
    if surface.draws is not None:
        panel.fill_between(grid, *surface.band(inputs), color=colour, alpha=0.15, lw=0)


def _draw_forecast(
    panel: Panel, forecast: Band, inputs: Mapping[str, Array], grid: Array, largest: float, colour: Any
) -> None:
    beyond = grid >= largest
    for end in forecast({name: column[beyond] for name, column in inputs.items()}):
        panel.plot(grid[beyond], end, color=colour, lw=1, ls=":")


def residuals(fit: Fit, by: Axes) -> Figure:
    """Draw the observed minus the predicted loss of every row that the surface was fitted to, against N and D."""
    with rc_context(current_style()):
        figure = Figure(figsize=(8.4, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for panel, axis in zip((left, right), AXES, strict=True):
            panel.axhline(0, color="#888888", lw=0.8)
            panel.plot(fit.observations.inputs[axis], 100 * fit.residuals, "o", ms=4, color=_COLOURS[0], alpha=0.8)
            log_axis(panel, axis_label(by, axis))
        inside = fit.objective.space == "log"
        left.set_ylabel("observed − law\n(% of loss)" if inside else f"100 x {loss_label(by, 'observed − law')}")
        return figure


def nuisance(family: Family, by: Axes, knob: str, optima: Sequence[CellOptimum]) -> Figure:
    """Draw the loss above the best of its (N, D) against one knob, the others at their best: a line per (N, D).

    An (N, D) with one value of the knob has no line: nothing was compared there.
    """
    with rc_context(current_style()):
        figure, panel = _panel(height=3.2)
        known = family.settings.drop_nulls(knob)  # imported runs may lack it
        best = known.group_by([by.n, by.d, knob]).agg(pl.col(by.loss).min()).sort(knob)
        best = best.filter(pl.len().over(by.n, by.d) > 1)
        drawn: list[float] = []
        for colour, one in zip(shades(len(optima)), optima, strict=True):
            cell = best.filter(pl.col(by.n) == one.cell[by.n], pl.col(by.d) == one.cell[by.d])
            if cell.is_empty():
                continue
            excess = 100 * (cell[by.loss] / cell[by.loss].min() - 1)
            drawn.extend(excess)
            panel.plot(cell[knob], excess, "-o", ms=3, lw=1, color=colour, alpha=0.8)
        if drawn and best[knob].dtype.is_numeric() and (best[knob] > 0).all():
            _log_levels(panel, best[knob].unique().sort().to_list())
        panel.set_xlabel(knob)
        panel.set_ylabel("loss above the best\nof its (N, D), %")
        _limit_height(panel, drawn)
        return figure


def _log_levels(panel: Panel, levels: Sequence[float]) -> None:
    """Label a logarithmic axis at the ascending positive ``levels``."""
    shown = _apart(levels)
    panel.set_xscale("log")
    panel.set_xticks(shown, labels=[short(value) for value in shown])
    panel.xaxis.set_minor_locator(NullLocator())


def _limit_height(panel: Panel, drawn: Sequence[float]) -> None:
    """End the vertical axis below far outliers of ``drawn``, and note their number."""
    top = 1.1 * float(np.quantile(drawn, USUAL)) if drawn else 0.0
    beyond = sum(value > top for value in drawn)
    if max(drawn, default=0.0) > FAR * top > 0:
        panel.set_ylim(-0.1, top)
        panel.set_title(
            f"{counted(beyond, 'setting')} above the frame", loc="right", fontsize=letters(8), color="#666666"
        )
    else:
        panel.set_ylim(bottom=-0.1)


def training_curves(curves: pl.DataFrame, labels: Mapping[str, str], by: Axes) -> Figure:
    """Draw training and validation loss for a few trials against tokens seen, or steps if tokens are not known.

    ``labels`` are by trial id.
    """
    seen = "tokens" if curves["tokens"].count() else "step"
    with rc_context(current_style()):
        figure, panel = _panel()
        for colour, (trial_id, label) in zip(shades(len(labels)), labels.items(), strict=True):
            points = curves.filter(pl.col("trial_id") == trial_id).sort("step")
            train = points.drop_nulls("train_loss")
            panel.plot(train[seen], train["train_loss"], color=colour, lw=0.8, alpha=0.6)
            measured = points.drop_nulls("val_loss")
            panel.plot(measured[seen], measured["val_loss"], "o", ms=4, color=colour, label=label)
        log_axis(panel, "training tokens seen" if seen == "tokens" else "step")
        panel.set_ylabel(f"{labelled('loss', by.units.get('val_loss', ''))}\nline: training, dots: validation")
        panel.legend()
        return figure


def _apart(levels: Sequence[float]) -> list[float]:
    """Return those of the ascending positive ``levels`` whose labels do not overlap on a logarithmic axis."""
    room, shown = math.log(levels[-1] / levels[0]) / TICKS, [levels[0]]
    for level in levels[1:]:
        if math.log(level / shown[-1]) >= room:
            shown.append(level)
    return shown


def _panel(height: float = 3.9) -> tuple[Figure, Panel]:
    figure = Figure(figsize=(6.6, height), layout="constrained")
    return figure, figure.subplots()


def shades(count: int) -> list[Any]:
    """Return colours from dark to light for an ordered family."""
    if count <= 1:
        return [_COLOURS[0]] * count
    from matplotlib import colormaps

    return [colormaps["viridis"](fraction) for fraction in np.linspace(0.05, 0.85, count)]


def _spread(line: pl.DataFrame) -> Any:
    """Return standard errors over seeds, or None if no point has two seeds."""
    known = line["seed_std"].fill_null(0.0) / line["seeds"].cast(pl.Float64).sqrt()
    return known if (known > 0).any() else None


def log_axis(panel: Panel, label: str, *, vertical: bool = False) -> None:
    """Make an axis logarithmic, by default the horizontal one, with labels that people read."""
    panel.set(**{"yscale": "log", "ylabel": label} if vertical else {"xscale": "log", "xlabel": label})
    axis: XAxis | YAxis = panel.yaxis if vertical else panel.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    label_minor_ticks(axis)


def label_minor_ticks(axis: XAxis | YAxis) -> None:
    """Label the minor ticks of a logarithmic axis that shows less than two decades, so that it has several labels."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    digits = "23456789" if decades < 0.5 else "235" if decades < 1.2 else "25" if decades < 2 else ""
    axis.set_minor_formatter(FuncFormatter(lambda value, _: short(value) if f"{value:e}"[0] in digits else ""))
