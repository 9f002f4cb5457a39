"""Slurm jobs: the options of the script, names that pass through no shell, and the exit code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.clusters.connect.driver import CLUSTER, run_script
from sweeplaw.clusters.profile.capacity import Capacity, object_store_bytes
from sweeplaw.clusters.profile.profile import Profile, load, parse
from sweeplaw.clusters.submit import slurm, slurm_node
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.slurm

NODE = {"nodes": 1, "cpus_per_node": 2}


def profile(**table: Any) -> Profile:
    return parse({"kind": "slurm", "slurm": {**NODE, **table}}, name="x")


def shim(folder: Path, name: str, body: str) -> None:
    """A program of this name at the front of PATH, in place of Slurm's."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    return folder


def test_the_header_requests_the_resources_of_the_profile(tmp_path: Path) -> None:
    requested = profile(
        nodes=4,
        cpus_per_node=64,
        gpus_per_node=8,
        gpu_type="a100",
        memory_per_node="512 GiB",
        time="1-12:00:00",
        partition="gpu,big",
        account="scaling",
        qos="high",
        constraint="a100&nvlink",
        array=16,
        exclusive=True,
        notice_seconds=90,
        options=["--reservation=mine", "--hold"],
    )
    text = slurm.write(requested, ["true"], tmp_path / "job", name="demo").read_text()
    header = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert header == {
        "--job-name=demo",
        "--nodes=4",
        "--ntasks-per-node=1",
        "--cpus-per-task=64",
        "--gres=gpu:a100:8",
        "--mem=524288M",
        "--time=1-12:00:00",
        "--partition=gpu,big",
        "--account=scaling",
        "--qos=high",
        '--constraint="a100&nvlink"',
        "--array=0-15",
        f'--output="{tmp_path}/job/%A_%a.out"',
        "--open-mode=append",
        "--signal=B:USR1@90",
        "--exclusive",
        "--requeue",
        "--no-kill",
        "--reservation=mine",
        "--hold",
    }


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    words=st.lists(NAMES, max_size=4), name=NAMES, folder=st.text("ab $`;&|()<>*?[]{}~#!=-", min_size=1, max_size=20)
)
def test_no_name_is_read_by_a_shell(tmp_path: Path, words: list[str], name: str, folder: str) -> None:
    place = tmp_path / f"x{folder}".rstrip()
    path = slurm.write(profile(), [*words, CLUSTER], place, name=name)
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert json.loads((place / slurm.JOB).read_text())["command"] == [*words, CLUSTER]
    assert f"folder={shlex.quote(str(place))}\n" in text
    job_name = next(line for line in text.splitlines() if line.startswith("#SBATCH --job-name="))
    assert set(job_name.partition("=")[2]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@settings(max_examples=30, deadline=None)
@given(words=st.lists(NAMES, max_size=5))
def test_every_word_reaches_the_driver_unchanged(words: list[str]) -> None:
    script = run_script(["printf", "%s\\0", *words])
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == (words or [""])


@pytest.mark.parametrize("name", ["a%j", 'a"b', "a'b", "a\nb", "a\\b"])
def test_folders_whose_name_slurm_would_interpret_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="job folder"):
        slurm.write(profile(), ["true"], tmp_path / name, name="x")


@pytest.mark.parametrize(
    "table",
    [
        {"partition": "gpu\n#SBATCH --wrap=evil"},
        {"partition": "gpu --wrap=evil"},
        {"account": "$(id)"},
        {"constraint": 'a" --wrap="evil'},
        {"options": ["--wrap evil"]},
        {"options": ["evil"]},
        {"setup": ["module load x\nrm -rf /"]},
        {"python": "../python"},
        {"interface": "ib0; id"},
        {"array": 5000},
    ],
)
def test_settings_that_would_inject_options_or_commands_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(table))):
        profile(**table)


def test_submitting_returns_the_job_at_once(programs: Path, tmp_path: Path) -> None:
    shim(programs, "sbatch", f'printf "%s\\n" "$@" > {shlex.quote(str(tmp_path))}/argv; echo "42;cluster"')
    path = slurm.write(profile(), ["true"], tmp_path / "a b", name="x")
    assert slurm.submit(path) == "42"
    assert (tmp_path / "argv").read_text().splitlines() == ["--parsable", str(path)]


def test_a_refusal_of_slurm_is_passed_on_and_a_missing_slurm_is_named(programs: Path, tmp_path: Path) -> None:
    path = slurm.write(profile(), ["true"], tmp_path / "job", name="x")
    shim(programs, "sbatch", 'echo "sbatch: error: invalid partition" >&2; exit 1')
    with pytest.raises(InputError, match="invalid partition"):
        slurm.submit(path)
    (programs / "sbatch").unlink()
    os.environ["PATH"] = str(programs)
    with pytest.raises(InputError, match=r"sbatch is not on PATH .* login node"):
        slurm.submit(path)


def test_only_slurm_profiles_become_slurm_jobs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a Slurm profile"):
        slurm.write(load("local"), ["true"], tmp_path, name="x")


@pytest.mark.parametrize(
    ("step", "driver", "code"),
    [
        ("exit 0", "0", 0),
        ("exit 0", "3", 3),
        ("exit 1", "0", 0),  # a node died late; the driver had finished the sweep
        ("exit 9", None, 9),  # Ray's head did not start
        ("exit 0", None, 1),  # nothing ran, and no error was reported
        ("exit 0", "nonsense", 1),
    ],
)
def test_the_exit_code_is_the_drivers(programs: Path, tmp_path: Path, step: str, driver: str | None, code: int) -> None:
    """With a stand-in for `srun`: the exit code the script derives from those of the step and of the driver."""
    path = slurm.write(profile(), ["true"], tmp_path / "job", name="x")
    publish = f'mkdir -p "{tmp_path}/job/7.0"; printf %s "{driver}" > "{tmp_path}/job/7.0/exit"' if driver else ":"
    shim(programs, "srun", f"{publish}\n{step}")
    assert subprocess.run(["bash", str(path)], check=False).returncode == code


@pytest.mark.parametrize(
    ("requeue", "code", "again"), [(True, 75, True), (True, 0, False), (False, 75, False)], ids=str
)
def test_notice_stops_the_driver_and_queues_an_unfinished_sweep_again(
    programs: Path, tmp_path: Path, requeue: bool, code: int, again: bool
) -> None:
    path = slurm.write(profile(requeue=requeue), ["true"], tmp_path / "job", name="x")
    run = tmp_path / "job" / "7.0"
    wait = f'touch {tmp_path}/started; until [ -e "{run}/notice" ]; do sleep 0.1; done'
    shim(programs, "srun", f'{wait}; echo {code} > "{run}/exit"; exit {code}')
    shim(programs, "scontrol", f'echo "$@" > {tmp_path}/scontrol')
    with subprocess.Popen(["bash", str(path)], stderr=subprocess.PIPE) as job:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        job.communicate(timeout=30)
    assert job.returncode == code
    assert (tmp_path / "scontrol").exists() == again
    if again:
        assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


DRIVER = """
import json, signal, sys, time
def stop(*_):
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
open(sys.argv[2], "w").write(open(sys.argv[1]).read())
if sys.argv[3] == "wait":
    time.sleep(60)
sys.exit(int(sys.argv[3]))
"""


def task(folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    """One task of a job step, as srun would start it."""
    names = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_CPUS_PER_TASK": "2", **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "sweeplaw.clusters.submit.slurm_node", str(folder)], env={**os.environ, **names}
    )


def test_one_node_needs_no_cluster(tmp_path: Path) -> None:
    """The driver gets a private Ray on the resources that Slurm granted, and its exit code is kept for the script."""
    seen = tmp_path / "seen.toml"
    requested = parse(
        {"kind": "slurm", "hardware": "l4", "gpus_per_trial": 0.5, "slurm": {**NODE, "gpus_per_node": 1}}, name="x"
    )
    slurm.write(requested, [sys.executable, "-c", DRIVER, CLUSTER, str(seen), "3"], tmp_path / "job", name="x")
    with task(tmp_path / "job", CUDA_VISIBLE_DEVICES="3") as step:
        assert step.wait(60) == 3
    assert (tmp_path / "job" / "7.0" / "exit").read_text() == "3"
    assert stat.S_IMODE((tmp_path / "job" / "7.0").stat().st_mode) == 0o700
    got = load(seen)
    assert (got.kind, got.cpus, got.gpus, got.gpus_per_trial, got.hardware) == ("local", 2, 1, 0.5, "l4")


def test_a_job_of_an_array_runs_its_own_shard_and_then_the_rest(tmp_path: Path) -> None:
    """A launch claims all its trials, so the first job of an array would leave the others nothing."""
    seen = tmp_path / "seen"
    note = """
import sys, tomllib
with open(sys.argv[1], "rb") as profile, open(sys.argv[2], "a") as seen:
    print(tomllib.load(profile).get("shard"), end=" ", file=seen)
"""
    requested = parse({"kind": "slurm", "slurm": {**NODE, "array": 4}}, name="x")
    slurm.write(requested, [sys.executable, "-c", note, CLUSTER, str(seen)], tmp_path / "job", name="x")
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"}
    with task(tmp_path / "job", **array) as step:
        assert step.wait(60) == 0
    assert seen.read_text() == "2/4 None "


def test_an_array_job_whose_shard_failed_stops_there(tmp_path: Path) -> None:
    seen = tmp_path / "seen.toml"
    requested = parse({"kind": "slurm", "slurm": {**NODE, "array": 2}}, name="x")
    slurm.write(requested, [sys.executable, "-c", DRIVER, CLUSTER, str(seen), "3"], tmp_path / "job", name="x")
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "2"}
    with task(tmp_path / "job", **array) as step:
        assert step.wait(60) == 3
    assert load(seen).shard == "1/2"


def test_notice_reaches_the_driver_as_a_request_to_end(tmp_path: Path) -> None:
    seen = tmp_path / "seen.toml"
    slurm.write(profile(), [sys.executable, "-c", DRIVER, CLUSTER, str(seen), "wait"], tmp_path / "job", name="x")
    with task(tmp_path / "job", SLURM_RESTART_COUNT="2") as step:
        while not seen.exists():
            time.sleep(0.05)
        (tmp_path / "job" / "7.2" / "notice").touch()
        assert step.wait(30) == 75
    assert (tmp_path / "job" / "7.2" / "exit").read_text() == "75"


def test_a_worker_node_leaves_when_the_driver_has_ended_and_gives_up_without_a_head(tmp_path: Path) -> None:
    requested = parse({"kind": "slurm", "ready_seconds": 0.5, "slurm": {**NODE, "nodes": 2}}, name="x")
    slurm.write(requested, ["true"], tmp_path / "job", name="x")
    with task(tmp_path / "job", SLURM_PROCID="1") as step:
        assert step.wait(30) == 1
    (tmp_path / "job" / "7.0").mkdir()
    (tmp_path / "job" / "7.0" / "exit").write_text("0")
    with task(tmp_path / "job", SLURM_PROCID="1") as step:
        assert step.wait(30) == 0


@pytest.mark.parametrize(
    ("variables", "gpus"),
    [
        ({}, 0),
        ({"SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "0"}, 4),
        ({"SLURM_STEP_GPUS": "0,3"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c"}, 3),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
    ],
)
def test_granted_gpus_are_counted_from_the_variables_slurm_sets(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], gpus: int
) -> None:
    for name in (
        "SLURM_GPUS_ON_NODE",
        "SLURM_STEP_GPUS",
        "SLURM_JOB_GPUS",
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert slurm_node._gpus() == gpus


def test_a_node_gives_ray_the_memory_that_slurm_granted_as_in_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "2048")
    requested = parse({"kind": "slurm", "slurm": {"cpus_per_node": 3, "memory_per_node": "2 GiB"}}, name="x")
    memory = 2**31 - 2**29
    assert requested.planned_nodes() == (Capacity(3, 0, memory),)
    assert {"--num-cpus=3", f"--memory={memory}", f"--object-store-memory={object_store_bytes()}"} <= set(
        slurm_node._granted()
    )


@pytest.mark.parametrize(
    ("notice", "grace", "workers_get"),
    [(120, None, 80.0), (600, None, 560.0), (30, None, 15.0), (120, 20.0, 20.0), (120, 600.0, 80.0)],
)
def test_workers_get_the_part_of_the_notice_that_the_end_of_a_launch_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notice: int, grace: float | None, workers_get: float
) -> None:
    """The grace period in the driver's profile is never longer than the notice allows."""
    own = {} if grace is None else {"grace_seconds": grace}
    requested = parse({"kind": "slurm", **own, "slurm": {**NODE, "notice_seconds": notice}}, name="x")
    slurm.write(requested, ["true"], tmp_path / "job", name="demo")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert slurm_node.main(str(tmp_path / "job")) == 0
    assert load(tmp_path / "job" / "7.0" / "cluster.toml").grace_seconds == workers_get
