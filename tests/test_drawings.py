"""Figures of planted values look as designed: `drawings.json` has what is drawn where, how large, in which colour.

Where a figure is meant to change, `python -m tests.test_drawings` rewrites the file, whose diff is then read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sweeplaw import analysis
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.simulated.gantt import gantt
from sweeplaw.orchestrator.schedule.simulated.launch import SimulatedLaunch
from sweeplaw.orchestrator.schedule.simulated.ledger import NodeOutage, SlotLedger, SlotLife, SlotSpan
from sweeplaw.orchestrator.search.rehearsal.comparison import Row, SearchComparison
from sweeplaw.orchestrator.search.rehearsal.figure import regret_against_cost
from sweeplaw.orchestrator.search.rehearsal.noise import TableNoise
from tests.drawings import drawn

EXPECTED = Path(__file__).with_name("drawings.json")


def launch() -> Figure:
    """Two launches side by side: stacks, halves of a device, two nodes of one trial, an outage, a lost trial."""
    first = SlotLedger({"a": 2.0, "b": 1.0}, 7200.0)
    first.slots = {
        "half": SlotLife(TrialResources(1, 0.5), ("a",), 0.0, 3600.0),
        "other": SlotLife(TrialResources(1, 0.5), ("a",), 0.0),
        "wide": SlotLife(TrialResources(1, 1.0, processes=2, nodes=2), ("a", "b"), 3600.0),
    }
    first.spans = [
        SlotSpan("half", 0.5, 0.0, 900.0, "starting"), SlotSpan("half", 0.25, 900.0, 3600.0, "useful", 1.0, 1, 2),
        SlotSpan("other", 0.5, 0.0, 1800.0, "preempted"), SlotSpan("wide", 2.0, 3600.0, 7200.0, "failed"),
    ]  # fmt: skip
    first.absences = [NodeOutage("b", 1800.0, 3600.0, "node died"), NodeOutage("a", 9000.0, 9600.0, "node died")]
    second = SlotLedger({"c": 1.0}, 3600.0, [SlotSpan("one", 1.0, 0.0, 3600.0, "node died")])
    second.slots = {"one": SlotLife(TrialResources(1, 1.0), ("c",), 0.0)}
    return gantt(SimulatedLaunch((first, second)), "two launches")


def law() -> Figure:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 8), [1e9, 1e10, 1e11]))
    losses = 1.69 + 406.4 / n**0.34 + 410.7 / d**0.28
    fit = analysis.fit({"N": n, "D": d, "loss": losses}, "additive", bootstrap=20, all_rows=True)
    figure = fit.plot(along="D").get_figure()
    assert isinstance(figure, Figure)
    return figure


def regrets() -> Figure:
    rows = tuple(
        Row(name, share, regret, regret / 2, 2 * regret, 0.01, 0.01, 0.01, 12.0, 1.0)
        for name, regret in (("law", 0.001), ("rand$om", 1e-6))
        for share in (0.1, 0.5)
    )
    noise = TableNoise(0.001, "repeats", 0.0005, ())
    return regret_against_cost(SearchComparison(3, 1200, 1e20, rows, (), noise))


FIGURES: dict[str, Callable[[], Figure]] = {"launch": launch, "law": law, "regrets": regrets}


@pytest.mark.heavy
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_designed(name: str) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(drawn(FIGURES[name]()))) == expected[name]


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(drawn(figure()))}" for name, figure in FIGURES.items())
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
