"""Whatever a command raises becomes one message and a documented exit code; the traceback is shown on request."""

from __future__ import annotations

import errno
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared import environment
from sweeplaw.orchestrator.cli.shared.exits import exit_code
from sweeplaw.orchestrator.cli.shared.streams import OutputLost
from sweeplaw.trials.errors import InputError

HINT = "(SWEEPLAW_TRACEBACK=1 shows where it came from)\n"


LEFT_BEHIND = """
import atexit, builtins, threading, time
from sweeplaw.orchestrator.cli.shared import exits

class Slow:
    def __del__(self):
        time.sleep(100)

builtins.slow = Slow()
atexit.register(time.sleep, 100)
atexit.register(print, "bye", end="")
threading.Thread(target=time.sleep, args=(100,)).start()
exits.EXIT_SECONDS = 0.2
exits.exit_process(4)
"""


class Panic(BaseException):
    """Like the panics of Polars, which are no exceptions."""


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Put the handler of SIGINT back, which an ending command changes."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def command() -> None:
        raise error

    code = exit_code(command, "sweeplaw query")
    return code, capsys.readouterr().err


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


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
        (OSError(errno.EROFS, "Read-only", "x"), 1, "sweeplaw query: x cannot be written: Read-only\n"),
        (
            pl.exceptions.ComputeError("x: Read-only file system (os error 30)"),
            1,
            "Read-only file system (os error 30)\n",
        ),
        (OSError("No space left on device (os error 28)"), 1, "No space left on device (os error 28)\n"),
        (pl.exceptions.ComputeError("a\n\nb"), 70, f"sweeplaw query: unexpected ComputeError: a b {HINT}"),
        (OSError(errno.EMFILE, "Too many open files"), 70, f"[Errno 24] Too many open files {HINT}"),
        (OverflowError("x" * 9000), 70, f"{'x' * 484}… {HINT}"),
        (RecursionError(), 70, f"sweeplaw query: unexpected RecursionError {HINT}"),
        (MemoryError(), 70, f"sweeplaw query: out of memory {HINT}"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            70,
            f"sweeplaw query: out of memory {HINT}",
        ),
        (Panic("called `Option::unwrap()`"), 70, f"unexpected Panic: called `Option::unwrap()` {HINT}"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 70, "surrogates not allowed"),
        (KeyboardInterrupt(), 130, "sweeplaw query: interrupted\n"),
        (caused(ImportError("initialization failed"), KeyboardInterrupt()), 130, "sweeplaw query: interrupted\n"),
        (caused(ImportError("initialization failed"), OSError()), 70, "unexpected ImportError: initialization failed"),
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


def test_a_relative_path_in_a_folder_that_was_removed_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert exit_code(lambda: app(["status", "store"]), "sweeplaw status") == 2
    wanted = "the working directory has been removed (accepted: another one, or absolute paths)"
    assert capsys.readouterr().err == f"sweeplaw: {wanted}\n"
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: os.stat(""), "sweeplaw status") == 2
    assert "working directory" not in capsys.readouterr().err


def test_a_second_interrupt_finds_nothing_to_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert ended(KeyboardInterrupt(), capsys) == (130, "sweeplaw query: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


@pytest.mark.parametrize("ignored", [True, False])
def test_an_interrupt_while_the_command_loads_has_no_traceback(monkeypatch: pytest.MonkeyPatch, ignored: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    seen: list[Any] = []
    loaded = SimpleNamespace(main=lambda: seen.append(signal.getsignal(signal.SIGINT)))
    monkeypatch.setitem(sys.modules, "sweeplaw.orchestrator.cli", loaded)
    runpy.run_module("sweeplaw", run_name="__main__")
    assert seen == [signal.SIG_IGN if ignored else signal.SIG_DFL]


@pytest.mark.process
def test_nothing_that_code_leaves_behind_keeps_a_command_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_BEHIND], stdout=subprocess.PIPE, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (4, b"bye")


@pytest.mark.parametrize("threads", ["0", "000", "4097", "9" * 5000])
def test_a_number_of_threads_that_polars_cannot_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: str
) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", threads)
    assert exit_code(environment.check, "sweeplaw query") == 2
    message = capsys.readouterr().err
    assert message.startswith("sweeplaw: POLARS_MAX_THREADS = ")
    assert message.endswith("(accepted: 1 to 4,096; unset, it is the number of cores)\n")
    assert len(message) < 300


def test_an_address_space_in_which_polars_aborts_is_refused_with_every_other_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "0")
    limits = {"smaller": 2 * 10**9, "larger": 3 * 10**9}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits["smaller"], -1))
    assert exit_code(environment.check, "sweeplaw query") == 2
    message = capsys.readouterr().err
    assert "POLARS_MAX_THREADS = '0' in the environment" in message
    assert "this process may use 2.0 GB of address space, by `ulimit -v` (accepted: 3.0 GB or more" in message
    monkeypatch.delenv("POLARS_MAX_THREADS")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits["larger"], -1))
    environment.check()


@pytest.mark.parametrize("threads", ["", "1", "4096", "abc", "-1", "²"])
def test_what_polars_starts_or_ignores_is_left_to_it(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", threads)
    environment.check()


@pytest.mark.heavy
@pytest.mark.parametrize("words", [("fit", "additive"), ("report",), ("query", "--columns", "lr,nothing")])
def test_the_damage_that_may_be_why_there_is_no_answer_is_named_below_the_message(
    store: Any, record: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with store.writer("one") as writer:
        writer.write([record(1)])
    (part,) = Path(store.location.root, "trials").iterdir()
    part.write_bytes(part.read_bytes()[:-20])
    command, *rest = words
    arguments = [command, store.location.root, *rest]
    assert exit_code(lambda: app(arguments, standalone_mode=False), "sweeplaw") == 2
    message, *damaged = capsys.readouterr().err.splitlines()
    assert message.startswith("sweeplaw: ")
    assert "the store is empty" not in message
    assert [line for line in damaged if part.name in line and line.startswith("damaged: ")] == damaged[-1:]
    exit_code(lambda: app(["query", "nowhere.csv"], standalone_mode=False), "sweeplaw")
    assert "damaged" not in capsys.readouterr().err
