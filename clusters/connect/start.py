"""Start or join Ray without its output, and turn its failures into one sentence with the fix."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import environment, signals_held

_TOKEN_HINT = (
    "accepted: token_file of the profile, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token holding the cluster's token; "
    "authentication = 'disabled' only where the cluster has none"
)

_TOKEN_LOADED = "Loaded authentication token from"

# Messages of Ray when it does not connect, and the sentence to raise. Ray has no error types for these.
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
    (
        r"Failed to connect to Ray cluster",
        f"answers but accepts no driver; the usual cause is the token ({_TOKEN_HINT})",
    ),
)


def _reason(address: str, error: BaseException, noise: str) -> str:
    """Return one sentence for a failed connection, from Ray's exception and its output on stderr."""
    messages = [text for text in map(str, _chain(error)) if text]
    return _sentence(address, next(iter(messages), type(error).__name__), "\n".join([*messages, noise]))


def failed_servers(noise: str) -> ConnectError:
    """Return the error of a private Ray whose servers ended with this output on stderr: a traceback, if Python's."""
    last = (noise.strip().splitlines() or ["its process was ended"])[-1]
    return ConnectError(_sentence("local", re.sub(r"^[\w.]*(Error|Exception): ", "", last), noise))


def _sentence(address: str, message: str, everything: str) -> str:
    sentence = next((sentence for pattern, sentence in _REASONS if re.search(pattern, everything)), "cannot be used")
    return f"cluster at {address} {sentence}: {' '.join(message.split())}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and those that led to it: Ray 2.52 raises a bare ConnectionError for a refused token."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def initialized(address: str, init: Callable[[], Any]) -> Iterator[None]:
    """Connect Ray to the cluster at ``address`` by ``init``, without its output, for the block.

    The environment must already have the credentials. Raise ConnectError.
    """
    import ray

    _refresh_credentials()
    breakpoints = {"PYTHONBREAKPOINT": os.environ.get("PYTHONBREAKPOINT")}  # Ray sets its debugger there
    with environment(breakpoints), _mute():
        try:
            with _own_signals():
                start(init, address)
            yield
        finally:
            with signals_held():
                ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let signals wait until the block ends: Ray half connected aborts the process, and takes SIGTERM for itself."""
    from ray._private import utils

    setting = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        with signals_held():
            yield
    finally:
        utils.set_sigterm_handler = setting


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
def loopback_here(wanted: bool) -> Iterator[None]:
    """Make 127.0.0.1 the address of this process too (Ray read the variable when it was imported)."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def start(init: Callable[[], Any], address: str) -> None:
    """Call ``init`` (``ray.init``) for the cluster at ``address``. Raise ConnectError with the fix."""
    with _captured_stderr() as noise, warnings.catch_warnings():
        # Ray 2.52 announces another default even where the variable that chooses is set.
        warnings.filterwarnings("ignore", "Tip: In future versions of Ray", FutureWarning)
        try:
            init()
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise ConnectError(_reason(address, error, noise())) from error
        except Exception as error:  # Ray's own errors share no base class, and some have no class at all
            if type(error) is not Exception and not type(error).__module__.startswith("ray"):
                raise
            raise ConnectError(_reason(address, error, noise())) from error


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Redirect file descriptor 2 (Ray's C++ writes there) to a file for the block; yield a function that reads it.

    If the block succeeds, everything written is passed on, except Ray 2.52's note that it loaded the token.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
            return "".join(line for line in lines if _TOKEN_LOADED not in line)

        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        sys.stderr.write(read())
