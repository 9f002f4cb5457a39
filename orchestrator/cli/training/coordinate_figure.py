"""The picture of a coordinate check: the change of activations by width, a panel for each parametrization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from sweeplaw.trials.workloads.language_model.coordinate_check import CoordinateChange

COLOURS = ("#1f4e9c", "#35b779", "#e07b39", "#8d4fa8", "#17becf", "#7f7f7f")
NAMES = {"standard": "standard parametrization", "mup": "µP"}


def changes_by_width(changes: Sequence[CoordinateChange]) -> Figure:
    """Draw the change of each layer after the last step against the width, both on log scales."""
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    names = list(dict.fromkeys(item.parametrization for item in changes))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    last = max(item.step for item in changes)
    layers = list(dict.fromkeys(item.layer for item in changes))
    colours = COLOURS if len(layers) <= len(COLOURS) else colormaps["viridis"](np.linspace(0, 0.95, len(layers)))
    for panel, name in zip(panels, names, strict=True):
        for place, layer in enumerate(layers):
            own = [item for item in changes if (item.parametrization, item.layer, item.step) == (name, layer, last)]
            label = f"block {layer}" if layer.isdigit() else layer
            panel.plot(
                [item.width for item in own],
                [item.change for item in own],
                color=colours[place],
                marker="o",
                ms=3.5,
                lw=1.6,
                label=label,
            )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        widths = sorted({item.width for item in changes})
        panel.set_xticks(widths, [str(width) for width in widths])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("width")
        panel.set_title(NAMES[name], fontsize=10)
        panel.grid(True, which="major", alpha=0.25)
    panels[0].set_ylabel(f"change of activations after {last} steps (RMS)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return figure
