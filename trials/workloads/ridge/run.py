"""Execution of a pack of the workload ``ridge``: trials of one shape, solved in stacks of a bounded memory."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import time
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch

from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.ridge.cost import memory_bytes
from sweeplaw.trials.workloads.ridge.draws import NormalDraws, allocate, draw
from sweeplaw.trials.workloads.ridge.eigenframework import RidgeProblem, Risk, optimal, risk
from sweeplaw.trials.workloads.ridge.knobs import OPTIMAL, SHAPE
from sweeplaw.trials.workloads.ridge.regression import Losses, Settings, losses
from sweeplaw.trials.workloads.ridge.spectrum import Spectrum, power_law

STACK_BYTES = 2**23  # of the trials that are solved together: larger stacks leave the caches


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield a point and an outcome of each trial, those of one seed side by side, because they share its draw."""
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        ordered = sorted(pack, key=lambda spec: (_shape(spec), spec["seed"]))
        for _, group in itertools.groupby(ordered, key=_shape):
            yield from _of_one_shape(list(group), context)
    finally:
        torch.set_num_threads(before)


def _shape(spec: TrialSpec) -> tuple[Any, ...]:
    return tuple(spec[name] for name in SHAPE)


def _of_one_shape(specs: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield the events of trials of one shape, in stacks that share the room for their draws."""
    first, started = specs[0], dt.datetime.now(dt.UTC)
    most = min(len(specs), max(1, STACK_BYTES // memory_bytes(first.knobs)))
    try:
        room = allocate(most, first["samples"], first["ensemble"], first["features"], first["dimension"])
    except MemoryError:
        need = f"a trial needs {memory_bytes(first.knobs) / 1e9:.1f} GB"
        yield from (_ended(spec, "out_of_memory", need, started) for spec in specs)
        return
    for start in range(0, len(specs), most):
        yield from _stack(specs[start : start + most], room, context)


def _stack(specs: Sequence[TrialSpec], room: NormalDraws, context: Context) -> Generator[Event, None, None]:
    """Yield the events of trials that are solved together."""
    started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()
    if context.ending():
        yield from (_ended(spec, "preempted", NOT_BEGUN, started_at) for spec in specs)
        return
    rows = _metrics(specs, room, context.device)
    seconds = (time.perf_counter() - started) / len(specs)
    for spec, row in zip(specs, rows, strict=True):
        yield CurvePoint(spec.trial_id, 1, spec["samples"], row["train_loss"], row["val_loss"])
    for spec, row in zip(specs, rows, strict=True):
        if context.ending():
            yield _ended(spec, "preempted", "preempted before it was recorded", started_at)
        elif row["val_loss"] is None:
            yield _ended(spec, "diverged", "the loss is not a finite number", started_at, seconds)
        else:
            yield _ended(spec, "completed", None, started_at, seconds, row)


def _ended(
    spec: TrialSpec,
    state: State,
    message: str | None,
    started_at: dt.datetime,
    seconds: float = 0.0,
    metrics: Mapping[str, float | None] = MappingProxyType({}),
) -> Outcome:
    step = 1 if state in ("completed", "diverged") else 0
    return Outcome(spec.trial_id, state, message, step, started_at, dt.datetime.now(dt.UTC), seconds, dict(metrics))


def _metrics(specs: Sequence[TrialSpec], room: NormalDraws, device: str) -> list[dict[str, float | None]]:
    """Return the columns of each of these trials of one shape; what is not finite is unknown."""
    theory = [_theory(_shape(spec), spec["noise"], _given(spec)) for spec in specs]
    found = _solved(specs, theory, room, device)
    names = ("val_loss", "train_loss", "theory_loss", "theory_train_loss", "ridge_used")
    measured = zip(found.test.tolist(), found.train.tolist(), theory, strict=True)
    rows = [(test, train, own.test, own.train, own.ridge) for test, train, own in measured]
    return [dict(zip(names, (value if math.isfinite(value) else None for value in row), strict=True)) for row in rows]


def _given(spec: TrialSpec) -> float | None:
    """Return the ridge of the spec, None for the best."""
    return None if spec["ridge_choice"] == OPTIMAL else float(spec["ridge"])


def _solved(specs: Sequence[TrialSpec], theory: Sequence[Risk], room: NormalDraws, device: str) -> Losses:
    """Return the losses of trials of one shape."""
    seeds = list(dict.fromkeys(spec["seed"] for spec in specs))
    settings = Settings(
        torch.tensor([seeds.index(spec["seed"]) for spec in specs], device=device),
        torch.tensor([one.ridge for one in theory], dtype=torch.float64, device=device),
        torch.tensor([spec["noise"] for spec in specs], dtype=torch.float64, device=device),
    )
    return losses(_population(_shape(specs[0])), draw(seeds, room), settings, device)


@lru_cache(maxsize=16)
def _population(shape: tuple[Any, ...]) -> Spectrum:
    values = dict(zip(SHAPE, shape, strict=True))
    return power_law(values["dimension"], values["capacity_exponent"], values["source_exponent"])


@lru_cache(maxsize=4096)
def _theory(shape: tuple[Any, ...], noise: float, ridge: float | None) -> Risk:
    """Return the risk that theory gives at a ridge, or at the best one for None."""
    values = dict(zip(SHAPE, shape, strict=True))
    problem = RidgeProblem(_population(shape), values["samples"], values["features"], noise, values["ensemble"])
    return optimal(problem) if ridge is None else risk(problem, ridge)
