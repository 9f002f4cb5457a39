"""One run of a user's script: filling in its arguments, reading its reports, classifying its exit.

The script prints JSON lines, or appends them to `{metrics_file}`:

    {"step": 10, "tokens": 20480, "train_loss": 3.1}        a point of the curve
    {"step": 20, "val_loss": 2.9, "accuracy": 0.31}         the last val_loss is the trial's
    {"final": true, "val_loss": 2.8, "note": "ok"}          optional: the final result, which may contain text

A line is a report if it is a JSON object with `step`, `train_loss`, `val_loss` or `final`. All output is logged in the
trial's folder.

A long-running script resumes by itself: files that it writes into `{checkpoint_folder}` are kept for the next attempt,
until the trial has completed or diverged. When the worker is preempted, the script and what it has started get SIGTERM
and have grace_seconds to save their state; the trial is then preempted, unless the script still reports `final` and
ends with exit code 0.

Otherwise, exit code 0 with a val_loss is completed; a loss that is not finite, or above the sweep's bound, stops the
script as diverged; SIGKILL (137 through a wrapper) or a memory error on stderr is out_of_memory; anything else is
failed, with the end of stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.user_code import process, template
from sweeplaw.trials.workloads.user_code.reports import Reports, curve_value, final_value

PLACEHOLDERS = {
    "python": "the Python that runs the trial",
    "spec_file": "JSON file with trial_id and knobs",
    "metrics_file": "file to append JSON lines to, instead of printing them",
    "folder": "folder of the trial alone",
    "checkpoint_folder": "folder that is there for the next attempt too, a path or URI (SWEEPLAW_CHECKPOINT_FOLDER)",
    "sweep_folder": "folder of the sweep file",
    "trial_id": "identity of the trial",
    "threads": "CPU threads the trial may use",
    "device": "cpu or cuda",
    "shrink": "1, or the number of parts to cut each batch into, so that the trial needs less memory",
}
REPORT_KEYS = frozenset(("step", "train_loss", "val_loss", "final"))
LINE_LIMIT = 1 << 20  # bytes of a report; longer lines are ignored
TAIL_BYTES = 2000
PREEMPTION_SECONDS = 1.0  # between checks whether the worker is being preempted
METRICS_FILE_SECONDS = 0.5  # between reads of the metrics file, which is also read after every output
OUT_OF_MEMORY = (  # in lower case, on stderr
    "out of memory",
    "outofmemory",
    "memoryerror",
    "cannot allocate memory",
    "bad_alloc",
    "resource_exhaust",
)
KILLED_BY_SHELL = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Call:
    """A script's command with all placeholders filled in; ``env`` is its environment, including what it inherits.

    ``metrics_file`` is None if reports are printed.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    folder: Path
    spec_file: Path
    metrics_file: Path | None
    checkpoint_folder: str

    @classmethod
    def from_spec(cls, spec: TrialSpec, context: Context, *, cwd: str, sweep_folder: Path) -> Call:
        """Fill in the templates of the knob ``command`` of ``spec``. Raise ValueError if a format does not fit."""
        templates = json.loads(spec["command"])
        argv, env = templates["argv"], templates["env"]
        folder = context.folder.resolve() / spec.trial_id
        checkpoint_folder = context.own_folder(spec.trial_id)
        if "://" not in checkpoint_folder:
            checkpoint_folder = os.path.abspath(checkpoint_folder)
        values = {
            **spec.knobs,
            "python": sys.executable,
            "spec_file": str(folder / "spec.json"),
            "metrics_file": str(folder / "metrics.jsonl"),
            "folder": str(folder),
            "checkpoint_folder": checkpoint_folder,
            "sweep_folder": str(sweep_folder),
            "trial_id": spec.trial_id,
            "threads": context.threads,
            "device": context.device,
            "shrink": context.micro_batch_divisor,
        }
        used = set[str]().union(*(template.placeholders(text) for text in (*argv, *env.values())))
        return cls(
            argv=[template.fill(text, values) for text in argv],
            env={
                **os.environ,
                "SWEEPLAW_SPEC_FILE": str(folder / "spec.json"),
                "SWEEPLAW_CHECKPOINT_FOLDER": checkpoint_folder,
                "OMP_NUM_THREADS": str(context.threads),
                "PYTHONUNBUFFERED": "1",  # otherwise its lines arrive in blocks, hours late
                **{name: template.fill(text, values) for name, text in env.items()},
            },
            cwd=sweep_folder / template.fill(cwd, values),
            folder=folder,
            spec_file=folder / "spec.json",
            metrics_file=folder / "metrics.jsonl" if "metrics_file" in used else None,
            checkpoint_folder=checkpoint_folder,
        )


@dataclass
class Preemption:
    """Whether the worker is being preempted (``ending``), and whether the script has been ``notified``."""

    ending: Callable[[], bool]
    notified: bool = False


def follow(
    call: Call, reports: Reports, timeout_seconds: float, grace_seconds: float, preemption: Preemption
) -> Generator[CurvePoint, None, Outcome]:
    """Run the script and yield its curve points as they arrive; return the outcome. Closing stops the script.

    Raise Diverged, TimeoutError after ``timeout_seconds``, and OSError or ValueError if the script cannot start.
    """
    _prepare(call, reports.spec)
    running = process.running(
        call.argv, cwd=call.cwd, env=call.env, stderr=_log(call, "stderr"), grace_seconds=grace_seconds
    )
    with open(_log(call, "stdout"), "wb", buffering=0) as log, _opened(call.metrics_file) as metrics, running as child:
        wake_seconds = METRICS_FILE_SECONDS if metrics else PREEMPTION_SECONDS
        chunks = _output(child, preemption, timeout_seconds, wake_seconds, grace_seconds)
        for line in _lines(_reports_in(chunks, log, metrics)):
            yield from _points(line, reports)
    if preemption.notified and not (reports.finished and child.process.returncode == 0):
        return reports.outcome("preempted", "preempted while it ran")
    return _exit_outcome(child.process.returncode, call, reports)


def _output(
    child: process.Child, preemption: Preemption, timeout_seconds: float, wake_seconds: float, grace_seconds: float
) -> Iterator[bytes]:
    """Yield the output of the child; on preemption send SIGTERM, then SIGKILL after ``grace_seconds``.

    Raise TimeoutError as `process.output` does.
    """
    for chunk in process.output(child, timeout_seconds, wake_seconds):
        yield chunk
        if preemption.ending():
            break
    else:
        return
    preemption.notified = True
    process.terminate(child)
    try:
        yield from process.output(child, grace_seconds, wake_seconds)
    except TimeoutError:
        process.kill(child)


def _prepare(call: Call, spec: TrialSpec) -> None:
    call.folder.mkdir(parents=True, exist_ok=True)
    knobs = {name: value for name, value in spec.knobs.items() if name != "command"}
    call.spec_file.write_text(json.dumps({"trial_id": spec.trial_id, "knobs": knobs}, indent=1) + "\n")
    if "://" not in call.checkpoint_folder:
        Path(call.checkpoint_folder).mkdir(parents=True, exist_ok=True)
    if call.metrics_file:
        call.metrics_file.write_bytes(b"")  # removes the reports of an earlier attempt


def _opened(path: Path | None) -> contextlib.AbstractContextManager[BinaryIO | None]:
    return contextlib.nullcontext() if path is None else open(path, "rb")


def _log(call: Call, stream: str) -> Path:
    return call.folder / f"{stream}.log"


def _reports_in(chunks: Iterable[bytes], log: BinaryIO, metrics: BinaryIO | None) -> Iterator[bytes]:
    """Log the output; yield the bytes that may contain reports: the output, or new bytes of the metrics file."""
    for chunk in chunks:
        log.write(chunk)
        if metrics is None:
            yield chunk
        else:
            yield from iter(lambda: metrics.read(process.CHUNK), b"")
    if metrics is not None:
        yield from iter(lambda: metrics.read(process.CHUNK), b"")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split chunks into lines; one longer than LINE_LIMIT is truncated, and so no valid JSON."""
    partial = b""
    for chunk in chunks:
        *lines, partial = (partial + chunk).split(b"\n")
        yield from lines
        partial = partial[:LINE_LIMIT]
    yield partial


def _points(line: bytes, reports: Reports) -> Iterator[CurvePoint]:
    """Yield the curve point of a line if it is one. Raise Diverged."""
    report = _report(line)
    if report is None:
        return
    if report.pop("final", False):
        reports.finish(_converted(final_value, report))
    elif point := _converted(curve_value, report):
        yield reports.add(point)


def _report(line: bytes) -> dict[str, Any] | None:
    text = line.strip().rpartition(b"\r")[2]  # a progress bar may stand before it
    if not text.startswith(b"{"):
        return None
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deeply
        return None
    return value if isinstance(value, dict) and REPORT_KEYS & value.keys() else None


def _converted(convert: Callable[[str, Any], Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of a report; omit those that cannot be converted, such as text among numbers."""
    converted = {}
    for name, value in report.items():
        with contextlib.suppress(TypeError, ValueError):
            converted[name] = convert(name, value)
    return converted


def _exit_outcome(code: int, call: Call, reports: Reports) -> Outcome:
    tail = _tail(_log(call, "stderr")) or _tail(_log(call, "stdout"))
    if code == 0:
        where = f"in {call.metrics_file}" if call.metrics_file else "on standard output"
        no_loss = f'exit code 0, but no val_loss came {where} as a JSON line such as {{"step": 10, "val_loss": 2.5}}'
        return reports.completed(f"{no_loss}\n{tail}".strip())
    if code in (-signal.SIGKILL, KILLED_BY_SHELL):
        return reports.outcome("out_of_memory", f"killed by SIGKILL, as the kernel does when memory runs out\n{tail}")
    if code < 0:
        return reports.outcome("failed", f"killed by {signal.Signals(-code).name}\n{tail}".strip())
    memory = any(words in tail.lower() for words in OUT_OF_MEMORY)
    return reports.outcome("out_of_memory" if memory else "failed", f"exit code {code}\n{tail}".strip())


def _tail(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
