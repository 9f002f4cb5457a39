"""The interface between sweeplaw and the code that a trial runs.

Planning, scheduling, storage and analysis depend on this interface, never on a workload. A workload declares its knobs,
estimates the cost of a spec and runs a pack as a stream of events; a failure inside one trial is an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import safe_text
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import Knob, TrialSpec, Value

Event = CurvePoint | Outcome

NOT_BEGUN = "preempted before it began"  # message of a trial that had not begun when `Context.ending` turned true


def never_preempted() -> bool:
    """Return False: the worker is never preempted."""
    return False


def no_log(data: bytes) -> None:
    """Drop the output of a trial."""


class PeerLost(RuntimeError):
    """Another process that trains the same trial is gone. The trial has no outcome and should run again."""


@dataclass(frozen=True, slots=True)
class World:
    """This process (``rank``) among the ``size`` processes that train one trial together.

    ``address`` is the host:port where rank 0 listens; None if there is only one process.
    """

    rank: int = 0
    size: int = 1
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """The trial that goes on from where another one is after ``steps`` updates, which the two share."""

    spec: TrialSpec
    steps: int


@dataclass(frozen=True, slots=True)
class Context:
    """Execution environment of a running pack: device, peers and folders.

    ``device`` is "cpu" or "cuda"; ``folder`` is scratch space for this pack only; ``threads`` is the number of CPU
    threads it may use. ``world`` has several processes only for a workload with ``spreads`` and a pack of one trial.
    ``micro_batch_divisor`` is the number of parts of a batch over which gradients are accumulated, so that the same
    trial needs less memory. ``checkpoints`` is a folder or a URI that pyarrow supports, where a long trial writes its
    state every ``checkpoint_seconds``; it outlives the pack, and None disables checkpoints. ``ending`` returns True
    once the worker is being preempted: the workload then saves its state and ends its trials as preempted. It may be
    called often, from any thread. ``weights`` is a folder or URI where a workload with ``keeps`` leaves the trained
    weights of each trial that completes, with ``snapshots`` also those at its evaluations; None keeps none. ``log``
    takes the output of the trial that runs, in pieces, where that is not printed
    by this process itself: the output of a child, a traceback. ``branches`` has, by the id of a trial of the pack, the
    one behind it that goes on from its trunk; only for a workload of `Branching`.
    """

    device: str
    folder: Path
    threads: int = 1
    world: World = World()
    micro_batch_divisor: int = 1
    checkpoints: str | None = None
    checkpoint_seconds: float = 600.0
    ending: Callable[[], bool] = never_preempted
    weights: str | None = None
    snapshots: bool = False
    log: Callable[[bytes], None] = no_log
    branches: Mapping[str, Branch] = field(default_factory=dict)

    @property
    def shrink(self) -> int:
        """``micro_batch_divisor`` under the name of the placeholder that commands use."""
        return self.micro_batch_divisor

    def own_folder(self, trial_id: str) -> str:
        """Return the path or URI of the folder where the trial's own code may keep its checkpoints.

        It is below ``checkpoints`` and kept for the next attempt, or scratch space if checkpoints are disabled. It may
        not exist yet, and it is removed when the trial has completed or diverged.
        """
        return f"{(self.checkpoints or f'{self.folder}/checkpoints').rstrip('/')}/{trial_id}"


class Workload(Protocol):
    """The code that a trial runs.

    ``name`` is the canonical name in specs. ``knobs`` are all settings of a spec. ``requests`` are additional names a
    sweep may set, which `resolve` converts into knobs (a target parameter count becomes a shape). ``metrics`` maps each
    metric beyond the core columns to its unit and meaning. ``spreads`` is whether several processes, each with its own
    device, may train one trial together (`Context.world`). ``stacks`` is whether the trials of a pack train together;
    otherwise each runs alone. ``resumes`` is whether a trial that ends because `Context.ending` turned true leaves a
    checkpoint, from which it goes on. ``keeps`` is whether it leaves the weights of completed trials in
    `Context.weights`. ``divides_micro_batch`` is whether `Context.micro_batch_divisor` reduces the memory of a trial,
    so that one that ran out of memory may be retried.
    """

    name: str
    knobs: tuple[Knob, ...]
    requests: tuple[Knob, ...]
    metrics: Mapping[str, tuple[str, str]]
    spreads: bool
    stacks: bool
    resumes: bool
    keeps: bool

    @property
    def divides_micro_batch(self) -> bool: ...

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the knob values for what a sweep requested, requests resolved and names canonical.

        Unknown names pass through, so that `TrialSpec.of` reports all faults together. ``member`` knobs are not read,
        because a plan resolves once for all members. Raise InputError.
        """
        ...

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        """Return the numbers that a sweep's expressions may use, as far as these resolved values determine them.

        A language model has ``params`` once its shape is known, and ``tokens`` once data and epochs are. Pure.
        """
        ...

    def cost(self, spec: TrialSpec) -> Cost:
        """Return the cost of the spec, equal for all members. Pure and fast: reads no corpus, allocates nothing."""
        ...

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Check external requirements once before a launch (corpus present and large enough, script exists).

        Raise InputError with every fault.
        """
        ...

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        """Run the pack: yield curve points as they arrive, and exactly one Outcome per trial.

        Closing the generator stops the work and releases its resources. An exception fails the trials that have no
        outcome yet. If several processes train one trial, each calls this with the same pack; rank 0 yields all events
        and the others none.
        """
        ...


def spec_faults(workload: Workload, spec: TrialSpec) -> list[str]:
    """Return why this version of the workload cannot run the spec: each knob needs a value of its type."""
    if len(spec.knobs) == len(workload.knobs) and all(
        _fits(knob, spec.knobs.get(knob.name)) for knob in workload.knobs
    ):
        return []
    if not spec.workload:
        return [f"the worker cannot read its spec: {safe_text(spec.canonical(), str)}"]
    knobs = {knob.name: knob for knob in workload.knobs}
    unknown = sorted(spec.knobs.keys() - knobs.keys())
    faults = [f"{workload.name} has no knob {name} here: another version planned it" for name in unknown]
    faults += [f"its spec has no knob {name}" for name in knobs if name not in spec.knobs]
    return faults + [
        f"{name} = {safe_text(value)} is no value of this knob ({knobs[name].type})"
        for name, value in spec.knobs.items()
        if name in knobs and not _fits(knobs[name], value)
    ]


def _fits(knob: Knob, value: Any) -> bool:
    try:
        return type(knob.coerce(value)) is type(value)
    except (ValueError, TypeError):
        return False


@runtime_checkable
class LookedUp(Protocol):
    """A workload that knows what a trial gives without running it: it has a formula, or a recorded table."""

    def look_up(self, spec: TrialSpec) -> Iterator[Event]:
        """Yield what `Workload.run` would for this trial if nothing interrupted it, at once."""
        ...


@dataclass(frozen=True, slots=True)
class Trunk:
    """The first ``steps`` updates of a trial. Of two trials that differ in `Branching.trunk_knobs` alone and whose
    trunks ``begin`` alike, the fewer of the two numbers are the same updates.
    """

    begin: Hashable
    steps: int


@runtime_checkable
class Branching(Protocol):
    """A workload of which a trial can go on from where another leaves the updates that both begin with.

    ``trunk_knobs`` are the knobs that do not matter until then: the length of the run, the form of its decay.
    """

    trunk_knobs: frozenset[str]

    def trunk(self, knobs: Mapping[str, Value]) -> Trunk | None:
        """Return the trunk of a trial with these resolved knobs; None if it shares its updates with no other."""
        ...


@runtime_checkable
class StacksLengths(Protocol):
    """A workload of which trials of different lengths train as one stack, which shrinks when one of them ends.

    ``length_knobs`` are the knobs, beside the member knobs, in which they may differ.
    """

    length_knobs: frozenset[str]


def stack_knobs(workload: Workload) -> frozenset[str]:
    """Return the knobs in which the trials of one stack may differ."""
    lengths = workload.length_knobs if isinstance(workload, StacksLengths) else frozenset[str]()
    return lengths | {knob.name for knob in workload.knobs if knob.member}


@runtime_checkable
class JoinedKnobs(Protocol):
    """A workload with member knobs that do not go together with any value of the others.

    ``joined_knobs`` are those member knobs, ``zero_knobs`` those of which it matters whether they are 0 and nothing
    else.
    """

    joined_knobs: frozenset[str]
    zero_knobs: frozenset[str]

    def joined_faults(self, knobs: Mapping[str, Value]) -> list[str]:
        """Return what does not go together in these knobs of a trial. Pure and fast."""
        ...
