"""A figure as plain values: what is drawn where, how large, in which colour, and every text with its size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend


def drawn(figure: Figure) -> dict[str, Any]:
    """Return the figure; numbers have four digits."""
    legends = [_legend(one) for one in figure.legends]
    return {
        "size": _numbers(figure.get_size_inches()),
        "legends": legends,
        "panels": [_panel(one) for one in figure.axes],
    }


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
