"""The card of one setting for all sizes and budgets: how far from the best of each it is where it was not chosen."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import dots_note, drawn_dots
from sweeplaw.analysis.report.charts.numbers import percent
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.tuning.transfer import Transfer, WorkloadScore
from sweeplaw.trials.quantities import counted, settings

HEIGHT = 260.0


def transfer_card(found: Transfer, key: str) -> Card:
    """Return the performance profile of the setting and of the list: the share of workloads within each excess."""
    scored = [one for one in found.workloads if one.phase == "evaluation"]
    single = _excesses([(one.single, one) for one in scored])
    of_list = _excesses([(one.list[-1], one) for one in scored])
    lines = [("one setting", single), (f"best of {len(found.order)}", of_list)][: len(found.order)]
    top = max((excess for excess, _ in (*single, *of_list)), default=0.0) or 0.01

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([0.0, top], "loss above the best of the workload", label=percent),
            Axis("share of workloads within it", 0.0, 1.05, label=percent),
            width,
            HEIGHT,
            "performance profile",
            right=text_width([name for name, _ in lines]),
        )
        for rank, (name, excesses) in enumerate(lines):
            xs, ys = _steps([excess for excess, _ in excesses], len(scored), top)
            chart.line(xs, ys, f"cur {stroke(3 * rank, 4)}", name)
            if excesses:
                chart.end(excesses[len(excesses) // 2][0], 0.55, name, "l", name)
            for k in drawn_dots(len(excesses)):
                (excess, one), number = excesses[k], k + 1
                text = f"{settings(one.workload)}: {name} is {percent(excess)} above its best, {one.best:.4f}"
                chart.dot(excess, number / len(scored), f"pt {fill(3 * rank, 4)}", text, name, 3)
        return chart.svg()

    others = counted(len(scored), "other workload")
    whole = len(single) == len(scored)
    reach = (
        f"is within {percent(single[-1][0])} of the best of {others}" if whole else f"ran in {len(single)} of {others}"
    )
    left_out = "".join(f" {count} rows left out: {reason}." for reason, count in found.dropped.items() if count)
    tuned = len(found.workloads) - len(scored)
    return card(
        key,
        f"One setting, {settings(found.single)}, {reach}",
        "Of the workloads it was not tuned on: the share in which one setting, and the best of a list, is that near.",
        draw,
        f"Tuned on {counted(tuned, 'workload')}, every second one, of {found.candidates} settings that all of them "
        f"share; means over seeds.{dots_note(max(len(single), len(of_list)), listed=False)}{left_out}",
        f"Performance profile over {counted(len(scored), 'workload')}.",
        sheet(
            ("phase", "workload", "one_setting_excess", "list_excess", "best_loss"),
            ((one.phase, settings(one.workload), one.single, one.list[-1], one.best) for one in found.workloads),
        ),
    )


def _excesses(pairs: Sequence[tuple[float | None, WorkloadScore]]) -> list[tuple[float, WorkloadScore]]:
    """Return the known excesses, ascending, with their workloads."""
    return sorted(((excess, one) for excess, one in pairs if excess is not None), key=lambda pair: pair[0])


def _steps(excesses: Sequence[float], count: int, end: float) -> tuple[list[float], list[float]]:
    """Return the corners of the share of ``count`` workloads within an excess, as a function of it up to ``end``."""
    xs, ys = [0.0], [0.0]
    for number, excess in enumerate(excesses, start=1):
        xs += [excess, excess]
        ys += [ys[-1], number / count]
    return [*xs, end], [*ys, ys[-1]]
