"""How a command ends: whatever it raises becomes one message on stderr and an exit code.

A traceback is printed only with ``SWEEPLAW_TRACEBACK=1`` in the environment.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from sweeplaw.orchestrator.cli.shared import streams
from sweeplaw.trials.errors import DAMAGED, DamagedDataError, InputError, describe
from sweeplaw.trials.store_format.damage import collected

NOT_WRITTEN = 1  # exit code: the output, or a file, cannot be written
BAD_INPUT = 2
TRIALS_FAILED = 5
UNEXPECTED = 70
INTERRUPTED = 130
EXIT_SECONDS = 5.0  # for what code has registered to run at exit
UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # no error of reading
FULL = (*UNWRITTEN, errno.EIO)
_FULL_TEXTS = tuple(os.strerror(number) for number in FULL)  # errors of Arrow and Polars often have no number
_OF_ALLOCATOR = "can't allocate memory"  # of torch on a CPU, whose error is a RuntimeError
_LONGEST = 500  # characters of the message of an unexpected error


def exit_code(command: Callable[[], object], name: str) -> int:
    """Run ``command``, print what it raises in one message, and return its exit code. ``name`` is shown with errors.

    Below the message of bad input is the damage in the store that was read, which no answer names then.
    """
    threading.excepthook = lambda ended: _report(ended.exc_value, f"{name}: in a thread")
    with collected() as damage:
        try:
            command()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except streams.OutputLost:
            code = 0
        except BaseException as error:  # noqa: BLE001 - a panic of Polars is no Exception
            if _is_interrupt(error):
                end_at_once_if_interrupted()
            code = _report(error, name)
            for fault in damage if code in (BAD_INPUT, DAMAGED) else ():  # it may be why there is no answer
                _say(f"damaged: {fault}")
    return _output_code(code)


def end_at_once_if_interrupted() -> None:
    """From now on let SIGINT end the process without a word: while it loads or ends there is nothing to save.

    A signal that is ignored (`nohup`, a background job) stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def exit_process(code: int) -> NoReturn:
    """End the process with this exit code, whatever the code of a trial has left behind.

    Threads are not waited for, and what is registered to run at exit has `EXIT_SECONDS`.
    """
    end_at_once_if_interrupted()
    threading.Thread(target=_end_later, args=(code,), daemon=True).start()
    atexit._run_exitfuncs()
    _end(code)


def _end_later(code: int) -> None:
    time.sleep(EXIT_SECONDS)
    _end(code)


def _end(code: int) -> NoReturn:
    try:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def _output_code(code: int) -> int:
    """Say what became of stdout, and return the exit code of a command that would otherwise end with ``code``."""
    lost = streams.flush()
    if lost is None or lost.reader_left:
        return code
    _say(f"sweeplaw: {lost}")
    return code or (0 if lost.optional else NOT_WRITTEN)


def _report(error: BaseException | None, name: str) -> int:
    """Print the message of an error, and return its exit code."""
    if error is None or isinstance(error, SystemExit | streams.OutputLost):
        return 0
    if os.environ.get("SWEEPLAW_TRACEBACK"):
        traceback.print_exception(error)
    code, message = _ending(error, name)
    _say(message)
    return code


def _ending(error: BaseException, name: str) -> tuple[int, str]:
    """Return the exit code and the message of an error."""
    text = _one_line(error)
    if isinstance(error, InputError):
        if getattr(error.__context__, "errno", None) in UNWRITTEN:
            return NOT_WRITTEN, f"sweeplaw: {error}"
        return DAMAGED if isinstance(error, DamagedDataError) else BAD_INPUT, f"sweeplaw: {error}"
    if _is_interrupt(error):
        return INTERRUPTED, f"{name}: interrupted"
    if getattr(error, "errno", None) in FULL or any(full in text for full in _FULL_TEXTS):
        place, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
        return NOT_WRITTEN, f"{name}: {f'{place} cannot be written: {reason}' if place and reason else text}"
    if isinstance(error, OSError) and error.filename is not None:
        return BAD_INPUT, f"sweeplaw: {error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError) and _without_folder():
        return BAD_INPUT, "sweeplaw: the working directory has been removed (accepted: another one, or absolute paths)"
    what = "out of memory" if isinstance(error, MemoryError) or _OF_ALLOCATOR in text else f"unexpected {text}"
    return UNEXPECTED, f"{name}: {what} (SWEEPLAW_TRACEBACK=1 shows where it came from)"


def _is_interrupt(error: BaseException) -> bool:
    """Return whether this is an interrupt, or what native code made of one while it loaded or ran."""
    if isinstance(error, ImportError | SystemError) and error.__cause__ is not None:
        return _is_interrupt(error.__cause__)
    return isinstance(error, KeyboardInterrupt)


def _without_folder() -> bool:
    """Return whether relative paths lead nowhere."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _one_line(error: BaseException) -> str:
    """Return the type and the text of an error."""
    text = describe(error)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _say(message: str) -> None:
    typer.echo(message, err=True)
