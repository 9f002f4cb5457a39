"""Packs of trials that go on from one another's trunks: one worker trains them, that of the shortest trunk first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.plan.trunks import Chain, chains
from sweeplaw.orchestrator.schedule.packs import MAX_TRIALS, PACKS_PER_SLOT, Pack, stackable


def cut_trunks(
    groups: Sequence[Group],
    sweep: SweepSpec,
    slots: int,
    *,
    size: TrialResources,
    stack_bytes: int | None = None,
) -> tuple[list[Pack], list[Group]]:
    """Return packs of the trials that share trunks, and the groups of all others. Arguments as in `packs.cut`.

    A trial of several processes is a pack by itself, and trains all its updates.
    """
    if size.processes > 1:
        return [], list(groups)
    bundles: dict[tuple[int, ...], list[Chain]] = {}
    for chain in chains(groups, sweep):
        bundles.setdefault(tuple(link.group for link in chain), []).append(chain)
    weights = {numbers: _weight(groups, bundle[0]) for numbers, bundle in bundles.items()}
    share = sum(weights[numbers] * len(bundle) for numbers, bundle in bundles.items()) / (slots * PACKS_PER_SLOT)
    packs: list[Pack] = []
    for numbers, bundle in bundles.items():
        room = min(MAX_TRIALS // len(numbers) or 1, *(stackable(groups[number], stack_bytes) for number in numbers))
        if stack_bytes is None:
            room = max(1, min(room, int(share / weights[numbers])))
        for begin in range(0, len(bundle), room):
            packs.append(_pack(groups, bundle[begin : begin + room], weights[numbers], size))
    taken = {trial_id for pack in packs for group in pack.groups for trial_id in group.ids}
    left = [group if taken.isdisjoint(group.ids) else group.only(set(group.ids) - taken) for group in groups]
    return packs, [group for group in left if group.ids]


def _pack(groups: Sequence[Group], bundle: Sequence[Chain], weight: float, size: TrialResources) -> Pack:
    parts: list[Group] = []
    branches: dict[str, tuple[str, int]] = {}
    for links in zip(*bundle, strict=True):
        group = groups[links[0].group]
        chosen = [link.index for link in links]
        parts.append(replace(group, rows=tuple(group.rows[i] for i in chosen), ids=tuple(group.ids[i] for i in chosen)))
    for chain in bundle:
        ids = [groups[link.group].ids[link.index] for link in chain]
        branches |= {one: (other, link.steps) for one, other, link in zip(ids, ids[1:], chain, strict=False)}
    return Pack(tuple(parts), weight * len(bundle), size=size, branches=branches)


def _weight(groups: Sequence[Group], chain: Chain) -> float:
    """Return the cost of one chain, each update counted once: its FLOPs, or if they are not known its trials."""
    costs = [groups[link.group].cost for link in chain]
    if not all(cost.flops and cost.steps for cost in costs):
        return float(len(chain))
    return sum(
        (cost.flops or 0) * (1 - link.taken_over / (cost.steps or 1)) for cost, link in zip(costs, chain, strict=True)
    )
