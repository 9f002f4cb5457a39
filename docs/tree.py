"""The tree of folders and files in docs/tree.md, from the first sentences of their docstrings.

python docs/tree.py            # rewrite docs/tree.md
python docs/tree.py --check    # exit code 1 if it is out of date
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tree.md"
TOP = ("sweeplaw", "orchestrator", "analysis", "clusters", "trials", "benchmarks", "examples", "docs", "tests")
CLOSED = ("sweeplaw", "docs", "tests")  # folders shown without what is in them
ABOUT = {  # folders without an `__init__` docstring
    "orchestrator/sweeps": "Sweep files to start from: the demo, a surrogate that runs in seconds, studies",
    "orchestrator/sweeps/data_constrained": "Recipes for a fixed amount of data, with the settings of the paper",
    "orchestrator/sweeps/dynamics": "Linear teacher and student: risk over training time, and early stopping",
    "orchestrator/sweeps/random_features": "Ridge regression on random features: what theory says of it, a sweep each",
    "orchestrator/sweeps/tuning": "Tuning as an experiment: selection bias, one setting for many tasks",
    "orchestrator/sweeps/data_constrained/cpu": "The same for two CPU cores",
    "benchmarks": "Each claim of speed as a script, with a named peer in the same run",
    "benchmarks/launching": "How fast a launch is, how busy it keeps its slots, how soon it recovers",
    "benchmarks/laws": "Fits, bootstrap, hyperparameter laws, and the coverage of intervals",
    "benchmarks/pages": "Reports of many trials, and the page of a store while its launch runs",
    "benchmarks/sampling": "Tokens per second sampled from a trained model",
    "benchmarks/searching": "Searches replayed on recorded tables: regret against cost",
    "benchmarks/store": "Durable records, relaunches, and queries of five million trials",
    "benchmarks/workloads": "Rates of workloads whose truth is known, and the coverage of their exponents",
    "benchmarks/training": "Training tokens per second, in one process and sharded",
    "examples": "Cluster profiles, and trials of your own",
    "examples/clusters": "A profile for each kind of cluster",
    "examples/infinite_compute": "Recipes where data is short: the whole study as one command",
    "examples/gallery": "Phenomena with their claims, the commands that test them, and the pages of our numbers",
    "examples/notebooks": "Notebooks, executed: launch, query, laws",
    "examples/own_function": "A Python function as the trial of a sweep",
    "examples/own_script": "A training script as the trial of a sweep",
    "docs": "These pages",
    "tests": "The same folders as the packages; `golden/` holds answers that a refactoring must not change",
}
HEAD = """# The tree

Made by `python docs/tree.py` from docstrings; a test keeps it up to date. The folders of a package are in the order of
their imports: a folder imports only folders below it.

"""


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring, or the first comment of a sweep or profile."""
    text = path.read_text(encoding="utf-8")
    opening = ast.get_docstring(ast.parse(text)) or "" if path.suffix == ".py" else text.split("\n")[0].lstrip("# ")
    paragraph = " ".join(opening.split("\n\n")[0].split()).replace("``", "`")
    return re.split(r"\.(?:\s|$)", paragraph, maxsplit=1)[0]


def about(folder: Path) -> str:
    """Return the phrase of a folder."""
    init = folder / "__init__.py"
    return first_sentence(init) if init.exists() else ABOUT[folder.relative_to(ROOT).as_posix()]


def import_order() -> list[str]:
    """Return the folders as paths from the root, each before the folders it may import."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return [
        f"{container.removeprefix('sweeplaw.').replace('.', '/')}/{layer}"
        for contract in linter["contracts"]
        if contract["type"] == "layers"
        for container in contract["containers"]
        for layers in contract["layers"]
        for layer in layers.split(" | ")
    ]


def folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` that hold modules, sweeps or profiles: in import order, then by name."""
    order = import_order()
    found = [
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__")) and any((*path.rglob("*.py"), *path.glob("*.toml")))
    ]
    paths = {path: path.relative_to(ROOT).as_posix() for path in found}
    return sorted(found, key=lambda path: (order.index(paths[path]) if paths[path] in order else 99, path.name))


def lines(folder: Path, *, files: bool, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (name, phrase) of ``folder`` and of what is in it: its files, if asked for, before its folders."""
    yield f"{'  ' * depth}{folder.name}/", about(folder)
    if folder.name in CLOSED and depth == 0:
        return
    if files:
        for path in sorted(folder.glob("*.*")):
            if path.suffix in (".py", ".toml") and not path.name.startswith("_"):
                yield f"{'  ' * (depth + 1)}{path.name}", first_sentence(path)
    for path in folders(folder):
        yield from lines(path, files=files, depth=depth + 1)


def block(*, files: bool) -> str:
    """Return the tree as a Markdown code block."""
    found = [line for name in TOP for line in lines(ROOT / name, files=files)]
    width = max(len(name) for name, _ in found) + 2
    return "```text\n" + "".join(f"{name:{width}}{phrase}\n" for name, phrase in found) + "```\n"


def page() -> str:
    """Return docs/tree.md."""
    return f"{HEAD}## Folders\n\n{block(files=False)}\n## Files\n\n{block(files=True)}"


if __name__ == "__main__":
    from generated import write_or_check  # beside this script

    sys.exit(write_or_check(PAGE, page()))
