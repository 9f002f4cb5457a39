"""Running a pack of language-model trials: from specs to the training loop, and memory that runs out to outcomes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch

from trials.corpus.open import open_corpus
from trials.progress import Clock, Job, ended
from trials.record import Outcome
from trials.schedule import Schedule
from trials.spec import TrialSpec
from trials.stack import Member, Recipe
from trials.train import Points, train
from trials.workloads import Context, Event
from trials.workloads.language_model.resolve import length_of, shape_of


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Events of the pack. A stack that does not fit the device is tried again in halves before it is called too
    large.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        yield from _each_stack(pack, context)
    finally:
        torch.set_num_threads(before)


def _each_stack(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    waiting = [list(pack)] if context.device != "cpu" else [[spec] for spec in pack]
    while waiting:
        stack = waiting.pop(0)
        clock = Clock(len(stack))
        told: set[str] = set()  # trials that have had an event, and of them those that have ended
        over: set[str] = set()
        try:
            for event in _trained(stack, context.device, clock):
                told.add(event.trial_id)
                over |= {event.trial_id} if isinstance(event, Outcome) else set()
                yield event
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            message = str(error).splitlines()[0]
        else:
            continue
        if context.device != "cpu":
            torch.cuda.empty_cache()
        if told or len(stack) == 1:
            left = [spec for spec in stack if spec.trial_id not in over]
            yield from (ended(_job(spec), clock, "out_of_memory", message, None, {}) for spec in left)
        else:
            waiting[:0] = [stack[: len(stack) // 2], stack[len(stack) // 2 :]]


def _trained(stack: Sequence[TrialSpec], device: str, clock: Clock) -> Generator[Event, None, None]:
    shared = stack[0]
    corpus = open_corpus(shared["corpus"], shared["tokenizer"])
    budget = corpus.budget(shared["context"], shared["unique_tokens"])
    held_out = corpus.held_out(shared["context"], shared["validation_tokens"])
    recipe = _recipe(shared)
    points = Points.evenly(recipe.steps, curve=shared["curve_points"], evaluations=shared["evaluations"])
    yield from train([_job(spec) for spec in stack], recipe, points, budget, held_out, device, clock)


def _recipe(spec: TrialSpec) -> Recipe:
    names = ("context", "batch_sequences", "beta1", "beta2", "eps", "rope_base", "precision")
    shared: dict[str, Any] = {name: spec[name] for name in names}
    return Recipe(shape=shape_of(spec.knobs), steps=length_of(spec.knobs).steps, **shared)


def _job(spec: TrialSpec) -> Job:
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
    return Job(spec.trial_id, tuple(Member(seed=seed, schedule=schedule, **settings) for seed in seeds))


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has its own exception; the CPU allocator says it in a RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
