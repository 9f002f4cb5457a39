"""What each search says it believes, of histories planted by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import History, Observation, RemainingBudget, Status
from sweeplaw.orchestrator.search.space import Space
from tests.orchestrator.search.test_contract import OPTIONS, SURROGATE, loss_of, space_of


def planted(space: Space, *rows: tuple[int, Status, float | None]) -> History:
    """Return a history with these rows, (scientific point, status, loss), each of another setting of its point."""
    by_cell = [[one.setting for one in space.candidates if one.setting.cell == k] for k in range(len(space.cells))]
    seen = [
        Observation(by_cell[cell][number], status, () if loss is None else (loss,), 1e15, number, number)
        for number, (cell, status, loss) in enumerate(rows)
    ]
    return History(seen, (), RemainingBudget(), len(seen), 1e15 * len(seen))


ROWS: Sequence[tuple[int, Status, float | None]] = (
    (0, "completed", 2.5),
    (0, "completed", 2.25),
    (0, "completed", 2.75),
    (2, "completed", 2.123456),
    (1, "diverged", None),
    (1, "failed", None),
    (2, "paused", None),
)


@pytest.mark.parametrize(
    ("kind", "nothing", "belief"),
    [
        ("grid", "", ""),
        ("random", "", ""),
        ("law", "", None),
        ("tpe", "", "params 1M, tokens 1B: 2.25, params 10M, tokens 1B: 2.123"),
        ("halving", "0 completed, 0 paused at a rung", "4 completed, 1 paused at a rung"),
        ("archive", "elites at 0 of 3 points", "elites at 2 of 3 points"),
        ("local", "0 of 3 points certified", "0 of 3 points certified"),
    ],
)
def test_what_a_search_believes(kind: str, nothing: str, belief: str | None) -> None:
    space = space_of(kind)
    search = registry.load(space)
    assert search.belief(planted(space)) == nothing
    assert search.belief(planted(space, (1, "diverged", None))) == nothing
    if belief is not None:
        assert search.belief(planted(space, *ROWS)) == belief


def test_only_the_first_points_are_told() -> None:
    text = SURROGATE.format(kind="tpe", options="").replace("3e6, 1e7", "3e6, 1e7, 2e7, 4e7")
    space = Space(parse(text.replace("3e5", "3e9")))
    belief = registry.load(space).belief(planted(space, *[(cell, "completed", 2.0 + cell) for cell in range(5)]))
    assert belief == ", ".join(
        f"params {n}, tokens 1B: {loss}" for n, loss in (("1M", 2), ("3M", 3), ("10M", 4), ("20M", 5))
    )


def test_a_search_of_a_law_tells_the_law_and_what_the_next_run_gains() -> None:
    """The best learning rate is planted to fall by the power -0.48 from the first to the last point; what is believed
    before most settings have run lies between this and none. The best weight decay does not move.
    """
    space = space_of("law")
    seen = [
        Observation(one.setting, "completed", (loss_of(space, one.setting),), 1e15, number, number)
        for number, one in enumerate(space.candidates)
        if number % 3 == 0
    ]
    belief = registry.load(space).belief(History(seen, (), RemainingBudget(), len(seen), 1e15 * len(seen)))
    *laws, gain = belief.split("; ")
    found = [re.fullmatch(r"(\w+) ~ params\^([+-]\d\.\d\d) tokens\^\+0\.00", law) for law in laws]
    slopes = {law[1]: float(law[2]) for law in found if law is not None}
    assert list(slopes) == ["batch_sequences", "lr", "weight_decay"]
    assert -0.7 < slopes["lr"] < -0.2
    assert abs(slopes["weight_decay"]) < 0.05
    assert re.fullmatch(r"the next run gains about \S+ % per 1e18 FLOPs", gain)


def test_early_stopping_adds_how_many_it_stopped() -> None:
    space = Space(parse(SURROGATE.format(kind="tpe", options="[search.early_stopping]\nchecks = 2")))
    search = registry.load(space)
    assert search.belief(planted(space)) == "0 stopped early"
    stopped = planted(space, (0, "completed", 2.5), (0, "stopped", None), (1, "stopped", None), (1, "paused", None))
    assert search.belief(stopped) == "params 1M, tokens 1B: 2.5; 2 stopped early"


def test_a_population_counts_its_members() -> None:
    space = space_of("population")
    assert registry.load(space).belief(History()) == "0 of 8 members completed"
    assert OPTIONS["archive"] == "initial = 2"
