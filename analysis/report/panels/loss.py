"""The card of the loss against compute, with the law at each size and the frontier."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.fitting.derived.allocation import flops_per_nd, is_surface
from sweeplaw.analysis.fitting.derived.frontier import frontier
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import dots_note, drawn_dots, most_even
from sweeplaw.analysis.report.charts.numbers import flops, people, power_of_ten
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.analysis.report.family import MOST_LINES, Family
from sweeplaw.analysis.report.labels import loss_label, point
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.scaling.validation import largest_rows
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

Array = NDArray[np.float64]
Band = Callable[[Mapping[str, Any]], tuple[Array, Array]]  # low and high ends at the inputs of a law

AHEAD = 30.0  # times the largest compute, to which the frontier is drawn
HEIGHTS = {True: 430.0, False: 330.0}  # of a wide drawing and of others


@dataclass(frozen=True, slots=True)
class Frontier:
    """The least loss that a law allows at each compute: ``size`` and ``loss`` at ``compute``, with a band of the loss.

    ``within`` is the compute of the largest run.
    """

    compute: Array
    size: Array
    loss: Array
    low: Array
    high: Array
    within: float


def frontier_of(fit: Fit, band: Band | None) -> Frontier | None:
    """Return the frontier from the smallest run to `AHEAD` times the largest; None for a law without one.

    The band carries the error of the law's form; it ends where no forecast reaches.
    """
    if not is_surface(fit):
        return None
    k, _ = flops_per_nd(fit)
    ran = compute_of_rows(fit, k)
    compute = np.geomspace(ran.min(), ran.max() * AHEAD, 90)
    log_size, loss = frontier(fit, compute, k, fit.theta[None])
    size = np.exp(log_size[0])
    if not (np.isfinite(loss).all() and (size > 1).all()):
        return None
    low, high = band_ends(band, {"N": size, "D": compute / k / size})
    return Frontier(compute, size, loss[0], low, high, float(ran.max()))


def compute_of_rows(fit: Fit, k: float) -> Array:
    """Return k N D of each row that the law was fitted to."""
    units = fit.observations.units
    n, d = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    return np.asarray(k * n * d)


def compute_card(family: Family, by: Axes, fit: Fit, advised: bool, band: Band | None, key: str) -> Card | None:
    """Return the loss of every best run against compute, the law at each size, and, if ``advised``, its frontier."""
    found = frontier_of(fit, band) if advised else None
    if not is_surface(fit):
        return None
    k, _ = flops_per_nd(fit)
    rows = family.best.select(n=by.n, d=by.d, loss="used").cast(pl.Float64).sort("n", "d")
    held = _held(fit)
    sizes = most_even(sorted(rows["n"].unique().to_list()), MOST_LINES)
    compute = (k * rows["n"] * rows["d"]).to_numpy()
    order = np.argsort(compute, kind="stable")
    at = np.sort(order[drawn_dots(rows.height)])
    dots = list(zip(rows[at.tolist()].to_dicts(), compute[at], strict=True))
    end = found.compute[-1] if found else compute.max() * 1.6
    losses = rows["loss"].to_list()
    floor = [*losses, float(found.loss[-1]), *found.low[np.isfinite(found.low)][-1:]] if found else losses
    tail = text_width([people(size) for size in sizes])

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([*compute, end], "training compute C, FLOPs", log=True, label=power_of_ten),
            axis_over(floor, loss_label(by), log=False),
            width,
            HEIGHTS[width > 500],
            f"{loss_label(by)} against training compute",
            right=16.0 if found else tail,
        )
        for rank, size in enumerate(sizes):
            own = rows.filter(pl.col("n") == size)
            grid = np.geomspace(own["d"].to_list()[0] * 0.8, own["d"].to_list()[-1] * 1.25, 50)
            curve = fit.predict({"N": np.full_like(grid, size), "D": grid})
            chart.line(k * size * grid, curve, f"iso {stroke(rank, len(sizes))}", f"n{size:g}")
            if width > 500 or rank % 2 == 0:
                chart.end(float(k * size * grid[-1]), float(curve[-1]), people(size), "l", f"n{size:g}")
        if found:
            _draw_frontier(chart, found, width)
        for row, c in dots:
            _run(chart, c, row, sizes, by, (row["n"], row["d"]) in held)
        return chart.svg()

    reach = f"{flops(found.within)} FLOPs" if found else ""
    title = (
        f"Loss falls along a frontier that {counted(rows.height, 'point')} pin down to {reach}"
        if found
        else "Loss against compute, at the best setting of every size and budget"
    )
    beyond = f" Dashed: the law, up to {AHEAD:g} times the largest run. Shaded: the 95 % band of a forecast there"
    ahead = f"{beyond}, which allows for other forms of law." if found else ""
    largest = counted(len(held), "point")
    rings = f" Rings: the {largest} of largest compute, predicted by a law of the others." if held else ""
    thick = " The thick line is the least loss that any size can reach." if found else ""
    return card(
        key,
        title,
        f"A dot is the best setting at one size and budget; thin lines are the law at one size.{thick}",
        draw,
        f"{counted(fit.rows_used, 'run')} used, {fit.rows_dropped} left out.{dots_note(rows.height)}{rings}{ahead}",
        f"Losses from {people(max(losses), 4)} to {people(min(losses), 4)} "
        f"at {flops(compute.min())} to {flops(compute.max())} FLOPs.",
        sheet(
            ("N", "D", "compute_flops", "loss", "law", "held_out"),
            (
                (
                    row["n"],
                    row["d"],
                    c,
                    row["loss"],
                    float(fit.predict({"N": [row["n"]], "D": [row["d"]]})[0]),
                    (row["n"], row["d"]) in held,
                )
                for row, c in dots
            ),
        ),
    )


def _draw_frontier(chart: Chart, found: Frontier, width: float) -> None:
    inside = found.compute <= found.within * 1.0001
    chart.band(found.compute[~inside], found.low[~inside], found.high[~inside])
    chart.line(found.compute[inside], found.loss[inside], "law")
    chart.line(found.compute[~inside], found.loss[~inside], "lawx")
    if width > 500:
        chart.level(found.within, "largest run")


def _run(chart: Chart, compute: float, row: Mapping[str, Any], sizes: Sequence[float], by: Axes, held: bool) -> None:
    rank = int(np.argmin([abs(np.log(size / row["n"])) for size in sizes]))
    text = f"{point(by, row['n'], row['d'])}: loss {row['loss']:.4f}"
    key = f"n{sizes[rank]:g}"
    chart.dot(compute, row["loss"], f"pt {fill(rank, len(sizes))}", text, key)
    if held:
        chart.dot(compute, row["loss"], "held", radius=6.5)


def _held(fit: Fit) -> set[tuple[float, float]]:
    """Return (N, D) of the runs that were held out to test the law."""
    units, seen = fit.observations.units, fit.observations.inputs
    if not {"N", "D"} <= set(seen):
        return set()
    mask = largest_rows(fit)
    n, d = (seen[name][mask] * units.get(name, 1.0) for name in ("N", "D"))
    return set(zip(n.tolist(), d.tolist(), strict=True))


def band_ends(band: Band | None, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the ends of a forecast's band; NaN where it does not reach."""
    count = len(next(iter(inputs.values())))
    if band is not None and count:
        with contextlib.suppress(InputError):
            return band(inputs)
    return np.full(count, np.nan), np.full(count, np.nan)
