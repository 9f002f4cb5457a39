"""Run the notebooks of this folder from their first cell to the last, and keep what they show.

    python examples/notebooks/execute.py             # in place
    python examples/notebooks/execute.py --out DIR   # into another folder

Each runs in an empty folder of its own, so that nothing it makes is left behind.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SECONDS = 300  # at most for one cell


def execute(path: Path) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of a fresh run. Raise nbclient.exceptions.CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of this run
    notebook.metadata.pop("language_info", None)  # the versions of this machine
    return nbformat.reads(nbformat.writes(notebook).replace(folder, "/home/you"), as_version=4)


def main() -> None:
    """Run every notebook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the executed notebooks")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for path in sorted(HERE.glob("*.ipynb")):
        nbformat.write(execute(path), options.out / path.name)
        print(options.out / path.name)


if __name__ == "__main__":
    main()
