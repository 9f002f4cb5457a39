"""A user's Python function as a workload: `python:package.module:function`.

The function takes the configuration, a dict of knob values. It reports during training in one of two ways: it calls
its parameter `report` (`report(step=10, val_loss=2.3)`), or it is a generator that yields such mappings. It returns the
final result: a mapping of metrics, or one number, the val_loss. Parameters named `report`, `context` and
`checkpoint_folder` are passed by name.

A function that calls `report` runs in a thread of its own; an exception raised by its next `report` stops it.

A long-running function resumes by itself: files that it writes into `checkpoint_folder` are kept for the next attempt,
until the trial has completed or diverged. When its worker is preempted, `context.ending()` returns True and the
function is stopped at its next report; however it then ends, the trial is preempted.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import CurvePoint, State
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.user_code import declared
from sweeplaw.trials.workloads.user_code.callback import reported_points
from sweeplaw.trials.workloads.user_code.reports import Diverged, Reports

OPTIONS = ("knobs", "resources", "divergence_loss")
EXTRAS = ("report", "context", "checkpoint_folder")  # parameters that are passed by name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """The workload ``python:module:function``. ``folder`` is searched first for modules."""

    name: str
    knobs: tuple[Knob, ...]
    resources: Mapping[str, float]
    folder: Path
    divergence_loss: float
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    divides_micro_batch: bool = False  # unknown before it runs: a function may read `context.micro_batch_divisor`

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> PythonFunction:
        """Return the workload of ``module:function`` without importing it. Raise InputError with all faults."""
        faults = declared.unknown_options(options, OPTIONS)
        module, _, function = rest.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
            faults.append(f"workload = 'python:{rest}' is not of the form python:package.module:function")
        knobs = declared.knobs(options.get("knobs"), options.get("axes"), faults)
        resources = declared.resources(options.get("resources"), faults)
        divergence_loss = declared.bound("divergence_loss", options.get("divergence_loss"), faults)
        if faults:
            raise InputError(faults)
        return cls(f"python:{rest}", knobs, resources, Path(options.get("folder", ".")).resolve(), divergence_loss)

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return {}

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        return declared.facts(values)

    def cost(self, spec: TrialSpec) -> Cost:
        return declared.cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Import the function. Raise InputError if it cannot be imported or takes no configuration."""
        self._function()

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Iterator[Event]:
        function = self._function()
        for spec in pack:
            yield from _trial(function, Reports(spec, self.divergence_loss), context)

    def _function(self) -> Callable[..., Any]:
        _, module_name, path = self.name.split(":")
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))  # not undone: the function may import its neighbours when it runs
        try:
            found: Any = importlib.import_module(module_name)
        except Exception as error:
            raise InputError(f"workload = {self.name!r}: import {module_name} fails: {_describe(error)}") from error
        for part in path.split("."):
            if not hasattr(found, part):
                raise InputError(f"workload = {self.name!r}: no {part!r} in {module_name}{nearest(part, vars(found))}")
            found = getattr(found, part)
        if fault := _fault(found):
            raise InputError(f"workload = {self.name!r}: {path} {fault}")
        function: Callable[..., Any] = found
        return function


def _fault(function: Any) -> str | None:
    if not callable(function):
        return f"is {type(function).__name__}, not a function"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "is asynchronous; it must be an ordinary function or generator"
    extras = dict.fromkeys(_extras(function))
    try:
        inspect.signature(function).bind({}, **extras)
    except TypeError as error:
        return f"must take the configuration as its one argument, besides {', '.join(EXTRAS)}: {error}"
    except ValueError:  # a built-in without a signature
        return None
    return None


def _extras(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return those of EXTRAS that the function has as parameters."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return ()
    return tuple(name for name in EXTRAS if name in parameters)


def _trial(function: Callable[..., Any], reports: Reports, context: Context) -> Iterator[Event]:
    """Yield curve points, then the outcome, whatever the function does."""
    if context.ending():
        yield reports.outcome("preempted", NOT_BEGUN)
        return
    try:
        result = yield from _until_preempted(_points(function, reports, context), context)
        reports.finish(_mapping(result))
        outcome = reports.completed("it returned no val_loss and reported none")
    except Diverged as error:
        outcome = reports.outcome("diverged", str(error))
    except _Preempted:
        outcome = reports.outcome("preempted", "preempted while it ran")
    except (Exception, SystemExit) as error:  # noqa: BLE001  any error of the user's code is this trial's outcome
        state: State = "out_of_memory" if _is_out_of_memory(error) else "failed"
        outcome = reports.outcome("preempted" if context.ending() else state, _describe(error))
    if context.checkpoints is not None and outcome.state in checkpoint.ENDED:
        checkpoint.remove(context.checkpoints, reports.spec.trial_id)
    yield outcome


class _Preempted(Exception):
    """The worker was preempted while the function ran."""


def _until_preempted(points: Generator[CurvePoint, None, Any], context: Context) -> Generator[CurvePoint, None, Any]:
    """Yield the points; if the worker is preempted, stop the function and raise _Preempted."""
    with contextlib.closing(points):
        while True:
            try:
                point = next(points)
            except StopIteration as end:
                return end.value
            yield point
            if context.ending():
                break
    raise _Preempted


def _points(function: Callable[..., Any], reports: Reports, context: Context) -> Generator[CurvePoint, None, Any]:
    """Yield the points that the function reports; return its result."""
    config, extras = dict(reports.spec.knobs), _extras(function)
    call = partial(function, config, context=context) if "context" in extras else partial(function, config)
    if "checkpoint_folder" in extras:
        own = context.own_folder(reports.spec.trial_id)
        if "://" not in own:
            os.makedirs(own, exist_ok=True)
        call = partial(call, checkpoint_folder=own)
    if "report" in extras:
        return (yield from reported_points(call, reports))
    result = call()
    return (yield from _yielded(result, reports)) if isinstance(result, Generator) else result


def _yielded(values: Generator[Any, None, Any], reports: Reports) -> Generator[CurvePoint, None, Any]:
    try:
        while True:
            try:
                value = next(values)
            except StopIteration as end:
                return end.value
            yield reports.add(_mapping(value))
    finally:
        try:
            values.close()
        except Exception:  # noqa: BLE001  its cleanup failed: the trial has its outcome, or the reader has closed
            _log.warning("trial %s failed while it was closed", reports.spec.trial_id, exc_info=True)


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a report or result as a mapping: a single number is the val_loss, None is empty."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"val_loss": value}


def _is_out_of_memory(error: BaseException) -> bool:
    """Of the process or of an accelerator: torch and JAX raise subclasses of RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in str(error).lower() or "RESOURCE_EXHAUSTED" in str(error))
    )


def _describe(error: BaseException) -> str:
    """Return type and message of the error and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
