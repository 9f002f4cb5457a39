"""The card of bowls: the loss over two knobs as a map for each cell, with the optimum and what the laws say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.report.charts.cards import Card, sheet
from sweeplaw.analysis.report.charts.chart import spread
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import level, people, percent
from sweeplaw.analysis.report.charts.scales import Axis
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.labels import amount, noun
from sweeplaw.analysis.report.panels.knobs import cell_key, knob_axis
from sweeplaw.analysis.report.panels.shades import EXCESSES, heat
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.quantities import counted

MOST_MAPS = 20
SIDE, LEFT, BOTTOM = 190.0, 38.0, 22.0  # of one map


def bowls_card(
    family: Family, by: Axes, knobs: Sequence[str], optima: Sequence[CellOptimum], laws: Mapping[str, Any], key: str
) -> Card | None:
    """Return a map of the loss over the first two numeric knobs for each cell; None with fewer than two such knobs.

    A circle is the cell's fitted optimum, a plus what the laws of both knobs say. Further knobs are at their best.
    """
    numeric = [k for k in knobs if family.settings[k].dtype.is_numeric() and family.settings[k].n_unique() > 2]
    if len(numeric) < 2:
        return None
    across, up = sorted(numeric, key=lambda name: name != "lr")[:2]
    names = [by.n, by.d, across, up]
    rows = family.settings.drop_nulls([across, up]).group_by(names).agg(loss=pl.col(by.loss).min()).sort(names)
    rows = rows.with_columns(excess=pl.col("loss") / pl.col("loss").min().over(by.n, by.d) - 1)
    found = {(one.cell[by.n], one.cell[by.d]): one for one in optima}
    shown = [found_at for found_at in most_even(sorted(found), MOST_MAPS) if found_at in found]
    x, y = (_padded(knob_axis(rows[name].to_list(), name)) for name in (across, up))
    if not (x.log and y.log):
        return None
    maps, misses = [], []
    for n, d in shown:
        own = rows.filter(pl.col(by.n) == n, pl.col(by.d) == d)
        said = [law_value(laws.get(name), {by.n: n, by.d: d}) for name in (across, up)]
        maps.append(_map(own, (across, up), (x, y), found[n, d], said, _named(by, n, d), cell_key(n, d)))
        misses.append(_cost(found[n, d], {across: said[0], up: said[1]}))
    known = sorted(miss for miss in misses if miss is not None)
    title = (
        f"Following the laws costs {percent(known[len(known) // 2])} of the loss in the median cell, "
        f"{percent(known[-1])} at worst"
        if known
        else f"The loss over {across} and {up} in {counted(len(shown), 'cell')}"
    )
    hidden = f" {len(found) - len(shown)} more cells are in the table." if len(found) > len(shown) else ""
    return Card(
        key,
        title,
        f"{across} across, {up} up. Colour: loss above the best of the same cell.",
        (f'{_legend(bool(laws))}<div class="bowls">{"".join(maps)}</div>',),
        f"{counted(rows.height, 'setting')}, means over seeds.{hidden}",
        f"{counted(len(shown), 'heat map')} of the loss over {across} and {up}.",
        sheet((*names, "loss", "excess"), rows.iter_rows()),
    )


def law_value(law: Mapping[str, Any] | None, at: Mapping[str, float]) -> float | None:
    """Return what a law of a knob says at a cell; None without a law or for one of further axes."""
    if not law or not law.get("coefficient") or not set(law["exponents"]) <= set(at):
        return None
    value = float(law["coefficient"])
    for axis, exponent in law["exponents"].items():
        value *= at[axis] ** (exponent or 0.0)
    return value


def _cost(one: CellOptimum, at: Mapping[str, float | None]) -> float | None:
    """Return the excess of the cell's quadratic at what the laws say, as a share of the loss."""
    known = [value for name in one.fitted_knobs if (value := at.get(name)) is not None]
    if one.quadratic is None or len(known) != len(at) or len(known) != len(one.fitted_knobs):
        return None
    return float(np.expm1(one.quadratic.excess(np.log(known))))


def _named(by: Axes, n: float, d: float) -> str:
    """Return the heading of a map, as HTML."""
    size = people(n) if noun(by, "N") == "parameters" else amount(by, "N", n)
    return f"<b>{escape(size)}</b> · {escape(amount(by, 'D', d))}"


def _map(
    rows: pl.DataFrame, names: tuple[str, str], axes: tuple[Axis, Axis], one: CellOptimum, said: Sequence[float | None],
    title: str, key: str,
) -> str:  # fmt: skip
    x, y = axes
    wide, high = (_halves(axis, rows[name].to_list()) for axis, name in zip(axes, names, strict=True))
    parts = []
    for a, b, excess, loss in rows.select(*names, "excess", "loss").iter_rows():
        px, py = _at(x, y, a, b)
        (left, right), (below, above) = (
            [half * room for half in halves] for halves, room in ((wide[a], SIDE - LEFT), (high[b], SIDE - BOTTOM))
        )
        text = f"{names[0]} {level(a)}, {names[1]} {level(b)}: loss {loss:.4f}, {percent(excess)} above the best"
        box = f'x="{px - left:.1f}" y="{py - above:.1f}" width="{left + right:.1f}" height="{below + above:.1f}"'
        parts.append(f'<rect {box} class="p k{heat(excess)}"><title>{escape(text)}</title></rect>')
    fitted = [one.knob(name).fitted for name in names]
    if one.supported and None not in fitted and x.inside(fitted[0]) and y.inside(fitted[1]):  # type: ignore[arg-type]
        px, py = _at(x, y, fitted[0], fitted[1])  # type: ignore[arg-type]
        parts.append(f'<circle class="ring" cx="{px:.1f}" cy="{py:.1f}" r="4.5"/>')
    if None not in said and x.inside(said[0]) and y.inside(said[1]):  # type: ignore[arg-type]
        px, py = _at(x, y, said[0], said[1])  # type: ignore[arg-type]
        plus = f"M{px - 6:.1f} {py:.1f}h12m-6-6v12"
        parts.append(f'<path class="plusb" d="{plus}"/><path class="plus" d="{plus}"/>')
    for value, text in spread(_few(x.ticks(3)), lambda tick: _at(x, y, tick, y.low)[0]):
        place = _at(x, y, value, y.low)[0]
        parts.append(f'<text class="t" x="{place:.1f}" y="{SIDE - 4:.1f}" text-anchor="middle">{text}</text>')
    for value, text in _few(y.ticks(3)):
        place = _at(x, y, x.low, value)[1] + 4
        parts.append(f'<text class="t" x="{LEFT - 5:.1f}" y="{place:.1f}" text-anchor="end">{text}</text>')
    alt = escape(f"Loss over {names[0]} and {names[1]}; {one.verdict}")
    svg = f'<svg class="ch" viewBox="0 0 {SIDE:g} {SIDE:g}" role="img" aria-label="{alt}">{"".join(parts)}</svg>'
    return f'<div class="bowl" data-k="{key}"><p class="bt">{title}</p>{svg}</div>'


def _padded(axis: Axis) -> Axis:
    """Return the axis with half a step beyond its first and last mark, so that no cell of a map is cut."""
    if not axis.log or len(axis.marks) < 2:
        return axis
    half = min(b / a for a, b in pairwise(axis.marks)) ** 0.5
    return Axis(axis.title, axis.marks[0] / half, axis.marks[-1] * half, True, level, axis.marks)


def _halves(axis: Axis, levels: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Return how far the cell of each level of a map reaches below and above it, as shares of the axis.

    It ends midway to the next level of the map, not farther than half of the usual gap, and within the axis: other maps
    of the page may have levels between these.
    """
    own = sorted(set(levels))
    places = [axis.share(one) for one in own]
    gaps = [b - a for a, b in pairwise(places)] or [b - a for a, b in pairwise(map(axis.share, axis.marks))] or [1.0]
    usual = float(np.median(gaps))
    sides = [usual, *(gaps if len(own) > 1 else ()), usual]
    return {
        one: (min(below / 2, usual / 2, place), min(above / 2, usual / 2, 1 - place))
        for one, place, below, above in zip(own, places, sides, sides[1:], strict=False)
    }


def _at(x: Axis, y: Axis, a: float, b: float) -> tuple[float, float]:
    return LEFT + x.share(a) * (SIDE - LEFT), (SIDE - BOTTOM) * (1 - y.share(b))


def _few(ticks: Sequence[tuple[float, str]]) -> Sequence[tuple[float, str]]:
    """Return about three of the ticks."""
    return ticks[:: max(1, len(ticks) // 3)]


def _legend(laws: bool) -> str:
    ends = ["best", *(percent(end) for end in EXCESSES[1:]), "more"]
    steps = "".join(f'<span><i class="hk{k}"></i>{text}</span>' for k, text in enumerate(ends))
    marks = '<span><svg viewBox="0 0 14 14"><circle class="ring" cx="7" cy="7" r="4.5"/></svg>fitted optimum</span>'
    law = (
        '<span><svg viewBox="0 0 14 14"><path class="plus" d="M1 7h12M7 1v12"/></svg>what the laws say</span>'
        if laws
        else ""
    )
    return f'<div class="keybar ch">{steps}<span class="sym">{marks}{law}</span></div>'
