"""A driver on a node of a cluster, held by an actor: started, read, signalled, and ended when the actor is gone."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeplaw.clusters.connect import supervisor
from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP, fill


class RemoteDriver:
    """One driver: arguments of this node's Python, with the files they name in a private folder.

    Its output is read as it arrives, exactly once; unread output waits in pipes, never on disk.
    """

    def __init__(
        self, command: Sequence[str], sweep: str, cluster: str, names: Mapping[str, str], grace_seconds: float
    ) -> None:
        """Start the driver, ``names`` added to its environment; it has ``grace_seconds`` when this process is gone."""
        folder = Path(tempfile.mkdtemp(prefix="sweeplaw-driver-"))
        places = {SWEEP: str(folder / "sweep.toml"), CLUSTER: str(folder / "cluster.toml")}
        for path, text in ((places[SWEEP], sweep), (places[CLUSTER], cluster)):
            Path(path).write_text(text, encoding="utf-8")
        signals, out, err, end = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        guard = [sys.executable, "-I", "-S", supervisor.__file__, folder, grace_seconds, end[1], out[0], err[0]]
        driver = [sys.executable, "-P", *fill(command, places)]  # -P: a folder of the node called ray is not Ray
        subprocess.run(  # it forks, so the supervisor is not our child
            [*map(str, guard), *driver],
            env={**os.environ, **names},
            stdin=signals[0],
            stdout=out[1],
            stderr=err[1],
            pass_fds=(end[1], out[0], err[0]),
            check=True,
        )
        for theirs in (signals[0], out[1], err[1], end[1]):
            os.close(theirs)
        self._signals: int | None = signals[1]  # None once the driver has ended
        self._code = b""
        self._sources = selectors.DefaultSelector()
        for name, (source, _) in {"out": out, "err": err, "end": end}.items():
            self._sources.register(source, selectors.EVENT_READ, name)

    def read(self, seconds: float) -> tuple[bytes, bytes, int | None]:
        """Return new output, new errors and, once the driver has ended and all is read, its exit code.

        Wait at most ``seconds`` for something to read.
        """
        chunks = {"out": b"", "err": b"", "end": b""}
        for key, _ in self._sources.select(seconds if self._signals is not None else 0):
            chunks[key.data] = os.read(key.fd, supervisor.CHUNK)
            if not chunks[key.data]:
                self._sources.unregister(key.fd)
                os.close(key.fd)
                if key.data == "end":
                    self._close_signals()
        self._code += chunks["end"]
        done = self._signals is None and not chunks["out"] and not chunks["err"]
        killed = 128 + signal.SIGKILL  # if the supervisor was killed too and could not report
        return chunks["out"], chunks["err"], int(self._code or killed) if done else None

    def signal(self, number: int) -> None:
        """Send the driver this signal, if it still runs."""
        if self._signals is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._signals, bytes([number]))

    def _close_signals(self) -> None:
        if self._signals is not None:
            os.close(self._signals)
            self._signals = None
