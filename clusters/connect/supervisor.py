"""Run a driver for an actor that may be killed at any moment: pass signals on, and end the driver when it is gone.

The actor starts this file and holds the other end of its standard input: a byte there is the number of a signal for the
driver, and its end means that the actor is gone. Ray ends an actor after killing that process's children, so this
process forks away from it. Standard library only: it starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

CHUNK = 1 << 16
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(folder: str, grace_seconds: float, report: int, unread: Sequence[int], command: Sequence[str]) -> None:
    """Run ``command`` in ``folder``, remove the folder, and write its exit code to the file descriptor ``report``.

    ``unread`` are the pipe ends from which the actor reads the driver's output. Without the actor the driver has
    ``grace_seconds`` to end.
    """
    if os.fork():
        return
    os.setsid()
    # A driver inherits ignored signals (from the parent of Ray) and blocked ones (Ray blocks SIGINT in its workers).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    driver = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_forward, args=(driver, grace_seconds, unread), daemon=True).start()
    code = driver.wait()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(BrokenPipeError):
        os.write(report, b"%d" % (128 - code if code < 0 else code))


def _forward(driver: subprocess.Popen[bytes], grace_seconds: float, unread: Sequence[int]) -> None:
    while number := os.read(0, 1):
        driver.send_signal(number[0])
    for source in unread:  # an unread pipe fills up, and the driver would wait for room in it
        threading.Thread(target=_drain, args=(source,), daemon=True).start()
    driver.terminate()
    try:
        driver.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        driver.kill()


def _drain(source: int) -> None:
    while os.read(source, CHUNK):
        pass


if __name__ == "__main__":
    _, place, grace, end, out, err, *words = sys.argv
    main(place, float(grace), int(end), (int(out), int(err)), words)
