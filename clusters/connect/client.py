"""Run a launch on a cluster over Ray Client: its driver runs there and ends with this process.

Over Ray Client, Tune moves its loop into a process of the cluster, away from a local driver that claims trials and
writes the store. So the whole driver goes there: an actor on the head node holds it (`remote_driver.py`), an ordinary
driver of that node with the cluster's token and all the guarantees of a launch. Its output is shown here; signals and
the exit code pass through. If this process dies, Ray ends the actor after its grace period for reconnecting
(RAY_CLIENT_RECONNECT_GRACE_PERIOD, 30 s), and the driver drains as on SIGTERM.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from sweeplaw.clusters.connect.addresses import PROBE_SECONDS, probe
from sweeplaw.clusters.connect.cleanup import ENDINGS
from sweeplaw.clusters.connect.cluster import QUIET, SILENT, credentials
from sweeplaw.clusters.connect.driver import inside
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import environment
from sweeplaw.clusters.connect.remote_driver import RemoteDriver
from sweeplaw.clusters.connect.start import initialized
from sweeplaw.clusters.profile.profile import CLIENT, Profile

READ_SECONDS = 0.5  # for one call to wait for output; signals are passed on between calls
# A driver ends its workers within the profile's grace period; with this much more it has ended by itself.
_MORE_GRACE_SECONDS = 30.0
# A resource of every head, also of one without cores for trials. The death of another node does not end the cluster.
_ON_THE_HEAD = {"node:__internal_head__": 0.001}
# A server that ended at once, as the head reports it: in its own message, or as the error of looking for its process.
_NO_SERVER = re.compile(r"Starting Ray client server failed|psutil\.(ZombieProcess|NoSuchProcess)")
_SAFE = "recorded results are safe; relaunch to continue"


def run(profile: Profile, command: Sequence[str], *, sweep: str, out: BinaryIO, err: BinaryIO) -> int:
    """Run a driver on the cluster, copy its output to ``out`` and ``err``, and return its exit code.

    ``command`` are arguments of the cluster's Python, with `driver.CLUSTER` and `driver.SWEEP` for the files' paths;
    other paths in it must exist there. SIGINT, SIGTERM and SIGHUP reach the driver; a second SIGINT leaves
    without waiting for it. Raise ConnectError, and KeyboardInterrupt.
    """
    with _own_signals() as received, attached(profile):
        return _follow(_start(profile, command, sweep, err.isatty()), received, out, err)


@contextlib.contextmanager
def attached(profile: Profile) -> Iterator[None]:
    """Connect this process as a client of the profile's cluster for the block. Raise ConnectError."""
    address = str(profile.address)
    probe(address.removeprefix(CLIENT))
    with (
        environment({**QUIET, **credentials(profile, profile.token_file)}),
        initialized(address, lambda: _join(address)),
        _connection_errors(address),
    ):
        yield


def _follow(driver: Any, received: deque[int], out: BinaryIO, err: BinaryIO) -> int:
    """Copy the driver's output and pass on received signals until it ends; return its exit code."""
    import ray

    while True:
        written, warned, code = ray.get(driver.read.remote(READ_SECONDS))
        for stream, text in ((err, warned), (out, written)):
            stream.write(text)
            stream.flush()
        if code is not None:
            return int(code)
        while received:
            ray.get(driver.signal.remote(received.popleft()))


@contextlib.contextmanager
def _connection_errors(address: str) -> Iterator[None]:
    """Turn the loss of the cluster or of the driver into a ConnectError."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output has gone, not the cluster
        raise
    except ConnectionError as error:
        raise ConnectError(f"cluster at {address} is out of reach: {error}; {_SAFE}") from error
    except Exception as error:  # Ray's own errors share no base class
        if not type(error).__module__.startswith("ray"):
            raise
        raise ConnectError(f"cluster at {address} lost the driver: {_last_line(error)}; {_SAFE}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[deque[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP, unless ignored, as they arrive; a second SIGINT raises KeyboardInterrupt."""
    received: deque[int] = deque()
    interrupts = itertools.count()

    def note(number: int, frame: object) -> None:
        if number == signal.SIGINT and next(interrupts):
            raise KeyboardInterrupt
        received.append(number)

    numbers = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _join(address: str) -> None:
    """Connect, with two more tries.

    The head starts a server for each client on a port that was free a moment before; on a machine with several heads it
    may be taken by then. Nothing has run yet, so trying again is safe.
    """
    import ray

    _ping(address.removeprefix(CLIENT))
    for last in (False, False, True):
        try:
            ray.init(address, **SILENT)
            return
        except ConnectionError as error:
            if last or not _NO_SERVER.search(str(error)):
                raise


def _ping(address: str) -> None:
    """Ping the Ray Client server; raise ConnectionError with the reason, where Ray retries for 30 s and gives none."""
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel
        from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc
    except ImportError:  # Ray reports which of its parts is missing
        return
    messages: Any = ray_client_pb2
    with contextlib.closing(init_grpc_channel(address)) as channel:
        request = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
        try:
            ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(request, timeout=PROBE_SECONDS)
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name}: {error.details()}") from None


def _start(profile: Profile, command: Sequence[str], sweep: str, terminal: bool) -> Any:
    """Start the driver in an actor on the head and return the actor."""
    import ray

    # Ray resolves the address "auto" in its default folder, unless this is set; the head may use another folder.
    names = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, **QUIET, **(_terminal() if terminal else {})}
    actor: Any = ray.remote(RemoteDriver)
    actor = actor.options(num_cpus=0, resources=_ON_THE_HEAD, max_concurrency=2)
    return actor.remote(command, sweep, inside(profile), names, profile.grace_seconds + _MORE_GRACE_SECONDS)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _terminal() -> dict[str, str]:
    """Return the variables by which a program knows its terminal, from this one."""
    size = shutil.get_terminal_size()
    same = {name: value for name in ("TERM", "COLORTERM", "NO_COLOR") if (value := os.environ.get(name)) is not None}
    return {**same, "FORCE_COLOR": "1", "COLUMNS": str(size.columns), "LINES": str(size.lines)}
