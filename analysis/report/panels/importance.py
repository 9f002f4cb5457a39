"""The card of importance: the share of the variation of the loss that each knob explains, as bars with intervals."""

from __future__ import annotations

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.numbers import NARROW as NO_BREAK
from sweeplaw.analysis.report.charts.numbers import estimate, percent
from sweeplaw.analysis.report.charts.scales import Axis, rows
from sweeplaw.analysis.report.findings.importance import CAP, NOISE, KnobShares
from sweeplaw.analysis.report.panels.shades import fill
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import counted

ROOMY = 500.0  # width of a drawing from which intervals stand beside the bars
LEAST = 0.001  # share below which no digits are given
ROW = 30.0  # height of a bar with its room


def importance_card(found: KnobShares, by: Axes, key: str) -> Card:
    """Return a bar for each knob, the largest first, then for what knobs do together and for the noise of a run."""
    names = [*found.ranking, *(name for name in found.shares if name not in found.knobs)]
    texts = [_in_words(found, name) for name in names]

    def draw(width: float) -> str:
        ends_of_bars = texts if width > ROOMY else [text.split(" (")[0] for text in texts]
        chart = Chart(
            Axis("share of the variance of the loss", 0.0, 1.0, label=percent),
            Axis("", len(names) + 0.5, 0.5, label=lambda place: names[round(place) - 1], marks=rows(len(names))),
            width,
            78 + ROW * len(names),
            "share of the variance of the loss by knob",
            right=text_width(ends_of_bars),
            zooms=False,
        )
        for place, (name, text) in enumerate(zip(names, ends_of_bars, strict=True), start=1):
            share, ends = found.shares[name], found.intervals.get(name)
            chart.bar(place, share, fill(2, 8) if name in found.knobs else "rest", f"{name}: {texts[place - 1]}")
            if ends is not None:
                chart.span(place, ends.low, ends.high, "barwh")
            chart.end(max(share, 0.0 if ends is None else ends.high), place, text)
        return chart.svg()

    first = found.ranking[0]
    return card(
        key,
        f"{first} explains {percent(found.shares[first])} of the variation of the loss over what was tried",
        "Means over cells (one size and budget each) of the shares of a functional ANOVA over the levels tried.",
        draw,
        _caption(found),
        f"Shares of {', '.join(f'{name} {text}' for name, text in zip(names, texts, strict=True))}.",
        sheet(
            (by.n, by.d, "name", "share"),
            (
                (one.cell[by.n], one.cell[by.d], name, share)
                for one in found.cells
                for name, share in (*one.knobs.items(), *((" x ".join(pair), v) for pair, v in one.pairs.items()))
            ),
        ),
    )


def _in_words(found: KnobShares, name: str) -> str:
    """Return a share with its interval in per cent; of less than `LEAST`, that alone."""
    share, ends = found.shares[name], found.intervals.get(name)
    if share < LEAST:
        return f"< {percent(LEAST)}"
    if ends is None or ends.high == ends.low:
        return percent(share)
    value, inside = estimate(100 * share, 100 * ends.low, 100 * ends.high, units=False)
    return f"{value}{NO_BREAK}% ({inside})"


def _caption(found: KnobShares) -> str:
    cells = counted(len(found.cells), "cell")
    parts = [
        f"{cells}, each with the same weight; losses cut at {percent(CAP)} above the best of their cell.",
        f"Lines: 95 % intervals, {cells} resampled."
        if found.intervals
        else f"No intervals: {cells} are too few to resample.",
    ]
    if filled := max(one.filled for one in found.cells):
        parts.append(f"Up to {percent(filled)} of a grid had no run and was filled in.")
    if found.left_out:
        parts.append(f"{counted(found.left_out, 'cell')} left out: one level of a knob, or no grid.")
    if found.not_taken:
        parts.append(f"{counted(found.not_taken, 'more cell')} not decomposed.")
    if NOISE not in found.shares:
        parts.append("The noise of a run is unknown and not subtracted.")
    if doubtful := [
        name for name in found.ranking if sum(name in one.within_noise for one in found.cells) * 2 > len(found.cells)
    ]:
        parts.append(f"Within the noise in most cells: {', '.join(doubtful)}.")
    parts.append(
        "A share is of the levels that were tried: a knob tried more widely, or far from its best, gets more of it. "
        "It does not say what tuning the knob gains near the best."
    )
    return " ".join(parts)
