"""One run of a user's script: its arguments filled in, its reports read while it trains, its end understood.

The script prints JSON lines, or appends them to `{metrics_file}`:

    {"step": 10, "tokens": 20480, "train_loss": 3.1}        a point of the curve
    {"step": 20, "val_loss": 2.9, "accuracy": 0.31}         the last val_loss is the trial's
    {"final": true, "val_loss": 2.8, "note": "ok"}          optional: the final result, which may hold text

A line is a report when it is a JSON object with `step`, `train_loss`, `val_loss` or `final`. All output is kept in the
trial's folder, and there what is no report stays.

A script that takes long resumes by itself: what it writes into `{checkpoint_folder}` is there when the trial is run
again, until it has completed or diverged. When the worker is told to wind down, the script and what it started get
SIGTERM and have grace_seconds to write; the trial is then preempted, unless the script still reports `final` and ends
with exit code 0.

How it ends otherwise: exit code 0 with a val_loss is completed; a loss that is not finite, or above the sweep's bound,
is diverged and stops the script; SIGKILL (137 through a wrapper) or words of it on stderr are out_of_memory; the rest
is failed, with the end of stderr.
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
from sweeplaw.trials.workloads.user_code.reports import Reports, final, on_the_way

PLACES = {
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
LINE_LIMIT = 1 << 20  # bytes; a longer line is no report
TAIL_BYTES = 2000
NOTICE_SECONDS = 1.0  # how often it is seen whether the worker has been told to wind down
METRICS_FILE_SECONDS = 0.5  # no file can be waited for: it is looked at this often, and whenever something is printed
OUT_OF_MEMORY = (
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
    """A script's command with every placeholder filled; ``env`` is all of its environment, inherited and given.

    ``metrics_file`` is None when reports are printed.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    folder: Path
    spec_file: Path
    metrics_file: Path | None
    checkpoint_folder: str

    @classmethod
    def filled(cls, spec: TrialSpec, context: Context, *, cwd: str, sweep_folder: Path) -> Call:
        """The command of ``spec``, whose knob ``command`` has the templates.

        Raises ValueError when a format does not fit its value.
        """
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
            "shrink": context.shrink,
        }
        used = set[str]().union(*(template.placeholders(text) for text in (*argv, *env.values())))
        return cls(
            argv=[template.fill(text, values) for text in argv],
            env={
                **os.environ,
                "SWEEPLAW_SPEC_FILE": str(folder / "spec.json"),
                "SWEEPLAW_CHECKPOINT_FOLDER": checkpoint_folder,
                "OMP_NUM_THREADS": str(context.threads),
                "PYTHONUNBUFFERED": "1",  # else its lines come in blocks, hours late
                **{name: template.fill(text, values) for name, text in env.items()},
            },
            cwd=sweep_folder / template.fill(cwd, values),
            folder=folder,
            spec_file=folder / "spec.json",
            metrics_file=folder / "metrics.jsonl" if "metrics_file" in used else None,
            checkpoint_folder=checkpoint_folder,
        )


@dataclass
class Notice:
    """Whether the script must wind down, and whether it has been told."""

    ending: Callable[[], bool]
    told: bool = False


def follow(
    call: Call, reports: Reports, timeout_seconds: float, grace_seconds: float, notice: Notice
) -> Generator[CurvePoint, None, Outcome]:
    """Run the script and yield its curve as it comes; returns the outcome. Leaving early stops the script.

    Raises Diverged, TimeoutError after ``timeout_seconds``, and OSError or ValueError when the script cannot start.
    """
    _prepare(call, reports.spec)
    running = process.running(
        call.argv, cwd=call.cwd, env=call.env, stderr=_log(call, "stderr"), grace_seconds=grace_seconds
    )
    with open(_log(call, "stdout"), "wb", buffering=0) as log, _opened(call.metrics_file) as metrics, running as child:
        wake_seconds = METRICS_FILE_SECONDS if metrics else NOTICE_SECONDS
        chunks = _heeding(child, notice, timeout_seconds, wake_seconds, grace_seconds)
        for line in _lines(_logged(chunks, log, metrics)):
            yield from _points(line, reports)
    if notice.told and not (reports.finished and child.process.returncode == 0):
        return reports.outcome("preempted", "told to wind down")
    return _ended(child.process.returncode, call, reports)


def _heeding(
    child: process.Child, notice: Notice, timeout_seconds: float, wake_seconds: float, grace_seconds: float
) -> Iterator[bytes]:
    """The output of the child, which is told when the notice comes. Raises TimeoutError as `process.output` does."""
    for chunk in process.output(child, timeout_seconds, wake_seconds):
        yield chunk
        if notice.ending():
            break
    else:
        return
    notice.told = True
    process.ask(child)
    try:
        yield from process.output(child, grace_seconds, wake_seconds)
    except TimeoutError:
        process.force(child)


def _prepare(call: Call, spec: TrialSpec) -> None:
    call.folder.mkdir(parents=True, exist_ok=True)
    knobs = {name: value for name, value in spec.knobs.items() if name != "command"}
    call.spec_file.write_text(json.dumps({"trial_id": spec.trial_id, "knobs": knobs}, indent=1) + "\n")
    if "://" not in call.checkpoint_folder:
        Path(call.checkpoint_folder).mkdir(parents=True, exist_ok=True)
    if call.metrics_file:
        call.metrics_file.write_bytes(b"")  # an earlier attempt's reports are not this one's


def _opened(path: Path | None) -> contextlib.AbstractContextManager[BinaryIO | None]:
    return contextlib.nullcontext() if path is None else open(path, "rb")


def _log(call: Call, stream: str) -> Path:
    return call.folder / f"{stream}.log"


def _logged(chunks: Iterable[bytes], log: BinaryIO, metrics: BinaryIO | None) -> Iterator[bytes]:
    """The bytes that may hold reports: what is printed or, where there is one, what the metrics file has new."""
    for chunk in chunks:
        log.write(chunk)
        if metrics is None:
            yield chunk
        else:
            yield from iter(lambda: metrics.read(process.CHUNK), b"")
    if metrics is not None:
        yield from iter(lambda: metrics.read(process.CHUNK), b"")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        yield from lines
        held = held[:LINE_LIMIT]  # cut, it is no JSON any more
    yield held


def _points(line: bytes, reports: Reports) -> Iterator[CurvePoint]:
    """The curve point of a line that is one. Raises Diverged."""
    report = _report(line)
    if report is None:
        return
    if report.pop("final", False):
        reports.finish(_accepted(final, report))
    elif point := _accepted(on_the_way, report):
        yield reports.add(point)


def _report(line: bytes) -> dict[str, Any] | None:
    text = line.strip().rpartition(b"\r")[2]  # a progress bar may stand before it
    if not text.startswith(b"{"):
        return None
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested a thousand deep: the script's own log
        return None
    return value if isinstance(value, dict) and REPORT_KEYS & value.keys() else None


def _accepted(convert: Callable[[str, Any], Any], report: Mapping[str, Any]) -> dict[str, Any]:
    accepted = {}
    for name, value in report.items():
        with contextlib.suppress(TypeError, ValueError):  # text or a list among the numbers stays in the log
            accepted[name] = convert(name, value)
    return accepted


def _ended(code: int, call: Call, reports: Reports) -> Outcome:
    tail = _tail(_log(call, "stderr")) or _tail(_log(call, "stdout"))
    if code == 0:
        where = f"in {call.metrics_file}" if call.metrics_file else "on standard output"
        silent = f'exit code 0, but no val_loss came {where} as a JSON line such as {{"step": 10, "val_loss": 2.5}}'
        return reports.completed(f"{silent}\n{tail}".strip())
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
