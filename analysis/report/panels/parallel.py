"""The card of parallel coordinates: N, D, the knobs and the loss above the best, a line for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import polars as pl

from sweeplaw.analysis.report.charts.cards import Card, Sheet
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import percent
from sweeplaw.analysis.report.charts.scales import Axis
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.panels.knobs import knob_axis
from sweeplaw.analysis.report.panels.shades import heat
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import counted

MOST_LABELS = 7  # on a rail
ROOM = 0.05  # of the length of a rail, 330 pixels, for one label
LETTER, WIDEST = 6.6, 150.0  # pixels of a letter of a label, and of the longest label that is not cut
MOST_LINES = 1500  # settings; of more, this many are drawn, evenly spread


def parallel_card(family: Family, by: Axes, knobs: Sequence[str], key: str) -> Card | None:
    """Return parallel coordinates of N, D, the knobs and the loss above the best of the cell.

    Lines are drawn without a script; with one, a range can be kept on each axis. None without two knobs or N and D.
    """
    varied = [k for k in knobs if family.settings[k].n_unique() > 1]
    names = [name for name in (by.n, by.d) if family.settings[name].n_unique() > 1] + varied
    if not varied or len(names) < 2:
        return None
    rows = family.settings.drop_nulls(names).with_columns(
        excess=pl.col(by.loss) / pl.col(by.loss).min().over(by.n, by.d) - 1
    )
    drawn = rows[most_even(range(rows.height), MOST_LINES)].sort("excess", descending=True)  # the best on top
    table = Sheet((*names, by.loss, "excess"), tuple(drawn.select(*names, by.loss, "excess").iter_rows()))
    axes, columns = zip(*(_coordinate(drawn[name]) for name in names), strict=True)
    excess = [min(max(value, 2e-4), 1.0) for value in drawn["excess"]]
    last = Axis("loss above best", 2e-4, max(2e-3, max(excess)), True, percent, (2e-4, 1e-3, 1e-2, 0.1, 1.0))
    paths = []
    for row, above in zip(zip(*columns, strict=True), excess, strict=True):
        heights = [1 - axis.share(value) for axis, value in zip(axes, row, strict=True)] + [last.share(above)]
        step = 100 / len(names)
        points = "L".join(f"{k * step:.1f} {100 * height:.1f}" for k, height in enumerate(heights))
        paths.append(f'<path class="pcl q{heat(above)}" d="M{points}"/>')
    heads = "".join(_rail(k, axis, 100 * k / len(names), k == len(axes)) for k, axis in enumerate([*axes, last]))
    body = (
        f'<div class="pc" data-csv="{key}"><div class="pcin" style="min-width:{_width(axes) * len(axes):.0f}px">'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" '
        f'role="img" aria-label="parallel coordinates">{"".join(paths)}</svg>{heads}</div></div>'
        '<p class="pcout js">Drag along an axis to keep a range.</p>'
    )
    part = f" {drawn.height:,} of {rows.height:,} settings are drawn." if drawn.height < rows.height else ""
    return Card(
        key,
        "Which settings go with which loss",
        "A line is a setting, coloured by its loss above the best of its size and budget.",
        (body,),
        f"{counted(rows.height, 'setting')}, means over seeds.{part}",
        f"Parallel coordinates of {', '.join(names)} and the loss above the best.",
        table,
    )


def _coordinate(values: pl.Series) -> tuple[Axis, list[float]]:
    """Return the axis of a column and the places of its values on it; text is at its place in the alphabet."""
    if values.dtype.is_numeric():
        numbers = [float(value) for value in values]
        return knob_axis(numbers, values.name), numbers
    texts = [str(value) for value in values]
    words = sorted(set(texts))
    marks = tuple(float(k) for k in range(len(words)))
    axis = Axis(values.name, -0.25, len(words) - 0.75, label=lambda place: words[round(place)], marks=marks)
    return axis, [float(words.index(text)) for text in texts]


def _apart(axis: Axis) -> list[tuple[float, str]]:
    """Return the ticks of a rail whose labels do not touch: both ends, and of the others those that have room."""
    ticks = axis.ticks(MOST_LABELS)
    room = ROOM if len(ticks) <= MOST_LABELS else 1 / MOST_LABELS
    kept: list[tuple[float, str]] = []
    for value, text in ticks[:-1]:
        share = axis.share(value)
        if not kept or (share - axis.share(kept[-1][0]) >= room and axis.share(ticks[-1][0]) - share >= room):
            kept.append((value, text))
    if ticks and kept and axis.share(ticks[-1][0]) - axis.share(kept[0][0]) < room:
        return kept[:1]
    return [*kept, *ticks[-1:]]


def _width(axes: Sequence[Axis]) -> float:
    """Return the least pixels between rails, so that no label reaches the next one."""
    longest = max((len(text) for axis in axes for _, text in _apart(axis)), default=0)
    return min(WIDEST, LETTER * longest + 16)


def _rail(index: int, axis: Axis, left: float, upside_down: bool) -> str:
    kept = _apart(axis)
    tops = [100 * (axis.share(value) if upside_down else 1 - axis.share(value)) for value, _ in kept]
    labels = "".join(
        f'<span class="pct" style="top:{top:.1f}%">{escape(text)}</span>'
        for top, (_, text) in zip(tops, kept, strict=True)
    )
    return (
        f'<div class="pca" style="left:{left:.2f}%" data-i="{index}" tabindex="0" role="slider" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="0" aria-label="{escape(axis.title)}: keep a range">'
        f'<span class="pcn">{escape(axis.title)}</span>{labels}<i class="pcb"></i></div>'
    )
