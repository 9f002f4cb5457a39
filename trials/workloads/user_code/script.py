"""One run of a user's script: filling in its arguments, reading its reports, classifying its exit.

The script prints JSON lines, or appends them to `{metrics_file}`:

    {"step": 10, "tokens": 20480, "train_loss": 3.1}        a point of the curve
    {"step": 20, "val_loss": 2.9, "accuracy": 0.31}         the last val_loss is the trial's
    {"final": true, "val_loss": 2.8, "note": "ok"}          optional: the final result, which may contain text

A line is a report if it is a JSON object with `step`, `train_loss`, `val_loss` or `final`, of at most LINE_LIMIT bytes.
Scripts with other names, lines and files are read as their `report_format` says.
Nothing counts after a `final` report. Reports that are ignored are counted in the trial's message. All output is in the
log of the trial, and until its pack has ended in the trial's folder.

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
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.attempt_log import left_out
from sweeplaw.trials.workload import no_log
from sweeplaw.trials.workloads.user_code import process
from sweeplaw.trials.workloads.user_code.call import Call
from sweeplaw.trials.workloads.user_code.growing_file import GrowingFile, created
from sweeplaw.trials.workloads.user_code.report_format import ReportReader
from sweeplaw.trials.workloads.user_code.reports import Reports, curve_value, final_value

FOLLOW_BYTES = 1 << 20  # of stderr between two reads of stdout, so that a flood of it cannot delay a timeout
LINE_LIMIT = 1 << 20  # bytes of a report; longer lines are ignored, and counted
TAIL_BYTES = 2000
TAIL_COLUMNS = 1000
PREEMPTION_SECONDS = 1.0  # between checks whether the worker is being preempted
METRICS_FILE_SECONDS = 0.5  # between reads of the metrics file, which is also read after every output
METRICS_BYTES = 1 << 20  # of it at each of them
OUT_OF_MEMORY = (  # in lower case, on stderr
    "out of memory",
    "outofmemory",
    "memoryerror",
    "cannot allocate memory",
    "bad_alloc",
    "resource_exhaust",
)
_ODD_VALUES = "{} with values that are no numbers, which were left out"
_TOO_DEEP = "{} nested too deeply, ignored"
_TOO_LONG = f"{{}} or other lines of more than {LINE_LIMIT >> 20} MiB, ignored"
KILLED_BY_SHELL = 128 + signal.SIGKILL


@dataclass
class Preemption:
    """Whether the worker is being preempted (``ending``), and whether the script has been ``notified``."""

    ending: Callable[[], bool]
    notified: bool = False


def follow(
    call: Call,
    reports: Reports,
    timeout_seconds: float,
    grace_seconds: float,
    preemption: Preemption,
    log: Callable[[bytes], None] = no_log,
) -> Generator[CurvePoint, None, Outcome]:
    """Run the script and yield its curve points as they arrive; return the outcome. Closing stops the script.

    ``log`` takes all its output, in pieces. Raise Diverged, TimeoutError after ``timeout_seconds`` (not counting the
    time in which nobody asked for the next point), and OSError or ValueError if the script cannot start.
    """
    _prepare(call, reports.spec)
    held, reader = 0.0, ReportReader(call.report_format)
    with created(call.folder / "stdout.log") as stdout, created(call.folder / "stderr.log") as stderr:
        running = process.running(call.argv, cwd=call.cwd, env=call.env, stderr=stderr, grace_seconds=grace_seconds)
        with _reports_file(call) as metrics, running as child, _followed(stderr, log) as follow_stderr:
            wake_seconds = METRICS_FILE_SECONDS if metrics else PREEMPTION_SECONDS
            chunks = _output(
                child, preemption, timeout_seconds, wake_seconds, grace_seconds, lambda: 0.0 if metrics else held
            )
            logged = _logged(chunks, stdout, log, follow_stderr)
            for line in _lines(_reports_in(logged, metrics), reports):
                for point in _points(_report(reader, line, reports), reports):
                    since = time.monotonic()
                    yield point
                    held += time.monotonic() - since
        if preemption.notified and not (reports.finished and child.process.returncode == 0):
            return reports.outcome("preempted", "preempted while it ran")
        tail = _tail(stderr) or _tail(stdout)
        return _exit_outcome(child.process.returncode, call, reports, reader.unknown, tail)


def _output(
    child: process.Child,
    preemption: Preemption,
    timeout_seconds: float,
    wake_seconds: float,
    grace_seconds: float,
    held: Callable[[], float],
) -> Iterator[bytes]:
    """Yield the output of the child; on preemption send SIGTERM, then SIGKILL after ``grace_seconds``.

    Raise TimeoutError as `process.output` does.
    """
    for chunk in process.output(child, timeout_seconds, wake_seconds, held):
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
    with created(call.spec_file) as file:
        file.write(f"{json.dumps({'trial_id': spec.trial_id, 'knobs': knobs}, indent=1)}\n".encode())
    checkpoint.make_own_folder(call.checkpoint_folder)
    if call.report_format.file is not None and call.metrics_file:  # the script creates it
        call.metrics_file.unlink(missing_ok=True)
    elif call.metrics_file:
        created(call.metrics_file).close()


def _reports_file(call: Call) -> contextlib.AbstractContextManager[GrowingFile | None]:
    if call.metrics_file is None:
        return contextlib.nullcontext()
    return GrowingFile(call.metrics_file, header=call.report_format.has_header)


@contextlib.contextmanager
def _followed(file: BinaryIO, log: Callable[[bytes], None]) -> Iterator[Callable[[], None]]:
    """Yield a call that passes to ``log`` what has been added to a growing file, at most `FOLLOW_BYTES` at a time.

    At the end, pass the count of bytes left out and only the last `FOLLOW_BYTES` of the remainder.
    """
    at = 0

    def read() -> None:
        nonlocal at
        piece = os.pread(file.fileno(), FOLLOW_BYTES, at)
        at += len(piece)
        log(piece)

    try:
        yield read
    finally:
        if (left := os.fstat(file.fileno()).st_size - at - FOLLOW_BYTES) > 0:
            log(left_out(left))
            at += left
        read()


def _logged(
    chunks: Iterable[bytes], stdout: BinaryIO, log: Callable[[bytes], None], stderr: Callable[[], None]
) -> Iterator[bytes]:
    """Yield the chunks, and log them and what has come on stderr meanwhile."""
    for chunk in chunks:
        stdout.write(chunk)
        log(chunk)
        stderr()
        yield chunk


def _reports_in(chunks: Iterable[bytes], metrics: GrowingFile | None) -> Iterator[bytes]:
    """Yield the bytes that may contain reports: the output, or new bytes of the metrics file.

    Of a file that grows faster than it is read, some are read after each chunk, so that it cannot delay a timeout.
    """
    if metrics is None:
        yield from chunks
        return
    for _ in chunks:
        yield from metrics.pieces(METRICS_BYTES)
    yield from metrics.pieces(metrics.size())


def _lines(chunks: Iterable[bytes], reports: Reports) -> Iterator[bytes]:
    """Split chunks into lines. One longer than LINE_LIMIT is skipped up to its end, and noted."""
    line, too_long = bytearray(), False
    for chunk in itertools.chain(chunks, [b"\n"]):
        for number, piece in enumerate(chunk.split(b"\n")):
            if number and too_long:
                reports.notes[_TOO_LONG] += 1
            elif number:
                yield bytes(line)
            if number:
                line, too_long = bytearray(), False
            line += piece
            if too_long or len(line) > LINE_LIMIT:
                too_long = _cut(line, too_long)


def _cut(line: bytearray, too_long: bool) -> bool:
    """Cut what a progress bar has drawn over: all before the last carriage return, unless that ends the line.

    Return whether what remains is too long; it is dropped then.
    """
    begin = line.rfind(b"\r", 0, len(line.rstrip(b"\r"))) + 1
    del line[:begin]
    if len(line) <= LINE_LIMIT and (begin or not too_long):
        return False
    del line[: -1 if line.endswith(b"\r") else None]
    return True


def _report(reader: ReportReader, line: bytes, reports: Reports) -> dict[str, Any] | None:
    """Return the report in ``line``, or None; one that is nested too deeply is noted."""
    try:
        return reader.report(line)
    except RecursionError:
        reports.notes[_TOO_DEEP] += 1
        return None


def _points(report: dict[str, Any] | None, reports: Reports) -> Iterator[CurvePoint]:
    """Yield the curve point of a line if it is one. Raise Diverged."""
    if report is None:
        return
    if reports.finished:
        reports.notes["{} after the final one, ignored"] += 1
        return
    try:
        if report.pop("final", False):
            reports.finish(_converted(final_value, report, reports))
        elif (values := _converted(curve_value, report, reports)) and (point := reports.add(values)) is not None:
            yield point
    except (TypeError, ValueError):
        reports.notes["{} ignored: a step is negative, or the name of a value is not accepted"] += 1


def _converted(convert: Callable[[str, Any], Any], report: Mapping[str, Any], reports: Reports) -> dict[str, Any]:
    """Convert the values of a report; omit those that cannot be converted, such as a list, and note how many reports
    have any."""
    converted, odd = {}, False
    for name, value in report.items():
        try:
            converted[name] = convert(name, value)
        except (TypeError, ValueError):
            odd = odd or value is not None
    if odd:
        reports.notes[_ODD_VALUES] += 1
    return converted


def _exit_outcome(code: int, call: Call, reports: Reports, unknown: Sequence[str], tail: str) -> Outcome:
    if code == 0:
        where = f"in {call.metrics_file}" if call.metrics_file else "on standard output"
        line = "a column" if call.report_format.has_header else 'a JSON line such as {"step": 10, "val_loss": 2.5}'
        line += " or a group of workload.pattern" if call.report_format.patterns else ""
        no_loss = f"exit code 0, but no val_loss came {where} as {line}"
        given = f'; it reported {", ".join(unknown)}: name the loss by metrics = {{ val_loss = "NAME" }}'
        names = given if unknown else ""
        return reports.completed(f"{no_loss}{names}\n{tail}".strip())
    if code in call.retry_exit_codes:
        return reports.outcome("preempted", f"exit code {code}, one of retry_exit_codes\n{tail}".strip())
    if code in (-signal.SIGKILL, KILLED_BY_SHELL):
        return reports.outcome("out_of_memory", f"killed by SIGKILL, as the kernel does when memory runs out\n{tail}")
    if code < 0:
        return reports.outcome("failed", f"killed by {_signal_name(-code)}\n{tail}".strip())
    memory = any(words in tail.lower() for words in OUT_OF_MEMORY)
    return reports.outcome("out_of_memory" if memory else "failed", f"exit code {code}\n{tail}".strip())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _tail(file: BinaryIO) -> str:
    """Return the last lines of a log, each cut at its first `TAIL_COLUMNS` characters."""
    end = os.pread(file.fileno(), TAIL_BYTES, max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
    lines = end.decode(errors="replace").strip().split("\n")
    return "\n".join(line if len(line) <= TAIL_COLUMNS else f"{line[:TAIL_COLUMNS]}…" for line in lines)
