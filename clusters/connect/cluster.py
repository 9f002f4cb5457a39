"""Connect to the cluster of a profile and disconnect.

`inline` starts nothing. `local` starts a private Ray, isolated from any other Ray on the machine: its own folder, its
own token, loopback only, ended with the driver. `ray` joins a running cluster from one of its nodes (from anywhere else
`client.py` runs the driver there) and leaves it running.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect import head
from sweeplaw.clusters.connect.addresses import PROBE_SECONDS, answers, probe
from sweeplaw.clusters.connect.cleanup import MARK
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import (
    ON_DEMAND,
    RAYS,
    UNWATCHED,
    WATCHED,
    CommandLine,
    KeptFolder,
    check_token,
    environment,
    interpreter,
    kept,
    ray_variables_to_unset,
    write_token,
)
from sweeplaw.clusters.connect.start import failed_servers, initialized, loopback_here
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


Connecting = Callable[[], AbstractContextManager[ClusterInfo]]


@contextmanager
def connected(profile: Profile) -> Iterator[ClusterInfo]:
    """Connect to the cluster of this profile for the block.

    Raise ConnectError if it cannot be started or reached, if no node fits a trial, or for a kind of cluster that must
    be requested first (slurm, kuberay, aws, gcp).
    """
    with begun(profile) as connect, connect() as info:
        yield info


@contextmanager
def begun(profile: Profile) -> Iterator[Connecting]:
    """Begin to start the cluster for the block; yield what connects to it, and raises what `connected` raises.

    A private Ray starts in the background meanwhile; other clusters run already.
    """
    if profile.kind in ("local", "ray"):
        _check_import()
    if profile.kind == "local":
        with _private(profile) as connect:
            yield connect
    else:
        yield lambda: _existing(profile)


def _check_import() -> None:
    """Raise ConnectError if something else hides Ray, or if Python drops what Ray needs."""
    if sys.flags.optimize > 1:
        raise ConnectError("Ray does not load without docstrings (accepted: PYTHONOPTIMIZE unset or 1, python -O)")
    found = importlib.util.find_spec("ray")
    places = list(found.submodule_search_locations or ()) if found else []
    if not any(Path(place, "_private").is_dir() for place in places):
        raise ConnectError(
            f"the module ray is not Ray but {found.origin or places if found else 'missing'} "
            "(accepted: no file or folder of that name in PYTHONPATH or beside the program)"
        )


@contextmanager
def _existing(profile: Profile) -> Iterator[ClusterInfo]:
    if profile.kind == "inline":
        (own,) = profile.planned_nodes() or ()
        yield ClusterInfo(None, (Node("inline", socket.gethostname(), *own),), slots=1)
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
def _private(profile: Profile) -> Iterator[Connecting]:
    with (
        kept(profile.temp_dir, lambda folder: _servers(profile, folder)) as kept_folder,
        environment(kept_folder.names),
    ):
        yield lambda: _joined(profile, kept_folder)


def _servers(profile: Profile, folder: Path) -> CommandLine:
    """Return the command that starts the servers of a private Ray in this folder."""
    options = {
        "include_dashboard": profile.dashboard,
        "dashboard_host": profile.bind,
        "num_cpus": profile.cpus or usable_cores(),
        "num_gpus": profile.gpus,
        "object_store_memory": object_store_bytes(),
        "memory": memory_for_trials(usable_memory()),
        "temp_dir": str(folder / RAYS),
    }
    names = {
        **ray_variables_to_unset(),
        **QUIET,
        **ON_DEMAND,
        **credentials(profile, str(write_token(folder / "token"))),
    }
    names |= {**(WATCHED if profile.dashboard else UNWATCHED), **(_LOOPBACK if _on_loopback(profile) else {})}
    return CommandLine([interpreter(folder), "-P", head.__file__, json.dumps(options)], {**names, MARK: str(folder)})


def _on_loopback(profile: Profile) -> bool:
    return profile.bind == "127.0.0.1"


@contextmanager
def _joined(profile: Profile, kept_folder: KeptFolder) -> Iterator[ClusterInfo]:
    address = kept_folder.answer(head.ADDRESS)
    if not address:
        raise failed_servers(kept_folder.errors())
    with loopback_here(_on_loopback(profile)):
        yield from _session(profile, address=address)


@contextmanager
def _running(profile: Profile) -> Iterator[ClusterInfo]:
    address = str(profile.address)
    if profile.over_client:
        raise ConnectError(_CLIENT_ADDRESS.format(address=address), where=profile.name)
    probe(address)
    loopback = _on_loopback_only(address)
    names = {**credentials(profile, profile.token_file), "RAY_gcs_server_port_wait_time_s": str(ATTACH_SECONDS)}
    with environment({**QUIET, **names, **(_LOOPBACK if loopback else {})}), loopback_here(loopback):
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

    from sweeplaw.clusters.connect.import_path import driver_import_path

    with initialized(
        str(profile.address or "local"), lambda: ray.init(job_config=driver_import_path(), **SILENT, **options)
    ):
        yield _info(profile, _await_nodes(profile))


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
