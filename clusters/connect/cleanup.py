"""End what a private Ray leaves behind, however its driver ended.

The driver starts this file as a process of its own session and holds the other end of its standard input. When that
closes (the driver finished, was killed, ran out of memory), every process whose environment carries the mark is ended,
by its id, and the private folder is removed. Ray itself ends its servers with a killed driver, but its agents stay for
a minute or two and processes that trials started stay for good. Standard library only: it starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

MARK = "SWEEPLAW_PRIVATE_RAY"  # inherited by every process of the private Ray and its children
GRACE_SECONDS = 2.0  # for processes to end by themselves, and again on SIGTERM


def marked(folder: str) -> list[int]:
    """Return the ids of this user's live processes whose environment carries the mark with ``folder``."""
    wanted = f"{MARK}={folder}".encode()
    return [pid for pid in _processes() if pid != os.getpid() and wanted in _environment(pid)]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it has ended, or may not be read
        return []


def end(folder: str) -> None:
    """End every marked process: wait, send SIGTERM, wait, send SIGKILL."""
    _await(folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        _await(folder)


def _await(folder: str) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while marked(folder) and time.monotonic() < deadline:
        time.sleep(0.05)


def main(folder: str) -> None:
    """Wait for the end of standard input, then end the marked processes and remove ``folder``."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # sent to a whole job or terminal: outlive it
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    end(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
