"""Processes that tests start and end."""

from __future__ import annotations

import contextlib

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie does not: it has ended, and its parent has not asked how."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def command_line(pid: int) -> str:
    """Return the words of a process's command line, joined by spaces; nothing if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(psutil.Process(pid).cmdline())
    return ""
