"""A figure or a card as plain values: what is drawn where, how large, in which colour or class, and every text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from sweeplaw.analysis.report.charts.cards import Card

GEOMETRY = ("d", "x", "y", "cx", "cy", "r", "width", "height", "viewBox", "style")
LONG = 8


def drawn(figure: Figure) -> dict[str, Any]:
    """Return the figure; numbers have four digits."""
    legends = [_legend(one) for one in figure.legends]
    return {
        "size": _numbers(figure.get_size_inches()),
        "legends": legends,
        "panels": [_panel(one) for one in figure.axes],
    }


def card_drawn(card: Card) -> dict[str, Any]:
    """Return the card: its texts, and of its data the first row, the last one and their number."""
    rows = () if card.sheet is None else card.sheet.rows
    return {
        "texts": [card.key, card.title, card.subtitle, card.caption, card.alt],
        "half": card.half,
        "heads": None if card.sheet is None else card.sheet.heads,
        "rows": [len(rows), *rows[:1], *rows[-1:]],
        "drawings": [_svg(one) for one in card.drawings],
    }


def _svg(drawing: str) -> dict[str, Any]:
    """Return the texts of a drawing; by element, class and key, how many there are, and means of where they are."""
    texts: list[str] = []
    marks: dict[str, list[dict[str, float]]] = {}
    for one in ElementTree.fromstring(f"<all>{drawing.replace('&nbsp;', ' ')}</all>").iter():
        if one.text and one.tag != "title":
            texts.append(one.text)
        if one.tag == "title" and (not texts or not texts[-1].startswith("title: ")):
            texts.append(f"title: {one.text}")  # the first one of its series
        name = " ".join(filter(None, (one.tag, one.get("class"), one.get("text-anchor"), one.get("aria-label"))))
        places = {what: [float(n) for n in re.findall(r"-?\d+\.?\d*", one.get(what, ""))] for what in GEOMETRY}
        marks.setdefault(name, []).append({what: sum(numbers) for what, numbers in places.items() if numbers})
    return {"texts": texts, "marks": {name: [len(found), _spread(found)] for name, found in marks.items()}}


def _spread(places: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the mean and the standard deviation of each place."""
    columns = {what: [one.get(what, 0.0) for one in places] for what in dict.fromkeys(w for one in places for w in one)}
    return {what: _numbers([np.mean(column), np.std(column)]) for what, column in columns.items()}


def abridged(value: Any) -> Any:
    """Return plain values with each list of more than `LONG` numbers as its length, ends, mean and deviation."""
    if isinstance(value, dict):
        return {name: abridged(one) for name, one in value.items()}
    if isinstance(value, list) and len(value) > LONG and all(isinstance(one, float) for one in value):
        return [len(value), *_numbers([value[0], value[-1], np.mean(value), np.std(value)])]
    return [abridged(one) for one in value] if isinstance(value, list) else value


def _panel(axes: Any) -> dict[str, Any]:
    legend = axes.get_legend()
    return {
        "x": [axes.get_xscale(), axes.get_xlabel(), *_numbers(axes.get_xlim())],
        "y": [axes.get_yscale(), axes.get_ylabel(), *_numbers(axes.get_ylim())],
        "title": [[axes.get_title(loc=side), size] for side in ("left", "center")
                  if (size := _title_size(axes, side)) and axes.get_title(loc=side)],
        "ticks": [_numbers(axes.get_xticks()), [one.get_text() for one in axes.get_xticklabels()]],
        "lines": [[_numbers(one.get_xdata()), _numbers(one.get_ydata()), to_hex(one.get_color(), True), one.get_lw(),
                   one.get_ls(), one.get_marker(), one.get_ms(), one.get_alpha(), one.get_zorder(), one.get_label()]
                  for one in axes.get_lines()],
        "areas": [_area(one) for one in axes.collections],
        "patches": [[to_hex(one.get_facecolor(), True), one.get_lw(), one.get_label()] for one in axes.patches],
        "texts": [[one.get_text(), one.get_fontsize(), *_numbers(one.get_position())] for one in axes.texts],
        "legend": None if legend is None else _legend(legend),
    }  # fmt: skip


def _title_size(axes: Any, side: str) -> float:
    return float({"left": axes._left_title, "center": axes.title}[side].get_fontsize())


def _area(area: Any) -> list[Any]:
    corners = [_numbers(path.get_extents().extents) for path in area.get_paths()]
    colours = [to_hex(colour, True) for colour in area.get_facecolor()]
    places = _numbers(np.ravel(area.get_offsets())) if len(area.get_offsets()) > 1 else []
    sizes = _numbers(area.get_sizes()) if hasattr(area, "get_sizes") else []
    return [corners, colours, places, sizes, _numbers(area.get_linewidth()), area.get_zorder(), str(area.get_label())]


def _legend(legend: Legend) -> list[Any]:
    columns = getattr(legend, "_ncols", 1)
    return [[one.get_text(), one.get_fontsize()] for one in legend.get_texts()] + [columns, legend.get_frame_on()]


def _numbers(values: Any) -> list[float]:
    found: Iterable[Any] = np.atleast_1d(np.asarray(values, dtype=float))
    return [float(f"{value:.4g}") for value in found]
