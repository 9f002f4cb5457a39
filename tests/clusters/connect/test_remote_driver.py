"""A driver held by an actor: read exactly once, signalled, and ended when its holder is gone for any reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
from sweeplaw.clusters.connect.remote_driver import RemoteDriver

pytestmark = pytest.mark.kill

PATIENCE = 60.0
# Waits for a signal and prints its name.
WAITS = """
import signal, sys, time
def received(number, frame):
    print("received", signal.Signals(number).name, flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, received)
try:
    print("waits", flush=True)
    while True:  # a signal just before a sleep begins does not end it
        time.sleep(0.1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


def started(code: str, *words: str, grace: float = 30.0, **names: str) -> RemoteDriver:
    return RemoteDriver(["-c", code, *words], "a sweep", "a profile", names, grace)


def rest(driver: RemoteDriver, until: bytes | None = None) -> tuple[bytes, bytes, int | None]:
    """Read until the driver ends, or until its output contains ``until``."""
    deadline, out, err = time.monotonic() + PATIENCE, b"", b""
    while time.monotonic() < deadline:
        written, warned, code = driver.read(0.2)
        out, err = out + written, err + warned
        if code is not None or (until is not None and until in out):
            return out, err, code
    raise AssertionError(f"not within {PATIENCE:g} s: {out!r} {err!r}")


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s"
        time.sleep(0.05)


def test_output_errors_files_environment_and_exit_code_arrive_once_and_the_folder_is_removed() -> None:
    code = (
        "import fcntl, os, sys\n"
        "fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 19)\n"  # as on machines with large pages: all of it waits at the end
        "sys.stdout.write('o' * 300_000)\n"
        "texts = [open(path).read() for path in sys.argv[1:]]\n"
        "print(*texts, os.getcwd(), os.environ['NAME'], sep='|', file=sys.stderr)\n"
        "sys.exit(5)"
    )
    out, err, ended = rest(started(code, SWEEP, CLUSTER, NAME="a value"))
    sweep, cluster, folder, name = err.decode().strip().split("|")
    assert (out, ended) == (b"o" * 300_000, 5)
    assert (sweep, cluster, name) == ("a sweep", "a profile", "a value")
    assert not Path(folder).exists()


def test_a_driver_reads_nothing_of_what_its_holder_could_read() -> None:
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        code = "import os; print(os.path.samestat(os.fstat(0), os.stat(os.devnull)))"
        out, _, ended = rest(started(code))
    finally:
        os.dup2(kept, 0)
        for descriptor in (reading, writing, kept):
            os.close(descriptor)
    assert (out, ended) == (b"True\n", 0)


@pytest.mark.parametrize(
    ("number", "written", "code"),
    [
        (signal.SIGINT, b"interrupted\n", 130),
        (signal.SIGTERM, b"received SIGTERM\n", 7),
        (signal.SIGKILL, b"", 128 + signal.SIGKILL),
    ],
)
def test_signals_reach_the_driver_also_where_the_holder_has_them_blocked(
    number: signal.Signals, written: bytes, code: int
) -> None:
    """Ray blocks SIGINT in its workers, and a child inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        driver = started(WAITS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    rest(driver, b"waits\n")
    driver.signal(number)
    out, _, ended = rest(driver)
    assert (out, ended) == (written, code)
    driver.signal(signal.SIGTERM)  # the driver has ended: no error


HOLDER = """
import os, signal, sys, time
from sweeplaw.clusters.connect.remote_driver import RemoteDriver
driver = RemoteDriver(["-c", *sys.argv[2:]], "", "", {}, float(sys.argv[1]))
while b"waits" not in driver.read(1)[0]:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_driver_whose_holder_is_killed_gets_sigterm_and_never_blocks_on_unread_output(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal, sys, time\n"
        "received = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))\n"
        "print('waits', flush=True)\n"
        "while not received: time.sleep(0.01)\n"
        "for _ in range(100): print('x' * 10_000, flush=True); print('y' * 10_000, file=sys.stderr, flush=True)\n"
        "open(sys.argv[1], 'w').write(os.getcwd())"
    )
    end = tmp_path / "end"
    holder = subprocess.run([sys.executable, "-c", HOLDER, "60", code, str(end)], timeout=PATIENCE, check=False)
    assert holder.returncode == -signal.SIGKILL
    eventually(lambda: end.exists() and bool(end.read_text()))
    eventually(lambda: not Path(end.read_text()).exists())


def test_a_driver_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {os.getcwd()}')\n"
        "print('waits', flush=True)\n"
        "time.sleep(600)"
    )
    process = tmp_path / "process"
    subprocess.run([sys.executable, "-c", HOLDER, "0.2", code, str(process)], timeout=PATIENCE, check=False)
    pid, folder = process.read_text().split()
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    eventually(lambda: not Path(folder).exists())
