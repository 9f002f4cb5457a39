"""Files for Ray's cluster launcher, against Ray's own schema."""

from __future__ import annotations

import json
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP
from sweeplaw.clusters.profile.profile import load, parse
from sweeplaw.clusters.submit import cloud
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

EXAMPLES = ROOT / "examples" / "clusters"
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
COMMAND = ["sweeplaw", "launch", SWEEP, "--cluster", CLUSTER, "--store", "s3://bucket/demo"]


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_launcher_accepts_the_written_files(kind: str, tmp_path: Path) -> None:
    path, commands = cloud.write(
        load(EXAMPLES / f"{kind}.toml"), COMMAND, tmp_path / "a b", sweep="x = 1", name="Demo_1"
    )
    content = yaml.safe_load(path.read_text())
    jsonschema.validate(content, SCHEMA)
    assert content["cluster_name"] == "demo-1"
    assert content["provider"]["type"] == kind
    assert all(Path(local).is_file() for local in content["file_mounts"].values())
    for command in commands:
        words = subprocess.run(
            ["bash", "-c", f"set -- {command}; printf '%s\\n' \"$@\""], capture_output=True, text=True
        )
        assert str(path) in words.stdout.splitlines()


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_cluster_is_behind_a_token_and_the_head_runs_no_trials(kind: str, tmp_path: Path) -> None:
    requested = load(EXAMPLES / f"{kind}.toml")
    path, _ = cloud.write(requested, COMMAND, tmp_path, sweep="", name="demo")
    content = yaml.safe_load(path.read_text())
    assert content["available_node_types"]["head"]["resources"] == {"CPU": 0, "GPU": 0}
    for command in (*content["head_start_ray_commands"], *content["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in command.partition("ray start")[0]
        assert "--object-store-memory=536870912" in command.partition("ray start")[2]
        assert "ray stop" not in command
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][0]
    token = Path(content["file_mounts"]["~/.ray/auth_token"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() not in path.read_text()
    running = parse(tomllib.loads((tmp_path / "cluster.toml").read_text()), name="running")
    assert requested.cloud is not None
    assert (running.address, running.nodes) == ("auto", requested.cloud.workers + 1)


def test_workers_may_be_spot_machines_but_not_the_head(tmp_path: Path) -> None:
    path, _ = cloud.write(load(EXAMPLES / "aws.toml"), COMMAND, tmp_path, sweep="", name="demo")
    nodes = yaml.safe_load(path.read_text())["available_node_types"]
    assert nodes["trials"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in nodes["head"]["node_config"]


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a cloud"):
        cloud.write(load("local"), COMMAND, tmp_path, sweep="", name="x")
    with pytest.raises(InputError, match=r"needs cloud.project and cloud.zone"):
        parse({"kind": "gcp", "cloud": {"region": "r", "head_type": "a", "worker_type": "b", "cpus": 1}}, name="x")


def test_the_whole_file_of_each_cloud(tmp_path: Path) -> None:
    """Ray's launcher takes unknown or misspelt settings of a machine in silence, so each is compared."""
    common: dict[str, Any] = {
        "region": "r", "zone": "z", "head_type": "small", "worker_type": "large", "workers": 3, "cpus": 16,
        "disk_gb": 150, "ssh_user": "me", "image": "im", "setup": ["make"],
    }  # fmt: skip
    aws = parse({"kind": "aws", "cloud": {**common, "gpus": 4}}, name="x")
    gcp = parse({"kind": "gcp", "cloud": {**common, "gpus": 4, "spot": True, "project": "p"}}, name="x")
    written = {}
    for requested in (aws, gcp):
        path, _ = cloud.write(requested, COMMAND, tmp_path / requested.kind, sweep="", name="n")
        written[requested.kind] = yaml.safe_load(path.read_text())
    ebs = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 150, "VolumeType": "gp3"}}
    disk = {"boot": True, "autoDelete": True, "type": "PERSISTENT",
            "initializeParams": {"diskSizeGb": 150, "sourceImage": "im"}}  # fmt: skip
    machines: dict[str, list[Any]] = {
        "aws": [{"InstanceType": size, "BlockDeviceMappings": [ebs], "ImageId": "im"} for size in ("small", "large")],
        "gcp": [{"machineType": "small", "disks": [disk]},
                {"machineType": "large", "disks": [disk],
                 "scheduling": [{"preemptible": True, "onHostMaintenance": "TERMINATE"}]}],
    }  # fmt: skip
    project: dict[str, dict[str, str]] = {"aws": {}, "gcp": {"project_id": "p"}}
    for kind, content in written.items():
        (head,), (worker,) = content.pop("head_start_ray_commands"), content.pop("worker_start_ray_commands")
        assert "ray start --head --port=6379 --num-cpus=0 --num-gpus=0 " in head
        assert "ray start --address=$RAY_HEAD_IP:6379 " in worker
        assert all(
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 " in one and one.startswith("ulimit -n 65536; ")
            for one in (head, worker)
        )
        assert all(one.endswith(" --disable-usage-stats") for one in (head, worker))
        assert sorted(content.pop("file_mounts")) == sorted(
            [*(f"/tmp/sweeplaw/{file}" for file in ("cluster.toml", "run.sh", "sweep.toml")), "~/.ray/auth_token"]
        )
        assert content == {
            "cluster_name": "n", "max_workers": 3, "auth": {"ssh_user": "me"}, "head_node_type": "head",
            "provider": {"type": kind, "region": "r", "availability_zone": "z", "cache_stopped_nodes": False,
                         **project[kind]},
            "setup_commands": ["chmod 600 ~/.ray/auth_token", "make"],
            "available_node_types": {
                "head": {"resources": {"CPU": 0, "GPU": 0}, "node_config": machines[kind][0]},
                "trials": {"min_workers": 3, "max_workers": 3, "resources": {"CPU": 16, "GPU": 4},
                           "node_config": machines[kind][1]},
            },
        }  # fmt: skip


def test_a_cluster_without_tokens_copies_none(tmp_path: Path) -> None:
    table = {"region": "r", "head_type": "a", "worker_type": "b", "cpus": 1}
    requested = parse({"kind": "aws", "cloud": table, "authentication": "disabled"}, name="x")
    path, commands = cloud.write(requested, COMMAND, tmp_path, sweep="", name="a" * 40)
    content = yaml.safe_load(path.read_text())
    assert (content["cluster_name"], content["setup_commands"]) == ("a" * 32, [])
    assert "~/.ray/auth_token" not in content["file_mounts"]
    assert commands == (
        f"ray exec --start --stop --tmux {path} 'bash /tmp/sweeplaw/run.sh'",
        f"ray attach --tmux {path}",
        f"ray down {path}",
    )
