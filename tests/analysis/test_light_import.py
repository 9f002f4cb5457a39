"""Importing `analysis` is light, and no exported name is hidden by a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from sweeplaw import analysis

pytestmark = pytest.mark.process


def test_import_analysis_pulls_in_neither_ray_nor_torch() -> None:
    code = "import sys; from sweeplaw import analysis; analysis.fit; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
