"""From a profile to a running cluster and back: the only place here that knows Ray.

`inline` starts nothing. `local` starts a private Ray that no other Ray on the machine can meet: its own folder, its own
token, loopback only, gone when the driver is gone. `ray` joins a running cluster from one of its nodes (from anywhere
else `client.py` puts the driver there) and leaves it running.
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
from sweeplaw.clusters.connect.private import UNWATCHED, WATCHED, check_token, environment, private_folder, write_token
from sweeplaw.clusters.connect.start import start
from sweeplaw.clusters.errors import ConnectError, counted
from sweeplaw.clusters.profile.capacity import (
    Capacity,
    memory_for_trials,
    object_store_bytes,
    usable_cores,
    usable_memory,
)
from sweeplaw.clusters.profile.profile import Profile

ATTACH_SECONDS = 5  # Ray's own patience with an address that answers the connection, one try a second

# Quiet, and nothing sent home. A trial without a GPU sees none (Ray's default lets it see all).
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
SILENT: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
# Over Ray Client Tune runs its loop in a process of the cluster, where this driver's claims, rows and signals are not.
_ELSEWHERE = (
    "address = {address!r} is Ray Client's, over which a driver elsewhere runs no trials (accepted: sweeplaw launch "
    "or sweeplaw.clusters.connect.client.run, which put the driver on the cluster)"
)
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # the name is Ray's; with 0 every server binds 127.0.0.1


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster: CPU cores, GPUs and bytes of memory that trials may take.

    ``raylet`` is where Ray's own process on it listens, the one that is the node to Ray.
    """

    node_id: str
    host: str
    cpus: float
    gpus: float
    memory_bytes: int | None
    raylet: tuple[str, int] | None = None

    @property
    def capacity(self) -> Capacity:
        """What trials may take of it."""
        return Capacity(self.cpus, self.gpus, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A connected cluster. ``slots`` is how many packs it runs at once; ``note`` a sentence a person should see."""

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
    """The cluster of this profile for the length of the block.

    Raises ConnectError when it cannot be started or reached, or when no node fits a trial; ProfileError for a kind that
    must be asked for first (slurm, kuberay, aws, gcp).
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
            f"a cluster of kind = {profile.kind!r} is asked for first "
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
        raise ConnectError(_ELSEWHERE.format(address=address), where=profile.name)
    probe(address)
    loopback = _only_on_loopback(address)
    names = {**credentials(profile, profile.token_file), "RAY_gcs_server_port_wait_time_s": str(ATTACH_SECONDS)}
    with environment({**QUIET, **names, **(_LOOPBACK if loopback else {})}), _loopback_here(loopback):
        yield from _session(profile, address=address)


def _only_on_loopback(address: str) -> bool:
    """Whether a cluster given by a loopback address is to be met there: Ray would look for it at the machine's own."""
    import ray.util

    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]"):
        return False
    return answers(ray.util.get_node_ip_address(), int(port), PROBE_SECONDS) is not True


def credentials(profile: Profile, token_file: str | None) -> dict[str, str | None]:
    """Ray's authentication variables; without a token file of the profile, what the environment says."""
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
    """Ray as ``init`` connects it, without its noise, for the length of the block.

    The environment must have the credentials already. Raises ConnectError.
    """
    import ray

    _refreshcredentials()
    breakpoints = {"PYTHONBREAKPOINT": os.environ.get("PYTHONBREAKPOINT")}  # Ray puts its debugger there
    with environment(breakpoints), _mute():
        try:
            start(init, str(profile.address or "local"))
            yield
        finally:
            ray.shutdown()


@contextmanager
def _mute() -> Iterator[None]:
    """Ray prints what it notices (a node that died) to the driver's standard output, where answers go; rows tell it."""
    from ray._private import worker

    printing = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


def _refreshcredentials() -> None:
    """Ray reads the authentication variables once a process; let it read them again."""
    from ray import _raylet  # compiled: no type information

    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _loopback_here(wanted: bool) -> Iterator[None]:
    """This process too takes 127.0.0.1 for its address (Ray read the variable when it was imported)."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _await_nodes(profile: Profile) -> tuple[Node, ...]:
    """The live nodes, as soon as ``profile.nodes`` are there or ``ready_seconds`` have passed."""
    deadline = time.monotonic() + profile.ready_seconds
    while len(nodes := live_nodes()) < profile.nodes and time.monotonic() < deadline:
        time.sleep(0.5)
    return nodes


def live_nodes() -> tuple[Node, ...]:
    """The nodes of the connected cluster that are alive now."""
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
    """The node this process runs on, of the connected cluster."""
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
