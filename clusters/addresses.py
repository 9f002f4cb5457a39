"""Where a node of a job can be reached by the others, and which port is free."""

from __future__ import annotations

import json
import os
import socket
import subprocess

from clusters.errors import ClusterError


def own_address(interface: str | None) -> str:
    """The address other nodes reach this one at: of ``interface``, else of the name Slurm knows the node by.

    Raises ClusterError for an interface without an address.
    """
    if interface:
        return _interface_address(interface)
    address = socket.gethostbyname(os.environ.get("SLURMD_NODENAME") or socket.gethostname())
    # Some systems name themselves on loopback; then the way to any other host tells.
    return address_towards("192.0.2.1", 9) if address.startswith("127.") else address


def _interface_address(interface: str) -> str:
    show = ["ip", "-json", "-4", "address", "show", interface]
    done = subprocess.run(show, capture_output=True, text=True, check=False)
    addresses = json.loads(done.stdout)[0].get("addr_info") if done.returncode == 0 else None
    if not addresses:
        raise ClusterError(f"slurm.interface = {interface!r} has no address on this node: {done.stderr.strip()}")
    return str(addresses[0]["local"])


def address_towards(host: str, port: int) -> str:
    """This machine's address on the way to ``host``; nothing is sent (UDP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return str(probe.getsockname()[0])


def free_port() -> int:
    """A TCP port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
