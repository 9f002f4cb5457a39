"""A sweep as a Ray job: its files, its command, its error messages, and a job on a real cluster."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.connect import cleanup
from sweeplaw.clusters.connect.addresses import free_port
from sweeplaw.clusters.connect.private import ON_DEMAND, RAYS, environment, private_folder, write_token
from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.clusters.submit import ray_job
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.ray

COMMAND = ["sweeplaw", "launch", "{sweep}", "--cluster", "{cluster}", "--store", "s3://b/it's $(here)"]


def profile(**more: Any) -> Profile:
    return parse({"kind": "ray", "address": "h:6379", "jobs": "http://h:8265/", **more}, name="mine")


def test_the_job_carries_the_sweep_a_profile_for_the_inside_and_a_quoted_command(tmp_path: Path) -> None:
    token = write_token(tmp_path / "token")
    requested = profile(token_file=str(token), nodes=3, shard="1/4", checkpoint_seconds=30)
    folder = ray_job.write(requested, COMMAND, tmp_path / "job", sweep="name = 'x'\n")
    assert sorted(path.name for path in folder.iterdir()) == ["cluster.toml", "run.sh", "sweep.toml"]
    assert (folder / "sweep.toml").read_text() == "name = 'x'\n"
    inside = parse(tomllib.loads((folder / "cluster.toml").read_text()), name="inside")
    assert (inside.kind, inside.address, inside.nodes, inside.shard) == ("ray", "auto", 3, "1/4")
    assert (inside.checkpoint_seconds, inside.token_file, inside.jobs) == (30, None, None)
    assert shlex.split((folder / "run.sh").read_text().splitlines()[-1])[1:] == [
        *("sweeplaw", "launch", "./sweep.toml", "--cluster", "./cluster.toml", "--store", "s3://b/it's $(here)")
    ]
    assert all(token.read_text() not in path.read_text() for path in folder.iterdir())


def test_a_folder_with_other_files_is_refused_because_they_would_be_uploaded(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("KEY=1")
    with pytest.raises(InputError, match=r"holds 'secrets.env' too, which would travel"):
        ray_job.write(profile(), COMMAND, tmp_path, sweep="")
    assert not (tmp_path / "run.sh").exists()


def test_the_arguments_are_words_without_a_token_and_the_environment_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def run(words: list[str], *, env: dict[str, str], **rest: Any) -> subprocess.CompletedProcess[str]:
        seen.update(words=words, env=env, rest=rest)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(ray_job, "_installed", lambda: True)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    token = write_token(tmp_path / "token")
    folder = tmp_path / "a folder; with $(words)"
    assert ray_job.submit(profile(token_file=str(token)), folder, "demo-1") == "demo-1"
    assert seen["words"] == [
        *(sys.executable, "-P", "-m", "ray.scripts.scripts", "job", "submit", "--no-wait"),
        *("--address", "http://h:8265", "--working-dir", str(folder), "--submission-id", "demo-1"),
        *("--", "bash", "run.sh"),
    ]
    assert "shell" not in seen["rest"]
    assert seen["rest"]["timeout"] == ray_job.SUBMIT_SECONDS
    assert seen["env"]["RAY_AUTH_TOKEN_PATH"] == str(token)
    assert {"RAY_ADDRESS", "RAY_AUTH_TOKEN"}.isdisjoint(seen["env"])


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            "ray.exceptions.AuthenticationError: Authentication failed: Forbidden: Invalid authentication token",
            "'http://h:8265' refuses the token .*token_file",
        ),
        ("ConnectionError: Failed to connect to Ray at address: http://h:8265.", "does not answer .*dashboard"),
        ("RuntimeError: The Ray jobs CLI & SDK require the ray[default] installation", r"sweeplaw\[jobs\]"),
        (
            "RuntimeError: Request failed with status code 500: No available agent to submit job",
            "again in a few seconds",
        ),
        ("Traceback\nRuntimeError: Request failed with status code 500", "takes no job: .*status code 500"),
        ("", "takes no job: exit code 1"),
    ],
)
def test_each_failure_is_reported_with_the_fix(output: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "_installed", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 1, "", output))
    with pytest.raises(InputError, match=sentence):
        ray_job.submit(profile(), Path("x"), "demo-1")


def test_the_reason_is_the_last_line_of_the_errors_not_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "_installed", lambda: True)
    failed = subprocess.CompletedProcess(
        [], 1, "submission server address: http://h", "Traceback\nRuntimeError: no room"
    )
    monkeypatch.setattr(subprocess, "run", lambda words, **_: failed)
    with pytest.raises(InputError, match=r"takes no job: RuntimeError: no room$"):
        ray_job.submit(profile(), Path("x"), "demo-1")


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "_installed", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'sweeplaw\[jobs\]'"):
        ray_job.submit(profile(), Path("x"), "demo-1")


@pytest.mark.parametrize("url", ["h:8265", "ftp://h", "http://u:p@h", "http://h:99999", "http://h?token=x", "http://"])
def test_only_the_address_of_a_dashboard_takes_jobs(url: str) -> None:
    with pytest.raises(InputError, match=r"is not the address of a dashboard"):
        profile(jobs=url)


def test_jobs_belong_to_a_running_cluster_and_are_needed_for_submitting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"jobs = .* is not allowed with kind = 'local'"):
        parse({"kind": "local", "jobs": "http://h:1"}, name="x")
    without = parse({"kind": "ray", "address": "h:1"}, name="x")
    with pytest.raises(InputError, match="jobs is missing"):
        ray_job.write(without, COMMAND, tmp_path / "job", sweep="")
    assert not (tmp_path / "job").exists()


@pytest.fixture(scope="module")
def dashboard() -> Iterator[tuple[str, Path]]:
    """A running cluster of two cores with a dashboard: where it takes jobs, and its token."""
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder(None))
        token, bin_folder = write_token(folder / "token"), folder / "bin"
        bin_folder.mkdir()
        script = bin_folder / "sweeplaw"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sweeplaw "$@"\n')
        script.chmod(0o700)
        port = free_port()
        served = [
            f"--ray-client-server-port={free_port()}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={port}",
            "--dashboard-agent-listen-port=0",  # jobs get an agent even if Ray's default port is taken
        ]
        options = ["--head", "--port=0", "--block", "--num-cpus=2", f"--temp-dir={folder / RAYS}", *served]
        names = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            cleanup.MARK: str(folder),
            **ON_DEMAND,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        }
        with environment(names):
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--disable-usage-stats"]
            head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _until(lambda: _get(f"{url}/api/version", token), 90)
            yield url, token
        finally:
            head.terminate()
            head.wait()


def _get(url: str, token: Path) -> Any:
    """Return the JSON at ``url``, or None while nothing answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.read_text()}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


def _until(true: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.5)


def _submit(folder: Path, url: str, token: Path) -> Any:
    (folder / "tiny.toml").write_text(
        'name = "tiny"\nworkload = "surrogate"\n[scientific]\nparams = [1e7, 1e8]\ntokens = [1e9]\n'
        "[nuisance]\nlr = [1e-3, 1e-2, 1e-1]\nbatch_sequences = [256]\n[fixed]\nnoise = 0.003\n"
    )
    (folder / "mine.toml").write_text(f'kind = "ray"\naddress = "auto"\njobs = "{url}"\ntoken_file = "{token}"\n')
    words = [str(folder / "mine.toml"), str(folder / "tiny.toml"), "--store", str(folder / "store")]
    return CliRunner().invoke(app, ["cluster", "ray", *words, "--out", str(folder / "job"), "--submit"])


@pytest.mark.slow
def test_a_submitted_sweep_runs_on_the_cluster_and_fills_the_store(dashboard: tuple[str, Path], tmp_path: Path) -> None:
    url, token = dashboard
    tries: list[Any] = []

    def answered() -> bool:
        tries.append(_submit(tmp_path, url, token))
        return "again in a few seconds" not in str(tries[-1].exception)

    _until(answered, 90)
    done = tries[-1]
    assert done.exit_code == 0, done
    name = done.output.split()[3]
    assert name.startswith("tiny-")

    def ended() -> bool:
        return (_get(f"{url}/api/jobs/{name}", token) or {}).get("status") in ("SUCCEEDED", "FAILED", "STOPPED")

    _until(ended, 180)
    logs = _get(f"{url}/api/jobs/{name}/logs", token)
    assert _get(f"{url}/api/jobs/{name}", token)["status"] == "SUCCEEDED", logs
    assert tables.load(str(tmp_path / "store")).trials.collect().height == 6


@pytest.mark.slow
def test_a_wrong_token_and_a_closed_port_are_distinguished(dashboard: tuple[str, Path], tmp_path: Path) -> None:
    url, token = dashboard
    refused = _submit(tmp_path, url, write_token(tmp_path / "other"))
    assert "refuses the token" in str(refused.exception)
    closed = _submit(tmp_path, f"http://127.0.0.1:{free_port()}", token)
    assert "does not answer" in str(closed.exception)
