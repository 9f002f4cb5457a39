"""Connect to the cluster of a profile and disconnect.

`inline` starts nothing. `local` starts a private Ray, isolated from any other Ray on the machine: its own folder, its
own token, loopback only, ended with the driver. `ray` joins a running cluster from one of its nodes (from anywhere else
`client.py` runs the driver there) and leaves it running.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sweeplaw.clusters.connect.addresses import PROBE_SECONDS, answers, probe
from sweeplaw.clusters.connect.cleanup import MARK
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import UNWATCHED, WATCHED, check_token, environment, private_folder, write_token
from sweeplaw.clusters.connect.start import start
from sweeplaw.clusters.profile.capacity import (
    Capacity,
    counted,
    memory_for_trials,
    object_store_bytes,
    usable_cores,
    usable_memory,
)
from sweeplaw.clusters.profile.profile import Profile

ATTACH_SECONDS = 5  # Ray's timeout for an address that accepts the connection, one try a second

# Quiet, without usage reports. A trial without a GPU sees none (Ray's default lets it see all).
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
SILENT: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
# Over Ray Client, Tune runs its loop in a process of the cluster, away from this driver's claims, rows and signals.
_CLIENT_ADDRESS = (
    "address = {address!r} is Ray Client's, over which a driver elsewhere runs no trials (accepted: sweeplaw launch "
    "or sweeplaw.clusters.connect.client.run, which put the driver on the cluster)"
)
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # with 0 every server of Ray binds 127.0.0.1


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster: CPU cores, GPUs and bytes of memory that trials may use.

    ``raylet`` is the address of Ray's node process on it.
    """

    node_id: str
    host: str
    cpus: float
    gpus: float
    memory_bytes: int | None
    raylet: tuple[str, int] | None = None

    @property
    def capacity(self) -> Capacity:
        """What trials may use of it."""
        return Capacity(self.cpus, self.gpus, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A connected cluster. ``slots`` is the number of packs it runs at once; ``note`` is a sentence for the user."""

    address: str | None
    nodes: tuple[Node, ...]
    slots: int
    note: str | None = None

    @property
    def cpus(self) -> float:
        """CPU cores of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


@contextmanager
def connected(profile: Profile) -> Iterator[ClusterInfo]:
    """Connect to the cluster of this profile for the block.

    Raise ConnectError if it cannot be started or reached, if no node fits a trial, or for a kind of cluster that must
    be requested first (slurm, kuberay, aws, gcp).
    """
    if profile.kind == "inline":
        (own,) = profile.planned_nodes() or ()
        yield ClusterInfo(None, (Node("inline", socket.gethostname(), *own),), slots=1)
    elif profile.kind == "local":
        with _local(profile) as info:
            yield info
    elif profile.kind == "ray":
        with _running(profile) as info:
            yield info
    else:
        raise ConnectError(
            f"a cluster of kind = {profile.kind!r} must be requested first "
            f"(do: sweeplaw cluster {profile.kind} ...; inside it the sweep joins by kind = 'ray')",
            where=profile.name,
        )


@contextmanager
def _local(profile: Profile) -> Iterator[ClusterInfo]:
    with private_folder(profile.temp_dir) as folder:
        names = {**QUIET, **credentials(profile, str(write_token(folder / "token"))), MARK: str(folder)}
        loopback = profile.bind == "127.0.0.1"
        names |= {**(WATCHED if profile.dashboard else UNWATCHED), **(_LOOPBACK if loopback else {})}
        with environment(names), _loopback_here(loopback):
            yield from _session(
                profile,
                address="local",
                include_dashboard=profile.dashboard,
                dashboard_host=profile.bind,
                num_cpus=profile.cpus or usable_cores(),
                num_gpus=profile.gpus,
                object_store_memory=object_store_bytes(),
                _memory=memory_for_trials(usable_memory()),
                _temp_dir=str(folder),
            )


@contextmanager
def _running(profile: Profile) -> Iterator[ClusterInfo]:
    address = str(profile.address)
    if profile.over_client:
        raise ConnectError(_CLIENT_ADDRESS.format(address=address), where=profile.name)
    probe(address)
    loopback = _on_loopback_only(address)
    names = {**credentials(profile, profile.token_file), "RAY_gcs_server_port_wait_time_s": str(ATTACH_SECONDS)}
    with environment({**QUIET, **names, **(_LOOPBACK if loopback else {})}), _loopback_here(loopback):
        yield from _session(profile, address=address)


def _on_loopback_only(address: str) -> bool:
    """Return whether a cluster at a loopback address listens only there: Ray would try the machine's own address."""
    import ray.util

    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]"):
        return False
    return answers(ray.util.get_node_ip_address(), int(port), PROBE_SECONDS) is not True


def credentials(profile: Profile, token_file: str | None) -> dict[str, str | None]:
    """Return Ray's authentication variables; without a token file, those of the environment apply."""
    if profile.authentication == "disabled":
        return {"RAY_AUTH_MODE": "disabled"}
    path = profile.token_file or token_file
    named = {} if path is None else {"RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": str(check_token(path))}
    return {"RAY_AUTH_MODE": "token", **named}


def _session(profile: Profile, **options: Any) -> Iterator[ClusterInfo]:
    import ray

    with initialized(profile, lambda: ray.init(**SILENT, **options)):
        yield _info(profile, _await_nodes(profile))


@contextmanager
def initialized(profile: Profile, init: Callable[[], Any]) -> Iterator[None]:
    """Connect Ray by ``init``, without its output, for the block.

    The environment must already have the credentials. Raise ConnectError.
    """
    import ray

    _refresh_credentials()
    breakpoints = {"PYTHONBREAKPOINT": os.environ.get("PYTHONBREAKPOINT")}  # Ray sets its debugger there
    with environment(breakpoints), _mute():
        try:
            start(init, str(profile.address or "local"))
            yield
        finally:
            ray.shutdown()


@contextmanager
def _mute() -> Iterator[None]:
    """Keep Ray's notices (a node died) off the driver's standard output, which is for answers; rows have them."""
    from ray._private import worker

    printing = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


def _refresh_credentials() -> None:
    """Make Ray read the authentication variables again; it reads them once a process."""
    from ray import _raylet  # compiled: no type information

    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _loopback_here(wanted: bool) -> Iterator[None]:
    """Make 127.0.0.1 the address of this process too (Ray read the variable when it was imported)."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _await_nodes(profile: Profile) -> tuple[Node, ...]:
    """Return the live nodes once there are ``profile.nodes``, or after ``ready_seconds``."""
    deadline = time.monotonic() + profile.ready_seconds
    while len(nodes := live_nodes()) < profile.nodes and time.monotonic() < deadline:
        time.sleep(0.5)
    return nodes


def live_nodes() -> tuple[Node, ...]:
    """Return the nodes of the connected cluster that are alive now."""
    import ray

    return tuple(
        Node(
            node_id=node["NodeID"],
            host=node["NodeManagerHostname"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory_bytes=int(node["Resources"]["memory"]) if "memory" in node["Resources"] else None,
            raylet=(node["NodeManagerAddress"], node["NodeManagerPort"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def own_node() -> str:
    """Return the id of the node this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _info(profile: Profile, nodes: tuple[Node, ...]) -> ClusterInfo:
    import ray

    slots = profile.slots_on(node.capacity for node in nodes)
    if slots == 0:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise ConnectError(
            f"a trial of {counted(profile.cpus_per_trial, 'core')} and {counted(profile.gpus_per_trial, 'GPU')} "
            f"fits no node ({len(nodes)} alive, the largest has {counted(largest.cpus, 'core')} and "
            f"{counted(largest.gpus, 'GPU')})",
            where=profile.name,
        )
    note = None
    if len(nodes) < profile.nodes:
        note = (
            f"{len(nodes)} of {profile.nodes} nodes came within {profile.ready_seconds:g} s; late ones may still join"
        )
    return ClusterInfo(ray.get_runtime_context().gcs_address, nodes, slots, note)
