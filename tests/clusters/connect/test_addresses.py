"""Probing an address before Ray does: a server that is not Ray is reported within seconds, not minutes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeplaw.clusters.connect import addresses
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.trials.errors import InputError


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """Yield the address of a server that accepts connections and sends ``answer``; None: nothing."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            peers.append(peer)
            if answer is not None:
                peer.sendall(answer)

    peers: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"{host}:{port}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for peer in peers:
                peer.close()


@pytest.mark.heavy
@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_server_that_is_not_ray_is_reported_within_seconds(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PROBE_SECONDS", 0.5)
    start = time.monotonic()
    with server(answer) as address, pytest.raises(ConnectError, match=rf"the server at {address} is not Ray"):
        addresses.probe(address)
    assert time.monotonic() - start < 5


def test_a_server_that_greets_as_grpc_does_passes() -> None:
    with server(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        addresses.probe(address)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:65535", "nothing answers at 127.0.0.1:65535: refused"),
        ("127.0.0.1:65536", "is not an address"),
        ("127.0.0.1", "is not an address"),
    ],
)
def test_a_port_is_a_number_of_16_bits(monkeypatch: pytest.MonkeyPatch, address: str, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("refused")

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(ConnectError, match=words):
        addresses.probe(address)


def test_behind_tls_the_check_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with server(b"") as address:
        addresses.probe(address)


@pytest.mark.process
def test_an_interface_without_an_address_is_refused_in_the_words_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "ip"
    program.write_text('#!/bin/sh\necho "Device \\"absent0\\" does not exist." >&2\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as refused:
        addresses.own_address("absent0")
    (fault,) = refused.value.faults
    assert fault == "slurm.interface = 'absent0' has no address on this node: Device \"absent0\" does not exist."
