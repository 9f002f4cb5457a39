"""A launch on a private Ray does not depend on the caller's environment, nor on what lies in the current folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SWEEP = 'name = "t"\nworkload = "surrogate"\nseeds = 2\n[scientific]\nparams = [1000, 2000]\ntokens = [50]\n'
UPSETTING = {
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "1",
    "PYTHONSTARTUP": "/nowhere/startup.py",
    "PYTHONUTF8": "0",
    "LC_ALL": "C",
    "RAY_ADDRESS": "192.0.2.1:6379",
    "RAY_REDIS_ADDRESS": "192.0.2.1:6379",
    "RAY_TMPDIR": "/nowhere",
    "RAY_CLIENT_MODE": "1",
    "RAY_RUNTIME_ENV_HOOK": "no.such.hook",
    "RAY_START_HOOK": "no.such.hook",
    "http_proxy": "http://192.0.2.1:9",
    "grpc_proxy": "http://192.0.2.1:9",
    "COLUMNS": "1",
}


def test_nothing_of_the_callers_environment_reaches_ray(tmp_path: Path) -> None:
    here = tmp_path / "here and now"
    here.mkdir()
    (here / "t.toml").write_text(SWEEP)
    for module in ("sweeplaw", "numpy", "polars", "ray"):  # the command finds the installed ones, so workers do
        (here / f"{module}.py").write_text("raise ImportError('the wrong one')\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("TERM", "PYTHONPATH")}
    command = [Path(sys.executable).parent / "sweeplaw", "launch", "t.toml", "--store", "s", "--json"]
    done = subprocess.run(
        [*map(str, command)],
        cwd=here,
        env={**environment, **UPSETTING, "TMPDIR": str(here), "HOME": "/proc/1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.close(0),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"] == {"completed": 4}


def test_a_module_that_hides_ray_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(SWEEP)
    (tmp_path / "ray.py").touch()
    command = [sys.executable, "-m", "sweeplaw", "launch", "t.toml", "--store", "s"]  # -m: this folder comes first
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"the module ray is not Ray but {tmp_path / 'ray.py'} (accepted: " in done.stderr


def test_a_python_without_docstrings_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(SWEEP)
    command = [sys.executable, "-OO", "-m", "sweeplaw", "launch", "t.toml", "--store", "s"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Ray does not load without docstrings" in done.stderr
