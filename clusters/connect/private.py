"""What keeps a cluster we start private: a short folder, a token only its owner can read, no unneeded telemetry."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sweeplaw.clusters.connect import cleanup
from sweeplaw.clusters.connect.errors import ConnectError

# A Unix socket's path has at most 107 characters, and Ray adds up to 72 to its folder: the session with date, time and
# process id (45) and /sockets/plasma_store (21), with room for longer ids.
LONGEST_FOLDER = 107 - 72
_LONGEST_PLACE = LONGEST_FOLDER - len("/sl-12345678")
# For each call (a worker's report is one) Ray's head keeps an event for its dashboard: 4 KB (measured), 100,000 of
# them; and every process keeps metrics for an exporter. Without a dashboard neither is read.
UNWATCHED = {"RAY_task_events_report_interval_ms": "0", "RAY_enable_metrics_collection": "0"}
WATCHED = {"RAY_task_events_max_num_task_in_gcs": "10000"}  # with a dashboard: 40 MB
LEAST_ROOM = 16 * 2**20  # bytes; sockets and logs of a small run take under one MB (measured), a long run's more


def write_token(path: Path) -> Path:
    """Write 256 random bits to ``path``, mode 0600 from its first byte, unless the file exists; return ``path``."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def check_token(name: str | Path) -> Path:
    """Return the path of a token file. Raise ConnectError, with the fix, if others can read it."""
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConnectError(f"token file {path}: {error.strerror}") from None
    if mode & 0o077:
        raise ConnectError(f"token file {path} can be read by others (mode {mode & 0o777:04o}; do: chmod 600 {path})")
    return path


@contextmanager
def private_folder(base: str | None) -> Iterator[Path]:
    """Make a folder of mode 0700 for the block; then end the processes that carry its mark, and remove it.

    A watcher process does both, so they happen even if this process is killed. Raise ConnectError if no folder short
    enough for Ray's sockets can be made.
    """
    folder = _make_folder(base)
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", cleanup.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for the driver, which then ends the watcher
    )
    try:
        yield folder
    finally:
        watcher.communicate()


def _make_folder(base: str | None) -> Path:
    places = [base] if base else list(dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]))
    faults = {}
    for place in places:
        fault = faults[place] = _fault(place)
        if fault is None:
            return Path(tempfile.mkdtemp(prefix="sl-", dir=place))
    raise ConnectError(
        f"no folder for Ray's sockets and logs: {'; '.join(f'{place} {why}' for place, why in faults.items())} "
        f"(accepted: temp_dir of at most {_LONGEST_PLACE} characters, writable, with {LEAST_ROOM >> 20} MiB free)"
    )


def _fault(place: str) -> str | None:
    """Return why Ray's folder cannot be made there, or None."""
    if len(place) > _LONGEST_PLACE:
        return "is too long for the path of a socket"
    if not os.access(place, os.W_OK):
        return "is not writable"
    disk = os.statvfs(place)
    return "has no room on its disk" if disk.f_bavail * disk.f_frsize < LEAST_ROOM else None


@contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set these environment variables (None: unset) for the block."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
