"""The progress bar of a computation that takes a while."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from sweeplaw.trials.progress import ProgressCallback
from sweeplaw.trials.quantities import short

DELAY = 0.7  # seconds before a bar appears


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[ProgressCallback]:
    """Yield a callback for progress, which draws a bar with rate and time left on stderr.

    There is no bar if stderr is not a terminal, or in the first `DELAY` seconds.
    """
    began, update = time.monotonic(), None
    with contextlib.ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            nonlocal update
            if update is None and sys.stderr.isatty() and time.monotonic() - began > DELAY:
                update = stack.enter_context(_bar(description))
            if update is not None:
                update(done, total)

        yield progress


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
