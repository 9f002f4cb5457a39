"""Searches compared on a recorded table: regret against cost over many seeds, and the law that each leads to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sweeplaw.orchestrator.search.contract import Setting
from sweeplaw.orchestrator.search.rehearsal.contestants import Contestant
from sweeplaw.orchestrator.search.rehearsal.noise import TableNoise, noise
from sweeplaw.orchestrator.search.rehearsal.reading import Array, SearchChoices, read
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.orchestrator.search.rehearsal.rehearsal import Rehearsal
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import is_number

SHARES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)  # at which searches are read, up to the budget
BAND = (0.1, 0.9)  # quantiles over seeds
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One search at one share of the grid's cost. Regrets are means over cells and seeds, of the best runs (``low`` and
    ``high`` are quantiles over seeds) and of what the search recommends; of the worst cell, the largest mean over
    seeds. ``trials`` and ``seconds`` (of CPU, for all proposals) are means over seeds.
    """

    search: str
    share: float
    mean_regret: float
    low: float
    high: float
    worst_cell_regret: float
    recommended_regret: float
    recommended_worst_cell_regret: float
    trials: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Exponent:
    """The exponent of an axis in the law of a knob's best setting, through the settings that a search recommends at the
    end: mean and quantiles over seeds; ``whole_table`` is the same through the noise-free optima of the table.
    """

    search: str
    knob: str
    axis: str
    mean: float
    low: float
    high: float
    whole_table: float


@dataclass(frozen=True, slots=True)
class SearchComparison:
    """What was compared on how much, the rows and the final laws, and the noise of the table."""

    cells: int
    settings: int
    flops: float
    rows: tuple[Row, ...]
    exponents: tuple[Exponent, ...]
    noise: TableNoise

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "cells": self.cells,
            "settings": self.settings,
            "flops": self.flops,
            "noise": {
                "sd": self.noise.sd,
                "basis": self.noise.basis,
                "regret": self.noise.regret,
                "shared": self.noise.shared or None,
                "shared_by": self.noise.shared_by or None,
            },
            "searches": [asdict(row) for row in self.rows],
            "exponents": [asdict(exponent) for exponent in self.exponents],
        }


def compare(
    space: RecordedSpace,
    entered: Sequence[Contestant],
    budget: float,
    seeds: int,
    *,
    slots: int = 1,
    progress: ProgressCallback = no_progress,
) -> SearchComparison:
    """Return how searches fare with ``budget``, a share of the grid's cost, and with smaller ones.

    ``progress`` is called with the searches done and their number. On one BLAS thread: at the sizes of a rehearsal
    several mostly wait for each other (7 times the CPU). Raise InputError if the budget pays for nothing.
    """
    check_budget(space, budget)
    smaller = (share for share in SHARES if share < budget * (1 - ROUNDING))
    shares = [*(share for share in smaller if share * space.total >= _cheapest(space)), budget]
    found: dict[str, list[list[SearchChoices]]] = {}
    for place, contestant in enumerate(entered):
        found[contestant.name] = []
        for seed in range(seeds):
            progress(place * seeds + seed, len(entered) * seeds)
            with threadpool_limits(1, "blas"):
                found[contestant.name].append(list(readings(space, contestant, shares, seed, slots)))
    progress(len(entered) * seeds, len(entered) * seeds)
    table = noise(space)
    return SearchComparison(
        cells=len(space.cells),
        settings=len(space.outcomes),
        flops=space.total,
        rows=tuple(
            _row(name, [one[place] for one in runs]) for name, runs in found.items() for place in range(len(shares))
        ),
        exponents=tuple(
            exponent
            for name, runs in found.items()
            for exponent in _exponents(space, name, [one[-1].settings for one in runs], table.optima)
        ),
        noise=table,
    )


def check_budget(space: RecordedSpace, budget: float) -> None:
    """Raise InputError if a share of the grid's cost is none, or pays for no run."""
    least = _cheapest(space) / space.total
    if not 0 < budget <= 1:
        raise InputError(f"budget = {budget:g} (accepted: a share of the grid's cost, such as 0.05; at most 1)")
    if budget < least * (1 - ROUNDING):
        raise InputError(
            f"budget = {budget:g} is less than one trial (the smallest that works: {math.ceil(least * 1e6) / 1e6:g}, "
            f"for the cheapest of {len(space.outcomes)} settings)"
        )


def readings(
    space: RecordedSpace, contestant: Contestant, shares: Sequence[float], seed: int, slots: int = 1
) -> Iterator[SearchChoices]:
    """Yield what a search has found at each share of the grid's cost, in increasing order: its budget is raised."""
    rehearsal: Rehearsal | None = None
    for share in shares:
        if rehearsal is None or contestant.anew:
            rehearsal = Rehearsal(space, contestant.make(seed, share), slots)
        rehearsal.run(share * space.total)
        yield read(rehearsal, share)


def _cheapest(space: RecordedSpace) -> float:
    return min(recorded.flops for recorded in space.outcomes.values())


def _row(search: str, found: Sequence[SearchChoices]) -> Row:
    """Return the row of one search at one share, over its seeds."""
    recorded = np.stack([one.recorded for one in found])  # (seeds, cells)
    recommended = np.stack([one.recommended for one in found])
    low, high = np.quantile(recorded.mean(axis=1), BAND)
    return Row(
        search=search,
        share=found[0].share,
        mean_regret=float(recorded.mean()),
        low=float(low),
        high=float(high),
        worst_cell_regret=float(recorded.mean(axis=0).max()),
        recommended_regret=float(recommended.mean()),
        recommended_worst_cell_regret=float(recommended.mean(axis=0).max()),
        trials=float(np.mean([one.trials for one in found])),
        seconds=float(np.mean([one.seconds for one in found])),
    )


def _exponents(
    space: RecordedSpace, search: str, found: Sequence[Sequence[Setting]], optima: Sequence[Setting]
) -> Iterator[Exponent]:
    """Yield the exponents of the laws through the recommended settings of each seed; none with too few cells."""
    axes = [name for name in space.cells[0] if _positive([cell[name] for cell in space.cells])]
    logs = np.array([[1.0, *(math.log(float(cell[name])) for name in axes)] for cell in space.cells])
    if not axes or len(space.cells) <= logs.shape[1] or np.linalg.matrix_rank(logs) < logs.shape[1]:
        return
    for place, knob in enumerate(space.axes):
        if not knob.log or len(knob.values) < 2:
            continue
        whole = _powers(logs, optima, place)
        powers = np.stack([_powers(logs, settings, place) for settings in found])  # (seeds, axes)
        low, high = np.quantile(powers, BAND, axis=0)
        for i, axis in enumerate(axes):
            yield Exponent(
                search, knob.names[0], axis, float(powers[:, i].mean()), float(low[i]), float(high[i]), float(whole[i])
            )


def _powers(logs: Array, settings: Sequence[Setting], place: int) -> Array:
    """Return the slopes of the log of a knob in the logs of the axes, by least squares over the cells."""
    knob = np.log([float(setting.values[place][0]) for setting in settings])
    return np.asarray(np.linalg.lstsq(logs, knob, rcond=None)[0][1:])


def _positive(values: Sequence[Any]) -> bool:
    return all(is_number(value) and value > 0 for value in values)


def columns(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Return the rows of each search, in the order of their shares."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.search, []).append(row)
    return found
