"""Trials that begin with the same updates, of which the first to branch off does them for all.

Of a warm-up-stable-decay schedule, decays branch off one trunk at several token counts (Hu et al. 2024, MiniCPM,
section 4.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.workload import Branching

if TYPE_CHECKING:  # a plan counts the FLOPs of each trunk once
    from sweeplaw.orchestrator.plan.plan import Group


@dataclass(frozen=True, slots=True)
class Link:
    """One trial of a chain: the trial at ``index`` of its ``group``, and the first updates that those behind it share.

    ``taken_over`` are the updates that the trial before it does for it.
    """

    group: int
    index: int
    steps: int
    taken_over: int = 0


Chain = tuple[Link, ...]  # trials of which each continues the trunk of the one before it


def chains(groups: Sequence[Group], sweep: SweepSpec) -> list[Chain]:
    """Return the trials of these groups that can go on from one another, each in one chain; a link's ``group`` is the
    place of its group among them.

    None where the weights of every evaluation are kept: a trial has those of its own updates only.
    """
    workload = sweep.workload
    if not isinstance(workload, Branching) or sweep.keep == "evaluations":
        return []
    families: dict[tuple[Any, ...], list[int]] = {}
    for number, group in enumerate(groups):
        families.setdefault(_shared(group, workload.trunk_knobs), []).append(number)
    found: list[Chain] = []
    for family in families.values():
        if len(family) > 1 or not workload.trunk_knobs.isdisjoint(groups[family[0]].names):
            found += _chains({number: groups[number] for number in family}, workload)
    return found


def saved_flops(groups: Sequence[Group], sweep: SweepSpec) -> tuple[int, dict[int, float]]:
    """Return the number of trials that continue another's trunk, and the FLOPs saved, by the place of their group."""
    trials, saved = 0, dict.fromkeys(range(len(groups)), 0.0)
    for chain in chains(groups, sweep):
        trials += len(chain) - 1
        for link in chain:
            saved[link.group] += (
                link.taken_over / (groups[link.group].cost.steps or 1) * (groups[link.group].cost.flops or 0.0)
            )
    return trials, saved


def unshared(groups: Sequence[Group], sweep: SweepSpec) -> list[str]:
    """Return a sentence if lengths of run could share trunks and do not, since their warm-ups differ."""
    workload = sweep.workload
    if not isinstance(workload, Branching) or sweep.keep == "evaluations":
        return []
    begins: dict[tuple[Any, ...], set[Any]] = {}
    for group in groups:
        if trunk := workload.trunk(group.spec(0).knobs):
            begins.setdefault(_shared(group, workload.trunk_knobs), set()).add(trunk.begin)
    apart = [found for found in begins.values() if len(found) > 1]
    if not apart or chains(groups, sweep):
        return []
    steps = sorted(set().union(*apart))
    several = (
        f"warm up over {steps[0]} to {counted(steps[-1], 'step')}" if steps[0] != steps[-1] else "begin differently"
    )
    return [
        f"runs of several lengths train no trunk together, since they {several} (as many at every length would share "
        "one: warmup_fraction = '0.02 / epochs' in [derived])"
    ]


def _shared(group: Group, behind: frozenset[str]) -> tuple[Any, ...]:
    return tuple((name, value) for name, value in sorted(group.shared.items()) if name not in behind)


def _chains(family: Mapping[int, Group], workload: Branching) -> Iterator[Chain]:
    """Yield the chains of groups that share all knobs but those that do not matter before a trunk ends."""
    members: dict[tuple[Any, ...], list[tuple[int, int, str, Link]]] = {}
    for number, group in family.items():
        moving = not workload.trunk_knobs.isdisjoint(group.names)
        own = None if moving else workload.trunk(group.spec(0).knobs)
        kept = [place for place, name in enumerate(group.names) if name not in workload.trunk_knobs]
        for index, row in enumerate(group.rows):
            trunk = workload.trunk(group.spec(index).knobs) if moving else own
            if trunk is None or trunk.steps < 1:
                continue
            alike = (trunk.begin, *sorted((group.names[place], row[place]) for place in kept))
            link = Link(number, index, trunk.steps)
            members.setdefault(alike, []).append((trunk.steps, group.cost.steps or 0, group.ids[index], link))
    for entries in members.values():
        if len(entries) > 1:
            links = [link for *_, link in sorted(entries, key=lambda entry: entry[:3])]
            taken_over = [0, *(link.steps for link in links[:-1])]
            yield tuple(
                Link(link.group, link.index, link.steps, taken) for link, taken in zip(links, taken_over, strict=True)
            )
