"""Cards of what happened: when each trial ran and where, and the training curves of the best trials."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from html import escape

import polars as pl

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.numbers import people, percent
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.units import labelled
from sweeplaw.trials.quantities import counted

MOST_BARS = 3000  # parts of packs, or trials, of a chart of times; of more, there is none
MOST_LANES = 48
NEEDED = ("started_at", "ended_at", "state", "trial_id")
WASTED = ("failed", "worker_died", "out_of_memory")


def times_card(trials: pl.DataFrame, key: str) -> Card | None:
    """Return a bar for each trial, or part of a pack, over the time since the first start, a lane for each slot.

    None where times are unknown, or there are more than `MOST_BARS` bars or `MOST_LANES` lanes.
    """
    if not set(NEEDED) <= set(trials.columns) or not trials.height:
        return None
    timed = trials.drop_nulls(["started_at", "ended_at"])
    if not timed.height or not all(timed[name].dtype.is_temporal() for name in NEEDED[:2]):
        return None
    bars, subtitle = _packs(timed), "A bar is a trial, or trials of a pack that end alike."
    if bars.height > MOST_BARS:
        bars, subtitle = _packs(timed, whole=True), "A bar is a pack of trials, in the colour of the worst."
    if not 1 < bars.height <= MOST_BARS:
        return None
    start = bars["started_at"].min()
    seconds = [[(moment - start).total_seconds() for moment in bars[name]] for name in NEEDED[:2]]
    lanes = assign_lanes(bars["host"].to_list(), *seconds)
    count = max(lanes) + 1
    if count > MOST_LANES or max(seconds[1]) <= 0:
        return None
    worst = [_worst(states) for states in bars["states"]]
    busy = sum(b - a for a, b in zip(*seconds, strict=True)) / (count * max(seconds[1]))
    scale, unit = _time_unit(max(seconds[1]))

    def draw(width: float) -> str:
        height = 74 + 20.0 * count
        chart = Chart(
            Axis(f"{unit} since the first start", 0.0, max(seconds[1]) / scale),
            Axis("slot", count + 0.5, 0.5, marks=tuple(range(1, count + 1)) if count <= 12 else (1, count)),
            width,
            height,
            "when trials ran on each slot",
        )
        return chart.svg_with(_bars(chart, bars, lanes, seconds, scale, worst))

    rows = (
        (lane + 1, host_name, pack_name, a, b, n, state)
        for lane, host_name, pack_name, a, b, n, state in zip(
            lanes, bars["host"], bars["pack"], *seconds, bars["trials"], worst, strict=True
        )
    )
    return card(
        key,
        f"{percent(busy)} of the slots' time went into trials",
        f"{subtitle} Orange: diverged; hatched: failed.",
        draw,
        f"{counted(bars.height, 'bar')} on {counted(count, 'slot')}, from the first start to the last end.",
        f"Times of {counted(bars.height, 'bar')} on {counted(count, 'slot')}.",
        sheet(("slot", "host", "pack", "start_seconds", "end_seconds", "trials", "state"), rows),
    )


def _packs(timed: pl.DataFrame, *, whole: bool = False) -> pl.DataFrame:
    """Return the bars: the trials of a pack, in parts where trials one after another end in ways that differ in colour.

    Trials of a pack that ran at the same time are one stack, which has the colour of the worst. ``whole``: no parts.
    """
    host = pl.col("host").fill_null("") if "host" in timed.columns else pl.lit("")
    pack = pl.col("pack_id").fill_null(pl.col("trial_id")) if "pack_id" in timed.columns else pl.col("trial_id")
    colour = pl.when(pl.col("state").is_in(WASTED)).then(1).when(pl.col("state") == "diverged").then(2).otherwise(0)
    own = ("host", "pack")
    parts = (
        (pl.col("started_at") >= pl.col("ended_at").cum_max().shift(1).over(own))
        & (pl.col("colour") != pl.col("colour").shift(1).over(own))
    ).fill_null(value=False) & (not whole)
    return (
        timed.with_columns(host.alias("host"), pack.alias("pack"), colour.alias("colour"))
        .sort(*own, "started_at", "ended_at")
        .with_columns(parts.cast(pl.Int64).cum_sum().over(own).alias("part"))
        .group_by(*own, "part")
        .agg(
            pl.col("started_at").min(),
            pl.col("ended_at").max(),
            trials=pl.len(),
            states=pl.col("state").unique(maintain_order=True),
        )
        .sort("started_at", "pack")
    )


def assign_lanes(hosts: Sequence[str], starts: Sequence[float], ends: Sequence[float]) -> list[int]:
    """Return the lane of each bar, in ascending order of starts: the first free lane of its host, else a new one."""
    lanes: list[tuple[str, float]] = []  # host, and when it is free
    found = []
    for host, start, end in zip(hosts, starts, ends, strict=True):
        free = [k for k, (name, until) in enumerate(lanes) if name == host and until <= start + 1e-6]
        if free:
            lane = min(free, key=lambda k: start - lanes[k][1])
            lanes[lane] = (host, end)
        else:
            lane = len(lanes)
            lanes.append((host, end))
        found.append(lane)
    return found


def _bars(
    chart: Chart, bars: pl.DataFrame, lanes: Sequence[int], seconds: Sequence[Sequence[float]], scale: float,
    worst: Sequence[str],
) -> list[str]:  # fmt: skip
    parts = []
    for lane, start, end, state, trials, host in zip(lanes, *seconds, worst, bars["trials"], bars["host"], strict=True):
        (left, middle), (right, _) = chart.at(start / scale, lane + 1), chart.at(end / scale, lane + 1)
        text = f"{counted(trials, 'trial')}, {state}, {_clock(end - start)}{f' on {host}' if host else ''}"
        css = "r-diverged" if state == "diverged" else "r-lost" if state in WASTED else "r-completed"
        box = f'x="{left:.1f}" y="{middle - 7:.1f}" width="{max(1.0, right - left - 0.6):.1f}" height="14"'
        parts.append(f'<rect {box} class="p {css}"><title>{escape(text)}</title></rect>')
    return parts


def _worst(states: Sequence[str]) -> str:
    """Return the state of a pack: one that wasted its time, then diverged, then any other."""
    order = (*WASTED, "diverged")
    return next((state for state in order if state in states), states[0] or "unknown")


def _time_unit(seconds: float) -> tuple[float, str]:
    return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def _clock(seconds: float) -> str:
    whole = dt.timedelta(seconds=round(seconds))
    return f"{seconds:.1f} s" if seconds < 60 else str(whole)


def curves_card(curves: pl.DataFrame, labels: Mapping[str, str], by: Axes, key: str) -> Card | None:
    """Return training and validation loss of a few trials against tokens, or steps where tokens are not known.

    ``labels`` are by trial id. None without a curve of two points.
    """
    seen = "tokens" if curves.height and curves["tokens"].count() else "step"
    known = curves.filter(pl.col("trial_id").is_in(list(labels)), pl.col(seen) > 0).sort("step")
    column = "val_loss" if known["val_loss"].count() > known["trial_id"].n_unique() else "train_loss"
    known = known.drop_nulls(column).filter(pl.col(column).is_finite())
    if known.height < 2 or known.group_by("trial_id").len()["len"].max() < 2:  # type: ignore[operator]
        return None
    losses = [float(v) for v in known[column]]
    top = float(pl.Series(losses).quantile(0.97) or max(losses))
    low = min(losses)
    ends = [float(v) for v in known.group_by("trial_id").agg(pl.col(column).last())[column]]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over(known[seen].to_list(), "training tokens" if seen == "tokens" else "step", log=True),
            axis_over([low, max(top, low * 1.02)], labelled("loss", by.units.get("val_loss", ""))),
            width,
            340.0,
            f"loss against {seen}",
            right=text_width(list(labels.values())),
        )
        for rank, (trial_id, label) in enumerate(labels.items()):
            own = known.filter(pl.col("trial_id") == trial_id)
            if not own.height:
                continue
            xs, ys = [float(v) for v in own[seen]], [float(v) for v in own[column]]
            chart.line(xs, ys, f"cur {stroke(rank, len(labels))}", trial_id)
            chart.dot(xs[-1], ys[-1], f"pt {fill(rank, len(labels))}", f"{label}: {ys[-1]:.4f}", trial_id)
            chart.end(xs[-1], ys[-1], label, "l", trial_id)
        return chart.svg()

    best, worst = people(min(ends), 4), people(max(ends), 4)
    return card(
        key,
        f"The best trial ends at {best}"
        if best == worst
        else f"The best trial of each size ends between {worst} and {best}",
        f"{'Validation' if column == 'val_loss' else 'Training'} loss, each size at its largest budget.",
        draw,
        f"{counted(known.height, 'point')}. The highest losses, at the beginning, may lie above the frame.",
        f"Learning curves of {counted(len(labels), 'trial')}.",
        sheet(("trial_id", seen, column), known.select("trial_id", seen, column).iter_rows()),
    )
