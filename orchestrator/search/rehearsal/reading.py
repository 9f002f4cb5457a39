"""What a search has found after some of the grid's cost: the setting it chooses in each cell, and its regret.

Regret of a choice is its recorded loss over the lowest of its cell, minus 1. A cell in which the search neither ran nor
recommends anything is answered as a person would: with the choice of the nearest cell that has one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.orchestrator.search.answers import answers
from sweeplaw.orchestrator.search.contract import History, Setting
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.orchestrator.search.rehearsal.rehearsal import Rehearsal

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SearchChoices:
    """The choices of a search at a budget. ``recorded`` (cells,): the regret of the best run of each cell, or of a
    recommended setting that did not run and is expected to be better; ``recommended`` (cells,): that of what the search
    recommends, in ``settings``. ``seconds`` is the CPU time of all proposals so far.
    """

    share: float
    recorded: Array
    recommended: Array
    settings: tuple[Setting, ...]
    trials: int
    spent: float
    seconds: float


def read(rehearsal: Rehearsal, share: float) -> SearchChoices:
    """Return what the search of a rehearsal has found, at this share of the grid's cost."""
    space, history = rehearsal.space, rehearsal.history()
    found = answers(rehearsal.search, space, history)
    recommended = {answer.setting.cell: answer.setting for answer in found}
    expected = {answer.setting.cell: answer.value for answer in found}
    chosen = dict(recommended)
    ran = {seen.setting for seen in history.observations if seen.status == "completed"}
    for cell, setting in _best(history).items():
        better = cell in expected and expected[cell] < space.outcomes[setting].loss
        if cell not in chosen or chosen[cell] in ran or not better:
            chosen[cell] = setting
    everywhere = _everywhere(space, recommended)
    return SearchChoices(
        share=share,
        recorded=_regrets(space, _everywhere(space, chosen)),
        recommended=_regrets(space, everywhere),
        settings=everywhere,
        trials=rehearsal.trials,
        spent=rehearsal.spent,
        seconds=rehearsal.seconds,
    )


def _best(history: History) -> dict[int, Setting]:
    """Return the setting with the lowest recorded loss of each cell that has one."""
    best: dict[int, tuple[float, Setting]] = {}
    for seen in history.observations:
        cell, value = seen.setting.cell, seen.value
        if value is not None and value < best.get(cell, (math.inf, seen.setting))[0]:
            best[cell] = value, seen.setting
    return {cell: setting for cell, (_, setting) in best.items()}


def _everywhere(space: RecordedSpace, chosen: Mapping[int, Setting]) -> tuple[Setting, ...]:
    """Return a setting for each cell; where nothing is known at all, the first one recorded."""
    found = []
    for cell in range(len(space.cells)):
        if cell in chosen:
            found.append(chosen[cell])
        elif chosen:
            near = min(chosen, key=lambda other: (space.distance(cell, other), other))
            found.append(space.nearest(chosen[near], cell))
        else:
            found.append(space.members[cell][0])
    return tuple(found)


def _regrets(space: RecordedSpace, settings: tuple[Setting, ...]) -> Array:
    """Return the regret of these settings; of one that diverged the largest finite one of its cell."""
    found = []
    for cell, setting in enumerate(settings):
        loss = space.outcomes[setting].loss
        if not math.isfinite(loss):
            losses = (space.outcomes[other].loss for other in space.members[cell])
            loss = max((other for other in losses if math.isfinite(other)), default=space.least[cell])
        found.append(loss / space.least[cell] - 1)
    return np.array(found)
