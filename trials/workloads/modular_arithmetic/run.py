"""Execution of a pack of modular-arithmetic trials: from specs to curve points and outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import torch

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec, Value
from sweeplaw.trials.training.trial import Clock
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.modular_arithmetic.arithmetic import pair_count
from sweeplaw.trials.workloads.modular_arithmetic.members import Members, PairScores, warmup
from sweeplaw.trials.workloads.modular_arithmetic.milestones import Accuracies, milestones
from sweeplaw.trials.workloads.modular_arithmetic.shapes import activations

# Members that train as one on a CPU, as long as their activations fit its cache: 4.4 times as fast as one by one at
# modulus 23 and width 32, 1.3 to 2.1 times at 31 and 64; at 97 and 128, 0.74 times (measured). The numbers are equal.
CPU_MEMBERS, CPU_VALUES = 8, 2**22


@dataclass
class TrialCurve:
    """What was measured of one trial: the loss before each update, and all its evaluations."""

    spec: TrialSpec
    losses: list[float] = field(default_factory=list)
    evaluations: list[Accuracies] = field(default_factory=list)
    reported: int = 0  # updates that the points so far cover

    def diverged_at(self, scores: Mapping[str, float]) -> int | None:
        """Return the first update since the last point with a loss that is not a number or above the bound, if any.

        ``scores`` are those after the last update.
        """
        bound, since = self.spec["divergence_loss"], self.losses[self.reported :]
        found = next((self.reported + i for i, loss in enumerate(since, 1) if not loss <= bound), None)
        finite = scores["train_loss"] <= bound and math.isfinite(scores["val_loss"])
        return len(self.losses) if found is None and not finite else found

    def point(self, pairs: int, scores: Mapping[str, float]) -> CurvePoint:
        """Return the point at the last update; each had ``pairs`` pairs."""
        step, since = len(self.losses), self.losses[self.reported :]
        self.evaluations.append(Accuracies(step, scores["train_accuracy"], scores["val_accuracy"]))
        self.reported = step
        rate = self.spec["lr"] * warmup(step - 1, self.spec["warmup_steps"])
        shown = {name: scores[name] for name in ("train_accuracy", "val_accuracy", "weight_norm")}
        loss = math.fsum(since) / len(since)
        return CurvePoint(self.spec.trial_id, step, step * pairs, loss, scores["val_loss"], rate, metrics=shown)

    def metrics(self, scores: Mapping[str, float]) -> dict[str, Value | None]:
        """Return the metrics of a trial that has ended. ``train_loss`` is the mean over the last tenth of the run."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return {**scores, "train_loss": math.fsum(last) / len(last), **milestones(self.evaluations)}


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield the events of the pack, whose trials train as one: on a CPU as many as pay."""
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    size = _cpu_stack(pack[0]) if pack and context.device == "cpu" else len(pack)
    try:
        for begin in range(0, len(pack), size or 1):
            yield from _train(pack[begin : begin + size], context)
    finally:
        torch.set_num_threads(before)


def _cpu_stack(spec: TrialSpec) -> int:
    """Return the number of trials like this one that train as one on a CPU."""
    values = pair_count(spec["operation"], spec["modulus"]) * activations(spec.knobs)
    return max(1, min(CPU_MEMBERS, CPU_VALUES // values))


def evaluated_steps(steps: int, evaluations: int) -> Iterator[int]:
    """Yield evenly spaced steps of evaluations, the last at the end; a short run has fewer than requested."""
    last = 0
    for number in range(1, evaluations + 1):
        if (step := round(steps * number / evaluations)) > last:
            yield step
            last = step


def _train(specs: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield the events of trials that train as one."""
    clock = Clock(len(specs))
    if context.ending():
        yield from (clock.outcome(spec.trial_id, "preempted", NOT_BEGUN, None, {}) for spec in specs)
        return
    active = {index: TrialCurve(spec) for index, spec in enumerate(specs)}
    try:
        yield from _events(Members(specs, context.device), active, clock, context.ending)
    except torch.OutOfMemoryError as error:
        message = str(error).splitlines()[0]
        for trial in active.values():
            yield clock.outcome(trial.spec.trial_id, "out_of_memory", message, None, {})


def _events(
    members: Members, active: dict[int, TrialCurve], clock: Clock, ending: Callable[[], bool]
) -> Generator[Event, None, None]:
    """Yield the events of ``active``, the trials by member, from which those that have an outcome are removed."""
    shared = members.specs[0]
    for point in evaluated_steps(shared["steps"], shared["evaluations"]):
        if not _advance(members, point, active, ending):
            message = f"preempted after step {members.step}; it starts anew"
            for index in list(active):
                yield clock.outcome(active.pop(index).spec.trial_id, "preempted", message, None, {})
            return
        scores = _by_member(members)
        for index in list(active):
            trial = active[index]
            diverged_at = trial.diverged_at(scores[index])
            if diverged_at is None:
                yield trial.point(members.batch_pairs, scores[index])
            else:
                members.freeze(index)
            if diverged_at is not None or point == shared["steps"]:
                yield _outcome(active.pop(index), clock, diverged_at, scores[index])
        if not active:
            return


def _outcome(trial: TrialCurve, clock: Clock, diverged_at: int | None, scores: Mapping[str, float]) -> Outcome:
    """Return the outcome of a trial that has diverged or done its last update."""
    if diverged_at is None:
        return clock.outcome(trial.spec.trial_id, "completed", None, len(trial.losses), trial.metrics(scores))
    bound = trial.spec["divergence_loss"]
    message = f"loss is not a number or above {bound:g} nats at step {diverged_at}"
    return clock.outcome(trial.spec.trial_id, "diverged", message, diverged_at, {})


def _advance(members: Members, point: int, active: dict[int, TrialCurve], ending: Callable[[], bool]) -> bool:
    """Train to step ``point`` and hand each trial its losses. Return False if the worker is preempted before."""
    losses = []
    torch.set_flush_denormal(True)  # second moments decay to denormal numbers, at which CPUs are slow
    try:
        while members.step < point and not ending():
            losses.append(members.advance())
    finally:
        torch.set_flush_denormal(False)
    if members.step < point:
        return False
    columns = torch.stack(losses, dim=1).tolist()
    for index, trial in active.items():
        trial.losses += columns[index]
    return True


def _by_member(members: Members) -> list[dict[str, float]]:
    """Return the scores and norms of now, by member and name."""
    scores = members.scores()
    named = {item.name: getattr(scores, item.name) for item in fields(PairScores)} | {"weight_norm": members.norms()}
    columns = {name: values.tolist() for name, values in named.items()}
    return [{name: values[index] for name, values in columns.items()} for index in range(len(members.specs))]
