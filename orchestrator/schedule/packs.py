"""Packs: how a plan is cut into the units that are scheduled, and the queue they wait in.

A pack carries trials of one or more groups. On an accelerator the trials of a group run stacked along the member axis,
as many as memory holds; on a CPU core they run one after another. Packs leave largest first and shrink towards the end,
so that no slot idles while another finishes, and short trials share the cost of being scheduled.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import TrialRecord
from sweeplaw.trials.spec import TrialSpec

# Each cut takes 1/8 of what is left for a slot: about 8 ln(n) packs a slot, the last ones single trials.
PACKS_PER_SLOT = 8
MAX_TRIALS = 1000  # bounds what one message carries and what a dead worker makes run again
ONE = TrialResources(1.0)  # what a trial takes where nothing else is said: one core


@dataclass(frozen=True, slots=True)
class Pack:
    """Trials that one worker takes at a time. ``weight`` is their cost in the plan's unit (FLOPs, or trials).

    All are of one ``size``; their micro-batches are divided by ``shrink``.
    """

    groups: tuple[Group, ...]
    weight: float
    attempt: int = 1
    size: TrialResources = ONE
    shrink: int = 1

    @property
    def pack_id(self) -> str:
        """The first trial's id and the count: enough to tell packs of one launch apart."""
        return f"{self.groups[0].ids[0][:12]}-{self.trials}"

    @property
    def trials(self) -> int:
        """How many trials it carries."""
        return sum(len(group.ids) for group in self.groups)

    @property
    def specs(self) -> Iterator[TrialSpec]:
        """The specs, in the order they run."""
        return (group.spec(index) for group in self.groups for index in range(len(group.ids)))


def cut(
    groups: Sequence[Group], slots: int, *, size: TrialResources = ONE, stack_bytes: int | None = None
) -> list[Pack]:
    """The packs of these groups, all of one size, for ``slots`` workers that hold it, largest trials first.

    ``stack_bytes`` is the memory of an accelerator: a pack is then one stack, trials of one group that fit it together.
    A trial that several processes train together is a pack of its own.
    """
    weighed = [(_weight(group, groups), group) for group in groups]
    weighed.sort(key=lambda item: (-item[0], item[1].ids[0]))
    remaining = sum(weight * len(group.ids) for weight, group in weighed)
    packs: list[Pack] = []
    open_groups: list[Group] = []
    open_weight, open_trials = 0.0, 0
    most = MAX_TRIALS if size.processes == 1 else 1
    for weight, group in weighed:
        start = 0
        while start < len(group.ids):
            share = remaining / (slots * PACKS_PER_SLOT)
            room = max(1, int((share - open_weight) / weight))
            room = min(room, most - open_trials, len(group.ids) - start, _stackable(group, stack_bytes))
            open_groups.append(_slice(group, start, start + room))
            open_weight, open_trials, start = open_weight + room * weight, open_trials + room, start + room
            if open_weight + weight > share or open_trials >= most or stack_bytes is not None:
                packs.append(Pack(tuple(open_groups), open_weight, size=size))
                remaining -= open_weight
                open_groups, open_weight, open_trials = [], 0.0, 0
    if open_groups:
        packs.append(Pack(tuple(open_groups), open_weight, size=size))
    return packs


def by_size(groups: Iterable[Group], size_of: Callable[[Cost], TrialResources]) -> dict[TrialResources, list[Group]]:
    """The groups by what each of their trials takes."""
    found: dict[TrialResources, list[Group]] = {}
    for group in groups:
        found.setdefault(size_of(group.cost), []).append(group)
    return found


def _weight(group: Group, groups: Sequence[Group]) -> float:
    """A trial's cost: its FLOPs where every group knows them, else one."""
    known = all(other.cost.flops for other in groups)
    return float(group.cost.flops or 1) if known else 1.0


def _stackable(group: Group, stack_bytes: int | None) -> int:
    if stack_bytes is None or not group.cost.memory_bytes:
        return MAX_TRIALS
    return max(1, stack_bytes // group.cost.memory_bytes)


def _slice(group: Group, start: int, stop: int) -> Group:
    if (start, stop) == (0, len(group.ids)):
        return group
    return replace(group, rows=group.rows[start:stop], ids=group.ids[start:stop])


class Queue:
    """The packs that wait, and what becomes of the trials of a pack whose worker died.

    The largest size leaves first, and of each size the heaviest pack. The trial that was running when its worker died
    waits again alone at the front, with one more attempt, until it has had ``max_attempts``; the ones behind it wait
    again as they were. A trial that ran out of memory waits with micro-batches half as large. ``size_of`` tells what a
    trial of this cost takes.
    """

    def __init__(
        self,
        packs: Iterable[Pack],
        *,
        max_attempts: int = 3,
        stacked: bool = False,
        size_of: Callable[[Cost], TrialResources] = lambda cost: ONE,
    ) -> None:
        self._order = itertools.count()
        self._waiting: dict[TrialResources, list[tuple[bool, float, int, Pack]]] = {}
        self._max_attempts = max_attempts
        self._stacked = stacked
        self._size_of = size_of
        self._shrinks: dict[str, int] = {}  # of trials that ran out of memory
        for pack in packs:
            self.put(pack)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def sizes(self) -> list[TrialResources]:
        """The sizes that packs wait for, in the order they leave."""
        return sorted(self._waiting, key=lambda size: (-size.devices, self._waiting[size][0][:3]))

    def take(self, size: TrialResources | None = None) -> Pack | None:
        """The heaviest pack of this size (None: of the largest size) that waits, or None."""
        if size is None:
            size = next(iter(self.sizes()), None)
        if size not in self._waiting:
            return None
        pack = heapq.heappop(self._waiting[size])[-1]
        if not self._waiting[size]:
            del self._waiting[size]
        return pack

    def put(self, pack: Pack) -> None:
        """This pack waits."""
        fresh = pack.attempt == 1
        heapq.heappush(self._waiting.setdefault(pack.size, []), (fresh, -pack.weight, next(self._order), pack))

    def again(self, record: TrialRecord) -> None:
        """A trial whose row earned it another attempt waits alone, as one that nobody has tried."""
        spec, cost = record.spec, record.cost
        if record.outcome.state == "out_of_memory":
            self._shrinks[spec.trial_id] = 2 * self._shrinks.get(spec.trial_id, 1)
        group = Group(spec.workload, spec.knobs, (), ((),), (spec.trial_id,), cost)
        shrink = self._shrinks.get(spec.trial_id, 1)
        self.put(Pack((group,), float(cost.flops or 1), size=self._size_of(cost), shrink=shrink))

    def died(self, pack: Pack, finished: set[str], *, at_once: bool = False) -> list[TrialSpec]:
        """Queue again what a dead worker left unfinished; return the trials that are given up.

        ``at_once`` gives up the ones that were running, whatever attempt it was.
        """
        left = [group for item in pack.groups if (group := item.only(set(item.ids) - finished)).ids]
        if not left:
            return []
        suspects = left[0] if self._stacked else _slice(left[0], 0, 1)
        behind = [_slice(left[0], len(suspects.ids), len(left[0].ids)), *left[1:]]
        if waiting := tuple(group for group in behind if group.ids):
            share = sum(len(group.ids) for group in waiting) / pack.trials
            self.put(replace(pack, groups=waiting, weight=pack.weight * share, attempt=1))
        singles = [_slice(suspects, index, index + 1) for index in range(len(suspects.ids))]
        if at_once or pack.attempt >= self._max_attempts:
            return [single.spec(0) for single in singles]
        for single in singles:
            self.put(replace(pack, groups=(single,), weight=pack.weight / pack.trials, attempt=pack.attempt + 1))
        return []
