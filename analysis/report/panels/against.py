"""The card of another recipe: the difference of equal runs, over all and by size, with its interval."""

from __future__ import annotations

from sweeplaw.analysis.recipes.comparison import Effect, RecipeComparison
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart
from sweeplaw.analysis.report.charts.numbers import people, percent
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.trials.quantities import counted

HEADS = ("N", "pairs", "difference", "low", "high", "p_corrected", "noise_of_a_run")


def against_card(found: RecipeComparison, key: str) -> Card | None:
    """Return the difference against N, the second recipe less the first; None if the sizes of the runs are unknown."""
    sizes = [(effect.size, effect) for effect in found.by_size if effect.size is not None]
    if not sizes:
        return None
    whole = found.overall
    ends = [end for _, effect in sizes for end in (effect.low, effect.high, effect.difference) if end is not None]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([size for size, _ in sizes], "N, parameters", log=True, label=people),
            axis_over([*ends, whole.difference, 0.0], "loss of the second less that of the first", label=people),
            width,
            260.0,
            "difference against size",
        )
        span = [sizes[0][0], sizes[-1][0]]
        chart.line(span, [0.0, 0.0], "zero")
        chart.line(span, [whole.difference, whole.difference], f"own {stroke(2, 8)}")
        for size, effect in sizes:
            chart.whisker(size, effect.low, effect.high, f"wh {stroke(2, 8)}")
            text = f"{effect.name}: {_in_words(effect)}; {effect.verdict(found.level)}"
            chart.diamond(size, effect.difference, f"pt {fill(2, 8)}", text)
        return chart.svg()

    return card(
        key,
        f"{_sentence(whole.verdict(found.level))}: {_in_words(whole)}",
        "A diamond is the mean over equal runs of one size; dashed: over all.",
        draw,
        f"{counted(whole.pairs, 'pair')} of runs at {counted(whole.points, 'point')}, "
        f"{'paired by seed' if found.paired else 'means over seeds'}; whiskers: {percent(found.level)} intervals.",
        f"Difference of {found.second} and {found.first} at {counted(len(sizes), 'size')}.",
        sheet(HEADS, [(size, *_values(effect)) for size, effect in sizes]),
    )


def _values(effect: Effect) -> tuple[float | None, ...]:
    return effect.pairs, effect.difference, effect.low, effect.high, effect.corrected, effect.noise


def _in_words(effect: Effect) -> str:
    inside = "" if effect.low is None else f" ({people(effect.low)} to {people(effect.high)})"
    return f"{people(effect.difference)}{inside}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].split(";")[0]
