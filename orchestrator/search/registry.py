"""The searches by their kind in the sweep file, and what each needs of a sweep."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from sweeplaw.orchestrator.plan.limits import unknown_flops
from sweeplaw.orchestrator.plan.plan import MOST_FAULTS
from sweeplaw.orchestrator.plan.search_options import (
    AdaptiveSearch,
    ArchiveSearch,
    HalvingSearch,
    LawSearch,
    LocalSearch,
    OptunaSearch,
    PopulationSearch,
    RandomSearch,
)
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.search import static
from sweeplaw.orchestrator.search.contract import Search, Setting
from sweeplaw.orchestrator.search.ledger import SearchObjective
from sweeplaw.orchestrator.search.space import Space, sobol
from sweeplaw.trials.errors import InputError, gathered, nearest
from sweeplaw.trials.record import TRIAL_COLUMNS

DRAWS = 32  # settings of each point whose cost is looked at where there are too many to look at all


def load(space: Space) -> Search:
    """Return the search of the space's sweep. Raise InputError if the sweep lacks what it needs."""
    search = _search(space)
    if space.sweep.search.early_stopping is None:
        return search
    from sweeplaw.orchestrator.search.early_stopping import EarlyStopping

    return EarlyStopping(space, space.sweep.search.early_stopping, search)


def _search(space: Space) -> Search:
    options = space.sweep.search
    match options:
        case OptunaSearch():
            from sweeplaw.orchestrator.search.optuna_sampler import OptunaSampler

            return OptunaSampler(space, options)
        case LocalSearch():
            from sweeplaw.orchestrator.search.local import Local

            return Local(space, options)
        case LawSearch():
            from sweeplaw.orchestrator.search.law_guided import LawGuided

            return LawGuided(space, options)
        case HalvingSearch():
            from sweeplaw.orchestrator.search.halving import Halving

            return Halving(space, options)
        case PopulationSearch():
            from sweeplaw.orchestrator.search.population import Population

            return Population(space, options)
        case ArchiveSearch():
            from sweeplaw.orchestrator.search.archive import Archive

            return Archive(space, options)
        case RandomSearch():
            return static.StaticSearch(space, static.random(space, options.samples, options.seed))
    return static.StaticSearch(space, static.grid(space))


def objective(sweep: SweepSpec) -> SearchObjective:
    """Return what the search of this sweep minimizes."""
    options = sweep.search
    if isinstance(options, OptunaSearch) and options.objectives:
        return SearchObjective(tuple(options.objectives), frozenset(options.maximized))
    if isinstance(options, AdaptiveSearch):
        return SearchObjective(
            (options.objective,), frozenset([options.objective]) if options.maximize else frozenset()
        )
    return SearchObjective(("val_loss",))


def check(sweep: SweepSpec) -> None:
    """Raise InputError with every reason why the search of this sweep cannot work, before anything starts."""
    options, budget = sweep.search, sweep.budget
    faults = []
    bounded = any(value is not None for value in budget.model_dump().values())
    if isinstance(options, OptunaSearch | ArchiveSearch) and not bounded:
        faults.append(
            f"a {options.kind} search goes on until its budget is spent, and [budget] has none: give trials, flops, "
            "device_hours or wall_hours"
        )
    if isinstance(options, LawSearch) and not bounded and options.stop is None:
        faults.append('a law search needs a [budget] or a price: search.stop = "0.01 % per 1e18 FLOPs"')
    if (options.pauses or options.early_stopping) and not sweep.workload.resumes:
        faults.append(
            f"search.kind: {options.kind} pauses trials and continues them from their checkpoints, which "
            f"{sweep.workload.name} does not write (accepted: language_model, or code of your own that resumes from "
            "what it wrote into its checkpoint_folder, with checkpoints = true in [workload])"
        )
    points = math.prod(len(axis.values) for axis in sweep.axes if axis.role == "scientific")
    if isinstance(options, LawSearch) and points < 2:
        faults.append(
            f"a law search learns from one scientific point for the others, and the sweep has {points} "
            "(accepted: at least 2; for a single one, local, tpe or gp)"
        )
    if isinstance(options, OptunaSearch):
        faults += [
            f"search.maximized: {name!r} is none of the objectives{nearest(name, options.objectives)} "
            f"(accepted: {', '.join(options.objectives) or 'none without search.objectives; maximize = true'})"
            for name in options.maximized
            if name not in options.objectives
        ]
    faults += _unknown_objectives(sweep)
    if faults:
        raise InputError(faults, where=sweep.name)
    space = Space(sweep)
    _check_settings(space)
    load(space)
    _check_budget(space)


def _unknown_objectives(sweep: SweepSpec) -> Iterator[str]:
    """Yield an error for each objective that a built-in workload never reports; user code may report any."""
    if sweep.workload.name.partition(":")[0] in ("python", "command"):
        return
    known = [*sweep.workload.metrics, *(column.name for column in TRIAL_COLUMNS)]
    for name in objective(sweep).metrics:
        if name not in known:
            accepted = ", ".join(dict.fromkeys(["val_loss", "train_loss", *sweep.workload.metrics]))
            yield (
                f"search.objective: {sweep.workload.name} measures no {name!r}{nearest(name, known)} "
                f"(accepted: {accepted})"
            )


def _check_settings(space: Space) -> None:
    """Raise InputError with the faults of the trials of all settings, of a space that is not finite of some."""
    try:
        if space.finite:
            _ = space.candidates
        else:
            gathered({setting: functools.partial(space.group, setting) for setting in _drawn(space)})
    except InputError as error:
        raise InputError(error.faults[:MOST_FAULTS], where=space.sweep.name) from None


def _check_budget(space: Space) -> None:
    """Raise InputError if not even the cheapest setting fits the budget, as far as its cost is known."""
    budget, faults = space.sweep.budget, []
    if budget.trials is not None and budget.trials < space.seeds:
        faults.append(
            f"budget.trials = {budget.trials} is less than one setting needs (accepted: at least {space.seeds}, "
            "one for each seed)"
        )
    least = _cheapest(space)
    if budget.flops is not None and least is None:
        faults.append(unknown_flops(budget.flops))
    if budget.flops is not None and least is not None and least > budget.flops:
        faults.append(
            f"budget.flops = {budget.flops:g} is less than the cheapest setting needs (accepted: at least {least:.3g})"
        )
    if faults:
        raise InputError(faults, where=space.sweep.name)


def _cheapest(space: Space) -> float | None:
    """Return the FLOPs of the cheapest setting, up to its first rung where trials pause; None if unknown.

    Where a space is not finite it is the cheapest of some that are drawn.
    """
    if space.finite:
        costs = [candidate.flops for candidate in space.candidates]
    else:
        costs = [space.flops(setting) for setting in _drawn(space) if space.admits(setting)]
    known = [cost for cost in costs if cost is not None]
    options = space.sweep.search
    share = options.first if isinstance(options, HalvingSearch) else 1.0
    if isinstance(options, PopulationSearch):
        share = 1 / options.intervals
    return share * min(known) if known else None


def _drawn(space: Space) -> list[Setting]:
    """Return some settings at each scientific point of a space that is not finite."""
    return [Setting(cell, values) for values in sobol(space.axes, DRAWS, 0) for cell in range(len(space.cells))]
