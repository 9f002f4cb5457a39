"""Packs, the units of scheduling that a plan is cut into, and their queue.

A pack has trials of one or more groups. On an accelerator the trials of a group, and of others that differ from it in
their length alone, run stacked along the member axis, as many as memory holds; on a CPU core they run one after
another. Packs leave largest first and shrink towards the end, so that no slot idles while another finishes, and short
trials share the cost of scheduling.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.death_counts import Death, DeathCounts
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import TrialRecord
from sweeplaw.trials.spec import TrialSpec

# A pack is 1/8 of the remaining work of a slot: about 8 ln(n) packs a slot, the last ones single trials.
PACKS_PER_SLOT = 8
# A stack of small models takes little longer than one of them, so a slot gets its whole remaining share at once.
STACKS_PER_SLOT = 1
MAX_TRIALS = 1000  # bounds a message, and the trials that run again when a worker dies
ONE = TrialResources(1.0)  # the default size of a trial: one core


@dataclass(frozen=True, slots=True)
class Pack:
    """Trials that one worker takes at a time. ``weight`` is their cost in the plan's unit (FLOPs, or trials).

    All are of one ``size``; their micro-batches are divided by ``micro_batch_divisor``. They pause at the step
    ``until``, None to run to their end. ``branches`` has, by the id of a trial, the id of one behind it that goes on
    from its trunk, and after how many updates.
    """

    groups: tuple[Group, ...]
    weight: float
    attempt: int = 1
    size: TrialResources = ONE
    micro_batch_divisor: int = 1
    until: int | None = None
    branches: Mapping[str, tuple[str, int]] = field(default_factory=dict, hash=False)

    @property
    def pack_id(self) -> str:
        """The first trial's id and the number of trials: unique within a launch."""
        return f"{self.groups[0].ids[0][:12]}-{self.trials}"

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(len(group.ids) for group in self.groups)

    @property
    def specs(self) -> Iterator[TrialSpec]:
        """The specs, in running order."""
        return itertools.chain.from_iterable(group.specs for group in self.groups)


def cut(
    groups: Sequence[Group],
    slots: int,
    *,
    size: TrialResources = ONE,
    stack_bytes: int | None = None,
    unshared: frozenset[str] = frozenset(),
) -> list[Pack]:
    """Cut groups of one size into packs for ``slots`` workers, largest trials first.

    ``stack_bytes`` is the memory of an accelerator: a pack is then one stack, trials that fit it together and differ in
    ``unshared`` knobs alone. A trial of several processes is a pack by itself.
    """
    weighed = [(_weight(group, groups), group) for group in groups]
    weighed.sort(key=lambda item: (-item[0], item[1].ids[0]))
    remaining = sum(weight * len(group.ids) for weight, group in weighed)
    packs: list[Pack] = []
    for together in [weighed] if stack_bytes is None else _stackable_groups(weighed, unshared):
        opened = _OpenPack()
        for weight, group in together:
            start = 0
            while start < len(group.ids):
                room = min(opened.room, 1 if size.processes > 1 else stackable(group, stack_bytes))
                share = remaining / (slots * (PACKS_PER_SLOT if stack_bytes is None else STACKS_PER_SLOT))
                taken = min(max(1, int((share - opened.weight) / weight)), room - opened.trials, len(group.ids) - start)
                if taken > 0:
                    opened.add(_slice(group, start, start + taken), weight, room)
                    start += taken
                if taken < 1 or opened.weight + weight > share or opened.trials >= room:
                    packs.append(Pack(tuple(opened.groups), opened.weight, size=size))
                    remaining, opened = remaining - opened.weight, _OpenPack()
        if opened.groups:
            packs.append(Pack(tuple(opened.groups), opened.weight, size=size))
            remaining -= opened.weight
    return packs


@dataclass(slots=True)
class _OpenPack:
    """A pack that takes more trials, of which it has ``room`` for so many."""

    groups: list[Group] = field(default_factory=list)
    weight: float = 0.0
    trials: int = 0
    room: int = MAX_TRIALS

    def add(self, group: Group, weight: float, room: int) -> None:
        """Add trials of this weight each; the pack has room for no more than ``room`` then."""
        self.groups.append(group)
        self.weight, self.trials = self.weight + weight * len(group.ids), self.trials + len(group.ids)
        self.room = room


def _stackable_groups(
    weighed: Sequence[tuple[float, Group]], unshared: frozenset[str]
) -> Iterable[list[tuple[float, Group]]]:
    """Return the groups with their weights, those together that are equal in all knobs but ``unshared`` ones."""
    found: dict[tuple[Any, ...], list[tuple[float, Group]]] = {}
    for weight, group in weighed:
        key = tuple((name, value) for name, value in sorted(group.shared.items()) if name not in unshared)
        found.setdefault(key, []).append((weight, group))
    return found.values()


def by_size(groups: Iterable[Group], size_of: Callable[[Cost], TrialResources]) -> dict[TrialResources, list[Group]]:
    """Return the groups by the size of their trials."""
    found: dict[TrialResources, list[Group]] = {}
    for group in groups:
        found.setdefault(size_of(group.cost), []).append(group)
    return found


def _weight(group: Group, groups: Sequence[Group]) -> float:
    """Return a trial's cost: its FLOPs if every group knows them, else one."""
    known = all(other.cost.flops for other in groups)
    return float(group.cost.flops or 1) if known else 1.0


def stackable(group: Group, stack_bytes: int | None) -> int:
    """Return how many trials of the group an accelerator with this memory holds at once; None: no accelerator."""
    if stack_bytes is None or not group.cost.memory_bytes:
        return MAX_TRIALS
    return max(1, stack_bytes // group.cost.memory_bytes)


def _slice(group: Group, start: int, stop: int) -> Group:
    if (start, stop) == (0, len(group.ids)):
        return group
    return replace(group, rows=group.rows[start:stop], ids=group.ids[start:stop])


class Queue:
    """Waiting packs, largest size first and heaviest pack first within a size.

    The trial that was running when its worker died is queued alone, at the front, with one more attempt, until
    ``max_attempts`` such deaths count against it (`death_counts`); the trials behind it are queued unchanged. A trial
    that ran out of memory is queued with micro-batches half as large. ``size_of`` returns the size of a trial of a
    given cost. ``source`` is asked for more packs whenever one is wanted and none waits.
    """

    def __init__(
        self,
        packs: Iterable[Pack],
        *,
        max_attempts: int = 3,
        stacked: bool = False,
        size_of: Callable[[Cost], TrialResources] = lambda cost: ONE,
        source: Callable[[], Iterable[Pack]] = tuple,
    ) -> None:
        self._source = source
        self._order = itertools.count()
        self._waiting: dict[TrialResources, list[tuple[bool, float, int, Pack]]] = {}
        self._deaths = DeathCounts(max_attempts)
        self._held: dict[str, Pack] = {}  # trials whose last death may or may not count, by id
        self._stacked = stacked
        self._size_of = size_of
        self._divisors: dict[str, int] = {}  # of trials that ran out of memory
        self._pauses: dict[str, int] = {}  # `until` of trials that have it
        for pack in packs:
            self.put(pack)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def refill(self) -> bool:
        """Ask the source for packs if none waits; return whether any waits now."""
        if not self._waiting:
            for pack in self._source():
                self.put(pack)
        return bool(self._waiting)

    def sizes(self) -> list[TrialResources]:
        """Return the sizes of the waiting packs, in the order they leave, after a `refill`."""
        self.refill()
        return sorted(self._waiting, key=lambda size: (-size.devices, self._waiting[size][0][:3]))

    def take(self, size: TrialResources | None = None) -> Pack | None:
        """Remove and return the heaviest waiting pack of this size (None: of the largest size), or None."""
        if size is None:
            size = next(iter(self.sizes()), None)
        if size not in self._waiting:
            return None
        pack = heapq.heappop(self._waiting[size])[-1]
        if not self._waiting[size]:
            del self._waiting[size]
        return pack

    def put(self, pack: Pack) -> None:
        """Queue a pack."""
        for trial_id in (one for group in pack.groups for one in group.ids) if pack.until or self._pauses else ():
            if pack.until is None:
                self._pauses.pop(trial_id, None)
            else:
                self._pauses[trial_id] = pack.until
        fresh = pack.attempt == 1
        heapq.heappush(self._waiting.setdefault(pack.size, []), (fresh, -pack.weight, next(self._order), pack))

    def again(self, record: TrialRecord) -> None:
        """Requeue one recorded trial alone, with a fresh crash count."""
        spec, cost = record.spec, record.cost
        self._deaths.forget(spec.trial_id)
        if record.outcome.state == "out_of_memory":
            self._divisors[spec.trial_id] = 2 * self._divisors.get(spec.trial_id, 1)
        group = Group(spec.workload, spec.knobs, (), ((),), (spec.trial_id,), cost)
        divisor = self._divisors.get(spec.trial_id, 1)
        until = self._pauses.get(spec.trial_id)
        size = self._size_of(cost)
        self.put(Pack((group,), float(cost.flops or 1), 1, size, divisor, until))

    @property
    def holds(self) -> bool:
        """Whether trials wait for the reason of their worker's death (`settled`)."""
        return bool(self._held)

    def died(self, pack: Pack, finished: set[str], death: Death = Death()) -> list[TrialSpec]:  # noqa: B008  frozen
        """Requeue the unfinished trials of a dead worker's pack; return the trials that are given up.

        If the cause of ``death`` is still unknown and matters, hold the trial until it is `settled`.
        """
        suspects, behind = self._suspects(pack, finished)
        if behind:
            share = sum(len(group.ids) for group in behind) / pack.trials
            self.put(replace(pack, groups=behind, weight=pack.weight * share, attempt=1))
        given_up = []
        for single in suspects:
            again = replace(pack, groups=(single,), weight=pack.weight / pack.trials, attempt=pack.attempt + 1)
            verdict = self._deaths.died(single.ids[0], death)
            if verdict == "again":
                self.put(again)
            elif verdict == "wait":
                self._held[single.ids[0]] = again
            else:
                given_up.append(single.spec(0))
        return given_up

    def settled(self, pack: Pack, finished: set[str], *, node_lost: bool) -> list[TrialSpec]:
        """Count an open death of this pack's worker, now that its reason is known: release the trials that were held.

        Return those that are given up.
        """
        given_up = []
        for single in self._suspects(pack, finished)[0]:
            verdict = self._deaths.settled(single.ids[0], node_lost=node_lost)
            if (again := self._held.pop(single.ids[0], None)) is None:
                continue
            if verdict == "again":
                self.put(again)
            else:
                given_up.append(single.spec(0))
        return given_up

    def _suspects(self, pack: Pack, finished: set[str]) -> tuple[list[Group], tuple[Group, ...]]:
        """Return the trials that were running when the pack's worker died, one a group, and those behind them."""
        left = [group for item in pack.groups if (group := item.only(set(item.ids) - finished)).ids]
        if not left:
            return [], ()
        if not self._stacked:
            running, behind = [_slice(left[0], 0, 1)], [_slice(left[0], 1, len(left[0].ids)), *left[1:]]
        else:  # of trials that share trunks one group trains at a time, any others are one stack
            together = left[:1] if pack.branches else left
            running = [_slice(group, index, index + 1) for group in together for index in range(len(group.ids))]
            behind = left[len(together) :]
        return running, tuple(group for group in behind if group.ids)
