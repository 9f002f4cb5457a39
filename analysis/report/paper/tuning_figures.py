"""Figures of tuning as an experiment: the expected best of k draws, and the performance profile of one setting."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from sweeplaw.analysis.report.paper.figures import current_style, shades
from sweeplaw.analysis.tuning.experiment.experiment import TuningExperiment
from sweeplaw.analysis.tuning.transfer import Transfer
from sweeplaw.trials.quantities import percent, settings

MOST_PLACES = 8
COLOURS = {"tuning": "#31688e", "evaluation": "#e07b39"}


def expected_best_figure(found: TuningExperiment) -> Figure:
    """Draw the expected loss of the best of k draws in each place, with its band; dashed, the loss that picks it."""
    places = found.places
    shown = [places[round(i)] for i in np.linspace(0, len(places) - 1, min(len(places), MOST_PLACES))]
    with rc_context(current_style()):
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        panel = figure.subplots()
        for colour, place in zip(shades(len(shown)), shown, strict=True):
            k = [one.k for one in place.curve]
            label = settings(place.at) or "all runs"
            panel.plot(k, [one.reported for one in place.curve], color=colour, marker="o", ms=3.5, label=label)
            known = [one for one in place.curve if one.reported_interval is not None]
            ends = [one.reported_interval or (np.nan, np.nan) for one in known]
            if known:
                low, high = zip(*ends, strict=True)
                panel.fill_between([one.k for one in known], low, high, color=colour, alpha=0.15, lw=0)
            if found.apart:
                panel.plot(k, [one.picked for one in place.curve], color=colour, ls="--", lw=1)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_xlabel("draws k")
        panel.set_ylabel(f"expected {found.report} of the best")
        dashed = "; dashed: the loss that picks it" if found.apart else ""
        panel.set_title(f"Best of k tried settings, {percent(found.level, '.0f')} band{dashed}")
        panel.legend()
    return figure


def profile_figure(found: Transfer) -> Figure:
    """Draw the share of workloads in which the single setting is within each excess of their own best loss; dashed, the
    best of the list.
    """
    with rc_context(current_style()):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        panel = figure.subplots()
        largest = 0.0
        for phase, colour in COLOURS.items():
            own = [one for one in found.workloads if one.phase == phase]
            for dash, excess, label in (
                ("-", [one.single for one in own], f"one setting, {len(own)} {phase} workloads"),
                ("--", [one.list[-1] for one in own], f"best of {len(found.order)} tried, {phase}"),
            ):
                known = sorted(value for value in excess if value is not None)
                largest = max([largest, *known])
                steps = np.arange(len(known) + 1) / len(own)
                panel.step([0.0, *known, 10.0], [*steps, steps[-1]], where="post", color=colour, ls=dash, label=label)
        panel.set_xlim(0, max(1.1 * largest, 1e-4))
        panel.set_ylim(0, 1.02)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_xlabel("loss above the best of the workload")
        panel.set_ylabel("workloads within it")
        panel.set_title("Performance profile of one setting for all workloads")
        panel.legend(loc="lower right")
    return figure
