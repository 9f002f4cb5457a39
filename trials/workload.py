"""The contract behind a trial.

Planning, scheduling, storing and analysing know this contract and never a workload. A workload names its knobs, says
what a spec costs and runs a pack as a stream of events; whatever goes wrong inside one trial is an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import Knob, TrialSpec

Event = CurvePoint | Outcome


NOT_BEGUN = "told to wind down before it began"  # the message of a trial that `Context.ending` came before


def never_preempted() -> bool:
    """The answer of a worker that is never told to wind down."""
    return False


class PeerLost(RuntimeError):
    """Another process that trains the same trial is gone. No outcome of the trial: it should run again."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train one trial together: this one is number ``rank`` of ``size``.

    ``address`` is the host:port where rank 0 listens for the others; None when there are no others.
    """

    rank: int = 0
    size: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a worker hands a running pack: where to compute, with whom, and where to write.

    ``device`` is "cpu" or "cuda"; ``folder`` is scratch space of this pack alone; ``threads`` is how many CPU threads
    it may use. ``world`` is more than this process only for a workload that spreads and a pack of one trial.
    ``shrink`` divides the micro-batch: gradients are accumulated over that many parts, so that a trial needs less
    memory and is the same trial. ``checkpoints`` is a folder or URI (whatever pyarrow reaches) where a long trial
    leaves its state every ``checkpoint_seconds``; it outlives the pack, and None means no checkpoints. ``ending``
    turns true once the worker has been told to wind down: the workload writes what it can resume from and ends its
    trials as preempted. A workload may ask it often, from any thread.
    """

    device: str
    folder: Path
    threads: int = 1
    world: World = World()
    shrink: int = 1
    checkpoints: str | None = None
    checkpoint_seconds: float = 600.0
    ending: Callable[[], bool] = never_preempted

    def own_folder(self, trial_id: str) -> str:
        """Path or URI of the folder where the trial's own code may keep what it resumes from.

        It is below ``checkpoints`` and there for the next attempt; without them it is scratch space. It may not exist
        yet, and it is removed when the trial has completed or diverged.
        """
        return f"{(self.checkpoints or f'{self.folder}/checkpoints').rstrip('/')}/{trial_id}"


class Workload(Protocol):
    """What a trial runs.

    ``name`` is the canonical name in specs. ``knobs`` are all settings a spec has. ``requests`` are further names a
    sweep may set, which `resolve` turns into knobs (a target parameter count becomes a shape). ``metrics`` names what
    an outcome measures beyond the core columns, with unit and meaning. ``spreads`` says whether one trial may be
    trained by several processes together, each with a device of its own (`Context.world`); ``shrinks`` whether a trial
    needs less memory for a `Context.shrink`, so that one that ran out of it is worth another attempt.
    """

    name: str
    knobs: tuple[Knob, ...]
    requests: tuple[Knob, ...]
    metrics: Mapping[str, tuple[str, str]]
    spreads: bool

    @property
    def shrinks(self) -> bool: ...

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Knob values from what a sweep asked for: the requests are gone, canonical names are in place.

        Takes and returns plain values; names it does not know pass through, so that all faults are found in one place.
        Reads no ``member`` knob, because a plan resolves once for all members. Raises InputError.
        """
        ...

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        """Numbers a sweep's expressions may use, as far as these resolved values already decide them.

        A language model knows ``params`` once its shape is known, and ``tokens`` once data and epochs are. Pure.
        """
        ...

    def cost(self, spec: TrialSpec) -> Cost:
        """What the spec costs. Pure and fast: no corpus is read, nothing is allocated; the same for all members."""
        ...

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Look at the outside world once before a launch (is the corpus there and large enough, does the script exist).

        Raises InputError with all faults.
        """
        ...

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        """Train the pack: curve points as they come, and exactly one Outcome for each trial.

        Closing the iterator stops the work and frees everything it holds. An exception out of it fails the trials that
        have no outcome yet. Where several processes train one trial, each runs this with the same pack; rank 0 yields
        all events and the others none.
        """
        ...
