"""The progress bar of a computation that takes a while."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import typer

from sweeplaw.trials.progress import ProgressCallback
from sweeplaw.trials.quantities import hours, short

DELAY = 0.7  # seconds before a bar appears
LINE_SECONDS = 10.0  # between lines where there is no terminal


@contextlib.contextmanager
def progress_bar(description: str, *, lines: bool = False) -> Iterator[ProgressCallback]:
    """Yield a callback for progress, which draws a bar with rate and time left on stderr.

    There is no bar in the first `DELAY` seconds. If stderr is no terminal, there is none either, but with ``lines`` a
    line every `LINE_SECONDS`.
    """
    began, update = time.monotonic(), None
    said = began
    with contextlib.ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            nonlocal update, said
            now = time.monotonic()
            if lines and not sys.stderr.isatty() and now - said >= LINE_SECONDS:
                said = now
                _say(description, done, total, now - began)
            if update is None and sys.stderr.isatty() and now - began > DELAY:
                update = stack.enter_context(_bar(description))
            if update is not None:
                update(done, total)

        yield progress


def _say(description: str, done: int, total: int, seconds: float) -> None:
    pace = done / seconds if seconds else 0.0
    left = f", {hours((total - done) / pace / 3600)} left" if pace else ""
    typer.echo(f"{description}: {short(done)} of {short(total)}, {short(pace)}/s{left}", err=True)


@contextlib.contextmanager
def _bar(description: str) -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    amounts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")
    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    with Progress(
        *amounts, *times, console=Console(file=getattr(sys.stderr, "drawing", None), stderr=True), transient=True
    ) as bar:
        task = bar.add_task(description, total=None, pace="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, pace=f"{short(speed)}/s" if speed else "")

        yield update
