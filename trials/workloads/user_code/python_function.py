"""A user's Python function as a workload: `python:package.module:function`.

The function takes the configuration, a dict of knob values. It reports during training in one of two ways: it calls
its parameter `report` (`report(step=10, val_loss=2.3)`), or it is a generator that yields such mappings. It returns the
final result: a mapping of metrics, or one number, the val_loss. Parameters named `report`, `context` and
`checkpoint_folder` are passed by name.

The function runs in a thread of its own, isolated from the trials before and after it in the same process
(`trials.workloads.user_code.isolation`); when the trial is stopped, its next report raises. Whatever it raises is its
trial's outcome, and the whole traceback is in the trial's log.

A long-running function resumes by itself: files that it writes into `checkpoint_folder` are kept for the next attempt,
until the trial has completed or diverged. When its worker is preempted, `context.ending()` returns True and the
function is stopped at its next report; however it then ends, the trial is preempted.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, describe, nearest, safe_text
from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.user_code import declared, resumption
from sweeplaw.trials.workloads.user_code.function_thread import Put, reported_points
from sweeplaw.trials.workloads.user_code.reports import Diverged, Reports

OPTIONS = ("knobs", "metrics", "resources", "divergence_loss", "checkpoints")
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
    metrics: Mapping[str, tuple[str, str]]
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = False
    resumes: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False  # unknown before it runs: a function may read `context.micro_batch_divisor`

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> PythonFunction:
        """Return the workload of ``module:function`` without importing it. Raise InputError with all faults."""
        faults = declared.unknown_options(options, OPTIONS)
        module, _, function = rest.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
            faults.append(f"workload = 'python:{rest}' is not of the form python:package.module:function")
        knobs = declared.knobs(options.get("knobs"), options.get("axes"), faults)
        metrics = declared.metrics(options.get("metrics"), faults)
        resources = declared.resources(options.get("resources"), faults)
        divergence_loss = declared.bound("divergence_loss", options.get("divergence_loss"), faults)
        resumes = declared.flag("checkpoints", options.get("checkpoints"), faults)
        if faults:
            raise InputError(faults)
        folder = Path(options.get("folder", ".")).resolve()
        return cls(f"python:{rest}", knobs, resources, folder, divergence_loss, metrics, resumes=resumes)

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        return declared.facts(values)

    def cost(self, spec: TrialSpec) -> Cost:
        return declared.cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Import the function. Raise InputError if it cannot be imported, takes no configuration, or cannot resume
        although ``checkpoints`` says so.
        """
        function = self._function()
        if self.resumes and not {"checkpoint_folder", "context"} & set(_extras(function)):
            raise InputError(
                f"workload.checkpoints = true, but {self.name} has no parameter checkpoint_folder (accepted: the "
                "function resumes from the files that it wrote there)"
            )

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Iterator[Event]:
        function = self._function()
        for spec in pack:
            events = _trial(function, Reports(spec, self.divergence_loss), context)
            yield from resumption.continued(events, spec, context) if self.resumes else events

    def _function(self) -> Callable[..., Any]:
        _, module_name, path = self.name.split(":")
        _put_first(str(self.folder), module_name)
        try:
            found: Any = importlib.import_module(module_name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may exit, too
            raise InputError(f"workload = {self.name!r}: import {module_name} fails: {_placed(error)}") from error
        for part in path.split("."):
            if not hasattr(found, part):
                raise InputError(f"workload = {self.name!r}: no {part!r} in {module_name}{nearest(part, vars(found))}")
            found = getattr(found, part)
        if fault := _fault(found):
            raise InputError(f"workload = {self.name!r}: {path} {fault}")
        function: Callable[..., Any] = found
        return function


def _put_first(folder: str, module_name: str) -> None:
    """Let imports find the modules of ``folder`` first, and ``module_name`` there even if one of this name is loaded
    from another sweep's folder. Not undone: the function may import its neighbours when it runs.
    """
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    top = module_name.partition(".")[0]
    here, loaded = PathFinder.find_spec(top, [folder]), sys.modules.get(top)
    if here is None or loaded is None or here.origin == getattr(loaded.__spec__, "origin", None):
        return
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


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


def _trial(function: Callable[..., Any], reports: Reports, context: Context) -> Generator[Event, None, None]:
    """Yield curve points, then the outcome, whatever the function does."""
    spec = reports.spec
    if context.ending():
        yield reports.outcome("preempted", NOT_BEGUN)
        return
    error = yield from _until_preempted(reported_points(_body(function, reports, context), spec.trial_id), context)
    outcome = _outcome(error, reports, context)
    if context.checkpoints is not None and outcome.state in checkpoint.ENDED:
        checkpoint.remove(context.checkpoints, spec.trial_id)
    yield outcome


class _Preempted(Exception):
    """The worker was preempted while the function ran."""


def _outcome(error: BaseException | None, reports: Reports, context: Context) -> Outcome:
    """Return how the trial ended, given what its function raised."""
    if error is None:
        return reports.completed("it returned no val_loss and reported none")
    if isinstance(error, Diverged):
        return reports.outcome("diverged", str(error))
    if isinstance(error, _Preempted):
        return reports.outcome("preempted", "preempted while it ran")
    context.log(_traceback(error))
    state: State = "out_of_memory" if _is_out_of_memory(error) else "failed"
    return reports.outcome("preempted" if context.ending() else state, _placed(error))


def _until_preempted(
    points: Generator[CurvePoint, None, BaseException | None], context: Context
) -> Generator[CurvePoint, None, BaseException | None]:
    """Yield the points; return what the function raised. If the worker is preempted, stop it and return _Preempted."""
    with contextlib.closing(points):
        while True:
            try:
                point = next(points)
            except StopIteration as end:
                error: BaseException | None = end.value
                return error
            yield point
            if context.ending():
                return _Preempted()


def _body(function: Callable[..., Any], reports: Reports, context: Context) -> Callable[[Put], None]:
    """Return what runs in the function's thread: the function, and the conversion of what it reports and returns."""

    def body(put: Put) -> None:
        def add(values: Mapping[str, Any], in_step: bool) -> None:
            if (point := reports.add(values)) is not None:
                put(point, in_step)

        def report(metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
            add({**(metrics or {}), **named}, False)

        extras = _extras(function)
        given = {"report": report, "context": context, "checkpoint_folder": None}
        if "checkpoint_folder" in extras:
            given["checkpoint_folder"] = _made(context.own_folder(reports.spec.trial_id))
        result = function(dict(reports.spec.knobs), **{name: given[name] for name in extras})
        if isinstance(result, Generator) and "report" not in extras:
            result = _yielded(result, lambda values: add(values, True), reports.spec.trial_id)
        reports.finish(_mapping(result))

    return body


def _made(folder: str) -> str:
    checkpoint.make_own_folder(folder)
    return folder


def _yielded(values: Generator[Any, None, Any], report: Callable[[Mapping[str, Any]], None], trial_id: str) -> Any:
    """Report what the generator yields; return its result."""
    try:
        while True:
            try:
                value = next(values)
            except StopIteration as end:
                return end.value
            report(_mapping(value))
    finally:
        try:
            values.close()
        except Exception:  # noqa: BLE001  its cleanup failed: the trial has its outcome, or the reader has closed
            _log.warning("trial %s failed while it was closed", trial_id, exc_info=True)


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a report or result as a mapping: a single number is the val_loss, None is empty."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"val_loss": value}


def _is_out_of_memory(error: BaseException) -> bool:
    """Of the process or of an accelerator: torch and JAX raise subclasses of RuntimeError."""
    text = safe_text(error, str, 2000) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "out of memory" in text.lower() or "RESOURCE_EXHAUSTED" in text


def _traceback(error: BaseException) -> bytes:
    """Return the traceback without our frames before and after those of the user's code."""
    try:
        found = traceback.TracebackException(type(error), error, error.__traceback__)
        while found.stack and _is_ours(found.stack[0]):
            del found.stack[0]
        while found.stack and _is_ours(found.stack[-1]):
            del found.stack[-1]
        return "".join(found.format() if found.stack else found.format_exception_only()).encode(errors="replace")
    except BaseException:  # noqa: BLE001  it is made of the error's own attributes
        return describe(error).encode()


def _placed(error: BaseException) -> str:
    """Return type and message of the error and the user's line that raised it, or that called what did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{describe(error)}{where}"


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return Path(frame.filename).parent == Path(__file__).parent
