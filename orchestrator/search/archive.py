"""Quality-diversity over the scientific points (MAP-Elites; Mouret & Clune 2015, arXiv:1504.04909).

The archive has a place for each scientific point and keeps the best setting there, its elite. Elites breed into their
own and the neighbouring points, slightly changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.search_options import ArchiveSearch
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, ladder, sobol
from sweeplaw.trials.spec import Value

TRIES = 64  # children in a row that have run before; then a random setting is taken
SPARE = 4096  # random settings for that


class Archive:
    """The search of an `ArchiveSearch`."""

    def __init__(self, space: Space, options: ArchiveSearch) -> None:
        self._space, self._options = space, options
        self._axes = [(axis, tuple(ladder(axis))) for axis in space.axes]
        self._near = space.neighbours()

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return a random setting of each point first; then a child of an elite."""
        taken = history.taken
        if (first := self._initial(history, taken)) is not None:
            return first
        rng = np.random.default_rng([self._options.seed, history.number])
        elites = self._elites(history)
        for _ in range(TRIES if elites else 0):
            cell = int(rng.integers(len(self._space.cells)))
            parents = [near for near in (cell, *self._near[cell]) if near in elites]
            if not parents:
                continue
            parent = elites[parents[int(rng.integers(len(parents)))]]
            child = self._space.canonical(Setting(cell, self._changed(parent.setting.values, rng)))
            if child not in taken and self._space.admits(child):
                source = self._space.describe_cell(parent.setting.cell)
                here = "" if parent.setting.cell == cell else f", tried at {self._space.describe_cell(cell)}"
                return Proposal(child, f"child of the elite at {source} ({parent.value:.5g}){here}")
        spare = next((item for item in self._random(SPARE) if item not in taken and self._space.admits(item)), None)
        if spare is not None:
            return Proposal(spare, "a random setting: children of the elites have all run")
        return None if history.pending else Finished("every setting has run")

    def belief(self, history: History) -> str:
        """Return how many points have an elite."""
        return f"elites at {len(self._elites(history))} of {len(self._space.cells)} points"

    def _initial(self, history: History, taken: set[Setting]) -> Proposal | None:
        """Return the next of the random settings that every point begins with."""
        counts = dict.fromkeys(range(len(self._space.cells)), 0)
        for setting in taken:
            counts[setting.cell] += 1
        if min(counts.values()) >= self._options.initial:
            return None
        for setting in self._random(16 * self._options.initial):
            few = counts[setting.cell] < self._options.initial
            if few and setting not in taken and self._space.admits(setting):
                return Proposal(setting, f"a random setting at {self._space.describe_cell(setting.cell)}")
        return None

    def _random(self, samples: int) -> list[Setting]:
        drawn = sobol(self._space.axes, samples, self._options.seed)
        settings = (Setting(cell, values) for values in drawn for cell in range(len(self._space.cells)))
        return list(dict.fromkeys(self._space.canonical(setting) for setting in settings))

    def _elites(self, history: History) -> Mapping[int, Observation]:
        best: dict[int, Observation] = {}
        for seen in history.observations:
            if seen.value is None:
                continue
            held = best.get(seen.setting.cell)
            if held is None or held.value is None or seen.value < held.value:
                best[seen.setting.cell] = seen
        return best

    def _changed(self, values: Sequence[tuple[Value, ...]], rng: np.random.Generator) -> tuple[tuple[Value, ...], ...]:
        """Return the values of a child: each axis moved by a normal step, in shares of its length."""
        pairs = zip(self._axes, values, strict=True)
        return tuple(_moved(axis, steps, own, self._options.step, rng) for (axis, steps), own in pairs)


def _moved(
    axis: Axis, steps: Sequence[tuple[Value, ...]], own: tuple[Value, ...], step: float, rng: np.random.Generator
) -> tuple[Value, ...]:
    """Return the values of one axis for a child; a category is drawn anew with the probability ``step``."""
    if steps and any(isinstance(value, str | bool) for value in own):
        return steps[int(rng.integers(len(steps)))] if rng.random() < step else own
    share = _share(axis, steps, own) + step * rng.standard_normal()
    share = min(max(share, 0.0), 1.0)
    if steps:
        return steps[round(share * (len(steps) - 1))]
    return axis.at(min(share, math.nextafter(1.0, 0.0)))


def _share(axis: Axis, steps: Sequence[tuple[Value, ...]], own: tuple[Value, ...]) -> float:
    """Return where on its axis a value lies, from 0 to 1."""
    if steps:
        return steps.index(own) / max(1, len(steps) - 1) if own in steps else 0.5
    value = float(own[0])
    if axis.log:
        return math.log(value / axis.low) / math.log(axis.high / axis.low) if axis.high > axis.low else 0.5
    return (value - axis.low) / (axis.high - axis.low) if axis.high > axis.low else 0.5
