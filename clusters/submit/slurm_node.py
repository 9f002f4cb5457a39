"""The program on each node of a Slurm job: Ray's head and the driver on the first node, Ray alone on the others.

The nodes meet through files in the job's folder, which all see: Ray chooses a free port for the head, which writes its
address there, so two jobs on one machine cannot collide; when the driver has ended, its exit code is written, and the
other nodes leave at once. Only processes that this job started are ended.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect.addresses import address_towards, free_port, own_address
from sweeplaw.clusters.connect.cleanup import MARK
from sweeplaw.clusters.connect.driver import CLUSTER, fill
from sweeplaw.clusters.connect.private import (
    ON_DEMAND,
    RAYS,
    UNWATCHED,
    environment,
    private_folder,
    ray_variables_to_unset,
    write_token,
)
from sweeplaw.clusters.profile.capacity import memory_for_trials, object_store_bytes, usable_memory
from sweeplaw.clusters.profile.profile import to_toml
from sweeplaw.clusters.submit.slurm import JOB
from sweeplaw.trials.errors import InputError

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one run of the job, in the folder every node sees."""

    folder: Path

    @property
    def token(self) -> Path:
        """Ray's authentication token, mode 0600."""
        return self.folder / "token"

    @property
    def address(self) -> Path:
        """The address of the head, once it listens."""
        return self.folder / "address"

    @property
    def profile(self) -> Path:
        """The cluster profile the driver is given."""
        return self.folder / "cluster.toml"

    @property
    def notice(self) -> Path:
        """Exists once the job's script has notice that its time is nearly over."""
        return self.folder / "notice"

    @property
    def exit(self) -> Path:
        """The driver's exit code, once it has ended."""
        return self.folder / "exit"


def main(folder: str) -> int:
    """Run this node's part of the job; return the exit code of the task."""
    job = json.loads((Path(folder) / JOB).read_text(encoding="utf-8"))
    run = f"{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    files = JobFolder(Path(folder) / run)
    first = int(os.environ["SLURM_PROCID"]) == 0
    try:
        return _first_node(job, files) if first else _other_node(job, files)
    except InputError as error:
        _report(str(error))
        return 2


def _first_node(job: Mapping[str, Any], files: JobFolder) -> int:
    """Run the driver and write its exit code (1 if it never ran) for the other nodes and the script."""
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    code = 1
    try:
        code = _single_node(job, files) if job["nodes"] == 1 else _head(job, files)
    finally:
        _publish(files.exit, str(code))
    return code


def _single_node(job: Mapping[str, Any], files: JobFolder) -> int:
    """Run the driver without a cluster: it starts a private Ray on what Slurm granted."""
    granted = {"kind": "local", "cpus": _cpus(), "gpus": _gpus(), "temp_dir": job["temp_dir"]}
    return _drive(job, files, {**job["profile"], **granted})


def _head(job: Mapping[str, Any], files: JobFolder) -> int:
    write_token(files.token)
    with private_folder(job["temp_dir"]) as temp, _ray(job, files, temp, *_head_options(job, temp)) as ray:
        address = _await_text(temp / RAYS / "ray_current_cluster", job["ready_seconds"], ray)
        if address is None:
            _report(f"Ray's head did not start (exit code {ray.poll()}); its last output:\n{_last_lines(temp)}")
            return ray.poll() or 1
        joined = {"kind": "ray", "address": address, "nodes": job["nodes"], "ready_seconds": job["ready_seconds"]}
        _publish(files.address, address)
        code = _drive(job, files, {**job["profile"], **joined, "token_file": str(files.token)})
        _publish(files.exit, str(code))  # the other nodes leave while the head ends
    return code


def _head_options(job: Mapping[str, Any], temp: Path) -> list[str]:
    options = ["--head", "--port=0", f"--node-ip-address={own_address(job['interface'])}", f"--temp-dir={temp / RAYS}"]
    if importlib.util.find_spec("grpc"):  # then Ray opens its client server too, on 10001 by default
        options.append(f"--ray-client-server-port={free_port()}")
    return [*options, "--include-dashboard=false"]


def _other_node(job: Mapping[str, Any], files: JobFolder) -> int:
    """Join the head, and join again when this node's Ray dies, until the driver has ended."""
    signal.signal(signal.SIGTERM, _leave)
    deadline = time.monotonic() + 2 * job["ready_seconds"]
    while not files.address.exists():
        if files.exit.exists():
            return 0  # the driver ended before this node started
        if time.monotonic() > deadline:
            _report(f"no head within {2 * job['ready_seconds']:g} s")
            return 1
        time.sleep(POLL_SECONDS)
    address = files.address.read_text(encoding="utf-8")
    host, _, port = address.rpartition(":")
    for _ in range(job["rejoin"]):
        with private_folder(job["temp_dir"]) as temp:
            own = address_towards(host, int(port))
            with _ray(job, files, temp, f"--address={address}", f"--node-ip-address={own}") as ray:
                while ray.poll() is None and not files.exit.exists():
                    time.sleep(POLL_SECONDS)
                if files.exit.exists():
                    return 0
                _report(f"Ray on this node ended with exit code {ray.poll()}; its last output:\n{_last_lines(temp)}")
    return 1


@contextmanager
def _ray(job: Mapping[str, Any], files: JobFolder, temp: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ray start --block` with these options and what Slurm granted, for the block.

    Ended by SIGKILL: on SIGTERM a node waits for others to drain. The watcher of ``temp`` ends its children.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *_granted(), "--block"]
    variables = {**_variables(job, files), MARK: str(temp)}
    with environment(variables), (temp / "ray.out").open("wb") as log:
        ray = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield ray
    finally:
        ray.kill()
        ray.wait()


def _leave(*_: object) -> None:
    """Unwind when the job is cancelled, which ends Ray here."""
    sys.exit(128 + signal.SIGTERM)


def _granted() -> list[str]:
    """Return the options for what Slurm granted this task, and for free ports."""
    resources = [f"--num-cpus={_cpus()}", f"--num-gpus={_gpus()}", f"--object-store-memory={object_store_bytes()}"]
    if memory := memory_for_trials(usable_memory()):  # by default Ray takes the machine's, not the job's
        resources.append(f"--memory={memory}")
    ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    return [*resources, *ports, "--disable-usage-stats"]


def _variables(job: Mapping[str, Any], files: JobFolder) -> dict[str, str | None]:
    return {
        **ray_variables_to_unset(),
        "RAY_AUTH_MODE": job["profile"]["authentication"],
        "RAY_AUTH_TOKEN": None,
        "RAY_AUTH_TOKEN_PATH": str(files.token),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        "RAY_ADDRESS": None,
        **UNWATCHED,
        **ON_DEMAND,
    }


def _drive(job: Mapping[str, Any], files: JobFolder, cluster: Mapping[str, Any]) -> int:
    """Run the driver on this cluster; in an array, first for this job's shard of the trials, then for the rest.

    A launch claims all its trials: without shards the first job of an array would leave the others nothing.
    """
    code = 0
    for shard in _shards():
        _publish(files.profile, to_toml({**cluster, "shard": shard}))
        code = _driver(job, files)
        if code:
            break
    return code


def _shards() -> list[str | None]:
    """Return the shards to launch in turn; None stands for all trials that no other launch has claimed."""
    if "SLURM_ARRAY_TASK_COUNT" not in os.environ:
        return [None]
    part = int(os.environ["SLURM_ARRAY_TASK_ID"]) - int(os.environ["SLURM_ARRAY_TASK_MIN"])
    return [f"{part}/{os.environ['SLURM_ARRAY_TASK_COUNT']}", None]


def _driver(job: Mapping[str, Any], files: JobFolder) -> int:
    """Run the driver's command once. Notice reaches it as SIGTERM: checkpoint and end.

    Notice is a file, because a signal that Slurm sends to a step reaches every process of it, Ray's and trials' too.
    """
    command = fill(job["command"], {CLUSTER: str(files.profile)})
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with environment({"PATH": path, **UNWATCHED}):
        driver = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: driver.terminate())
    while driver.poll() is None and not files.notice.exists():
        time.sleep(POLL_SECONDS)
    if driver.poll() is None:
        driver.terminate()
    code = driver.wait()
    return code if code >= 0 else 128 - code  # ended by a signal: the convention of shells


def _cpus() -> int:
    return int(os.environ.get("SLURM_CPUS_PER_TASK") or os.environ["SLURM_CPUS_ON_NODE"])


def _gpus() -> int:
    """Return the number of GPUs granted on this node, from the first variable that Slurm or its plugin has set."""
    if count := os.environ.get("SLURM_GPUS_ON_NODE"):
        return int(count)
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        if name in os.environ:
            return len([device for device in os.environ[name].split(",") if device.strip()])
    return 0


def _publish(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _await_text(path: Path, patience: float, process: subprocess.Popen[bytes]) -> str | None:
    """Return the text of ``path`` once it exists; None if the process ends or ``patience`` seconds pass first."""
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and (text := path.read_text(encoding="utf-8").strip()):
            return text
        time.sleep(POLL_SECONDS / 5)
    return None


def _last_lines(temp: Path) -> str:
    lines = (temp / "ray.out").read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line for line in lines if "[state-dump]" not in line][-10:])


def _report(sentence: str) -> None:
    print(f"sweeplaw: {socket.gethostname()}: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
