"""The kinds of search that can be compared on a recorded table, and the settings with which each takes part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from sweeplaw.orchestrator.plan.search_options import (
    KINDS,
    ArchiveSearch,
    LawSearch,
    OptunaSearch,
    PopulationSearch,
    RandomSearch,
)
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Search
from sweeplaw.orchestrator.search.optuna_sampler import SAMPLERS
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.quantities import counted

# Of the settings that the budget pays for in a cell, the part that a sampler draws at random before it models anything.
START = 1 / 3
_USABLE = [name for name in KINDS if name != "optuna" and not issubclass(KINDS[name], PopulationSearch)]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A search that takes part in a comparison: ``make`` returns it for a seed and a share of the grid's cost. With
    ``anew``, it begins again for each share, because its settings depend on it.
    """

    name: str
    make: Callable[[int, float], Search]
    anew: bool = False


def contestants(space: RecordedSpace, kinds: Sequence[str]) -> list[Contestant]:
    """Return these kinds of search as contestants. Raise InputError with each that does not exist or cannot be used."""
    faults = [fault for kind in dict.fromkeys(kinds) if (fault := _fault(space, kind))]
    if not kinds:
        faults.append(f"no search is named (accepted: {', '.join(_USABLE)})")
    if faults:
        raise InputError(faults)
    return [_contestant(space, kind) for kind in dict.fromkeys(kinds)]


def pausing(kinds: Sequence[str]) -> bool:
    """Return whether one of these kinds of search pauses runs on their curves."""
    return any(kind in KINDS and KINDS[kind].pauses for kind in kinds)


def points_a_cell(space: RecordedSpace, share: float) -> float:
    """Return how many settings this share of the grid's cost pays for in each cell, the same number in all."""
    means = (sum(space.outcomes[one].flops for one in members) / len(members) for members in space.members)
    return share * space.total / sum(means)


def _contestant(space: RecordedSpace, kind: str) -> Contestant:
    def make(seed: int, share: float) -> Search:
        given = {"kind": kind, "seed": seed, **_settings(space, kind, share)}
        return registry.load(space.searched(KINDS[kind].model_validate(given)))

    return Contestant(kind, make, anew=issubclass(KINDS[kind], OptunaSearch))


def _settings(space: RecordedSpace, kind: str, share: float) -> dict[str, Any]:
    """Return the settings of a search for this share of the grid's cost; its other ones are those of a sweep file."""
    model = KINDS[kind]
    if model is RandomSearch:
        return {"samples": 4 * max(map(len, space.members))}  # so that it does not end before its budget
    if issubclass(model, OptunaSearch):
        sampler = getattr(optuna.samplers, SAMPLERS[kind])
        if "n_startup_trials" in inspect.signature(sampler).parameters:
            return {"options": {"n_startup_trials": max(1, round(START * points_a_cell(space, share)))}}
    return {}


def _fault(space: RecordedSpace, kind: str) -> str:
    """Return why a kind of search cannot be used on this space; empty if it can."""
    model = KINDS.get(kind)
    if model is None:
        return f"search {kind!r} is not known (accepted: {', '.join(_USABLE)}){nearest(kind, _USABLE)}"
    if kind == "optuna":
        return f"search optuna needs a sampler (accepted: {', '.join(SAMPLERS)}, which are Optuna's)"
    if issubclass(model, PopulationSearch):
        return f"search {kind} copies checkpoints, and a table has none (accepted: {', '.join(_USABLE)})"
    if model.pauses and not space.sweep.workload.resumes:
        return f"search {kind} pauses runs on their curves, and the table has none (accepted: a column of curves)"
    axes = len(space.cells[0])
    if issubclass(model, LawSearch) and len(space.cells) <= axes:
        cells = counted(len(space.cells), "cell")
        return (
            f"search {kind} needs more cells than axes: {cells} over {axes} axes (accepted: at least {axes + 1}, or "
            "fewer axes)"
        )
    if issubclass(model, ArchiveSearch) and len(space.cells) < 2:
        return f"search {kind} breeds between cells, and the table has one (accepted: at least 2)"
    return ""
