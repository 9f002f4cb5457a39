"""What keeps a cluster we start private: a short folder, a token only its owner can read, no unneeded telemetry."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeplaw.clusters.connect import cleanup
from sweeplaw.clusters.connect.errors import ConnectError

# A Unix socket's path has at most 107 characters, and Ray adds up to 72 to our folder: its own folder (2), the session
# with date, time and process id (45) and /sockets/plasma_store (21), with room for longer ids.
LONGEST_FOLDER = 107 - 72
_LONGEST_PLACE = LONGEST_FOLDER - len("/sl-12345678")
RAYS = "r"  # Ray's own folder in ours: Ray opens its folder to everyone, so ours is the one that nobody else enters
# Variables that would reach every process of Ray: they turn its warnings into errors, its exits into prompts, or name
# another Ray. Ray's settings proper are in lower case (RAY_memory_usage_threshold); they and those of TLS are kept.
_RAY_VARIABLES = re.compile(
    r"PYTHON(WARNINGS|INSPECT|OPTIMIZE|STARTUP|SAFEPATH|PROFILEIMPORTTIME|VERBOSE)|RAY_(?!USE_TLS|TLS_)[A-Z0-9_]+"
)
# For each call (a worker's report is one) Ray's head keeps an event for its dashboard: 4 KB (measured), 100,000 of
# them; and every process keeps metrics for an exporter. Without a dashboard neither is read.
UNWATCHED = {"RAY_task_events_report_interval_ms": "0", "RAY_enable_metrics_collection": "0"}
WATCHED = {"RAY_task_events_max_num_task_in_gcs": "10000"}  # with a dashboard: 40 MB
# Ray starts a worker for each core when a driver joins. Tune's workers have an environment of their own, so none of
# those is ever used: 0.7 s of CPU each (measured).
ON_DEMAND = {"RAY_prestart_worker_first_driver": "0"}
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


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Arguments to run, and environment variables for them (None unsets the variable)."""

    arguments: Sequence[str]
    names: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A private folder and the cleanup process that keeps it; ``names`` are the variables of its command."""

    folder: Path
    process: subprocess.Popen[str]
    names: Mapping[str, str | None]

    def answer(self, word: str) -> str:
        """Return the text after ``word`` on the first output line that starts with it, or '' if the command exits
        first.
        """
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")  # others may print too, such as a sitecustomize
        return next((line.removeprefix(word).strip() for line in lines if line.startswith(word)), "")

    def end(self) -> int:
        """Have it end and remove everything; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait()
        self.process.stdout.close()
        return code

    def errors(self) -> str:
        """Return what its command has written to stderr."""
        return (self.folder / "errors").read_text(encoding="utf-8", errors="replace")


@contextmanager
def private_folder(base: str | None) -> Iterator[Path]:
    """Make a folder of mode 0700 for the block; then end the processes that carry its mark, and remove it.

    A process of its own does both, so they happen even if this one is killed. Raise ConnectError if no folder short
    enough for Ray's sockets can be made.
    """
    with kept(base, lambda folder: CommandLine((), {})) as kept_folder:
        yield kept_folder.folder


@contextmanager
def kept(base: str | None, command_for: Callable[[Path], CommandLine]) -> Iterator[KeptFolder]:
    """Make a private folder for the block, and run the command for it; then end and remove everything."""
    with signals_held():  # so that a folder never exists without its cleanup process
        folder = _make_folder(base)
        try:
            kept_folder = _start_cleanup(folder, command_for(folder))
        except BaseException:
            cleanup.remove(str(folder))
            raise
    try:
        yield kept_folder
    finally:
        if kept_folder.end():  # it was killed
            cleanup.end(str(folder))
            cleanup.remove(str(folder))


def _start_cleanup(folder: Path, command: CommandLine) -> KeptFolder:
    (folder / RAYS).mkdir()
    (folder / cleanup.SCRATCH).symlink_to(tempfile.mkdtemp(prefix="sweeplaw-"))
    lock = _locked(folder)
    try:
        with environment(command.names):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", cleanup.__file__, str(folder), *command.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in a terminal, or `timeout`, reaches the driver alone, which ends it
            )
        return KeptFolder(folder, process, command.names)
    finally:
        os.close(lock)


def _locked(folder: Path) -> int:
    """Return the descriptor of the folder's lock; it is locked from the moment it has its name."""
    draft = folder / ".lock"
    descriptor = os.open(draft, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    draft.rename(folder / cleanup.LOCK)
    return descriptor


@contextmanager
def signals_held() -> Iterator[None]:
    """Let the signals that end a launch wait until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in cleanup.ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


def scratch_folder() -> str | None:
    """Return the folder for files of this process that end with the private Ray; None outside of one."""
    folder = os.environ.get(cleanup.MARK)
    scratch = None if folder is None else os.path.realpath(os.path.join(folder, cleanup.SCRATCH))
    return scratch if scratch and os.path.isdir(scratch) else None


def interpreter(folder: Path) -> str:
    """Return a path of this Python that a shell does not split: Ray does not quote it when it starts a worker.

    Raise ConnectError if there is none.
    """
    if shlex.quote(sys.executable) == sys.executable:
        return sys.executable
    python = Path(sys.executable)
    if not python.is_relative_to(sys.prefix):
        raise ConnectError(f"the path of Python, {python}, has characters that a shell would split or expand")
    (folder / "python").symlink_to(sys.prefix)
    return str(folder / "python" / python.relative_to(sys.prefix))


def ray_variables_to_unset() -> dict[str, None]:
    """Return the variables of this environment that a private Ray must not see, to be unset."""
    return dict.fromkeys(name for name in os.environ if _RAY_VARIABLES.fullmatch(name))


def _make_folder(base: str | None) -> Path:
    places = [base] if base else list(dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]))
    faults = {}
    for place in places:
        fault = faults[place] = _fault(place)
        if fault is None:
            return Path(tempfile.mkdtemp(prefix=cleanup.PREFIX, dir=place))
    raise ConnectError(
        f"no folder for Ray's sockets and logs: {'; '.join(f'{place} {why}' for place, why in faults.items())} "
        f"(accepted: temp_dir of at most {_LONGEST_PLACE} characters, writable, with {LEAST_ROOM >> 20} MiB free)"
    )


def _fault(place: str) -> str | None:
    """Return why Ray's folder cannot be made there, or None."""
    if len(place) > _LONGEST_PLACE:
        return "is too long for the path of a socket"
    if shlex.quote(place) != place:
        return "has characters that a shell would split or expand"
    if not os.access(place, os.W_OK):
        return "is not writable"
    disk = os.statvfs(place)
    return "has no room on its disk" if disk.f_bavail * disk.f_frsize < LEAST_ROOM else None


@contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set these environment variables for the block (None unsets the variable)."""
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
