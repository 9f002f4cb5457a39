"""A driver on a node of a cluster, for an actor to hold: started, read, signalled, and ended when the actor is gone."""

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
    """One driver: arguments of this node's Python, with the files they name in a folder of their own.

    Its output is read as it comes, exactly once, and waits here until it is: nothing of it is kept on disk.
    """

    def __init__(
        self, command: Sequence[str], sweep: str, cluster: str, names: Mapping[str, str], grace_seconds: float
    ) -> None:
        """Start the driver. ``names`` are added to its environment; without this process it has ``grace_seconds``."""
        folder = Path(tempfile.mkdtemp(prefix="sweeplaw-driver-"))
        places = {SWEEP: str(folder / "sweep.toml"), CLUSTER: str(folder / "cluster.toml")}
        for path, text in ((places[SWEEP], sweep), (places[CLUSTER], cluster)):
            Path(path).write_text(text, encoding="utf-8")
        asked, out, err, end = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        kept = [sys.executable, "-I", "-S", supervisor.__file__, folder, grace_seconds, end[1], out[0], err[0]]
        driver = [sys.executable, "-P", *fill(command, places)]  # -P: a folder of the node called ray is not Ray
        subprocess.run(  # it forks: the keeper is no child of ours
            [*map(str, kept), *driver],
            env={**os.environ, **names},
            stdin=asked[0],
            stdout=out[1],
            stderr=err[1],
            pass_fds=(end[1], out[0], err[0]),
            check=True,
        )
        for theirs in (asked[0], out[1], err[1], end[1]):
            os.close(theirs)
        self._asking: int | None = asked[1]
        self._code = b""
        self._sources = selectors.DefaultSelector()
        for name, (source, _) in {"out": out, "err": err, "end": end}.items():
            self._sources.register(source, selectors.EVENT_READ, name)

    def read(self, seconds: float) -> tuple[bytes, bytes, int | None]:
        """What the driver has written to its output and to its errors since the last call, after at most ``seconds``
        without anything; and, once it has ended and all is read, its exit code.
        """
        said = {"out": b"", "err": b"", "end": b""}
        for key, _ in self._sources.select(seconds if self._asking is not None else 0):
            said[key.data] = os.read(key.fd, supervisor.CHUNK)
            if not said[key.data]:
                self._sources.unregister(key.fd)
                os.close(key.fd)
                if key.data == "end":
                    self._hang_up()
        self._code += said["end"]
        over = self._asking is None and not said["out"] and not said["err"]
        killed = 128 + signal.SIGKILL  # where the keeper was too, and could not report
        return said["out"], said["err"], int(self._code or killed) if over else None

    def signal(self, number: int) -> None:
        """Send the driver this signal, if it still runs."""
        if self._asking is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._asking, bytes([number]))

    def _hang_up(self) -> None:
        """The driver has ended: nobody is asked any more."""
        if self._asking is not None:
            os.close(self._asking)
            self._asking = None
