"""Over Ray Client: a launch on a real cluster from outside, its signals, deaths of its processes, and refusals."""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.connect import cleanup, client
from sweeplaw.clusters.connect.addresses import free_port
from sweeplaw.clusters.connect.cluster import connected
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.private import ON_DEMAND, RAYS, environment, private_folder, write_token
from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.processes import command_line

pytestmark = pytest.mark.ray

PATIENCE = 180.0
SWEEP = (
    'name = "{name}"\nworkload = "surrogate"\n[scientific]\nparams = [1e7, 1e8]\ntokens = [1e9]\n'
    "[nuisance]\nlr = [1e-3, 1e-2, 1e-1]\nbatch_sequences = {batches}\n[fixed]\nnoise = 0.003\nseconds = {seconds}\n"
)


@dataclass(frozen=True)
class Head:
    """A running cluster of two cores: its addresses, its token, and the folder of its logs."""

    client: str
    gcs: str
    token: Path
    folder: Path

    def profile(self, **more: object) -> Profile:
        return parse({"kind": "ray", "address": self.client, "token_file": str(self.token), **more}, name="mine")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder(None))
        token, port = write_token(folder / "token"), free_port()
        places = ["--port=0", f"--ray-client-server-port={port}", f"--temp-dir={folder / RAYS}"]
        options = ["--head", "--block", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", *places]
        names = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), cleanup.MARK: str(folder), **ON_DEMAND}
        with environment(names):
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
            ray = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = folder / RAYS / "ray_current_cluster"
            until(lambda: address.exists() and bool(address.read_text()))
            until(lambda: serves(f"ray://127.0.0.1:{port}", token))
            yield Head(f"ray://127.0.0.1:{port}", address.read_text().strip(), token, folder)
        finally:
            ray.kill()  # the folder's watcher ends its children
            ray.wait()


def serves(address: str, token: Path) -> bool:
    profile = parse({"kind": "ray", "address": address, "token_file": str(token)}, name="x")
    try:
        with client.attached(profile):
            return True
    except ConnectError:
        return False


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s"
        time.sleep(0.1)


def command(
    folder: Path, head: Head, *more: str, name: str = "tiny", batches: str = "[256]", seconds: float = 0
) -> list[str]:
    """A launch over Ray Client of a sweep of six trials for each batch."""
    (folder / "sweep.toml").write_text(SWEEP.format(name=name, batches=batches, seconds=seconds))
    (folder / "mine.toml").write_text(f'kind = "ray"\naddress = "{head.client}"\ntoken_file = "{head.token}"\n')
    words = [str(folder / "sweep.toml"), "--cluster", str(folder / "mine.toml"), "--store", str(folder / "store")]
    return [sys.executable, "-m", "sweeplaw", "launch", *words, *more]


def ids(store: Path) -> list[str]:
    """Return the completed trials, each as often as it is in the store."""
    rows = tables.load(str(store)).trials.collect()
    return rows.filter(rows["state"] == "completed")["trial_id"].to_list()


def drivers(store: Path) -> list[str]:
    """Return the command lines of processes with this store among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0") if process.name.isdigit() else []
        except OSError:
            continue
        if str(store) in words:
            found.append(" ".join(words))
    return found


@pytest.mark.slow
def test_a_launch_over_ray_client_is_a_launch(head: Head, tmp_path: Path) -> None:
    """Its rows, its JSON output, its progress bar and its exit code; the token stays in its file."""
    terminal, here = pty.openpty()
    launch = subprocess.Popen(
        command(tmp_path, head, "--json"), stdout=subprocess.PIPE, stderr=here, env={**os.environ, "COLUMNS": "100"}
    )
    os.close(here)
    drawn, seen = b"", []
    while chunk := _read(terminal):
        drawn += chunk
        seen += drivers(tmp_path / "store")
    output, _ = launch.communicate(timeout=PATIENCE)
    assert launch.returncode == 0, drawn.decode()
    answer = json.loads(output)
    assert (answer["ran"], answer["already"], answer["states"]) == (6, 0, {"completed": 6})
    assert len(set(ids(tmp_path / "store"))) == len(ids(tmp_path / "store")) == 6
    assert b"6/6" in drawn
    assert b"\x1b[" in drawn
    token = head.token.read_text()
    assert any("sweeplaw-driver-" in words for words in seen)
    assert not any(token in words for words in seen)
    logs = [path for path in head.folder.rglob("logs/**/*") if path.is_file()]
    assert logs
    assert not any(token.encode() in path.read_bytes() for path in logs)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # a terminal on Linux whose other side is closed
        return b""


@pytest.mark.slow
def test_an_interrupted_a_killed_and_a_third_launch_make_every_row_once(head: Head, tmp_path: Path) -> None:
    """SIGINT reaches the driver; the death of its client does when Ray's grace period for reconnecting is over."""
    words, store = (
        command(tmp_path, head, name="slow", batches="[128, 256, 512, 1024]", seconds=1.0),
        tmp_path / "store",
    )
    names = {**os.environ, "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "3"}
    before = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        launch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=names)
        until(lambda: launch.poll() is not None or recorded(store) > before)  # noqa: B023
        launch.send_signal(number)
        _, warned = launch.communicate(timeout=PATIENCE)
        assert launch.returncode == code, warned.decode()
        assert (b"interrupted; recorded results are safe" in warned) == (number == signal.SIGINT)
        until(lambda: not drivers(store))
        before = recorded(store)
        assert 0 < before < 24
    done = subprocess.run(words, capture_output=True, timeout=PATIENCE, env=names, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert f"{before} of 24 were in the store before" in done.stdout.decode()
    assert len(set(ids(store))) == len(ids(store)) == 24


def recorded(store: Path) -> int:
    return len(ids(store)) if (store / "store.json").exists() else 0


@pytest.mark.slow
def test_the_death_of_the_actor_is_reported_in_one_line_and_ends_its_driver(head: Head, tmp_path: Path) -> None:
    words, store = command(tmp_path, head, seconds=30.0), tmp_path / "store"
    launch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: launch.poll() is not None or len(drivers(store)) == 3)  # the client, the supervisor, the driver
    [actor] = [pid for pid in cleanup.marked(str(head.folder)) if command_line(pid).startswith("ray::RemoteDriver")]
    os.kill(actor, signal.SIGKILL)
    _, warned = launch.communicate(timeout=PATIENCE)
    assert launch.returncode == 2
    assert "lost the driver" in warned.decode().splitlines()[-1]
    assert "relaunch to continue" in warned.decode().splitlines()[-1]
    until(lambda: not drivers(store))


def test_a_wrong_token_is_reported_within_seconds(head: Head, tmp_path: Path) -> None:
    other = write_token(tmp_path / "other")
    with pytest.raises(ConnectError, match=r"refuses the token .*token_file of the profile") as caught:
        attach(head.profile(token_file=str(other)))
    assert other.read_text() not in str(caught.value)


def test_a_port_of_ray_that_is_not_ray_clients_is_reported(head: Head) -> None:
    with pytest.raises(ConnectError, match=r"not as a Ray Client server \(accepted: ray://host:10001"):
        attach(head.profile(address=f"ray://{head.gcs}"))


@pytest.mark.parametrize("other", [("9.9.9", platform.python_version()), (None, "3.1.0")], ids=["ray", "python"])
def test_other_versions_are_reported(
    head: Head, other: tuple[str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client pretends to be of another version; the cluster's answer and Ray's comparison are real."""
    import ray
    from ray._private import utils

    monkeypatch.setattr(utils, "compute_version_info", lambda: (other[0] or ray.__version__, other[1]))
    with pytest.raises(ConnectError, match=rf"other versions of Ray or Python.*{other[0] or other[1]}"):
        attach(head.profile())


@pytest.mark.parametrize(("failures", "connects"), [(2, True), (3, False)])
@pytest.mark.parametrize(
    "message",
    [
        "Starting Ray client server failed. See",
        "Traceback (most recent call last): raise ZombieProcess(self.pid) psutil.ZombieProcess: PID still exists",
        "Traceback (most recent call last): psutil.NoSuchProcess: process no longer exists (pid=7)",
    ],
)
def test_a_head_that_could_not_start_a_server_for_us_is_tried_again(
    failures: int, connects: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    tried: list[str] = []

    def init(address: str, **quiet: object) -> None:
        tried.append(address)
        if len(tried) <= failures:
            raise ConnectionAbortedError(f"Initialization failure from server: {message}")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(client, "_ping", lambda address: None)
    monkeypatch.setattr(client, "probe", lambda address: None)
    profile = parse({"kind": "ray", "address": "ray://h:10001", "authentication": "disabled"}, name="x")
    if connects:
        attach(profile)
    else:
        with pytest.raises(ConnectError, match=re.escape(message)):
            attach(profile)
    assert tried == ["ray://h:10001"] * 3


def attach(profile: Profile) -> None:
    with client.attached(profile):
        pass


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://127.0.0.1:{closed}", "nothing answers at 127.0.0.1:"),
        ("ray://no-such-host.invalid:1", "nothing answers"),
        ("ray://here", "is not an address .*'ray://host:port'"),
    ],
)
def test_an_unreachable_address_is_reported_at_once(address: str, sentence: str) -> None:
    start = time.monotonic()
    with pytest.raises(ConnectError, match=sentence):
        attach(parse({"kind": "ray", "address": address.format(closed=free_port())}, name="x"))
    assert time.monotonic() - start < 10


def test_a_local_driver_cannot_run_trials_over_ray_client() -> None:
    with (
        pytest.raises(ConnectError, match=r"Ray Client.*sweeplaw launch or sweeplaw.clusters.connect.client.run"),
        connected(parse({"kind": "ray", "address": "ray://192.0.2.1:10001"}, name="x")),
    ):
        pass


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--store", "results/x"], r"store = 'results/x' is a folder of this machine \(accepted: a URI such as s3"),
        (["--store", "s3://key:word@bucket/x"], "holds a credential"),
        (
            ["--store", "/data/x", "--log-to", "tensorboard:runs"],
            "log_to tensorboard = 'runs' is a folder of this machine",
        ),
        (["--store", "/data/x", "--metrics", "file:prom/x"], "metrics = 'prom/x' is a folder of this machine"),
        (["--store", "/data/x", "--metrics", "0.0.0.0:1"], "only loopback is served"),
    ],
)
def test_places_out_of_the_clusters_reach_are_refused_before_anything_is_sent(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.format(name="tiny", batches="[256]", seconds=0))
    (tmp_path / "mine.toml").write_text('kind = "ray"\naddress = "ray://192.0.2.1:10001"\n')
    arguments = ["launch", str(tmp_path / "sweep.toml"), "--cluster", str(tmp_path / "mine.toml"), *words]
    start = time.monotonic()
    with pytest.raises(InputError, match=sentence):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert time.monotonic() - start < 5


def test_the_store_of_a_submitted_job_must_be_in_reach_of_the_cluster_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.format(name="tiny", batches="[256]", seconds=0))
    (tmp_path / "mine.toml").write_text('kind = "ray"\naddress = "auto"\njobs = "http://h:8265"\n')
    arguments = [str(tmp_path / "mine.toml"), str(tmp_path / "sweep.toml"), "--store", "results/x"]
    with pytest.raises(InputError, match="is a folder of this machine"):
        CliRunner().invoke(app, ["cluster", "ray", *arguments, "--out", str(tmp_path / "job")], catch_exceptions=False)
    assert not (tmp_path / "job").exists()
