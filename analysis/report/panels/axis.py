"""The card of the loss against N, with a line for each D, or against D, with a line for each N."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import dots_note, drawn_dots
from sweeplaw.analysis.report.charts.numbers import people
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.analysis.report.family import Family, drawn_lines
from sweeplaw.analysis.report.labels import AXES, axis_label, larger, loss_label, noun
from sweeplaw.analysis.report.panels.loss import HEIGHTS, Band, band_ends
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import counted

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AxisLine:
    """A line of `axis_card`: points that are drawn, laws on ``grid``, the band beyond the points on ``beyond``."""

    value: float
    points: pl.DataFrame
    grid: Array
    surface: Array | None
    own: Array | None
    beyond: Array
    low: Array
    high: Array

    @property
    def end(self) -> tuple[float, float]:
        """The place of its label."""
        law = self.surface if self.surface is not None else self.own
        last = self.points.row(-1, named=True)
        return (float(self.grid[-1]), float(law[-1])) if law is not None else (last["x"], last["loss"])


def axis_card(
    family: Family, by: Axes, surface: Fit | None, slices: Mapping[Any, Fit], along: str, band: Band | None, key: str,
    open_cells: Collection[tuple[float, float]] = (),
) -> Card | None:  # fmt: skip
    """Return the best loss against N (a line for each D) or D (a line for each N), with the laws; ``along`` a column.

    ``slices`` are the line's own power laws by the value held, ``band`` that of a forecast; the best so far of
    ``open_cells``, (N, D) whose trials have not all ended, is hollow. None where every line has one point."""
    held = by.d if along == by.n else by.n
    hollow = pl.Series([float(cell in open_cells) for cell in family.best.select(by.n, by.d).iter_rows()])
    best = family.best.select(x=along, held=held, loss="used", std="seed_std", seeds="seeds").cast(pl.Float64)
    best = best.with_columns(open=hollow)
    if best["x"].n_unique() < 2:
        return None
    values = best["held"].n_unique()
    shown = [float(value) for value in drawn_lines(family, held)]
    best = best.filter(pl.col("held").is_in(shown)).sort("held", "x")
    drawn = best[drawn_dots(best.height)]
    name, other = AXES if along == by.n else (AXES[1], AXES[0])
    lines = [
        _axis_line(drawn.filter(pl.col("held") == value), value, name, surface, slices.get(value), band)
        for value in shown
    ]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([*best["x"], *(line.end[0] for line in lines)], axis_label(by, name), log=True),
            axis_over([*best["loss"], *(line.end[1] for line in lines)], loss_label(by)),
            width,
            HEIGHTS[False],
            f"{loss_label(by)} against {name}",
            right=text_width([people(value) for value in shown]),
        )
        for rank, line in enumerate(lines):
            _draw_axis_line(chart, line, rank, len(lines), (name, other))
        return chart.svg()

    lines_left = values - len(shown)
    hidden = (
        f" {lines_left:,} more {'line is' if lines_left == 1 else 'lines are'} in report.json." if lines_left else ""
    )
    open_note = " Hollow: not complete, in no law." if open_cells else ""
    return card(
        key,
        f"{larger(by, name)}: the loss {_trend(best)}",
        f"A line for each {other} ({noun(by, other)} at its end). "
        "Solid: the law of N and D; dashed: the line's own law.",
        draw,
        f"{counted(best.height, 'point')}; whiskers: two standard errors over seeds; "
        f"shaded: 95 % band beyond the runs.{dots_note(best.height)}{hidden}{open_note}",
        f"Loss against {name} for {counted(len(shown), 'value')} of {other}.",
        sheet(
            (name, other, "loss", "seeds", "seed_std"), drawn.select("x", "held", "loss", "seeds", "std").iter_rows()
        ),
        half=True,
    )


def _axis_line(
    own: pl.DataFrame, value: float, name: str, surface: Fit | None, slice_: Fit | None, band: Band | None
) -> AxisLine:
    x = own["x"].to_numpy()
    grid = np.geomspace(x.min(), x.max() * 1.5, 60)
    law, beyond, low, high = None, np.zeros(0), np.zeros(0), np.zeros(0)
    if surface is not None and {"N", "D"} <= set(surface.law.inputs):
        other = "D" if name == "N" else "N"
        law = surface.predict({name: grid, other: np.full_like(grid, value)})
        beyond = np.geomspace(x.max(), x.max() * 1.5, 6)
        low, high = band_ends(band, {name: beyond, other: np.full_like(beyond, value)})
    return AxisLine(value, own, grid, law, None if slice_ is None else slice_.predict(grid), beyond, low, high)


def _draw_axis_line(chart: Chart, line: AxisLine, rank: int, count: int, names: tuple[str, str]) -> None:
    key = f"{names[1]}{line.value:g}"
    if line.surface is not None:
        chart.band(line.beyond, line.low, line.high, "bd faint")
        chart.line(line.grid, line.surface, f"cur {stroke(rank, count)}", key)
    elif line.own is None:  # a guide for the eye
        chart.line(line.points["x"].to_list(), line.points["loss"].to_list(), f"iso {stroke(rank, count)}", key)
    if line.own is not None:
        chart.line(line.grid, line.own, f"own {stroke(rank, count)}", key)
    for row in line.points.to_dicts():
        if row["std"]:
            error = 2 * row["std"] / row["seeds"] ** 0.5
            chart.whisker(row["x"], row["loss"] - error, row["loss"] + error, "wh")
        text = f"{names[0]} {people(row['x'])}, {names[1]} {people(line.value)}: loss {row['loss']:.4f}"
        shade = f"hollow {stroke(rank, count)}" if row["open"] else f"pt {fill(rank, count)}"
        chart.dot(row["x"], row["loss"], shade, text, key)
    chart.end(*line.end, people(line.value), "l", key)


def _trend(best: pl.DataFrame) -> str:
    """Return whether the loss falls from the first to the last point of the lines."""
    ends = best.group_by("held").agg(first=pl.col("loss").first(), last=pl.col("loss").last(), n=pl.len())
    falls = ends.filter(pl.col("n") > 1).select((pl.col("last") < pl.col("first")).alias("falls"))["falls"]
    if falls.all():
        return "falls on every line" if falls.len() > 1 else "falls"
    return f"falls on {falls.sum()} of {counted(falls.len(), 'line')}"
