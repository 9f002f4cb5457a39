"""Private tokens and folders, and processes that end with their driver."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sweeplaw.clusters.connect import cleanup
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import (
    LONGEST_FOLDER,
    CommandLine,
    check_token,
    environment,
    interpreter,
    kept,
    private_folder,
    ray_variables_to_unset,
    scratch_folder,
    write_token,
)
from tests.processes import is_alive

pytestmark = pytest.mark.ray


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_only_its_owner_can_read_a_token_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_token(tmp_path / "token")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64
    assert write_token(path).read_text() == path.read_text()
    assert check_token(path) == path


def test_a_token_that_others_can_read_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = write_token(tmp_path / "token")
    path.chmod(0o644)
    with pytest.raises(ConnectError, match=r"can be read by others \(mode 0644; do: chmod 600"):
        check_token(path)
    with pytest.raises(ConnectError, match="No such file"):
        check_token(tmp_path / "absent")


def test_a_token_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    write_token(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_is_private_short_and_removed_at_the_end() -> None:
    with private_folder(None) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(str(folder)) <= LONGEST_FOLDER
    assert not folder.exists()
    with pytest.raises(ConnectError, match="accepted: temp_dir of at most"), private_folder("/tmp/" + "x" * 100):
        pass
    with pytest.raises(ConnectError, match="would split or expand"), private_folder("/tmp/a b"):
        pass


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "old")
    monkeypatch.delenv("UNSET", raising=False)
    with environment({"SET": None, "UNSET": "new"}):
        assert "SET" not in os.environ
        assert os.environ["UNSET"] == "new"
    assert os.environ["SET"] == "old"
    assert "UNSET" not in os.environ


DRIVER = """
import os, signal, subprocess, sys, time
from sweeplaw.clusters.connect.private import environment, private_folder
from sweeplaw.clusters.connect.cleanup import MARK
with private_folder(None) as folder:
    with environment({MARK: str(folder)}):
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "finished"])
def test_nothing_outlives_its_driver_however_it_ends(ending: signal.Signals | None) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        folder = driver.stdout.readline().strip()
        assert wait_for(lambda: len(cleanup.marked(folder)) == 2)
        if ending is None:
            driver.communicate("\n")
        else:
            driver.send_signal(ending)
    assert wait_for(lambda: not cleanup.marked(folder) and not os.path.exists(folder))


UNMARKED = """
import os, subprocess, sys, time
if os.fork():  # an orphan, in a session of its own, without our environment: as Ray's agents become
    time.sleep(600)
os.setsid()
ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
stubborn = f"{ignore}; print('chatter'); print('ready 1', flush=True); time.sleep(600)"
os.execve(sys.executable, [sys.executable, "-c", stubborn], {})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_a_process_that_has_lost_its_mark_and_its_parent_is_ended_within_seconds() -> None:
    with kept(None, lambda folder: CommandLine([sys.executable, "-c", UNMARKED], {})) as kept_folder:
        assert kept_folder.answer("ready ") == "1"
        below = psutil.Process(kept_folder.process.pid).children(recursive=True)
        (unmarked,) = [process for process in below if not process.environ()]
        unmarked.parent().kill()
        began = time.monotonic()
    assert time.monotonic() - began < 15
    assert not is_alive(unmarked)


def test_what_a_command_writes_to_stderr_explains_why_it_has_no_first_line() -> None:
    broken = [sys.executable, "-c", "raise OSError('no more files')"]
    with kept(None, lambda folder: CommandLine(broken, {})) as kept_folder:
        assert kept_folder.answer("ready ") == ""
        assert kept_folder.errors().endswith("OSError: no more files\n")


def abandoned(place: Path) -> Path:
    """Return a folder in ``place`` whose cleanup process was killed."""
    with kept(str(place), lambda folder: CommandLine((), {})) as kept_folder:
        kept_folder.process.kill()
        kept_folder.process.wait()
        copy = place / "sl-copy"
        shutil.copytree(kept_folder.folder, copy, symlinks=True)
        scratch = os.readlink(copy / cleanup.SCRATCH)
    os.mkdir(scratch)
    return copy


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path short enough for private ones."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:
        yield Path(folder)


def test_the_next_folder_removes_those_whose_cleanup_was_killed_and_no_others(place: Path) -> None:
    left = abandoned(place)
    scratch = os.readlink(left / cleanup.SCRATCH)
    unlocked, open_to_others, unrelated = place / "sl-unlocked", place / "sl-open", place / "slowly"
    for folder in (unlocked, open_to_others, unrelated):
        folder.mkdir(mode=0o700)
    for folder in (open_to_others, unrelated):
        (folder / cleanup.LOCK).touch()
    open_to_others.chmod(0o755)
    with private_folder(str(place)) as used, private_folder(str(place)) as other:
        assert wait_for(lambda: not left.exists() and not os.path.exists(scratch))
        assert all(folder.exists() for folder in (used, other, unlocked, open_to_others, unrelated))


def test_workers_scratch_is_removed_with_the_folder() -> None:
    with private_folder(None) as folder, environment({cleanup.MARK: str(folder)}):
        scratch = scratch_folder()
        assert scratch is not None
        assert stat.S_IMODE(os.stat(scratch).st_mode) == 0o700
        tempfile.mkdtemp(dir=scratch)
    assert not os.path.exists(scratch)
    assert scratch_folder() is None
    with environment({cleanup.MARK: "/nowhere"}):
        assert scratch_folder() is None


def test_a_python_in_a_folder_with_a_space_has_a_path_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter(tmp_path) == sys.executable
    spaced = tmp_path / "a b"
    spaced.symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(spaced / Path(sys.executable).relative_to(sys.prefix)))
    monkeypatch.setattr(sys, "prefix", str(spaced))
    (tmp_path / "folder").mkdir()
    found = interpreter(tmp_path / "folder")
    done = subprocess.run(
        [found, "-c", "import ray, sys; print(sys.prefix)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "folder" / "python")


def test_variables_that_upset_ray_are_unset_and_its_settings_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    upsetting = {"PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONOPTIMIZE", "RAY_ADDRESS", "RAY_TMPDIR", "RAY_REDIS_ADDRESS"}
    kept_names = {"PYTHONPATH", "RAY_memory_usage_threshold", "RAY_USE_TLS", "RAY_TLS_CA_CERT", "MY_RAY_ADDRESS"}
    for name in upsetting | kept_names:
        monkeypatch.setenv(name, "1")
    unset = ray_variables_to_unset()
    assert upsetting <= unset.keys()
    assert not kept_names & unset.keys()
