"""Where a node of a job can be reached by the others, which port is free, and whether a Ray answers at an address."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess

from sweeplaw.clusters.errors import ClusterError, ConnectError

PROBE_SECONDS = 5.0  # for a TCP connection to a running cluster, and for its first words

# Ray's servers speak gRPC, which is HTTP/2: a client says this, and any server answers with a SETTINGS frame, which has
# its type in the fourth byte (RFC 9113, sections 3.4 and 4.1). Ray itself waits for minutes where it never comes.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEADER, _SETTINGS = 9, 4


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


def probe(address: str) -> None:
    """Raise ConnectError within seconds where nothing listens at ``host:port``, or something that is no Ray."""
    match = re.fullmatch(r"\[?([^\[\]/\s]+?)\]?:(\d{1,5})", address)
    if address == "auto":
        return
    if match is None or int(match[2]) > 65535:
        raise ConnectError(f"address = {address!r} is no address (accepted: 'host:port', 'ray://host:port', 'auto')")
    try:
        with socket.create_connection((match[1], int(match[2])), timeout=PROBE_SECONDS) as peer:
            speaks = _speaks(peer)
    except OSError as error:
        raise ConnectError(
            f"nothing answers at {address}: {error.strerror or error} (is the cluster running?)"
        ) from None
    if not speaks:
        raise ConnectError(f"what answers at {address} is no Ray (accepted: the address 'ray start --head' printed)")


def answers(host: str, port: int, seconds: float) -> bool | None:
    """Whether a server of Ray's runs there: False where its port is closed, None where nothing is heard in time."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as peer:
            return _speaks(peer) or None
    except ConnectionRefusedError:
        return False
    except OSError:
        return None


def _speaks(peer: socket.socket) -> bool:
    """Whether it greets as Ray's servers do; behind TLS only Ray itself can tell."""
    if os.environ.get("RAY_USE_TLS") == "1":
        return True
    try:
        peer.sendall(_GREETING)
        header = peer.recv(_HEADER)
    except OSError:  # silence, or a connection cut at once
        return False
    return len(header) == _HEADER and header[3] == _SETTINGS
