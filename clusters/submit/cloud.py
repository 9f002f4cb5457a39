"""A sweep on machines rented from a cloud: the files of Ray's cluster launcher (`ray up`) for AWS and GCP.

The head machine runs Ray's head and the driver, but no trials. Ray listens on the cloud's private network behind a
token. The machines are released when the driver ends (`ray exec --start --stop`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect.driver import files, label, to_yaml
from sweeplaw.clusters.connect.private import WATCHED, write_token
from sweeplaw.clusters.profile.capacity import OBJECT_STORE_BYTES
from sweeplaw.clusters.profile.profile import Profile, to_toml, trial_settings
from sweeplaw.clusters.profile.requests import Cloud
from sweeplaw.trials.errors import InputError

LAUNCHER = "launcher.yaml"
REMOTE = "/tmp/sweeplaw"
_TOKEN = "~/.ray/auth_token"  # where Ray looks for it by default
_PORT = 6379  # the machines are ours alone, so it is free
_LONGEST_NAME = 32


def write(
    profile: Profile, command: Sequence[str], folder: Path, *, sweep: str, name: str
) -> tuple[Path, tuple[str, ...]]:
    """Write the launcher's files into ``folder``; return its YAML file and the commands to run, watch and end it.

    ``command`` is the driver's, with `driver.CLUSTER` and `driver.SWEEP` for the paths of the copied files; ``sweep``
    is the text of the sweep file. Raise InputError for a profile of another kind.
    """
    if profile.cloud is None:
        raise InputError(f"kind = {profile.kind!r} is not a cloud (accepted: 'aws', 'gcp')", where=profile.name)
    nodes = profile.cloud.workers + 1
    running = {"kind": "ray", "address": "auto", "nodes": nodes, "ready_seconds": profile.ready_seconds}
    cluster = to_toml({**trial_settings(profile), **running})
    texts = files(command, sweep=sweep, cluster=cluster, folder=REMOTE)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    mounts = {f"{REMOTE}/{file}": str(folder / file) for file in texts}
    if profile.authentication == "token":
        mounts[_TOKEN] = str(write_token(folder / "token"))
    path = folder / LAUNCHER
    path.write_text(to_yaml([launcher(profile, profile.cloud, mounts, name=name)]), encoding="utf-8")
    return path, _commands(path)


def launcher(profile: Profile, cloud: Cloud, mounts: Mapping[str, str], *, name: str) -> dict[str, Any]:
    """Return the content of the launcher's YAML file."""
    node = _aws_node if profile.kind == "aws" else _gcp_node
    guard = [f"chmod 600 {_TOKEN}"] if _TOKEN in mounts else []
    return {
        "cluster_name": label(name, _LONGEST_NAME),
        "max_workers": cloud.workers,
        "provider": _provider(profile, cloud),
        "auth": {"ssh_user": cloud.ssh_user},
        "available_node_types": {
            "head": {"resources": {"CPU": 0, "GPU": 0}, "node_config": node(cloud, cloud.head_type, head=True)},
            "trials": {
                "min_workers": cloud.workers,
                "max_workers": cloud.workers,
                "resources": {"CPU": cloud.cpus, "GPU": cloud.gpus},
                "node_config": node(cloud, cloud.worker_type, head=False),
            },
        },
        "head_node_type": "head",
        "file_mounts": dict(mounts),
        "setup_commands": [*guard, *cloud.setup],
        "head_start_ray_commands": [
            _start(
                profile,
                f"--head --port={_PORT} --num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1 "
                "--autoscaling-config=~/ray_bootstrap_config.yaml",
            )
        ],
        "worker_start_ray_commands": [_start(profile, f"--address=$RAY_HEAD_IP:{_PORT}")],
    }


def _start(profile: Profile, options: str) -> str:
    names = {"RAY_AUTH_MODE": profile.authentication, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", **WATCHED}
    assignments = " ".join(f"{name}={value}" for name, value in names.items())
    memory = f"--object-store-memory={OBJECT_STORE_BYTES}"
    return f"ulimit -n 65536; {assignments} ray start {options} {memory} --disable-usage-stats"


def _provider(profile: Profile, cloud: Cloud) -> dict[str, Any]:
    provider: dict[str, Any] = {"type": profile.kind, "region": cloud.region, "cache_stopped_nodes": False}
    if cloud.zone:
        provider["availability_zone"] = cloud.zone
    if cloud.project:
        provider["project_id"] = cloud.project
    return provider


def _aws_node(cloud: Cloud, machine: str, *, head: bool) -> dict[str, Any]:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": cloud.disk_gb, "VolumeType": "gp3"}}
    node: dict[str, Any] = {"InstanceType": machine, "BlockDeviceMappings": [disk]}
    if cloud.image:
        node["ImageId"] = cloud.image
    if cloud.spot and not head:  # losing the head would cost every running trial
        node["InstanceMarketOptions"] = {"MarketType": "spot"}
    return node


def _gcp_node(cloud: Cloud, machine: str, *, head: bool) -> dict[str, Any]:
    source = {"sourceImage": cloud.image} if cloud.image else {}
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": cloud.disk_gb, **source},
    }
    scheduling: dict[str, Any] = {"preemptible": True} if cloud.spot and not head else {}
    if cloud.gpus and not head:  # machines with GPUs cannot move to another host
        scheduling["onHostMaintenance"] = "TERMINATE"
    return {"machineType": machine, "disks": [disk], **({"scheduling": [scheduling]} if scheduling else {})}


def _commands(path: Path) -> tuple[str, ...]:
    file = shlex.quote(str(path))
    return (
        f"ray exec --start --stop --tmux {file} 'bash {REMOTE}/run.sh'",
        f"ray attach --tmux {file}",
        f"ray down {file}",
    )
