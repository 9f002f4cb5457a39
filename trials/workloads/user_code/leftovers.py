"""Processes that a trial's threads have started and left behind: found in /proc, and killed with their own children."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

END_SECONDS = 1.0  # for a killed process to be gone

_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # options of prctl(2)
_PASSES = 5  # over the orphans: ending one may make its children orphans

_OURS = b"-m\0sweeplaw."  # in the command line of a process that the driver of an inline launch starts meanwhile


class Children:
    """The children of this process that the current thread, and threads that start from now on, leave behind.

    Linux lists children by the thread that started them; a kernel without that list by process only, and then every
    new child counts that is not our own. Elsewhere no child is found.
    """

    def __init__(self) -> None:
        self._threads = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        self._before = set() if _listed(threading.get_native_id()) else _by_parent(os.getpid())
        self._orphans = Orphans()

    def kill(self) -> None:
        """Kill those that still run, except the two that `multiprocessing` keeps for all later trials."""
        for process in self._found() - _of_python():
            _kill_tree(process)
        self._orphans.kill()

    def _found(self) -> set[int]:
        if not _listed(threading.get_native_id()):
            return {child for child in _by_parent(os.getpid()) - self._before if _OURS not in _command(child)}
        new = [thread.native_id for thread in threading.enumerate() if thread.ident not in self._threads]
        return {child for thread in new for child in _by_task(f"/proc/self/task/{thread}")}


class Orphans:
    """Processes that start from now on and whose parents end: below this process they become its children.

    These are daemons of a trial, in a session of their own or not. Found on Linux only. Linux gives orphans to the main
    thread, so children that other threads start meanwhile can be distinguished on systems that list children by thread;
    those that the main thread of the driver starts are recognized by their command.
    """

    def __init__(self) -> None:
        self._subreaper = _adopt()
        self._since = _clock_ticks()
        self._before = _descendants(os.getpid())  # some may have started in this very tick of the clock

    def kill(self) -> None:
        """Kill those that still run; orphans go to the former process again."""
        for _ in range(_PASSES):
            if not (found := self._found()):
                break
            for process in found:
                _kill_tree(process)
        _prctl(_SET_SUBREAPER, self._subreaper)

    def _found(self) -> set[int]:
        new = {child for child in _of_main_thread() - self._before if _started(child) >= self._since}
        return {
            child for child in new if _session(child) != os.getsid(0) or _OURS not in _command(child)
        } - _of_python()


def _adopt() -> int:
    """Let orphans below this process become its children; return whether they did before, as 0 or 1."""
    before = ctypes.c_int(0)
    _prctl(_GET_SUBREAPER, ctypes.byref(before))
    _prctl(_SET_SUBREAPER, 1)
    return before.value


def _prctl(option: int, argument: Any) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def _of_main_thread() -> set[int]:
    main = os.getpid()
    return _by_task(f"/proc/self/task/{main}") if _listed(main) else _by_parent(main)


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:  # it has ended
        return None


def _kill_tree(process: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGSTOP)  # it starts no further process now
    for child in _children(process):
        _kill_tree(child)
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGKILL)
        until = time.monotonic() + END_SECONDS
        while os.waitpid(process, os.WNOHANG) == (0, 0) and time.monotonic() < until:
            time.sleep(0.001)


def _children(process: int) -> set[int]:
    tasks = list(Path(f"/proc/{process}/task").glob("*"))
    listed = any((task / "children").exists() for task in tasks)
    return {child for task in tasks for child in _by_task(str(task))} if listed else _by_parent(process)


def _descendants(process: int) -> set[int]:
    children = _children(process)
    return children.union(*(_descendants(child) for child in children))


def _listed(thread: int) -> bool:
    return os.path.exists(f"/proc/self/task/{thread}/children")


def _by_task(task: str) -> set[int]:
    try:
        return {int(word) for word in Path(task, "children").read_text().split()}
    except OSError:  # the thread has ended
        return set()


def _by_parent(process: int) -> set[int]:
    return {int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == process}


def _parent(stat: Path) -> int | None:
    return _field(stat, 4)


def _clock_ticks() -> int:
    """Return the time since the start of the system in the unit in which /proc says when a process started."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) if sys.platform == "linux" else 0


def _started(process: int) -> int:
    return _field(Path(f"/proc/{process}/stat"), 22) or -1


def _field(stat: Path, number: int) -> int | None:
    """Return a field of proc_pid_stat(5) by its number there; the second, which may hold anything, is the command."""
    try:
        return int(stat.read_text().rpartition(")")[2].split()[number - 3])
    except OSError:  # it has ended
        return None


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _of_python() -> set[int]:
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    found = getattr(tracker, "_pid", None), getattr(server, "_forkserver_pid", None)
    return {process for process in found if process is not None}
