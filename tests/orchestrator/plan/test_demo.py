"""The sweeps of `make demo` are one recipe, and what it forecasts is what trains last, far beyond the other runs."""

from __future__ import annotations

import re

import pytest

from sweeplaw.analysis.forecasting.registered.matching_runs import SAME_RUN
from sweeplaw.orchestrator.plan.plan import Group, Plan, plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.trials.quantities import number
from tests.paths import ROOT

NAMES = ("demo", "demo_rates", "demo_largest")
LEAST_STEPS = 500  # at 128 to 256 steps two seeds differed by up to a tenth of the loss


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {name: plan(read(ROOT / "orchestrator" / "sweeps" / f"{name}.toml")) for name in NAMES}


def test_the_sweeps_differ_in_sizes_data_and_rates_alone(plans: dict[str, Plan]) -> None:
    first, *others = (made.sweep.fixed for made in plans.values())
    assert all(fixed == first for fixed in others)
    rules = [plans[name].sweep.derived["lr"].text for name in ("demo", "demo_largest")]
    assert rules[0] == rules[1]


def test_every_run_has_steps_enough(plans: dict[str, Plan]) -> None:
    assert min(group.cost.steps or 0 for made in plans.values() for group in made.groups) >= LEAST_STEPS


def test_the_rates_are_a_grid_of_cells_with_the_rule_between_their_ends(plans: dict[str, Plan]) -> None:
    cells = {(group.cost.params_non_embedding, group.cost.tokens): rates(group) for group in plans["demo_rates"].groups}
    assert [len({cell[axis] for cell in cells}) for axis in (0, 1)] == [4, 2]
    assert len(cells) == 8
    for (size, data), some in cells.items():
        assert min(some) < 3200 * ((size or 0) * (data or 0)) ** -0.5 < max(some)
        assert len(some) == 5


def rates(group: Group) -> list[float]:
    return [float(group.spec(k).knobs["lr"]) for k in range(len(group.rows))]


def test_the_largest_runs_are_those_forecast_and_have_twice_the_compute_of_any_other(plans: dict[str, Plan]) -> None:
    (largest,) = plans["demo_largest"].groups
    ((size, data),) = re.findall(r"--at N=(\w+),D=([\w.]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert number(size) == pytest.approx(largest.cost.params_non_embedding, rel=SAME_RUN)
    assert number(data) == pytest.approx(largest.cost.tokens, rel=SAME_RUN)
    assert compute(largest) > 2 * max(compute(group) for name in NAMES[:2] for group in plans[name].groups)


def compute(group: Group) -> int:
    """Return N D, in which forecasts say how far they go."""
    return (group.cost.params_non_embedding or 0) * (group.cost.tokens or 0)
