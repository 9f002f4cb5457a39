"""Whatever a command raises becomes one message and a documented exit code; the traceback is shown on request."""

from __future__ import annotations

import errno
import threading
from typing import Any

import polars as pl
import pytest

from sweeplaw.orchestrator.cli.shared.endings import exit_code
from sweeplaw.orchestrator.cli.shared.streams import OutputLost
from sweeplaw.trials.errors import InputError

HINT = "(SWEEPLAW_TRACEBACK=1 shows where it came from)\n"


class Panic(BaseException):
    """Like the panics of Polars, which are no exceptions."""


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def command() -> None:
        raise error

    code = exit_code(command, "sweeplaw query")
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError(["a", "b"], where="x.toml"), 2, "sweeplaw: x.toml: 2 faults\n  - a\n  - b\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
            2,
            "sweeplaw: x: No such file or directory\n",
        ),
        (OSError(errno.ENOSPC, "No space left", "x"), 1, "sweeplaw query: x cannot be written: No space left\n"),
        (OSError("No space left on device (os error 28)"), 1, "No space left on device (os error 28)\n"),
        (pl.exceptions.ComputeError("a\n\nb"), 70, f"sweeplaw query: unexpected ComputeError: a b {HINT}"),
        (OSError(errno.EMFILE, "Too many open files"), 70, f"[Errno 24] Too many open files {HINT}"),
        (OverflowError("x" * 9000), 70, f"{'x' * 484}… {HINT}"),
        (RecursionError(), 70, f"sweeplaw query: unexpected RecursionError {HINT}"),
        (MemoryError(), 70, f"sweeplaw query: unexpected the memory does not suffice {HINT}"),
        (Panic("called `Option::unwrap()`"), 70, f"unexpected Panic: called `Option::unwrap()` {HINT}"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 70, "surrogates not allowed"),
        (KeyboardInterrupt(), 130, "sweeplaw query: interrupted\n"),
        (SystemExit(4), 4, ""),
        (SystemExit(), 0, ""),
        (OutputLost(OSError(errno.ENOSPC, "full"), optional=False), 0, ""),
    ],
)
def test_every_error_has_a_message_and_an_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, printed = ended(error, capsys)
    assert found == code
    assert message in printed
    assert "Traceback" not in printed


def test_the_traceback_is_printed_on_request(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPLAW_TRACEBACK", "1")
    code, printed = ended(ZeroDivisionError("a"), capsys)
    assert code == 70
    assert "Traceback (most recent call last)" in printed
    assert "raise error" in printed


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back after the test
    monkeypatch.delenv("SWEEPLAW_TRACEBACK", raising=False)
