"""Keep a private Ray: start its servers, and end everything it left behind, however its driver ended.

The driver starts this file as a process of its own session and holds the other end of its standard input. When that
closes (the driver finished, was killed, ran out of memory), every process of the private Ray is ended, by its id, and
the private folder is removed. Those processes are this one's descendants, orphans included (it is their subreaper), and
those whose environment carries the mark, with all that they started. Ray itself ends its servers with a killed driver,
but its agents stay for a minute or two and processes that trials started stay for good.

A folder is locked while this process lives, so one whose lock is free belongs to nobody: it is removed by the next
private Ray beside it. Standard library only: it starts in 30 ms.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

MARK = "SWEEPLAW_PRIVATE_RAY"  # inherited by every process of the private Ray and its children
PREFIX = "sl-"  # of the names of private folders
LOCK, SCRATCH = "lock", "scratch"  # files of a folder: locked while it is in use; a link to its workers' scratch folder
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # signals that end a launch; sent to a whole job or terminal
GRACE_SECONDS = 2.0  # for processes to end on SIGTERM
KILLED_SECONDS = 10.0  # for the kernel to end them after SIGKILL; a loaded machine is slow

_SUBREAPER, _DEATH_SIGNAL = 36, 1  # options of prctl(2)


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


def _families() -> Iterator[tuple[int, int, str]]:
    """Yield id, parent and start of every live process; a zombie has ended."""
    for pid in _processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state, parent, *rest = file.read().rpartition(")")[2].split()
            if state not in "ZX":
                yield pid, int(parent), rest[17]


class _Household:
    """The processes of the private Ray in ``folder``: those with its mark, and all below them or below ``root``.

    Once seen they are followed, whatever becomes of their parents.
    """

    def __init__(self, folder: str, root: int | None) -> None:
        self._folder, self._root = folder, root
        self._known: set[tuple[int, str]] = set()  # id and start: an id may be given to another process

    def alive(self) -> set[int]:
        """Return the ids that are still running."""
        families = [family for family in _families() if family[0] != os.getpid()]
        carriers = marked(self._folder)
        found = {pid for pid, _, start in families if pid in carriers or (pid, start) in self._known}
        while more := {pid for pid, parent, _ in families if parent in found or parent == self._root} - found:
            found |= more
        self._known |= {(pid, start) for pid, _, start in families if pid in found}
        return found


def end(folder: str, root: int | None = None) -> None:
    """End the processes of the private Ray in ``folder``, and all below ``root``: SIGTERM, then SIGKILL."""
    household = _Household(folder, root)
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILLED_SECONDS)):
        deadline = time.monotonic() + seconds
        reported: set[int] = set()
        while (alive := household.alive()) and time.monotonic() < deadline:
            for pid in alive - reported:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            reported |= alive
            time.sleep(0.05)


def remove(folder: str) -> None:
    """Remove the folder, and the scratch folder to which it links."""
    with contextlib.suppress(OSError):
        shutil.rmtree(os.readlink(os.path.join(folder, SCRATCH)), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(place: str) -> None:
    """End and remove the private folders in ``place`` that are this user's and whose lock nobody holds any more."""
    with os.scandir(place) as entries:
        folders = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _is_own(entry)]
    for folder in folders:
        with contextlib.suppress(OSError), open(os.path.join(folder, LOCK), "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while it is in use
            end(folder)
            remove(folder)


def _is_own(entry: os.DirEntry[str]) -> bool:
    found = entry.stat(follow_symlinks=False)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def main(folder: str, command: list[str]) -> None:
    """Run ``command``, wait for the end of standard input, then end all processes and remove ``folder``.

    What the command prints goes to our standard output, its errors to the file ``errors`` in the folder.
    """
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    _prctl(_SUBREAPER, 1)
    if command:
        _start(folder, command)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that its reader sees when the command has ended
    remove_abandoned(os.path.dirname(folder))
    while os.read(0, 4096):
        pass
    end(folder, os.getpid())
    remove(folder)


def _start(folder: str, command: list[str]) -> None:
    def prepare() -> None:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_DFL)
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)  # should this process be killed

    with open(os.path.join(folder, "errors"), "wb") as errors:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, MARK: folder},
            start_new_session=True,
            preexec_fn=prepare,
        )


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
