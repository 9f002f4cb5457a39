"""Child processes: started, read while they run, and stopped with everything that they have started.

The child leads a process group of its own, and the whole group is stopped. On Linux, so is what has left the group
(`leftovers.Orphans`). Two watchers work without polling: a thread that waits for the child, and a
guard, a one-line shell of a few hundred kilobytes that reads from a pipe to this process. If this process dies for any
reason, the pipe closes and the guard stops the group. The child starts behind a gate, which opens when the guard has
been notified of it, and never if this process dies before. (Linux's parent-death signal is sent when the *thread* that
started the child ends, and does not reach the child's children.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import selectors
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sweeplaw.trials.workloads.user_code import leftovers

CHUNK = 1 << 16
LONGEST_WAIT = 86400.0  # seconds; epoll takes no infinity and at most 24 days
GUARD_GRACE_SECONDS = 5  # between SIGTERM and SIGKILL after this process has died
_GATE = 'read _ || exit 1; exec "$@" </dev/null'
_GUARD = 'read group; read _; kill -s TERM -- "-$group"; sleep "$1"; kill -s KILL -- "-$group"'


@dataclass(frozen=True, slots=True)
class Child:
    """A running child. ``exited`` is a pipe that becomes readable once the child and its group have ended."""

    process: subprocess.Popen[bytes]
    waiter: threading.Thread
    exited: int


@contextlib.contextmanager
def running(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stderr: BinaryIO, grace_seconds: float
) -> Iterator[Child]:
    """Start ``argv``; on leaving, stop what still runs with SIGTERM, and with SIGKILL after ``grace_seconds``.

    Raise OSError or ValueError if the child cannot start.
    """
    with _guard() as guard, _pipe() as (exited, exited_writer):
        orphans = leftovers.Orphans()
        _check_program(argv[0], cwd, env)
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *argv],
            bufsize=0,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        assert guard.stdin is not None
        assert process.stdin is not None
        assert process.stdout is not None
        guard.stdin.write(f"{process.pid}\n".encode())
        with contextlib.suppress(BrokenPipeError), process.stdin:  # it may be killed already
            process.stdin.write(b"\n")
        waiter = threading.Thread(target=_wait, args=(process, exited_writer), daemon=True)
        waiter.start()
        try:
            yield Child(process, waiter, exited)
        finally:
            _stop(process, waiter, grace_seconds)
            orphans.kill()
            process.stdout.close()


def _check_program(name: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Raise FileNotFoundError or PermissionError if there is no such program, or it may not be executed."""
    path = os.path.join(cwd, name) if os.path.dirname(name) else name
    if shutil.which(path, path=env.get("PATH", os.defpath)) is None:
        number = errno.EACCES if os.path.exists(path) else errno.ENOENT
        raise OSError(number, os.strerror(number), name)


def _never_held() -> float:
    return 0.0


def output(
    child: Child, seconds: float = math.inf, wake_seconds: float = math.inf, held: Callable[[], float] = _never_held
) -> Iterator[bytes]:
    """Yield the child's standard output in chunks as they arrive, until it has ended and all is read.

    Yield an empty chunk after ``wake_seconds`` without output. Raise TimeoutError after ``seconds``, not counting the
    seconds ``held``, in which this process did not read and the child may have waited for it.
    """
    assert child.process.stdout is not None
    source = child.process.stdout.fileno()
    os.set_blocking(source, False)
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(child.exited, selectors.EVENT_READ)
        while True:
            left = deadline + held() - time.monotonic()
            wait = max(0.0, min(left, wake_seconds, LONGEST_WAIT))
            ready = {key.fd for key, _ in selector.select(wait)}
            if child.exited in ready:
                yield from _drain(source)
                return
            if left <= 0:
                raise TimeoutError
            chunk = os.read(source, CHUNK) if source in ready else b""
            if source in ready and not chunk:  # closed by the child, which still runs
                selector.unregister(source)
            yield chunk


def terminate(child: Child) -> None:
    """Send SIGTERM to the child and its group."""
    _signal_group(child.process, signal.SIGTERM)


def kill(child: Child) -> None:
    """Send SIGKILL to the child and its group."""
    _signal_group(child.process, signal.SIGKILL)


def _drain(source: int) -> Iterator[bytes]:
    """Yield what a child that has ended left in the pipe; a process that left the group may keep it open, and write."""
    left = struct.unpack("i", fcntl.ioctl(source, termios.FIONREAD, bytes(4)))[0]
    while left > 0 and (chunk := os.read(source, min(left, CHUNK))):
        left -= len(chunk)
        yield chunk


def _wait(process: subprocess.Popen[bytes], exited: int) -> None:
    process.wait()
    _signal_group(process, signal.SIGKILL)  # ends what the child has started
    os.write(exited, b"\0")


def _stop(process: subprocess.Popen[bytes], waiter: threading.Thread, grace_seconds: float) -> None:
    if waiter.is_alive():
        _signal_group(process, signal.SIGTERM)
        waiter.join(grace_seconds)
    if waiter.is_alive():
        _signal_group(process, signal.SIGKILL)
        waiter.join()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of only zombies
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    source, sink = os.pipe()
    try:
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)


@contextlib.contextmanager
def _guard() -> Iterator[subprocess.Popen[bytes]]:
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "sh", str(GUARD_GRACE_SECONDS)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    try:
        yield guard
    finally:
        guard.kill()
        guard.wait()
        guard.stdin.close()
