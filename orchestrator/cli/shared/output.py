"""How answers are printed: one set of options for every command that a program may read."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from sweeplaw.trials.progress import ProgressCallback
from sweeplaw.trials.quantities import short

SOON = 0.7  # seconds

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def emit_json(value: Any) -> None:
    """``value`` as indented JSON on stdout. NaN and infinity have no JSON form and print as null."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False, default=str) + "\n")


def plain(value: Any) -> Any:
    """``value`` with non-finite floats as None and mappings and sequences as dict and list."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


@contextlib.contextmanager
def counting(what: str) -> Iterator[ProgressCallback]:
    """A bar on stderr with rate and time left, where a terminal is there to see it; tell it (done, total). What is done
    within `SOON` seconds shows none."""
    began, tell = time.monotonic(), None
    with contextlib.ExitStack() as stack:

        def watch(done: int, total: int) -> None:
            nonlocal tell
            if tell is None and sys.stderr.isatty() and time.monotonic() - began > SOON:
                tell = stack.enter_context(_bar(what))
            if tell is not None:
                tell(done, total)

        yield watch


@contextlib.contextmanager
def _bar(what: str) -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    told = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")
    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    with Progress(*told, *times, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, pace="")

        def tell(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, pace=f"{short(speed)}/s" if speed else "")

        yield tell
