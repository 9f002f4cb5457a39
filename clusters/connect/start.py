"""Start or join Ray without its noise, and turn what it says when it fails into one sentence that helps."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sweeplaw.clusters.errors import ConnectError

_TOKEN_HINT = (
    "accepted: token_file of the profile, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token holding the cluster's token; "
    "authentication = 'disabled' only where the cluster has none"
)

# What Ray says when it does not connect, and the sentence that helps. Ray has no error types for these.
_REASONS = (
    (
        r"InvalidAuthToken|Unauthenticated|UNAUTHENTICATED|AuthenticationError|uthentication token",
        f"refuses the token ({_TOKEN_HINT})",
    ),
    (r"[Mm]ismatch", "runs other versions of Ray or Python than this driver"),
    (
        r"UNIMPLEMENTED",
        "answers, but not as a Ray Client server (accepted: ray://host:10001, or the port that was given to "
        "`ray start --ray-client-server-port`)",
    ),
    (r"missing packages|ray\[", "needs a part of Ray that is not installed (do: pip install 'sweeplaw[jobs]')"),
    (
        r"Ray expects this IP address|Can't find a .?node_ip_address",
        "has no node on this machine (accepted: a driver on one of its nodes, or from elsewhere: sweeplaw cluster ray)",
    ),
    (r"No space left on device", "has no room on its disk (accepted: temp_dir of the profile on a disk with room)"),
    (r"Failed to connect to Ray cluster", f"answers but lets no one in; most often it is the token ({_TOKEN_HINT})"),
)


def _reason(address: str, message: str, noise: str) -> str:
    """One sentence for a failed connection, from Ray's exception and what it wrote to stderr."""
    fitting = (sentence for pattern, sentence in _REASONS if re.search(pattern, message + noise))
    sentence = next(fitting, "cannot be used")
    return f"cluster at {address} {sentence}: {' '.join(message.split())}"


def start(init: Callable[[], Any], address: str) -> None:
    """Call ``init`` (``ray.init``) for the cluster at ``address``. Raises ConnectError, which says what to do."""
    with _own_signals(), _captured_stderr() as noise:
        try:
            init()
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise ConnectError(_reason(address, str(error), noise())) from error
        except Exception as error:  # Ray's own errors share no base class, and some have no class at all
            if type(error) is not Exception and not type(error).__module__.startswith("ray"):
                raise
            raise ConnectError(_reason(address, str(error), noise())) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray installs its own SIGTERM handler; the driver's stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """File descriptor 2 into a file for the length of the block (Ray's C++ writes there); yields what reads it.

    After a block that succeeds everything written is passed on, so nothing is lost.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        sys.stderr.write(read())
