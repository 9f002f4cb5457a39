"""Execution of a pack of the workload ``ridge``: trials of one shape, solved in stacks of a bounded memory."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import time
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any

import torch

from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.ridge.cost import memory_bytes
from sweeplaw.trials.workloads.ridge.draws import draw
from sweeplaw.trials.workloads.ridge.eigenframework import Problem, Risk, optimal, risk
from sweeplaw.trials.workloads.ridge.knobs import OPTIMAL, SHAPE
from sweeplaw.trials.workloads.ridge.regression import Losses, Settings, losses
from sweeplaw.trials.workloads.ridge.spectrum import Spectrum, power_law

STACK_BYTES = 2**25  # of the trials that are solved together, about what the caches of a processor hold


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield a point and an outcome of each trial, those of one seed side by side, because they share its draw."""
    before = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        ordered = sorted(pack, key=lambda spec: (_shape(spec), spec["seed"]))
        for _, group in itertools.groupby(ordered, key=_shape):
            specs = list(group)
            most = max(1, STACK_BYTES // memory_bytes(specs[0].knobs))
            for start in range(0, len(specs), most):
                yield from _stack(specs[start : start + most], context)
    finally:
        torch.set_num_threads(before)


def _shape(spec: TrialSpec) -> tuple[Any, ...]:
    return tuple(spec[name] for name in SHAPE)


def _stack(specs: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield the events of trials of one shape, which are solved together."""
    started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()

    def ended(spec: TrialSpec, state: State, message: str | None = None, **metrics: float | None) -> Outcome:
        step = 1 if state in ("completed", "diverged") else 0
        now, seconds = dt.datetime.now(dt.UTC), (time.perf_counter() - started) / len(specs)
        return Outcome(spec.trial_id, state, message, step, started_at, now, seconds, metrics)

    if context.ending():
        yield from (ended(spec, "preempted", NOT_BEGUN) for spec in specs)
        return
    try:
        rows = _metrics(specs, context.device)
    except MemoryError:
        need = f"a trial needs {memory_bytes(specs[0].knobs) / 1e9:.1f} GB"
        yield from (ended(spec, "out_of_memory", need) for spec in specs)
        return
    for spec, row in zip(specs, rows, strict=True):
        yield CurvePoint(spec.trial_id, 1, spec["samples"], row["train_loss"], row["val_loss"])
    for spec, row in zip(specs, rows, strict=True):
        if context.ending():
            yield ended(spec, "preempted", "preempted before it was recorded")
        elif row["val_loss"] is None:
            yield ended(spec, "diverged", "the loss is not a finite number")
        else:
            yield ended(spec, "completed", None, **row)


def _metrics(specs: Sequence[TrialSpec], device: str) -> list[dict[str, float | None]]:
    """Return the columns of each of these trials of one shape; what is not finite is unknown."""
    theory = [_theory(_shape(spec), spec["noise"], _given(spec)) for spec in specs]
    found = _solved(specs, theory, device)
    names = ("val_loss", "train_loss", "theory_loss", "theory_train_loss", "ridge_used")
    measured = zip(found.test.tolist(), found.train.tolist(), theory, strict=True)
    rows = [(test, train, own.test, own.train, own.ridge) for test, train, own in measured]
    return [dict(zip(names, (value if math.isfinite(value) else None for value in row), strict=True)) for row in rows]


def _given(spec: TrialSpec) -> float | None:
    """Return the ridge of the spec, None for the best."""
    return None if spec["ridge_choice"] == OPTIMAL else float(spec["ridge"])


def _solved(specs: Sequence[TrialSpec], theory: Sequence[Risk], device: str) -> Losses:
    """Return the losses of trials of one shape."""
    first = specs[0]
    seeds = list(dict.fromkeys(spec["seed"] for spec in specs))
    draws = draw(seeds, first["samples"], first["ensemble"], first["features"], first["dimension"])
    settings = Settings(
        torch.tensor([seeds.index(spec["seed"]) for spec in specs], device=device),
        torch.tensor([one.ridge for one in theory], dtype=torch.float64, device=device),
        torch.tensor([spec["noise"] for spec in specs], dtype=torch.float64, device=device),
    )
    return losses(_population(_shape(first)), draws, settings, device)


@lru_cache(maxsize=16)
def _population(shape: tuple[Any, ...]) -> Spectrum:
    values = dict(zip(SHAPE, shape, strict=True))
    return power_law(values["dimension"], values["capacity_exponent"], values["source_exponent"])


@lru_cache(maxsize=4096)
def _theory(shape: tuple[Any, ...], noise: float, ridge: float | None) -> Risk:
    """Return the risk that theory gives at a ridge, or at the best one for None."""
    values = dict(zip(SHAPE, shape, strict=True))
    problem = Problem(_population(shape), values["samples"], values["features"], noise, values["ensemble"])
    return optimal(problem) if ridge is None else risk(problem, ridge)
