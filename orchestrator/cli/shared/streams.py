"""The standard streams of a command: closed, full or left by their reader, and in any encoding, they end no work.

What cannot be written to stderr is dropped. What cannot be written to stdout raises `OutputLost`, or is dropped where
the output is not the purpose (`stdout_is_optional`): a sweep goes on when nobody watches it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import typer

from sweeplaw.orchestrator.monitor.printed import harmless
from sweeplaw.trials.errors import InputError, shown


class OutputLost(Exception):
    """Stdout cannot be written. No OSError: typer, click and rich end the process at some of these by themselves."""

    def __init__(self, cause: OSError, *, optional: bool) -> None:
        super().__init__(f"stdout cannot be written: {cause.strerror or cause}")
        self.optional = optional
        self.reader_left = cause.errno == errno.EPIPE


class Text(io.TextIOWrapper):
    """A standard stream as text, which does not control the terminal, whoever wrote it (`harmless`)."""

    def __init__(self, raw: Stream, encoding: str) -> None:
        self._terminal = raw.isatty()
        self._drawing: io.TextIOWrapper | None = None
        buffered = raw.optional or self._terminal
        super().__init__(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=buffered)

    def write(self, text: str) -> int:
        super().write(harmless(text) if self._terminal else text)
        return len(text)

    @property
    def drawing(self) -> io.TextIOWrapper:
        """The same stream for what does control the terminal: a bar, a screen that is cleared."""
        self.flush()
        self._drawing = self._drawing or io.TextIOWrapper(
            self.buffer, encoding=self.encoding, errors="backslashreplace", write_through=True
        )
        return self._drawing


class Stream(io.FileIO):
    """A standard stream that fails at most once; ``lost`` is the reason since which everything written is dropped."""

    def __init__(self, descriptor: int, *, optional: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.optional = optional
        self.lost: OutputLost | None = None

    def write(self, data: Any) -> int:
        """Write some of ``data`` and return the number of bytes taken. Raise OutputLost unless ``optional``."""
        if self.lost is None:
            try:
                while (taken := super().write(data)) is None:  # a terminal that another program made non-blocking
                    select.select([], [self], [])
            except OSError as error:
                self.lost = OutputLost(error, optional=self.optional)
                if not self.optional:
                    raise self.lost from None
            else:
                return taken
        return len(data)


def secure() -> None:
    """Replace this process's stdout and stderr by such streams, unless something else has replaced them."""
    _open_closed()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _secured(sys.stdout, 1, optional=False)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _secured(sys.stderr, 2, optional=True)


class Results:
    """The stdout of a command that runs foreign code: for the command's results alone.

    Once it is reserved, whatever else this process, its threads, libraries and children print to stdout goes to stderr,
    also after the results and while the process exits.
    """

    def __init__(self) -> None:
        self._stream: Any = sys.stdout

    def reserve(self) -> None:
        """Reserve stdout from now on."""
        sys.stdout.flush()
        if _stdout():
            copy = os.dup(1)
            os.dup2(2, 1)
            self._stream = _secured(sys.stdout, copy, optional=True)
        sys.stdout = sys.stderr

    @contextlib.contextmanager
    def printed(self) -> Iterator[None]:
        """Print to the real stdout in the block."""
        sys.stdout = self._stream
        yield
        if (lost := flush()) is None or lost.reader_left:
            sys.stdout = sys.stderr


def stdout_is_optional() -> None:
    """From now on drop what cannot be written to stdout."""
    if stream := _stdout():
        stream.optional = True


def silence_native() -> None:
    """From now on drop what native libraries write to stderr: backtraces of errors that are reported otherwise."""
    sys.stderr.flush()
    copy, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = _secured(sys.stderr, copy, optional=True)


def flush() -> OutputLost | None:
    """Flush stdout. Return the reason if some of what was printed is lost, None if all of it was taken."""
    stream = _stdout()
    with contextlib.suppress(OutputLost):
        sys.stdout.flush()
    return stream.lost if stream else None


def write_data(text: str) -> None:
    """Print text for programs (JSON, CSV): in UTF-8 whatever the terminal's encoding, as files of it are written."""
    data = harmless(text) if sys.stdout.isatty() else text
    typer.echo(data.encode("utf-8", "backslashreplace"), nl=False)


def check_arguments(arguments: list[str]) -> None:
    """Raise InputError for arguments that are no UTF-8 text: Parquet, Arrow and JSON know no other names."""
    if faults := [f"{shown(text)} is not UTF-8 text" for text in arguments if not _is_utf8(text)]:
        encoding = sys.getfilesystemencoding()
        hint = "" if encoding == "utf-8" else f"; the locale's encoding is {encoding}, and LC_ALL=C.UTF-8 sets UTF-8"
        raise InputError([f"{fault} (accepted: names and options in UTF-8{hint})" for fault in faults])


def _is_utf8(text: str) -> bool:
    try:
        return os.fsencode(text).decode("utf-8") == text
    except UnicodeError:
        return False


def _open_closed() -> None:
    """Open /dev/null on each closed standard descriptor, so that a file opened later cannot reuse the descriptor and
    receive output.

    Stdout is opened for reading, so that writing to it fails, as it does on a closed one.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _secured(stream: TextIO | None, descriptor: int, *, optional: bool) -> TextIO:
    """Return a text stream on ``descriptor`` in the encoding of ``stream``; what it lacks is written as ``\\xNN``."""
    return Text(Stream(descriptor, optional=optional), stream.encoding if stream else "utf-8")


def _stdout() -> Stream | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Stream) else None
