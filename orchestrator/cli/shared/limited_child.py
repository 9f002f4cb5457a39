"""The rest of a command in a child process with limits on its time and memory.

A query can be small and its answer endless: only the system can stop it. What exceeds a limit ends the child, and this
process says so.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable

import typer

from sweeplaw.orchestrator.cli.shared import streams
from sweeplaw.trials.errors import InputError, shown

SECONDS = 300.0
SHARE = 0.5  # of this machine's memory
_DEATH_SIGNAL = 1  # option of prctl(2)
_LOOK_SECONDS = 0.5  # between two looks for signals while the child runs


def continue_in_limited_child(seconds: float, text: str) -> None:
    """Return in a child process that may take ``seconds``, and half of the memory on Linux, or what a lower limit of
    this process (`ulimit -d`, `ulimit -v`) leaves; this process waits for it.

    It exits with the child's exit code (typer.Exit), or raises InputError with ``text``, the query, if a limit or a
    crash ended the child. Does nothing where Polars is loaded: its threads would not survive the fork, and its caller
    is a program with limits of its own.
    """
    if "polars" in sys.modules:
        return
    parent = os.getpid()
    # What the libraries run after a fork swallows an exception, so that an interrupt there would be lost.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    child = os.fork()
    if child:
        raise typer.Exit(_ended(child, seconds, text, held))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # should the parent be killed
    if os.getppid() != parent:  # it was killed already
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent reports it
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if limit := _memory_limit():
        resource.setrlimit(resource.RLIMIT_DATA, (limit[0], limit[0]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    streams.silence_native()


def _ended(child: int, seconds: float, text: str, mask: Iterable[int]) -> int:
    """Wait for ``child`` under this signal ``mask`` and return its exit code. Raise InputError if a signal ended it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A signal that arrives just before the wait does not interrupt it: Python sees it when the next one does.
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if code >= 0:
        return code
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    reason = {
        signal.SIGALRM: f"took longer than {seconds:g} s (--timeout allows more)",
        signal.SIGSEGV: "is too complex",
        signal.SIGBUS: "read a file that was truncated while being read",
    }.get(signal.Signals(-code)) or _needs_more(_memory_limit())
    raise InputError(f"the query {reason} and was ended: {shown(text)}")


def _needs_more(limit: tuple[int, str] | None) -> str:
    return f"needs more than {limit[0] / 1e9:.1f} GB ({limit[1]})" if limit else "needs more memory than there is"


def _memory_limit() -> tuple[int, str] | None:
    """Return the bytes that a query may use and what sets them; None where the system reports or limits none.

    A limit that this process has is never raised: the system refuses that, or a user's own limit would be lost.
    """
    if sys.platform != "linux":
        return None
    from sweeplaw.clusters.profile.capacity import usable_memory

    of_process = (limit for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS) for limit in resource.getrlimit(kind))
    limits = [(limit, "a limit of this process, `ulimit`") for limit in of_process if limit != resource.RLIM_INFINITY]
    if usable := usable_memory():
        limits.append((int(usable * SHARE), "half of this machine's memory"))
    return min(limits, default=None)
