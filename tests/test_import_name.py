"""One importable package: a user's modules with the names of sweeplaw's folders hide none of its modules."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import sweeplaw as sl
from sweeplaw.orchestrator.worker.provenance import commit
from tests.paths import ROOT

pytestmark = pytest.mark.process

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
SWEEP = """
name = "shadowed"
[workload]
kind = "python:objective:train"
[workload.knobs]
params_embedding = 0
[scientific]
params = [2, 4]
"""
OBJECTIVE = """
import analysis, clusters, orchestrator, trials

def train(config):
    assert {analysis.OWNER, clusters.OWNER, orchestrator.OWNER, trials.OWNER} == {"the user"}
    return 1.0 / config["params"]
"""
CELL = """
import sweeplaw as sl
import analysis, trials
assert analysis.OWNER == trials.OWNER == "the user"
rows = sl.load("s").trials.collect()
fit = sl.fit(rows, "A / N", x={"N": "params"})
print(rows.height, round(fit.params["A"], 6), sl.analysis.fit is sl.fit)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder whose modules are called as our folders are."""
    for name in ("analysis", "trials", "orchestrator", "clusters"):
        (tmp_path / f"{name}.py").write_text('OWNER = "the user"\n')
    (tmp_path / "objective.py").write_text(OBJECTIVE)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.parametrize("cluster", ["inline", pytest.param("local", marks=pytest.mark.ray)])
def test_a_sweep_and_a_notebook_cell_run_beside_modules_named_as_our_folders(folder: Path, cluster: str) -> None:
    done = run(folder, "-m", "sweeplaw", "launch", "sweep.toml", "--store", "s", "--cluster", cluster, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"] == {"completed": 2}
    cell = run(folder, "-c", CELL)
    assert cell.stdout.split() == ["2", "1.0", "True"], cell.stderr


def test_import_sweeplaw_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'polars', 'pyarrow', 'ray', 'scipy', 'torch', 'typer'}"
    done = run(Path.cwd(), "-c", f"import sys, sweeplaw; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_every_name_that_is_offered_is_there() -> None:
    assert sl.__version__ == metadata.version("sweeplaw")
    for name in sl.__all__:
        assert getattr(sl, name) is not None
    assert set(sl.__all__) == {*sl._EXPORTS, *sl._PACKAGES}
    assert set(dir(sl)) == {*sl.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = sl.fitt  # type: ignore[attr-defined]


def test_type_checkers_see_what_is_offered() -> None:
    tree = ast.parse(Path(sl.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {**sl._EXPORTS, **{name: ("sweeplaw", name) for name in sl._PACKAGES}}


@needs_git
def test_rows_carry_the_commit_of_the_checkout() -> None:
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (commit() or "").rstrip("+") == head.stdout.strip()


@needs_git
@pytest.mark.slow
def test_a_wheel_holds_every_module_and_data_file_once_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    folders = [source / name for name in ("orchestrator", "trials", "analysis", "clusters")]
    wanted = [
        f"sweeplaw/{path.relative_to(source)}"
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".toml", ".j2", ".woff2", ".txt")
    ]
    assert sorted(held) == sorted([*wanted, "sweeplaw/__init__.py", "sweeplaw/__main__.py", "sweeplaw/py.typed"])
