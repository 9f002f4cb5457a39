"""The cards of isoFLOP curves: the loss against N at each budget, and the best size against the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import estimate, flops, people, percent, power_of_ten
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.labels import amount, axis_label, loss_label
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.scaling.approach import Approach
from sweeplaw.analysis.scaling.isoflop_curves import IsoflopCurve, IsoflopCurves
from sweeplaw.analysis.scaling.isoflop_design import WINDOW
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import counted

HEIGHT = 380.0
MOST_BUDGETS = 8  # curves of one chart
MOST_DOTS = 150  # runs of a curve; of more, this many are drawn, evenly spread over N
ROOM = 0.35  # of the range of the losses used: the frame ends so far above them
GRID = 40  # points of a parabola

HEADS = ("budget_flops", "N", "loss", "used", "N_best", "low", "high")


def curves_card(found: IsoflopCurves, by: Axes, key: str) -> Card:
    """Return the loss of the runs of each budget against N, with the parabola of those used and its minimum."""
    shown = most_even(found.curves, MOST_BUDGETS)
    y = _loss_axis(shown, loss_label(by))
    labels = [flops(one.budget.flops) for one in shown]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([v for one in shown for v in one.params[one.losses <= y.high]], axis_label(by, "N"), log=True),
            y,
            width,
            HEIGHT,
            f"{loss_label(by)} against N at each budget",
            right=text_width(labels),
        )
        for rank, one in enumerate(shown):
            _draw_curve(chart, one, rank, len(shown), labels[rank], by)
        return chart.svg()

    return card(
        key,
        _finding(found),
        "A colour for each budget of compute (FLOPs at its end): a parabola of the loss in log N through the runs near "
        "the least. Diamond: its minimum, with the 95 % interval where there is one.",
        draw,
        _caption(found, shown, y.high),
        f"Loss against N at {counted(len(shown), 'budget')} from {labels[0]} to {labels[-1]} FLOPs. {_optima(shown)}",
        sheet(HEADS, [row for one in found.curves for row in _rows(one)]),
        half=True,
    )


def growth_card(found: IsoflopCurves, by: Axes, surface: tuple[float, float, float] | None, key: str) -> Card | None:
    """Return the best size of each budget against its compute, with the line through them; None without one.

    ``surface`` is the exponent of the law of N and D with its interval, None where it may not be used.
    """
    line = found.line
    if line is None:
        return None
    compute = [one.budget.flops for one in found.found]
    ends = [(None, None) if one.interval is None else (one.interval.low, one.interval.high) for one in found.found]
    sizes = [one.budget.params for one in found.found if one.budget.params is not None]
    grid = np.geomspace(min(compute) * 0.8, max(compute) * 1.25, GRID)

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([*compute, grid[0], grid[-1]], "training compute C, FLOPs", log=True, label=power_of_ten),
            axis_over(
                [*sizes, *(line.params(c) for c in grid), *(end for pair in ends for end in pair)],
                f"best {axis_label(by, 'N')}",
                log=True,
            ),
            width,
            HEIGHT,
            "best N against training compute",
        )
        chart.line(grid, [line.params(c) for c in grid], "law")
        for c, size, (low, high) in zip(compute, sizes, ends, strict=True):
            if low is not None:
                chart.whisker(c, low, high, "optwh")
            inside = "" if low is None else f" ({people(low)} to {people(high)})"
            chart.diamond(c, size, "opt", f"{flops(c)} FLOPs: best N {people(size)}{inside}", f"c{c:.6g}")
        return chart.svg()

    value, inside = exponent(line)
    low = line.intervals["a"].low
    grows = low is not None and low > 0
    return card(
        key,
        f"The best size grows as C to the power {value}" if grows else "Whether the best size grows is not known",
        "Diamonds: the minima beside, with their 95 % intervals. Line: through them, by least squares in the logs.",
        draw,
        f"Exponent {value} ({inside}) from {counted(len(sizes), 'budget')}, rows resampled within budgets. "
        f"{_agreement(line, surface)}".rstrip(),
        f"Best N from {people(sizes[0])} at {flops(compute[0])} to {people(sizes[-1])} at {flops(compute[-1])} FLOPs.",
        sheet(
            ("budget_flops", "N_best", "low", "high", "line"),
            ((c, n, *pair, line.params(c)) for c, n, pair in zip(compute, sizes, ends, strict=True)),
        ),
        half=True,
    )


def exponent(line: Approach) -> tuple[str, str]:
    """Return the exponent of the best size and its interval as text."""
    ends = line.intervals["a"]
    return estimate(line.a, ends.low, ends.high, units=False)


def _loss_axis(shown: Sequence[IsoflopCurve], title: str) -> Axis:
    """Return an axis over the losses used and the minima, and some way above them."""
    used = [float(v) for one in shown for v in (one.losses[one.used] if one.used.any() else [one.losses.min()])]
    used += [one.optimum[1] for one in shown if one.optimum is not None]
    low, high = min(used), max(used)
    return axis_over([low, high + ROOM * (high - low or abs(low) * 0.05)], title)


def _draw_curve(chart: Chart, one: IsoflopCurve, rank: int, count: int, label: str, by: Axes) -> None:
    key = f"c{one.budget.flops:.6g}"
    order = np.argsort(one.params, kind="stable")
    for k in order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_DOTS)).round().astype(int))]:
        css = f"pt {fill(rank, count)}" if one.used[k] else f"hollow {stroke(rank, count)}"
        far = "" if one.used[k] else ", outside the window"
        text = f"{label} FLOPs, {amount(by, 'N', one.params[k])}: loss {one.losses[k]:.4f}{far}"
        chart.dot(float(one.params[k]), float(one.losses[k]), css, text, key, 3.5 if one.used[k] else 2.5)
    if one.parabola is not None:
        sizes = one.params[one.used]
        grid = np.geomspace(sizes.min(), sizes.max(), GRID)
        chart.line(grid, one.parabola(np.log(grid)), f"cur {stroke(rank, count)}", key)
    if (end := _end(one, chart.y.high)) is not None:
        chart.end(*end, label, "l", key)
    if one.optimum is not None:
        size, least = one.optimum
        if one.interval is not None:
            chart.span(least, one.interval.low, one.interval.high, "optwh")
        inside = "" if one.interval is None else f" ({people(one.interval.low)} to {people(one.interval.high)})"
        chart.diamond(size, least, "opt", f"{label} FLOPs: best N {people(size)}{inside}, loss {least:.4f}", key)


def _end(one: IsoflopCurve, top: float) -> tuple[float, float] | None:
    """Return the right end of a parabola, or else the largest run below ``top``; None if there is neither."""
    if one.parabola is not None:
        size = float(one.params[one.used].max())
        return size, float(one.parabola(np.log(size)))
    below = np.flatnonzero(one.losses <= top)
    last = below[np.argmax(one.params[below])] if len(below) else None
    return None if last is None else (float(one.params[last]), float(one.losses[last]))


def _finding(found: IsoflopCurves) -> str:
    if len(found.found) == len(found.curves):
        return "Each budget has its best size" if len(found.curves) > 1 else "One budget has its best size inside"
    inside = f"{len(found.found) or 'None'} of {counted(len(found.curves), 'budget')}"
    return f"{inside} {'has' if len(found.found) < 2 else 'have'} the best size inside the sizes tried"


def _caption(found: IsoflopCurves, shown: Sequence[IsoflopCurve], top: float) -> str:
    widest = max((one.budget.window or 0.0 for one in found.curves if one.used.any()), default=WINDOW)
    wider = f", or up to {percent(widest)} where that holds too few sizes" if widest > WINDOW else ""
    rows = sum(len(one.losses) for one in found.curves)
    parts = [
        f"{found.rows_used} of {counted(rows, 'run')} fitted (filled): those within {percent(WINDOW)} of the least "
        f"loss of their budget{wider}; {rows - found.rows_used} dropped (hollow)."
    ]
    if found.rows > rows:
        parts.append(f"{counted(found.rows - rows, 'further run')} in budgets of too few sizes.")
    if above := sum(int((one.losses > top).sum()) for one in shown):
        parts.append(f"{counted(above, 'run')} above the frame.")
    if hidden := len(found.curves) - len(shown):
        parts.append(f"{counted(hidden, 'budget')} not drawn.")
    if found.line is None:
        parts.append(f"No exponent: {found.why_not.rstrip('.')}.")
    else:
        value, inside = exponent(found.line)
        parts.append(f"Exponent of the best size in compute: {value} ({inside}).")
    return " ".join([*parts, f"{found.verdict()}."])


def _agreement(line: Approach, surface: tuple[float, float, float] | None) -> str:
    """Return whether the interval of the exponent overlaps that of the law of N and D."""
    if surface is None:
        return "The law of N and D gives no exponent to compare."
    value, low, high = surface
    ends = line.intervals["a"]
    same = "overlaps" if ends.low <= high and low <= ends.high else "does not overlap"
    return f"It {same} that of the law of N and D: {' ('.join(estimate(value, low, high, units=False))})."


def _optima(shown: Sequence[IsoflopCurve]) -> str:
    known = [one.budget.params for one in shown if one.budget.params is not None]
    return f"Best N from {people(known[0])} to {people(known[-1])}." if known else "No best N."


def _rows(one: IsoflopCurve) -> list[tuple[Any, ...]]:
    ends = (None, None) if one.interval is None else (one.interval.low, one.interval.high)
    best = (one.budget.params, *ends)
    return [
        (one.budget.flops, float(n), float(loss), bool(inside), *best)
        for n, loss, inside in zip(one.params, one.losses, one.used, strict=True)
    ]
