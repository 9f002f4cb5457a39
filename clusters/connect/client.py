"""A launch handed to a running cluster over Ray Client: its driver runs there, is shown here, and ends with us.

Over Ray Client Tune moves its loop into a process of the cluster, away from a driver here that claims trials and writes
the store. So the whole driver goes there: an actor on the head node keeps it (`hosted.py`), an ordinary driver of that
node with the cluster's token, and everything a launch promises holds for it. What it writes comes out here as it would
beside it, signals and the exit code pass through. When this process is gone, Ray ends the actor after its grace period
for reconnecting (RAY_CLIENT_RECONNECT_GRACE_PERIOD, 30 s), and the driver winds down like any that is told to end.
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
from sweeplaw.clusters.connect.cluster import QUIET, SILENT, credentials, initialized
from sweeplaw.clusters.connect.driver import inside
from sweeplaw.clusters.connect.private import environment
from sweeplaw.clusters.connect.remote_driver import RemoteDriver
from sweeplaw.clusters.errors import ConnectError
from sweeplaw.clusters.profile.profile import CLIENT, Profile

READ_SECONDS = 0.5  # how long one call waits for output; a signal is passed on between two
# Ray ends a driver's workers within its own grace, so a driver that has this much more has ended by itself.
_MORE_GRACE_SECONDS = 30.0
# Every head has it, also where it has no cores for trials. Its death ends the cluster; no other node's need to.
_ON_THE_HEAD = {"node:__internal_head__": 0.001}
# A server that has ended at once, as the head tells it: in its own words, or by what it found where it looked for it.
_NO_SERVER = re.compile(r"Starting Ray client server failed|psutil\.(ZombieProcess|NoSuchProcess)")
_SAFE = "what was recorded is safe, and launching again continues"


def run(profile: Profile, command: Sequence[str], *, sweep: str, out: BinaryIO, err: BinaryIO) -> int:
    """Run a driver on the cluster and return its exit code; ``out`` and ``err`` get what it writes.

    ``command`` are arguments of the cluster's Python, with `driver.CLUSTER` and `driver.SWEEP` where the files end up;
    what it names must be there. SIGINT and SIGTERM reach the driver; a second SIGINT leaves without waiting for it.
    Raises ConnectError, and KeyboardInterrupt.
    """
    with _own_signals() as asked, attached(profile):
        return _follow(_host(profile, command, sweep, err.isatty()), asked, out, err)


@contextlib.contextmanager
def attached(profile: Profile) -> Iterator[None]:
    """This process as a client of the profile's cluster, for the length of the block. Raises ConnectError."""
    address = str(profile.address)
    probe(address.removeprefix(CLIENT))
    with (
        environment({**QUIET, **credentials(profile, profile.token_file)}),
        initialized(profile, lambda: _join(address)),
        _told(address),
    ):
        yield


def _follow(driver: Any, asked: deque[int], out: BinaryIO, err: BinaryIO) -> int:
    """Show what the driver writes and pass on what we are asked, until it has ended: its exit code."""
    import ray

    while True:
        said, warned, code = ray.get(driver.read.remote(READ_SECONDS))
        for stream, text in ((err, warned), (out, said)):
            stream.write(text)
            stream.flush()
        if code is not None:
            return int(code)
        while asked:
            ray.get(driver.signal.remote(asked.popleft()))


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """A cluster or a driver that is gone, in a sentence."""
    try:
        yield
    except BrokenPipeError:  # whoever read our output has gone, not the cluster
        raise
    except ConnectionError as error:
        raise ConnectError(f"cluster at {address} is out of reach: {error}; {_SAFE}") from error
    except Exception as error:  # Ray's own errors share no base class
        if not type(error).__module__.startswith("ray"):
            raise
        raise ConnectError(f"cluster at {address} keeps no driver: {_last_line(error)}; {_SAFE}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[deque[int]]:
    """The numbers of SIGINT and SIGTERM as they come; a second SIGINT ends the block."""
    asked: deque[int] = deque()
    interrupts = itertools.count()

    def note(number: int, frame: object) -> None:
        if number == signal.SIGINT and next(interrupts):
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _join(address: str) -> None:
    """Connect. The head starts a server for each client at a port it found free a moment before; where a machine has
    several heads it may be taken by then. Nothing has run yet, so it is asked again.
    """
    import ray

    _greet(address.removeprefix(CLIENT))
    for last in (False, False, True):
        try:
            ray.init(address, **SILENT)
            return
        except ConnectionError as error:
            if last or not _NO_SERVER.search(str(error)):
                raise


def _greet(address: str) -> None:
    """One question to the Ray Client server: Ray asks for 30 s, whatever is wrong, and does not say what."""
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel
        from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc
    except ImportError:  # Ray says which part of it is missing
        return
    messages: Any = ray_client_pb2
    with contextlib.closing(init_grpc_channel(address)) as channel:
        request = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
        try:
            ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(request, timeout=PROBE_SECONDS)
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name}: {error.details()}") from None


def _host(profile: Profile, command: Sequence[str], sweep: str, terminal: bool) -> Any:
    """The actor that keeps the driver."""
    import ray

    # An address of "auto" is looked for in Ray's usual folder, unless this says where; the head may use another.
    names = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, **QUIET, **(_terminal() if terminal else {})}
    actor: Any = ray.remote(RemoteDriver)
    actor = actor.options(num_cpus=0, resources=_ON_THE_HEAD, max_concurrency=2)
    return actor.remote(command, sweep, inside(profile), names, profile.grace_seconds + _MORE_GRACE_SECONDS)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _terminal() -> dict[str, str]:
    """What a program that draws asks its terminal, from this one."""
    size = shutil.get_terminal_size()
    same = {name: value for name in ("TERM", "COLORTERM", "NO_COLOR") if (value := os.environ.get(name)) is not None}
    return {**same, "FORCE_COLOR": "1", "COLUMNS": str(size.columns), "LINES": str(size.lines)}
