"""`sweeplaw watch`: the progress of a store's sweeps in the terminal, again and again."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.signals import SHOW_CURSOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Group

SECONDS = 5.0
LAW_SHARE = 0.1  # of the time that fitting may take
LAW_SECONDS = 5.0  # that a look waits for a law; a later one shows what takes longer
WIDTH = 120  # columns where there is no terminal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    seconds: Annotated[
        float, typer.Argument(metavar="[SECONDS]", min=0.1, max=86400, help="Time between two refreshes.")
    ] = SECONDS,
) -> None:
    """Watch the sweeps in STORE until interrupted, from any machine that sees it, while they run and after.

    Progress of each cell (a size and a budget), what runs where, rate and time left, the law so far from the cells
    that are complete, and why trials failed. Where the output is no terminal, a text is printed at each look.

    Example: sweeplaw watch results/demo
    """
    from sweeplaw.orchestrator.cli.pages.watch_screen import screen, unseen
    from sweeplaw.orchestrator.live.followed import FollowedStore
    from sweeplaw.orchestrator.live.law import LawSoFar, law_so_far
    from sweeplaw.orchestrator.live.overview import Observer
    from sweeplaw.orchestrator.live.pacing import Paced
    from sweeplaw.trials.errors import InputError

    observer = Observer(FollowedStore(store))
    law: Paced[LawSoFar | None] = Paced(LAW_SHARE)

    def look(height: int | None) -> Group:
        try:
            found = observer.look()
        except (InputError, OSError) as error:  # of a disk that is away for a while, say
            return unseen(str(error), f"{dt.datetime.now():%H:%M:%S}")
        key = (found.cells.complete.rows(), found.ended) if found.cells is not None else None
        law.start(key, lambda: law_so_far(found))
        law.wait(min(seconds, LAW_SECONDS))
        return screen(found, law.result, f"{dt.datetime.now():%H:%M:%S}", height)

    if sys.stdout.isatty():
        _draw(look, seconds)
    while True:
        typer.echo(_text(look(None)))
        time.sleep(seconds)


def _draw(look: Callable[[int | None], Group], seconds: float) -> None:
    """Draw over the last screen at each look."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=getattr(sys.stdout, "drawing", None))

    def end(number: int, _: object) -> None:
        """End by this signal, with the cursor that drawing hides, also in the middle of a write to this terminal."""
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    with Live(console=console, auto_refresh=False, screen=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(look(console.height), refresh=True)
            time.sleep(seconds)


def _text(drawn: Group) -> str:
    """Return a screen as lines of text."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=WIDTH, color_system=None, legacy_windows=False).print(drawn)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
