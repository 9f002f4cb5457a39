"""The address of this node, a free port, and whether Ray answers at an address."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess

from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.trials.errors import InputError

PROBE_SECONDS = 5.0  # for a TCP connection to a running cluster, and for its first bytes

# Ray's servers speak gRPC, which is HTTP/2: a client sends this, and any server replies with a SETTINGS frame, with its
# type in the fourth byte (RFC 9113, sections 3.4 and 4.1). Ray itself waits minutes for a reply that never comes.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEADER, _SETTINGS = 9, 4


def own_address(interface: str | None) -> str:
    """Return this node's address for other nodes: that of ``interface``, else of the node's name in Slurm.

    Raise InputError for an interface without an address.
    """
    if interface:
        return _interface_address(interface)
    address = socket.gethostbyname(os.environ.get("SLURMD_NODENAME") or socket.gethostname())
    # Some systems resolve their own name to loopback; then the route to any other host has the address.
    return address_towards("192.0.2.1", 9) if address.startswith("127.") else address


def _interface_address(interface: str) -> str:
    show = ["ip", "-json", "-4", "address", "show", interface]
    done = subprocess.run(show, capture_output=True, text=True, check=False)
    addresses = json.loads(done.stdout)[0].get("addr_info") if done.returncode == 0 else None
    if not addresses:
        raise InputError(f"slurm.interface = {interface!r} has no address on this node: {done.stderr.strip()}")
    return str(addresses[0]["local"])


def address_towards(host: str, port: int) -> str:
    """Return this machine's address on the route to ``host``; nothing is sent (UDP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((host, port))
        return str(route.getsockname()[0])


def free_port() -> int:
    """Return a TCP port on which nothing listened a moment ago."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def probe(address: str) -> None:
    """Raise ConnectError within seconds if nothing listens at ``host:port``, or a server that is not Ray."""
    match = re.fullmatch(r"\[?([^\[\]/\s]+?)\]?:(\d{1,5})", address)
    if address == "auto":
        return
    if match is None or int(match[2]) > 65535:
        raise ConnectError(
            f"address = {address!r} is not an address (accepted: 'host:port', 'ray://host:port', 'auto')"
        )
    try:
        with socket.create_connection((match[1], int(match[2])), timeout=PROBE_SECONDS) as peer:
            is_ray = _greets(peer)
    except OSError as error:
        raise ConnectError(
            f"nothing answers at {address}: {error.strerror or error} (is the cluster running?)"
        ) from None
    if not is_ray:
        raise ConnectError(f"the server at {address} is not Ray (accepted: the address 'ray start --head' printed)")


def answers(host: str, port: int, seconds: float) -> bool | None:
    """Return whether a server of Ray runs there: False if its port is closed, None without a reply in time."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as peer:
            return _greets(peer) or None
    except ConnectionRefusedError:
        return False
    except OSError:
        return None


def _greets(peer: socket.socket) -> bool:
    """Return whether the peer greets as Ray's servers do; behind TLS only Ray itself can check."""
    if os.environ.get("RAY_USE_TLS") == "1":
        return True
    try:
        peer.sendall(_GREETING)
        header = peer.recv(_HEADER)
    except OSError:  # silence, or a connection cut at once
        return False
    return len(header) == _HEADER and header[3] == _SETTINGS
