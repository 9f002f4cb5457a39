"""The contract of searches: a history of what has run, in; the next proposal, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sweeplaw.trials.spec import Value

# How a setting ended, over its seeds: `completed` has a value; `diverged`, `failed` and `stopped` will not get one;
# `paused` waits at a step for its search to continue it.
Status = Literal["completed", "diverged", "failed", "stopped", "paused"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A place in the space of a sweep: the index of the scientific point (``cell``), and for each nuisance axis its
    values, one a knob of the axis.
    """

    cell: int
    values: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """A setting whose trials have ended, or wait paused.

    ``values`` are its objectives, each to be minimized, as means over its seeds; empty unless it completed. ``flops``
    is what it has cost so far, None if that is unknown. ``number`` counts the proposals of the search; ``known`` is how
    many observations there were at the time. Both are None for a setting that no search proposed. ``step`` is the
    last step, of ``steps`` in all. ``curve`` has the first objective by step, as far as it is known. ``ids`` are the
    trials; ``knobs`` those that differ from the setting (`Proposal.knobs`).
    """

    setting: Setting
    status: Status
    values: tuple[float, ...] = ()
    flops: float | None = None
    number: int | None = None
    known: int | None = None
    step: int | None = None
    steps: int | None = None
    curve: tuple[tuple[int, float], ...] = ()
    ids: tuple[str, ...] = ()
    knobs: Mapping[str, Value] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The first objective; None unless the setting completed."""
        return self.values[0] if self.values else None


@dataclass(frozen=True, slots=True)
class Pending:
    """A proposed setting whose trials have not all ended."""

    setting: Setting
    number: int | None = None
    known: int | None = None
    knobs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """What is left of the budget, less what is running; None where there is no bound."""

    trials: int | None = None
    flops: float | None = None
    device_seconds: float | None = None
    wall_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All that a search knows. ``observations`` are in the order of their records, ``pending`` in that of their
    proposals; ``spent`` is the FLOPs of all observations, ``number`` that of the next proposal.
    """

    observations: Sequence[Observation] = ()
    pending: Sequence[Pending] = ()
    left: RemainingBudget = RemainingBudget()
    number: int = 0
    spent: float = 0.0

    @property
    def taken(self) -> set[Setting]:
        """The settings that have run or run."""
        return {seen.setting for seen in self.observations} | {item.setting for item in self.pending}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to run next, and why, in words.

    ``until`` is the step at which the trial pauses, None to run to its end; a proposal of a paused setting continues
    it. ``knobs`` are set beside those of the setting, so that it is another trial (population-based training).
    """

    setting: Setting
    reason: str
    until: int | None = None
    knobs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """A paused setting is given up: its trials end as `stopped`, with the loss that was ``predicted`` for their end."""

    setting: Setting
    reason: str
    predicted: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The search has ended by its own rule, for this reason."""

    reason: str


class Search(Protocol):
    """Proposes the trials of one sweep.

    It is a pure function of its space, its options and the history: a new instance gives the same answers. It may
    keep what it computed from an earlier history, as long as that changes no answer.
    """

    def propose(self, history: History) -> Proposal | Stop | Finished | None:
        """Return what to run next, or what to give up; None while waiting for pending trials."""
        ...

    def belief(self, history: History) -> str:
        """Return in one line what the search believes so far, for a person who watches; empty before it knows."""
        ...
