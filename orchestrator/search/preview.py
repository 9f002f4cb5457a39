"""What is known of a search beforehand: its space, its budget, its first proposals, and a range for its cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.limits import Budget
from sweeplaw.orchestrator.search.answers import answers
from sweeplaw.orchestrator.search.contract import History, Pending, Proposal, RemainingBudget, Search, Setting
from sweeplaw.orchestrator.search.space import Space, ladder
from sweeplaw.trials.quantities import is_number

FIRST = 5  # proposals that are shown


def preview(space: Space, search: Search, history: History) -> dict[str, Any]:
    """Return the search in numbers. Unknown is None: a workload without a FLOP count has no cost."""
    costs = _costs(space)
    trials = _trials(space, costs)
    return {
        "sweep": space.sweep.name,
        "workload": space.sweep.workload.name,
        "search": space.sweep.search.model_dump(exclude_none=True),
        "points": len(space.cells),
        "axes": {",".join(axis.names): _range(axis) for axis in space.axes},
        "settings": len(space.candidates) if space.finite else None,
        "seeds": space.seeds,
        "budget": space.sweep.budget.model_dump(exclude_none=True),
        "known": len(history.observations),
        "spent_flops": history.spent,
        "setting_flops": costs,
        "trials": trials,
        "flops": _flops(space, trials, costs),
        "grid_flops": sum(item.flops or 0.0 for item in space.candidates) if space.finite and costs else None,
        "proposals": [_described(space, proposal) for proposal in _first(search, history)],
    }


def recommended(space: Space, search: Search, history: History) -> list[dict[str, Any]]:
    """Return the search's answer at each scientific point as a flat row: the values of all axes, and beside them what
    `trials.store_format.search_state` says of a recommendation. A knob whose condition does not hold there is None.

    ``value`` is the metric itself, also where it is maximized. ``edges`` are the axes at whose lowest or highest value
    it lies, so that a better one may lie beyond.
    """
    sign = -1.0 if getattr(space.sweep.search, "maximize", False) else 1.0
    return [
        {
            **space.active_knobs(answer.setting),
            **answer.knobs,
            "value": sign * answer.value,
            "intervals": _without(space.inactive(answer.setting), answer.intervals),
            "basis": answer.words,
            "trust": answer.trust,
            "certified": answer.certified,
            "edges": _without(space.inactive(answer.setting), _edges(space, answer.setting)),
        }
        for answer in answers(search, space, history)
    ]


def _without(names: Collection[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is found of all axes but those of these knobs."""
    return {axis: content for axis, content in found.items() if not set(axis.split(",")) <= set(names)}


def _edges(space: Space, setting: Setting) -> dict[str, str]:
    """Return ``lowest`` or ``highest`` by the axes on an end of whose ordered values a setting lies."""
    found = {}
    for axis, own in zip(space.axes, setting.values, strict=True):
        values = list(ladder(axis))
        ordered = all(is_number(value) for value, *_ in values)
        if len(values) > 1 and ordered and own in (values[0], values[-1]):
            found[",".join(axis.names)] = "lowest" if own == values[0] else "highest"
    return found


def left(budget: Budget, history: History, trials: int) -> RemainingBudget:
    """Return what remains of a budget after a history of ``trials`` trials. Imported runs cost nothing."""
    return RemainingBudget(
        trials=None if budget.trials is None else budget.trials - trials,
        flops=None if budget.flops is None else budget.flops - history.spent,
    )


def _first(search: Search, history: History) -> list[Proposal]:
    """Return the proposals that would start at once, if as many workers were free."""
    found: list[Proposal] = []
    for _ in range(FIRST):
        proposal = search.propose(history)
        if not isinstance(proposal, Proposal) or _spent(history.left):
            break
        found.append(proposal)
        waiting = Pending(proposal.setting, history.number, len(history.observations), proposal.knobs)
        history = replace(history, pending=[*history.pending, waiting], number=history.number + 1)
    return found


def _spent(left: RemainingBudget) -> bool:
    return (left.trials is not None and left.trials <= 0) or (left.flops is not None and left.flops <= 0)


def _costs(space: Space) -> list[float] | None:
    """Return the FLOPs of the cheapest and of the most expensive setting; None if unknown."""
    groups = [(group, len(group.ids)) for group in space.examples]
    known = [group.cost.flops * seeds for group, seeds in groups if group.cost.flops is not None]
    if space.finite:
        known = [item.flops for item in space.candidates if item.flops is not None]
    return [min(known), max(known)] if known else None


def _trials(space: Space, costs: list[float] | None) -> list[int] | None:
    """Return the fewest and the most trials that the budget pays for; None if it does not say."""
    budget = space.sweep.budget
    counts = []
    if budget.trials is not None:
        counts.append((budget.trials, budget.trials))
    if budget.flops is not None and costs is not None:
        counts.append((int(budget.flops / costs[1]) * space.seeds, int(budget.flops / costs[0]) * space.seeds))
    if space.finite:
        most = len(space.candidates) * space.seeds
        counts = [(min(low, most), min(high, most)) for low, high in counts or [(0, most)]]
    return [min(low for low, _ in counts), min(high for _, high in counts)] if counts else None


def _flops(space: Space, trials: list[int] | None, costs: list[float] | None) -> list[float] | None:
    """Return the least and the most FLOPs of the trials that the budget pays for: all at the cheapest settings, or all
    at the most expensive. The least is 0 for searches that pause or stop trials. None if unknown.
    """
    if trials is None or costs is None:
        return None
    low, high = (number // space.seeds for number in trials)
    if space.finite:
        known = sorted(item.flops or 0.0 for item in space.candidates)
        least, most = math.fsum(known[:low]), math.fsum(known[len(known) - high :])
    else:
        least, most = low * costs[0], high * costs[1]
    search, limit = space.sweep.search, space.sweep.budget.flops
    most = most if limit is None else min(most, limit)
    return [0.0 if search.pauses or search.early_stopping else min(least, most), most]


def _range(axis: Axis) -> dict[str, list[Any]]:
    """Return the values of an axis, or its ends where a search draws from a range."""
    if not axis.values:
        return {"range": [axis.low, axis.high]}
    return {"values": [values[0] if len(values) == 1 else list(values) for values in axis.values]}


def _described(space: Space, proposal: Proposal) -> Mapping[str, Any]:
    group = space.group(proposal.setting, proposal.knobs)
    ids = [] if isinstance(group, str) else list(group.ids)
    return {
        **space.active_knobs(proposal.setting),
        "trial_ids": ids,
        "until": proposal.until,
        "reason": proposal.reason,
    }
