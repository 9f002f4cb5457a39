"""Execution of trials of the workload ``linear_dynamics``, one after another."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import TrialSpec, Value
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.linear_dynamics import theory
from sweeplaw.trials.workloads.linear_dynamics.flow import SampleFlow, risks, sample_flow
from sweeplaw.trials.workloads.linear_dynamics.knobs import ADAM, FLOW, POPULATION, WHOLE
from sweeplaw.trials.workloads.linear_dynamics.population import Floats, LinearTask, linear_task

FINE = 2000  # times among which the best of a draw is taken
EARLIEST = 1e-4  # first time of a curve, as a share of its end
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
DIVERGED = 1e12  # times the risk of predicting zero
Numbers = dict[str, Value | None]


def run(pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
    """Yield the curve points and the outcome of each trial of the pack."""
    for spec in pack:
        started_at, began = dt.datetime.now(dt.UTC), time.perf_counter()

        def ended(state: State, message: str | None, step: int, metrics: Numbers) -> Outcome:
            now, seconds = dt.datetime.now(dt.UTC), time.perf_counter() - began  # noqa: B023 - called before the next
            return Outcome(spec.trial_id, state, message, step, started_at, now, seconds, metrics)  # noqa: B023

        if context.ending():
            yield ended("preempted", NOT_BEGUN, 0, {})
            continue
        last: CurvePoint | None = None
        flow = _flow(spec) if _is_on_sample(spec) else None
        for point in _points(spec, flow):
            if context.ending():
                yield ended("preempted", "preempted before its end", last.step if last else 0, {})
                break
            if point.val_loss is None or not math.isfinite(point.val_loss):
                yield ended("diverged", f"the risk is not finite at step {point.step}", point.step, {})
                break
            yield point
            last = point
        else:
            assert last is not None
            found: Numbers = {
                "val_loss": last.val_loss,
                "train_loss": last.train_loss,
                **last.metrics,
                **_summary(spec, flow),
            }
            yield ended("completed", None, last.step, found)


def task_of(spec: TrialSpec) -> LinearTask:
    """Return the task of a spec, the signs of its teacher drawn."""
    width = spec["dimension"] if spec["width"] == WHOLE else spec["width"]
    exponents = (spec["capacity_exponent"], spec["decay_exponent"])
    task = linear_task(spec["dimension"], width, *exponents, spec["noise"], spec["init"])
    signs = _generator(spec, 0).choice([-1.0, 1.0], spec["dimension"])
    return replace(task, teacher=task.teacher * signs)


def _generator(spec: TrialSpec, stream: int) -> np.random.Generator:
    return np.random.default_rng([spec["seed"], stream])


def _start(spec: TrialSpec, task: LinearTask) -> Floats:
    return np.asarray(_generator(spec, 1).standard_normal(task.width) * task.init / math.sqrt(task.width))


def _is_on_sample(spec: TrialSpec) -> bool:
    return bool(spec["dynamics"] == FLOW and spec["samples"] != POPULATION)


def _points(spec: TrialSpec, flow: SampleFlow | None) -> Iterator[CurvePoint]:
    if flow is not None:
        return _on_sample(spec, flow)
    return _on_population(spec) if spec["dynamics"] == FLOW else _stepped(spec)


def _times(spec: TrialSpec) -> Floats:
    """Return the times of the curve of a flow, the last its end."""
    return np.asarray(np.geomspace(spec["time"] * EARLIEST, spec["time"], spec["evaluations"] + 1)[1:])


def _on_population(spec: TrialSpec) -> Iterator[CurvePoint]:
    task = task_of(spec)
    away = _start(spec, task) - task.teacher[: task.width]
    own = task.variances[: task.width]
    for step, when in enumerate(_times(spec), start=1):
        risk = float(np.sum(own * (away * np.exp(-own * when)) ** 2)) + task.missing
        yield CurvePoint(spec.trial_id, step, None, None, risk, metrics={"elapsed": float(when)})


def _on_sample(spec: TrialSpec, flow: SampleFlow) -> Iterator[CurvePoint]:
    times = _times(spec)
    rows = zip(times, flow.risks(times), flow.train_losses(flow.students(times)), strict=True)
    for step, (when, risk, train_loss) in enumerate(rows, start=1):
        metrics = {"elapsed": float(when)}
        yield CurvePoint(spec.trial_id, step, spec["samples"], float(train_loss), float(risk), metrics=metrics)


def _flow(spec: TrialSpec) -> SampleFlow:
    task, generator = task_of(spec), _generator(spec, 2)
    inputs = generator.standard_normal((spec["samples"], spec["dimension"])) * np.sqrt(task.variances)
    return sample_flow(task, _start(spec, task), inputs, task.noise * generator.standard_normal(spec["samples"]))


def _stepped(spec: TrialSpec) -> Iterator[CurvePoint]:
    """Yield the points of SGD or Adam on fresh samples."""
    task, generator = task_of(spec), _generator(spec, 3)
    student, lr, batch, steps = _start(spec, task), spec["lr"], spec["batch"], spec["steps"]
    spread, first, second = np.sqrt(task.variances), np.zeros(task.width), np.zeros(task.width)
    worst = DIVERGED * float(np.sum(task.variances * task.teacher**2) + task.noise**2)
    shown = {max(1, round(steps ** ((i + 1) / spec["evaluations"]))) for i in range(spec["evaluations"])}
    for step in range(1, steps + 1):
        inputs = generator.standard_normal((batch, spec["dimension"])) * spread
        errors = inputs[:, : task.width] @ student - inputs @ task.teacher
        errors -= task.noise * generator.standard_normal(batch)
        gradient = inputs[:, : task.width].T @ errors / batch
        if spec["dynamics"] == ADAM:
            first += (1 - ADAM_BETAS[0]) * (gradient - first)
            second += (1 - ADAM_BETAS[1]) * (gradient**2 - second)
            scale = np.sqrt(second / (1 - ADAM_BETAS[1] ** step)) + ADAM_EPS
            gradient = first / (1 - ADAM_BETAS[0] ** step) / scale
        student = student - lr * gradient
        if step in shown:
            risk = float(risks(task, student[None])[0])
            tokens, metrics = step * batch, {"elapsed": lr * step}
            loss = float(np.mean(errors**2))
            yield CurvePoint(
                spec.trial_id, step, tokens, loss, risk if risk < worst else math.inf, lr=lr, metrics=metrics
            )


def _summary(spec: TrialSpec, flow: SampleFlow | None) -> Numbers:
    """Return what is known of the whole run beside its last point."""
    if flow is not None:
        return {**_best_of(spec, flow), **_expected(spec, flow.task)}
    task = task_of(spec)
    if spec["dynamics"] == FLOW:
        return {"theory_loss": theory.population_flow(task, spec["time"])}
    if spec["dynamics"] == ADAM:
        return {}
    expected = theory.online_risks(task, spec["lr"], spec["batch"], spec["steps"])[-1]
    return {"theory_loss": _known(expected)}


def _best_of(spec: TrialSpec, flow: SampleFlow) -> Numbers:
    times = np.geomspace(spec["time"] * EARLIEST, spec["time"], FINE)
    found = flow.risks(times)
    best = int(np.argmin(found))
    return {
        "best_time": float(times[best]),
        "best_time_loss": float(found[best]),
        "ridge_loss": flow.best_ridge_risk(),
    }


def _expected(spec: TrialSpec, task: LinearTask) -> Numbers:
    """Return the closed form, which isotropic tasks with a whole student have."""
    if spec["capacity_exponent"] or spec["decay_exponent"] or task.width < len(task.teacher):
        return {}
    ratio, noise, init = task.width / spec["samples"], task.noise, task.init
    when, least = theory.best_stopping(ratio, noise, init)
    ridge = theory.best_ridge(ratio, noise)
    return {
        "theory_loss": theory.flow_risk(ratio, spec["time"], noise, init),
        "theory_best_time": _known(when),
        "theory_best_time_loss": least,
        "theory_ridge_loss": theory.ridge_risk(ratio, ridge, noise),
    }


def _known(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
