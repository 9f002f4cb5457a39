"""Execution of a pack of language-model trials: from specs to the training loop, with retries when memory runs out."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import torch

from sweeplaw.trials.changes import parse, write
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import checkpoint, kept_weights
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup, Rendezvous, release_group
from sweeplaw.trials.training.keeping import WeightSaver
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.parametrization.scaling import Parametrization
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.regularizers.settings import Regularizers
from sweeplaw.trials.training.resume import BranchPoint, Checkpointer, steps_done
from sweeplaw.trials.training.train import train
from sweeplaw.trials.training.trial import Clock, MemberGroup, ReportedSteps
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.language_model import training_knobs
from sweeplaw.trials.workloads.language_model.data import identity, open_data
from sweeplaw.trials.workloads.language_model.knobs import OF_SEED, PRECISION_BITS
from sweeplaw.trials.workloads.language_model.resolve import length_of, shape_of
from sweeplaw.trials.workloads.language_model.sources import teacher_flops
from sweeplaw.trials.workloads.language_model.task_columns import scored

RETRY_DIVISOR = 4  # a trial out of memory is retried only once, so with a quarter of the micro-batch
OUT_OF_MEMORY = "out of memory"  # announced to the other processes of a trial

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StackJob:
    """Trials to train as one stack, in micro-batches divided by ``micro_batch_divisor``."""

    specs: tuple[TrialSpec, ...]
    micro_batch_divisor: int
    last: bool = False  # if it runs out of memory it is not retried in smaller micro-batches


def run(
    pack: Sequence[TrialSpec],
    context: Context,
    store: str | None = None,
    tasks: Mapping[str, str] = MappingProxyType({}),
) -> Generator[Event, None, None]:
    """Yield the events of the pack in the first process of its world, and none in the others.

    ``store`` has the synthetic text, the teachers and the initial weights that the trials name. Trials that complete
    are scored in ``tasks`` (`task_columns`).
    A stack that does not fit the device is retried in halves, and a single trial once more in smaller micro-batches,
    before it is recorded as out of memory. Raise PeerLost, and InputError for a batch of fewer sequences than there are
    processes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        specs = {spec.trial_id: spec for spec in pack}
        if tasks and context.weights is None:
            context = replace(context, weights=f"{context.folder}/kept/{kept_weights.FOLDER}")
        rendezvous = Rendezvous(context.world, context.device) if context.world.size > 1 else None
        for event in _run_jobs(_jobs(pack, context), context, store, rendezvous):
            if context.world.rank == 0:
                if tasks and isinstance(event, Outcome) and event.state == "completed":
                    event = scored(event, specs[event.trial_id], tasks, str(context.weights), context.device, store)
                yield event
                folder = _folder_of_states(context)
                if isinstance(event, Outcome) and event.state in checkpoint.ENDED and folder is not None:
                    checkpoint.remove(folder, event.trial_id)
    finally:
        torch.set_num_threads(before)


def _jobs(pack: Sequence[TrialSpec], context: Context) -> deque[StackJob]:
    """Return one job of the whole pack on an accelerator of its own, else one per trial.

    A trial that goes on from the trunk of another is not of the same job.
    """
    stacked = TrainingDevice(context.device).stacked and context.world.size == 1
    parts: Iterable[Sequence[TrialSpec]] = _waves(pack, context).values() if stacked else [(spec,) for spec in pack]
    return deque(StackJob(tuple(specs), context.micro_batch_divisor) for specs in parts)


def _waves(pack: Sequence[TrialSpec], context: Context) -> dict[int, list[TrialSpec]]:
    """Return the trials by the number of those before them in the pack from which they go on."""
    waves: dict[str, int] = {}
    found: dict[int, list[TrialSpec]] = {}
    for spec in pack:
        wave = waves.setdefault(spec.trial_id, 0)
        found.setdefault(wave, []).append(spec)
        if branch := context.branches.get(spec.trial_id):
            waves[branch.spec.trial_id] = wave + 1
    return found


def _folder_of_states(context: Context) -> str | None:
    """Return where trials find the state to go on from: a checkpoint, or that of a trunk; None if there is none."""
    return context.checkpoints or (f"{context.folder}/trunks" if context.branches else None)


def _run_jobs(
    waiting: deque[StackJob], context: Context, store: str | None, rendezvous: Rendezvous | None
) -> Generator[Event, None, None]:
    reported: dict[str, int] = {}  # the last reported step of each trial, so that a retry repeats no point
    while waiting:
        job = waiting.popleft()
        checkpoints = _load_checkpoints(job, context, store)
        if len(parts := _split_by_progress(job, checkpoints)) > 1:
            waiting.extendleft(reversed(parts))
            continue
        clock = Clock(len(job.specs))
        finished: set[str] = set()
        try:
            joined = rendezvous.joined() if rendezvous else contextlib.nullcontext(ALONE)
            with joined as group, _announcing_out_of_memory(rendezvous):
                events = _train(job, context, store, group, clock, checkpoints)
                yield from _new_events(events, reported, finished)
            continue
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) and not (rendezvous and rendezvous.announced(OUT_OF_MEMORY)):
                raise
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
        if rendezvous:
            release_group()
        if context.device != "cpu":
            torch.cuda.empty_cache()
        unfinished = tuple(spec for spec in job.specs if spec.trial_id not in finished)
        retries = _retries(job, unfinished)
        waiting.extendleft(reversed(retries))
        if not retries:
            for spec in unfinished:
                yield clock.outcome(spec.trial_id, "out_of_memory", message, reported.get(spec.trial_id), {})


def _new_events(events: Iterator[Event], reported: dict[str, int], finished: set[str]) -> Generator[Event, None, None]:
    """Yield the events without points that were reported before; add to ``reported`` steps and ``finished`` trials."""
    for event in events:
        if isinstance(event, Outcome):
            finished.add(event.trial_id)
        elif event.step <= reported.get(event.trial_id, -1):
            continue
        else:
            reported[event.trial_id] = event.step
        yield event


@contextlib.contextmanager
def _announcing_out_of_memory(rendezvous: Rendezvous | None) -> Iterator[None]:
    """Announce that memory has run out inside to the other processes of the trial, before they lose this one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if rendezvous and _is_out_of_memory(error):
            rendezvous.announce(OUT_OF_MEMORY)
        raise


def _retries(job: StackJob, unfinished: tuple[TrialSpec, ...]) -> list[StackJob]:
    """Return the jobs that replace one out of memory: halves of the stack, or smaller micro-batches; empty for none."""
    if len(unfinished) > 1:
        middle = len(unfinished) // 2
        return [replace(job, specs=unfinished[:middle]), replace(job, specs=unfinished[middle:])]
    if unfinished and not job.last and job.micro_batch_divisor < unfinished[0]["batch_sequences"]:
        return [StackJob(unfinished, job.micro_batch_divisor * RETRY_DIVISOR, last=True)]
    return []


def _train(
    job: StackJob,
    context: Context,
    store: str | None,
    group: ProcessGroup,
    clock: Clock,
    checkpoints: dict[str, Saved],
) -> Generator[Event, None, None]:
    """Yield the events of one stack, which resumes from ``checkpoints`` if all processes have the same."""
    if group.size == 1 and context.ending():
        yield from (clock.outcome(spec.trial_id, "preempted", NOT_BEGUN, None, {}) for spec in job.specs)
        return
    if not group.all_equal(max((max(steps_done(saved)) for saved in checkpoints.values()), default=-1)):
        _log.warning("the processes of trial %s see different checkpoints; it starts anew", job.specs[0].trial_id)
        checkpoints.clear()
    shared, identities = job.specs[0], {spec.trial_id: identity(spec, store, context.device) for spec in job.specs}
    branches = {
        spec.trial_id: BranchPoint(branch.steps, branch.spec.trial_id, identity(branch.spec, store, context.device))
        for spec in job.specs
        if (branch := context.branches.get(spec.trial_id))
    }
    checkpointer = Checkpointer(
        context.checkpoints,
        context.checkpoint_seconds,
        context.ending,
        identities,
        group,
        branches,
        _folder_of_states(context) or "",
    )
    points = [
        ReportedSteps.evenly(length_of(spec.knobs).steps, curve=spec["curve_points"], evaluations=spec["evaluations"])
        for spec in job.specs
    ]
    recipe = replace(recipe_of(shared), steps=max(one.curve[-1] for one in points))
    device = TrainingDevice(context.device, group, job.micro_batch_divisor)
    groups = [member_group(spec) for spec in job.specs]
    specs = {spec.trial_id: spec.canonical() for spec in job.specs}
    saver = WeightSaver(context.weights, specs, snapshots=context.snapshots)
    data = open_data(shared, store, context.device)
    bits = {"precision_bits": PRECISION_BITS[shared["precision"]]}
    lengths = {spec["epochs"]: spec for spec in job.specs}
    flops = {epochs: teacher_flops(spec, store) for epochs, spec in lengths.items()}
    taught = {spec.trial_id: flops[spec["epochs"]] for spec in job.specs}
    for event in train(groups, recipe, points, data, device, clock, checkpointer, checkpoints, saver):
        if isinstance(event, Outcome):
            own, spent = bits if event.state == "completed" else {}, taught[event.trial_id]
            beside = {} if spent is None else {"teacher_flops": spent}
            event = replace(event, metrics={**event.metrics, **own, **beside})
        yield event


def _load_checkpoints(job: StackJob, context: Context, store: str | None) -> dict[str, Saved]:
    """Load the checkpoints of those trials that have one."""
    folder = _folder_of_states(context)
    if folder is None:
        return {}
    loaded = {spec.trial_id: _latest(spec, folder, store, context.device) for spec in job.specs}
    return {trial_id: saved for trial_id, saved in loaded.items() if saved is not None}


def _latest(spec: TrialSpec, folder: str, store: str | None, device: str) -> Saved | None:
    """Return the checkpoint to begin from: the trial's own, or that of the trial without its last change of knobs, as
    long as it has not gone beyond the step of that change.
    """
    if (own := checkpoint.load(folder, spec.trial_id, identity(spec, store, device))) is not None:
        return own
    changes = parse(spec["changes"])
    if not changes:
        return None
    before = TrialSpec(spec.workload, {**spec.knobs, "changes": write(changes[:-1])}, spec.later)
    found = _latest(before, folder, store, device)
    return found if found is not None and max(steps_done(found)) <= changes[-1].step else None


def _split_by_progress(job: StackJob, checkpoints: Mapping[str, Saved]) -> list[StackJob]:
    """Split the job into parts whose trials have done the same updates, the most advanced first."""
    by_steps: dict[tuple[int, ...], list[TrialSpec]] = {}
    for spec in job.specs:
        by_steps.setdefault(steps_done(checkpoints.get(spec.trial_id)), []).append(spec)
    return [replace(job, specs=tuple(by_steps[steps])) for steps in sorted(by_steps, reverse=True)]


def recipe_of(spec: TrialSpec) -> Recipe:
    """Return what all members of a stack of this spec share; the steps are its own."""
    names = ("context", "batch_sequences", "rope_base", "precision", "optimizer")
    shared: dict[str, Any] = {name: spec[name] for name in names}
    parametrization = Parametrization(
        spec["base_width"] or None, training_knobs.base_head_width(spec.knobs), spec["base_depth"] or None
    )
    return Recipe(
        shape=shape_of(spec.knobs),
        steps=length_of(spec.knobs).steps,
        parametrization=parametrization,
        **shared,
    )


def member_group(spec: TrialSpec) -> MemberGroup:
    """Return the members of this trial."""
    schedule = training_knobs.schedule(spec.knobs)
    coefficients = Coefficients(
        momentum=training_knobs.momentum(spec.knobs),
        **{name: spec[name] for name in ("grad_clip", "beta1", "beta2", "eps", "nesterov")},
    )
    names = ("lr", "weight_decay", "divergence_loss")
    settings = {name: spec[name] for name in names}
    seeds = range(spec["seed"], spec["seed"] + spec["members"])
    changes = parse(spec["changes"])
    regularizers = Regularizers(**{item.name: spec[item.name] for item in fields(Regularizers)})
    own: dict[str, Any] = {
        "regularizers": regularizers,
        "coefficients": coefficients,
        "independent_decay": spec["decay_convention"] == "independent",
    } | {name: spec[name] if spec[name] != OF_SEED else None for name in ("init_seed", "data_seed")}
    members = tuple(Member(seed=seed, schedule=schedule, changes=changes, **settings, **own) for seed in seeds)
    return MemberGroup(spec.trial_id, members)


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an exception of its own; the CPU allocator raises a RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
