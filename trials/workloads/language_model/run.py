"""Running a pack of language-model trials: from specs to the training loop, and memory that runs out to outcomes."""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sweeplaw.trials.corpus.open import open_corpus
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.checkpoint import Saved
from sweeplaw.trials.training.distributed import ALONE, Meeting, ProcessGroup, let_go
from sweeplaw.trials.training.lr_schedule import Schedule
from sweeplaw.trials.training.resume import Checkpointer, updates
from sweeplaw.trials.training.stack import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.train import Data, Points, train
from sweeplaw.trials.training.trial import Clock, MemberGroup, ended
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.language_model.resolve import length_of, shape_of

SHRINK_AGAIN = 4  # a trial out of memory has one more try, so that is a bold one: a quarter of the micro-batch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Load:
    """Trials that train as one stack, in micro-batches divided by ``shrink``."""

    specs: tuple[TrialSpec, ...]
    shrink: int
    last: bool = False  # no smaller try comes after it


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Events of the pack; none in another process than the first of its world.

    A stack that does not fit the device is tried again in halves, and a single trial once more in smaller
    micro-batches, before it is called too large. Raises PeerLost, and InputError for a batch of fewer sequences than
    there are processes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        meeting = Meeting(context.world, context.device) if context.world.size > 1 else None
        for event in _each_load(_loads(pack, context), context, meeting):
            if context.world.rank == 0:
                yield event
                if isinstance(event, Outcome) and event.state in checkpoint.ENDED and context.checkpoints is not None:
                    checkpoint.remove(context.checkpoints, event.trial_id)
    finally:
        torch.set_num_threads(before)


def _loads(pack: Sequence[TrialSpec], context: Context) -> deque[Load]:
    together = context.device != "cpu" and context.world.size == 1
    return deque(Load(specs, context.shrink) for specs in ([tuple(pack)] if together else [(spec,) for spec in pack]))


def _each_load(waiting: deque[Load], context: Context, meeting: Meeting | None) -> Generator[Event, None, None]:
    told: dict[str, int] = {}  # the last step of each trial that has a row: a second try tells it no second time
    while waiting:
        load = waiting.popleft()
        found = _found(load, context)
        if len(alike := _alike(load, found)) > 1:
            waiting.extendleft(reversed(alike))
            continue
        clock = Clock(len(load.specs))
        over: set[str] = set()
        try:
            with meeting.joined() if meeting else contextlib.nullcontext(ALONE) as group, _telling(meeting):
                for event in _trained(load, context, group, clock, found):
                    if isinstance(event, Outcome):
                        over.add(event.trial_id)
                    elif event.step <= told.get(event.trial_id, -1):
                        continue
                    else:
                        told[event.trial_id] = event.step
                    yield event
            continue
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) and not (meeting and meeting.told(OUT_OF_MEMORY)):
                raise
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
        if meeting:
            let_go()
        if context.device != "cpu":
            torch.cuda.empty_cache()
        left = tuple(spec for spec in load.specs if spec.trial_id not in over)
        waiting.extendleft(reversed(smaller := _smaller(load, left)))
        if not smaller:
            yield from (
                ended(_job(spec), clock, "out_of_memory", message, told.get(spec.trial_id), {}) for spec in left
            )


OUT_OF_MEMORY = "out of memory"


@contextlib.contextmanager
def _telling(meeting: Meeting | None) -> Iterator[None]:
    """Memory that runs out inside is told to the other processes of the trial, before they lose this one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if meeting and _is_out_of_memory(error):
            meeting.tell(OUT_OF_MEMORY)
        raise


def _smaller(load: Load, left: tuple[TrialSpec, ...]) -> list[Load]:
    """How to try again what ran out of memory: halves of a stack, or smaller micro-batches; empty for not at all."""
    if len(left) > 1:
        middle = len(left) // 2
        return [replace(load, specs=left[:middle]), replace(load, specs=left[middle:])]
    if left and not load.last and load.shrink < left[0]["batch_sequences"]:
        return [Load(left, load.shrink * SHRINK_AGAIN, last=True)]
    return []


def _trained(
    load: Load, context: Context, group: ProcessGroup, clock: Clock, found: dict[str, Saved]
) -> Generator[Event, None, None]:
    """Events of one stack, which goes on from what was ``found`` if all processes found the same."""
    if group.size == 1 and context.ending():
        yield from (ended(_job(spec), clock, "preempted", NOT_BEGUN, None, {}) for spec in load.specs)
        return
    if not group.agreed(max((max(updates(saved)) for saved in found.values()), default=-1)):
        _log.warning("the processes of trial %s see different checkpoints; it starts anew", load.specs[0].trial_id)
        found.clear()
    shared, identities = load.specs[0], {spec.trial_id: _identity(spec, context.device) for spec in load.specs}
    keeper = Checkpointer(context.checkpoints, context.checkpoint_seconds, context.ending, identities, group)
    recipe, place = _recipe(shared), TrainingDevice(context.device, group, load.shrink)
    points = Points.evenly(recipe.steps, curve=shared["curve_points"], evaluations=shared["evaluations"])
    jobs = [_job(spec) for spec in load.specs]
    yield from train(jobs, recipe, points, _data(shared), place, clock, keeper, found)


def _data(spec: TrialSpec) -> Data:
    corpus = open_corpus(spec["corpus"], spec["tokenizer"])
    return Data(
        corpus.budget(spec["context"], spec["unique_tokens"]),
        corpus.held_out(spec["context"], spec["validation_tokens"]),
    )


def _identity(spec: TrialSpec, device: str) -> str:
    """All that decides a run: its spec, the kind of device, and the data it finds under the corpus's name."""
    data = _data(spec)
    windows = [part.read(np.arange(min(part.size, LOOKED_AT))) for part in (data.budget, data.held_out)]
    return json.dumps([spec.canonical(), device, [zlib.crc32(tokens.tobytes()) for tokens in windows]])


LOOKED_AT = 64  # windows: enough to see that a corpus is another, not that one late token was changed


def _found(load: Load, context: Context) -> dict[str, Saved]:
    """The checkpoints of these trials, as far as there are any."""
    if context.checkpoints is None:
        return {}
    found = {
        spec.trial_id: checkpoint.load(context.checkpoints, spec.trial_id, _identity(spec, context.device))
        for spec in load.specs
    }
    return {trial_id: saved for trial_id, saved in found.items() if saved is not None}


def _alike(load: Load, found: Mapping[str, Saved]) -> list[Load]:
    """The load in parts that can go on as one stack each, those that were furthest first."""
    at: dict[tuple[int, ...], list[TrialSpec]] = {}
    for spec in load.specs:
        at.setdefault(updates(found.get(spec.trial_id)), []).append(spec)
    return [replace(load, specs=tuple(at[step])) for step in sorted(at, reverse=True)]


def _recipe(spec: TrialSpec) -> Recipe:
    names = ("context", "batch_sequences", "beta1", "beta2", "eps", "rope_base", "precision")
    shared: dict[str, Any] = {name: spec[name] for name in names}
    return Recipe(shape=shape_of(spec.knobs), steps=length_of(spec.knobs).steps, **shared)


def _job(spec: TrialSpec) -> MemberGroup:
    schedule = Schedule(
        spec["schedule"],
        length_of(spec.knobs).steps,
        warmup_fraction=spec["warmup_fraction"],
        final_fraction=spec["final_lr_fraction"],
        decay_fraction=spec["decay_fraction"],
    )
    names = ("lr", "weight_decay", "grad_clip", "divergence_loss")
    settings = {name: spec[name] for name in names}
    seeds = range(spec["seed"], spec["seed"] + spec["members"])
    return MemberGroup(spec.trial_id, tuple(Member(seed=seed, schedule=schedule, **settings) for seed in seeds))


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has its own exception; the CPU allocator says it in a RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
