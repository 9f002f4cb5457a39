"""The notebooks in examples/ run, and show what their files have."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import nbformat
import pytest

from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"[-−]?\d[\d.,]*(e[-+]?\d+)?")


def execute(path: Any) -> nbformat.NotebookNode:
    spec = importlib.util.spec_from_file_location("execute", ROOT / "examples" / "notebooks" / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.execute(path)


def shown(notebook: nbformat.NotebookNode) -> list[list[tuple[str, str]]]:
    """Return the outputs of each cell as (type, text without numbers and table borders)."""
    outputs = [[*map(text, cell.outputs)] for cell in notebook.cells if cell.cell_type == "code"]
    return [[(kind, " ".join(re.sub(r"[─┌┬┐│┆└┴┘═╞╪╡]", "", NUMBER.sub("#", said)).split())) for kind, said in cell]
            for cell in outputs]  # fmt: skip


def text(output: nbformat.NotebookNode) -> tuple[str, str]:
    data = output.get("data", {})
    return f"{output.output_type} {sorted(data)}", str(output.get("text") or data.get("text/plain", ""))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["1_launch", "2_query", "3_laws"]


@pytest.mark.process
@pytest.mark.heavy
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_its_file_has(path: Any) -> None:
    kept = nbformat.read(path, as_version=4)
    assert shown(execute(path)) == shown(kept)
    assert sum(len(cell) for cell in shown(kept)) >= 4, "it shows something"
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code"), "its file is executed"
