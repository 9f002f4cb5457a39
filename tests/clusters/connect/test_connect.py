"""Connecting to a real Ray: isolation of our own, clear errors, and nothing left behind."""

from __future__ import annotations

import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from sweeplaw.clusters.connect import cleanup, same_code
from sweeplaw.clusters.connect.addresses import answers
from sweeplaw.clusters.connect.cluster import connected, live_nodes, own_node
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import ON_DEMAND, RAYS, UNWATCHED, environment, private_folder, write_token
from sweeplaw.clusters.profile.profile import load, parse
from tests.paths import ROOT
from tests.processes import command_line, is_alive

pytestmark = pytest.mark.ray


@contextmanager
def head(*options: str, **names: str) -> Iterator[tuple[str, Path]]:
    """Start another Ray on this machine; yield its address and token file."""
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder(None))
        token = write_token(folder / "token")
        options = ("--head", "--port=0", "--block", "--num-cpus=3", "--include-dashboard=false", *options)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--temp-dir={folder / RAYS}"]
        names |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), cleanup.MARK: str(folder), **ON_DEMAND}
        stack.enter_context(environment(names))
        ray = subprocess.Popen(
            [*command, "--disable-usage-stats"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        address = folder / RAYS / "ray_current_cluster"
        deadline = time.monotonic() + 60
        while not address.exists() and ray.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        stack.enter_context(environment(dict.fromkeys(names)))
        try:
            yield address.read_text().strip(), token
        finally:
            ray.terminate()
            ray.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, Path]]:
    with head() as found:
        yield found


def test_inline_starts_nothing() -> None:
    with connected(load("inline")) as info:
        assert info.slots == 1
        assert info.address is None


def test_a_local_ray_is_private_quiet_and_gone_afterwards(
    cluster: tuple[str, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Ray on the machine, named in the environment, is neither joined nor disturbed."""
    import ray

    monkeypatch.setenv("RAY_ADDRESS", cluster[0])

    os.environ.setdefault("RAY_CLIENT_MODE", "0")  # set by importing Ray's client
    before = dict(os.environ)
    handler = signal.getsignal(signal.SIGTERM)
    profile = parse({"kind": "local", "hardware": "l4", "cpus": 2, "gpus": 1, "gpus_per_trial": 0.25}, name="x")
    with connected(profile) as info:
        assert info.slots == 2  # four would fit the GPU, two fit the cores
        assert (info.cpus, info.gpus, len(info.nodes)) == (2, 1, 1)
        assert info.address is not None
        assert info.address.startswith("127.0.0.1:")
        assert info.address != cluster[0]
        folder = os.environ[cleanup.MARK]
        _nobody_else_can_enter(Path(folder))
        assert signal.getsignal(signal.SIGTERM) is handler

        @ray.remote(num_cpus=1, num_gpus=0.25)
        def seen() -> tuple[str | None, str]:
            return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["RAY_AUTH_MODE"]

        @ray.remote(num_cpus=1)
        def switches() -> dict[str, str | None]:
            return {name: os.environ.get(name) for name in {**UNWATCHED, **ON_DEMAND}}

        @ray.remote(num_cpus=1)
        def blind() -> str | None:
            return os.environ.get("CUDA_VISIBLE_DEVICES")

        assert ray.get(seen.remote()) == ("0", "token")
        assert ray.get(blind.remote()) == ""  # a trial without a GPU sees none
        # Ray's head keeps no record of these calls: the workers that would report them got their switches too
        assert ray.get(switches.remote()) == {**UNWATCHED, **ON_DEMAND}
        commands = [command_line(pid) for pid in cleanup.marked(folder)]
        assert any("dashboard/agent.py" in command or "DashboardAgent" in command for command in commands)
        assert not any("dashboard/dashboard.py" in command for command in commands), "nothing reads a dashboard"
        assert _listening_beyond_loopback(cleanup.marked(folder)) == set()
    assert not ray.is_initialized()
    assert not os.path.exists(folder)
    assert cleanup.marked(folder) == []
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def _nobody_else_can_enter(folder: Path) -> None:
    """Ray opens its own folders to everyone: ours, around them, is the one that stays closed."""
    opened = {path for path in folder.rglob("*") if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert folder / RAYS in opened, "Ray does not open its folder any more: it may be ours again"
    for path in [folder, *folder.parents]:
        found = path.stat()
        assert found.st_uid in (0, os.getuid())
        assert not found.st_mode & 0o022 or found.st_mode & stat.S_ISVTX, "others could replace what is in it"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert (folder / "token").stat().st_nlink == 1


def _listening_beyond_loopback(pids: list[int]) -> set[int]:
    """Return the ports on which these processes listen to other machines."""
    sockets = set()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for name in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # it has been closed
                    sockets.add(os.readlink(name))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[index] for index in (1, 3, 9))
            loopback = local.startswith(("0100007F:", "0000000000000000FFFF00000100007F:"))
            if state == "0A" and f"socket:[{inode}]" in sockets and not loopback:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


KILLED = """
import os, subprocess, time
from sweeplaw.clusters.connect.cluster import connected
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.clusters.connect.cleanup import MARK
with connected(parse({"kind": "local", "cpus": 1, "gpus": 0}, name="x")):
    import ray
    @ray.remote(num_cpus=1)
    def trial():
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        while True:
            sum(range(100_000))
    running = trial.remote()
    time.sleep(3)
    print(os.environ[MARK], flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_no_process_and_no_folder() -> None:
    """SIGKILL during a trial that has started a process in its own session; Ray's agents would stay for minutes."""
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=ROOT) as driver:
        assert driver.stdout is not None
        folder = driver.stdout.readline().strip()
        assert len(cleanup.marked(folder)) > 3
        below = psutil.Process(driver.pid).children(recursive=True)
        names = [command_line(process.pid) for process in below]
        assert any("Agent" in name for name in names), names
        driver.kill()
    deadline = time.monotonic() + 30
    while any(map(is_alive, below)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(filter(is_alive, below)) == []
    assert not os.path.exists(folder)


def test_a_running_cluster_is_joined_and_left_running(cluster: tuple[str, Path]) -> None:
    address, token = cluster
    profile = parse({"kind": "ray", "address": address, "token_file": str(token), "cpus_per_trial": 1.5}, name="x")
    for _ in range(2):
        with connected(profile) as info:
            assert info.address == address
            assert (info.cpus, info.slots) == (3, 2)
            assert live_nodes() == info.nodes
            (node,) = live_nodes()
            assert node.node_id == own_node()
            assert node.raylet is not None
            assert answers(*node.raylet, seconds=10) is True, "Ray checks the token only after its greeting"
            same_code.check(info.nodes)


CHECK = """
import sys
from sweeplaw.clusters.connect import same_code
from sweeplaw.clusters.connect.cluster import ConnectError, connected
from sweeplaw.clusters.profile.profile import parse
profile = parse({"kind": "ray", "address": sys.argv[1], "token_file": sys.argv[2]}, name="x")
with connected(profile) as info:
    try:
        same_code.check(info.nodes)
    except ConnectError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_cluster_with_another_version_of_this_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeplaw.py").write_text("raise ImportError('of another time')\n")
    with head(PYTHONPATH=str(tmp_path)) as (address, token):
        command = [sys.executable, "-P", "-c", CHECK, address, str(token)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 of 1 nodes would run trials with another sweeplaw than this driver's" in done.stdout
    assert f"at {tmp_path / 'sweeplaw.py'} (do: install the same there)" in done.stdout


@pytest.mark.slow
def test_a_cluster_on_loopback_alone_is_joined_there() -> None:
    """Ray itself tries the machine's own address for minutes, where a cluster on 127.0.0.1 does not listen."""
    with head("--node-ip-address=127.0.0.1", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0") as (address, token):
        assert address.startswith("127.0.0.1:")
        profile = parse({"kind": "ray", "address": address, "token_file": str(token)}, name="x")
        begun = time.monotonic()
        with connected(profile) as info:
            assert (len(info.nodes), info.cpus) == (1, 3)
        assert time.monotonic() - begun < 100


def test_missing_nodes_are_waited_for_and_then_noted(cluster: tuple[str, Path]) -> None:
    address, token = cluster
    content = {"kind": "ray", "address": address, "token_file": str(token), "nodes": 4, "ready_seconds": 1}
    start = time.monotonic()
    with connected(parse(content, name="x")) as info:
        assert time.monotonic() - start >= 1
        assert info.note is not None
        assert "1 of 4 nodes came within 1 s" in info.note


def test_a_trial_that_fits_no_node_is_refused(cluster: tuple[str, Path]) -> None:
    address, token = cluster
    profile = parse({"kind": "ray", "address": address, "token_file": str(token), "cpus_per_trial": 4}, name="x")
    with (
        pytest.raises(ConnectError, match=r"4 cores and 0 GPUs fits no node .* the largest has 3 cores"),
        connected(profile),
    ):
        pass


def test_a_wrong_token_is_named_as_the_reason(cluster: tuple[str, Path], tmp_path: Path) -> None:
    """In a fresh process, where Ray writes it to stderr, and in this one, where Ray writes it to a log file."""
    address, _ = cluster
    token = write_token(tmp_path / "token")
    content = {"kind": "ray", "address": address, "token_file": str(token)}
    with pytest.raises(ConnectError, match="token"), connected(parse(content, name="x")):
        pass
    fresh = f"""
from sweeplaw.clusters.connect.cluster import ConnectError, connected
from sweeplaw.clusters.profile.profile import parse
try:
    with connected(parse({content!r}, name="x")):
        pass
except ConnectError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "refuses the token" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("other", [("2.9.3", "3.11.7"), (None, "3.8.1")])
def test_other_versions_on_the_cluster_are_named(
    cluster: tuple[str, Path], other: tuple[str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver pretends to be of another version; the cluster, its record of versions and Ray's answer are real."""
    import ray
    from ray._private import utils

    monkeypatch.setattr(utils, "compute_version_info", lambda: (other[0] or ray.__version__, other[1]))
    address, token = cluster
    profile = parse({"kind": "ray", "address": address, "token_file": str(token)}, name="x")
    with (
        pytest.raises(
            ConnectError, match=rf"other versions of Ray or Python.*Python: {platform.python_version()}.*{other[1]}"
        ),
        connected(profile),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:{closed}", "nothing answers at"),
        ("no-such-host.invalid:1", "nothing answers"),
        ("here", "is not an address"),
    ],
)
def test_an_unreachable_address_is_reported_at_once(address: str, sentence: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    start = time.monotonic()
    with (
        pytest.raises(ConnectError, match=sentence),
        connected(parse({"kind": "ray", "address": address.format(closed=closed)}, name="x")),
    ):
        pass
    assert time.monotonic() - start < 10


def test_a_cluster_that_must_be_requested_first_is_refused_with_the_command(tmp_path: Path) -> None:
    profile = parse({"kind": "slurm", "slurm": {"cpus_per_node": 2}}, name="x")
    with pytest.raises(ConnectError, match="do: sweeplaw cluster slurm"), connected(profile):
        pass


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    token = write_token(tmp_path / "token")
    token.chmod(0o640)
    profile = parse({"kind": "local", "token_file": str(token), "temp_dir": tempfile.gettempdir()}, name="x")
    with pytest.raises(ConnectError, match="can be read by others"), connected(profile):
        pass
