"""Importing `analysis` is light, and no exported name is hidden by a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw import analysis
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store

pytestmark = pytest.mark.process


def test_import_analysis_pulls_in_neither_ray_nor_torch() -> None:
    code = "import sys; from sweeplaw import analysis; analysis.fit; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_neither_a_query_of_a_store_nor_its_status_imports_pandas(tmp_path: Path) -> None:
    """It would take as long as either."""
    text = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000]\ntokens = [100000]\n'
    launch(plan(parse(text)), Store.open(tmp_path, create=True), profile.load("inline"))
    script = f"""
import sys
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.tables import load
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.store import clocks
from sweeplaw.orchestrator.store.store import Store
answer = run_query(load({str(tmp_path)!r}), Query(sql="SELECT val_loss FROM trials"))
seen = progress(Store.open({str(tmp_path)!r}), clocks.utc_now())
print(answer.frame.height, seen.states["completed"], "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "False"]


def test_no_exported_name_is_hidden_by_a_module_of_that_name() -> None:
    modules = {path.stem for path in Path(analysis.__file__).parent.glob("*.py")}
    assert not modules & set(analysis.__all__)


def test_type_checkers_see_the_exported_names() -> None:
    tree = ast.parse(Path(analysis.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: f"{node.module}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared == analysis._EXPORTS


def test_every_exported_name_exists() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
