"""Capture of what the code of a pack prints: its own prints and, in a process of its own, those of everything there."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Log = Callable[[bytes], None]


@contextlib.contextmanager
def captured(log: Log, descriptor: int | None) -> Iterator[None]:
    """Send to ``log`` what this thread, and threads that start in the block, print to `sys.stdout` and `sys.stderr`.

    With a ``descriptor``, the process belongs to the pack: other threads, C libraries and child processes print there.
    """
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    before = sys.stdout, sys.stderr
    with _redirected(descriptor) if descriptor is not None else contextlib.nullcontext():
        sys.stdout, sys.stderr = (_stream(log, others, stream) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    """Redirect the process's standard output and error to ``descriptor``."""
    copies = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in copies:
        os.dup2(descriptor, number)
    try:
        yield
    finally:
        for number, copy in copies:
            os.dup2(copy, number)
            os.close(copy)


def _stream(log: Log, others: set[int | None], original: Any) -> io.TextIOWrapper:
    raw: Any = _Routed(log, others, original)
    return _Shared(raw, encoding="utf-8", errors="replace", write_through=True)


class _Shared(io.TextIOWrapper):
    """A stream of several trials, which none of them can take from the next one, or hold up the end of the pack with.

    Nothing is buffered, so it need not be flushed at its end, by methods that a trial may have replaced.
    """

    def detach(self) -> Any:
        """Return the bytes below; this stream can still be used."""
        return self.buffer

    def reconfigure(self, **settings: Any) -> None:
        """Do nothing: a log is in UTF-8 and written through."""

    def __del__(self) -> None:
        pass


class _Routed(io.RawIOBase):
    """Passes what the threads ``others`` print to the original stream. Closing it has no effect."""

    def __init__(self, log: Log, others: set[int | None], original: Any) -> None:
        self._log, self._others, self._original = log, others, original

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        number: int = self._original.fileno()
        return number

    def isatty(self) -> bool:
        return threading.get_ident() in self._others and bool(self._original.isatty())

    def write(self, data: Any) -> int:
        piece = bytes(data)
        if threading.get_ident() in self._others:
            self._original.write(piece.decode(errors="replace"))
            self._original.flush()
        else:
            self._log(piece)
        return len(piece)

    def close(self) -> None:
        """Do nothing: the stream is that of the process."""
