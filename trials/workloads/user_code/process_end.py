"""Calls that would end or replace the process in which a trial runs end the trial alone, as `sys.exit` does, and what
this process had open before the trial stays open: code that turns itself into a daemon closes every number.

A process that the trial has forked may make these calls, and so may threads other than the trial's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

_ENDS = ("_exit", "execv", "execve")  # the others of `os` end in one of these
_LISTS = ("/proc/self/fd", "/dev/fd")  # of open descriptors, on Linux and on others
_STANDARD = 3  # descriptors, which are reopened after the trial

_File = tuple[int, int]  # device and inode


def replaced() -> Iterator[Callable[[], None]]:
    """Replace these calls for the current thread, and yield calls that put them back."""
    for name in _ENDS:
        yield _replaced(name, functools.partial(_end, name))
    before = {number: file for number in _open_numbers() if number >= _STANDARD and (file := _file(number))}
    close = os.close

    def close_own(fd: int) -> None:
        if fd not in before or _file(fd) != before[fd]:  # else the number has been given to another file meanwhile
            close(fd)

    def close_range(fd_low: int, fd_high: int) -> None:
        for number in _open_numbers():
            if fd_low <= number < fd_high:
                with contextlib.suppress(OSError):
                    close_own(number)

    yield _replaced("close", close_own)
    yield _replaced("closerange", close_range)


def _replaced(name: str, own: Callable[..., Any]) -> Callable[[], None]:
    """Have a function of `os` call ``own`` in this thread of this process; return a call that undoes it."""
    process, thread, real = os.getpid(), threading.get_ident(), getattr(os, name)

    @functools.wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        here = os.getpid() == process and threading.get_ident() == thread
        return (own if here else real)(*arguments, **named)

    setattr(os, name, call)
    return functools.partial(setattr, os, name, real)


def _end(name: str, *_: Any, **__: Any) -> None:
    raise SystemExit(f"os.{name} would have ended the process of the trial")


def _open_numbers() -> list[int]:
    """Return the open descriptors of this process, and the closed one of the list; none where they are not listed."""
    for path in _LISTS:
        with contextlib.suppress(OSError):
            return sorted(map(int, os.listdir(path)))
    return []


def _file(number: int) -> _File | None:
    try:
        status = os.fstat(number)
    except (OSError, OverflowError):
        return None
    return status.st_dev, status.st_ino
