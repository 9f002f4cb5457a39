"""Cards of the knobs: loss above the best of each cell against a knob, and its best value against N or D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import MOST_DOTS, dots_note, drawn_dots, most_even
from sweeplaw.analysis.report.charts.numbers import level, level_form, people, percent
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.labels import axis_label, larger, noun, point
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.cell_settings import KnobOptimum
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.quantities import counted

HEIGHT = 320.0
MOST_CELLS = 10  # lines of one chart
MOST_LAWS = 5  # lines of the law in one chart
TOP = 0.25  # the axis ends at most here: 25 % above the best of the cell
LOG_FROM = 5.0  # largest over smallest level from which a knob's axis is logarithmic


def sweep_card(family: Family, by: Axes, knob: str, optima: Sequence[CellOptimum], key: str) -> Card | None:
    """Return the loss above the best of its cell against one knob, the others at their best; None for text knobs.

    A line is a cell, coloured by N D. Settings above the frame are counted in the caption, and what is not drawn, such
    as cells with one value of the knob, where none was the best of several.
    """
    known = family.settings.drop_nulls(knob)
    if not known.height or not known[knob].dtype.is_numeric() or known[knob].n_unique() < 2:
        return None
    cells = known.group_by([by.n, by.d, knob]).agg(loss=pl.col(by.loss).min()).sort(by.n, by.d, knob)
    least = pl.col("loss").min().over(by.n, by.d)
    cells = cells.with_columns(excess=pl.col("loss") / least - 1, scale=pl.col(by.n).cast(pl.Float64) * pl.col(by.d))
    compared = cells.filter(pl.len().over(by.n, by.d) > 1)
    if not compared.height:
        return None  # a knob that the cell decides
    alone, cells = cells.height - compared.height, compared
    order = sorted(cells["scale"].unique().to_list())
    shown = most_even(order, MOST_CELLS)
    drawn = cells.filter(pl.col("scale").is_in(shown))
    top = min(TOP, float(drawn["excess"].max()) * 1.05) or 0.01  # type: ignore[arg-type]
    above, settings = drawn.filter(pl.col("excess") > top).height, drawn.height
    drawn = drawn[drawn_dots(settings)]
    axis = knob_axis(drawn[knob].to_list(), knob)

    def draw(width: float) -> str:
        chart = Chart(
            axis,
            Axis("loss above the best of its cell", 0.0, top, label=percent),
            width,
            HEIGHT,
            f"loss against {knob}",
        )
        for (n, d), own in drawn.group_by([by.n, by.d], maintain_order=True):
            rank, cell = shown.index(float(n) * d), cell_key(n, d)
            chart.line(own[knob].to_list(), own["excess"].to_list(), f"cur {stroke(rank, len(shown))}", cell)
            for value, excess, loss in own.select(knob, "excess", "loss").iter_rows():
                text = f"{point(by, n, d)}, {knob} {level(value)}: loss {loss:.4f}"
                chart.dot(value, excess, f"pt {fill(rank, len(shown))}", text, cell, 3)
        return chart.svg()

    tried = _compared(optima, knob)
    inner = sum(not k.touches_edge for _, k in tried)
    title = (
        f"The best {knob} lies inside the grid in {inner} of {counted(len(tried), 'cell')}"
        if tried
        else f"Loss against {knob}, the other knobs at their best"
    )
    hidden = cells.select(by.n, by.d).n_unique() - drawn.select(by.n, by.d).n_unique()
    listed = cells if cells.height <= MOST_DOTS else drawn
    where = "drawn" if listed is cells else "drawn, nor in the table"
    left_out = (f" {counted(hidden, 'cell')} not {where}." if hidden else "") + _left_out(alone, knob)
    frame = f" {counted(above, 'setting')} above the frame." if above else ""
    return card(
        key,
        title,
        "A line for each size and budget, dark to light as both grow; other knobs at their best.",
        draw,
        f"{counted(settings, 'setting')}, means over seeds.{dots_note(settings)}{frame}{left_out}",
        f"Loss above the best against {knob}, {counted(len(shown), 'line')}.",
        sheet((by.n, by.d, knob, "loss", "excess"), listed.select(by.n, by.d, knob, "loss", "excess").iter_rows()),
        half=True,
    )


def optimum_card(
    by: Axes, knob: str, optima: Sequence[CellOptimum], law: Mapping[str, Any] | None, key: str
) -> Card | None:
    """Return the best value of a knob against the axis its law depends on most, with the law and its band.

    ``law`` is one of `Hyperlaw.to_dict`'s laws. A diamond is the fitted optimum of a cell with its interval, a hollow
    dot the best value tried where there is none; of very many cells some are drawn. Cells with one value of the knob
    are left out where others have several. None for a text knob, or one with one level.
    """
    compared = _compared(optima, knob)
    cells = compared or [(one, one.knob(knob)) for one in optima]
    alone = len(optima) - len(cells)
    cells = [(one, k) for one, k in cells if isinstance(k.best, int | float) and not isinstance(k.best, bool)]
    if not cells or len({k.best for _, k in cells} | {level for _, k in cells for level in k.levels}) < 2:
        return None
    exponents: Mapping[str, float] = law["exponents"] if law else {}
    spread = {axis: len({one.cell[axis] for one, _ in cells}) for axis in (by.n, by.d)}
    along = max((by.n, by.d), key=lambda axis: (spread[axis] > 1, abs(exponents.get(axis) or 0)))
    other = by.d if along == by.n else by.n
    others = sorted({one.cell[other] for one, _ in cells})
    ranks = {value: rank for rank, value in enumerate(others)}
    drawn = [cells[k] for k in drawn_dots(len(cells))]
    fitted = [k.fitted for one, k in cells if one.supported and k.fitted is not None]
    values = [v for v in (*(k.best for _, k in cells), *fitted) if v > 0]
    levels = [level for _, k in cells for level in k.levels if level > 0]
    if not values:
        return None
    tail = text_width([people(value) for value in others])

    def draw(width: float) -> str:
        chart = Chart(
            axis_over(
                [one.cell[along] for one, _ in cells],
                axis_label(by, "N" if along == by.n else "D"),
                log=True,
                room=0.08,
            ),
            axis_over([*values, min(levels), max(levels)], f"best {knob}", log=max(levels) / min(levels) >= LOG_FROM),
            width,
            HEIGHT,
            f"best {knob} against {along}",
            right=tail,
        )
        _draw_law(chart, law, along, other, [(one.cell[along], one.cell[other]) for one, _ in cells])
        for one, k in drawn:
            _draw_cell(chart, one, k, along, ranks[one.cell[other]], len(others), by)
        return chart.svg()

    at_edge = sum(k.touches_edge for _, k in cells)
    edges = f" In {at_edge} of {len(cells)} the best value is the lowest or highest tried." if at_edge else ""
    return card(
        key,
        _finding(knob, along, by, law, [k for _, k in cells]),
        f"Colour: {noun(by, 'D' if other == by.d else 'N')}, dark few, light many."
        + (" Lines: the law; shaded: its 95 % band." if law else ""),
        draw,
        f"{counted(len(cells), 'cell')}. Diamonds: fitted optimum with its 95 % interval; hollow: best value tried."
        f"{dots_note(len(cells))}{edges}{_left_out(alone, knob)}",
        f"Best {knob} in {counted(len(cells), 'cell')}.",
        sheet(
            (by.n, by.d, f"best_{knob}", "fitted", "low", "high"),
            ((one.cell[by.n], one.cell[by.d], k.best, k.fitted, k.low, k.high) for one, k in drawn),
        ),
        half=True,
    )


def _compared(optima: Sequence[CellOptimum], knob: str) -> list[tuple[CellOptimum, KnobOptimum]]:
    """Return the cells in which several values of the knob ran, so that one of them can be the best."""
    return [(one, k) for one in optima if len(set((k := one.knob(knob)).levels)) > 1]


def _left_out(cells: int, knob: str) -> str:
    """Return the sentence on cells with a single value of the knob; empty if there are none."""
    return f" {counted(cells, 'cell')} with one value of {knob} left out." if cells else ""


def _draw_cell(chart: Chart, one: CellOptimum, k: KnobOptimum, along: str, rank: int, count: int, by: Axes) -> None:
    x, cell = one.cell[along], cell_key(one.cell[by.n], one.cell[by.d])
    text = f"{point(by, one.cell[by.n], one.cell[by.d])}: "
    if k.fitted is not None and one.supported:
        chart.whisker(x, k.low, k.high, f"wh {stroke(rank, count)}")
        text += f"optimum {people(k.fitted)}, best tried {level(k.best)}"
        chart.diamond(x, k.fitted, f"pt {fill(rank, count)}", text, cell)
    else:
        edge = f", the {k.edge}est tried" if k.touches_edge else ""
        chart.dot(x, k.best, f"hollow {stroke(rank, count)}", f"{text}best tried {level(k.best)}{edge}", cell)


def _draw_law(
    chart: Chart, law: Mapping[str, Any] | None, along: str, other: str, cells: Sequence[tuple[float, float]]
) -> None:
    """Draw the law for each value of the other axis (at most five), and its band at the median one.

    The band is what the exponent's interval spans around the geometric mean of the cells.
    """
    if law is None or not law.get("coefficient"):
        return
    xs, others = [x for x, _ in cells], sorted({y for _, y in cells})
    exponents = law["exponents"]
    power, other_power = exponents.get(along) or 0.0, exponents.get(other) or 0.0
    grid = np.geomspace(min(xs) * 0.85, max(xs) * 1.18, 40)
    middle = law["coefficient"] * float(np.median([y for _, y in cells])) ** other_power * grid**power
    if ends := (law.get("exponent_intervals") or {}).get(along):
        turned = [middle * (grid / float(np.exp(np.mean(np.log(xs))))) ** (end - power) for end in ends]
        chart.band(grid, np.minimum(*turned), np.maximum(*turned))
    if not other_power or len(others) < 2:
        chart.line(grid, middle, "law")
        return
    for value in most_even(others, MOST_LAWS):
        shade = stroke(others.index(value), len(others))
        line = law["coefficient"] * value**other_power * grid**power
        chart.line(grid, line, f"iso {shade}")
        chart.end(float(grid[-1]), float(line[-1]), people(value))


def _finding(knob: str, along: str, by: Axes, law: Mapping[str, Any] | None, optima: Sequence[KnobOptimum]) -> str:
    exponent = law["exponents"].get(along) if law else None
    name: Literal["N", "D"] = "N" if along == by.n else "D"
    if law is None or exponent is None:
        return _tried(knob, optima)
    ends = (law.get("exponent_intervals") or {}).get(along)
    if ends and ends[0] is not None and ends[0] <= 0 <= ends[1]:
        return f"No trend of the best {knob} with {name} is shown"
    want = "want" if noun(by, name) in ("parameters", "tokens") else "wants"
    way = "lower" if exponent < 0 else "higher"
    return f"{larger(by, name)} {want} {way} {knob}: {name} to the power {people(exponent, 2)}"


def _tried(knob: str, optima: Sequence[KnobOptimum]) -> str:
    """Return what the best values are where there is no law of them."""
    for edge in ("high", "low"):
        count = sum(one.edge == edge for one in optima)
        if 2 * count > len(optima):
            return f"The best {knob} is the {edge}est tried in {count} of {counted(len(optima), 'cell')}"
    return f"The best {knob} at every size and budget"


def knob_axis(levels: Sequence[float], knob: str) -> Axis:
    """Return the axis of a knob, logarithmic where its levels are positive and span `LOG_FROM`; ticks at the levels."""
    log = min(levels) > 0 and max(levels) / min(levels) >= LOG_FROM
    axis = axis_over(levels, knob, log=log, room=0.05)
    return Axis(axis.title, axis.low, axis.high, log, level_form(levels), tuple(sorted(set(levels))))


def cell_key(n: Any, d: Any) -> str:
    """Return the key under which the marks of one cell are lit together."""
    return f"c{float(n):g}-{float(d):g}"
