"""Private tokens and folders, and processes that end with their driver."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeplaw.clusters.connect import cleanup
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import LONGEST_FOLDER, check_token, environment, private_folder, write_token

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
