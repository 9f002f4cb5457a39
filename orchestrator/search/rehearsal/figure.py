"""The figure of a comparison of searches: regret against cost, one line a search, with a band over seeds."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from sweeplaw.analysis.report.paper.figures import literal
from sweeplaw.orchestrator.search.rehearsal.comparison import SearchComparison, columns

COLOURS = ("#1f4e9c", "#c44e52", "#35b779", "#e07b39", "#8d4fa8", "#17becf", "#7f7f7f", "#bcbd22", "#8c564b", "#222222")
FLOOR = 1e-5  # the least regret that is drawn, on a log scale: a regret of 0 is drawn there too


def regret_against_cost(found: SearchComparison) -> Figure:
    """Draw the mean regret of each search by its share of the grid's cost, and the regret that the noise decides."""
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, (name, rows) in enumerate(columns(found.rows).items()):
        colour = COLOURS[place % len(COLOURS)]
        shares = [row.share for row in rows]
        axes.plot(
            shares,
            [max(row.mean_regret, FLOOR) for row in rows],
            color=colour,
            lw=2.4 if name == "law" else 1.3,
            marker="o",
            ms=3.5,
            label=literal(name),
        )
        axes.fill_between(
            shares,
            [max(row.low, FLOOR) for row in rows],
            [max(row.high, FLOOR) for row in rows],
            color=colour,
            alpha=0.13,
            lw=0,
        )
    if found.noise.regret > FLOOR:
        axes.axhspan(FLOOR, found.noise.regret, color="#999999", alpha=0.15, lw=0, label="the table's noise decides")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({row.share for row in found.rows}))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"FLOPs, of those of all {found.settings:,} settings in {found.cells} cells")
    axes.set_ylabel("regret: loss above the best recorded")
    axes.grid(True, which="major", alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    return figure
