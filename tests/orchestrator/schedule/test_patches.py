"""Private parts of Ray: each one listed exists in the installed Ray, and every one used is listed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.schedule.ray_tune.patches import PRIVATE_PARTS, PrivatePart
from tests.paths import ROOT

SOURCES = [*(ROOT / "clusters").glob("*/*.py"), *(ROOT / "orchestrator" / "schedule" / "ray_tune").glob("*.py")]


def resolve(path: str) -> Any:
    """Import a module, or a class in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def exists(part: PrivatePart) -> bool:
    """Return whether Ray has this part; attributes of instances and keyword arguments are looked up in the source."""
    owner = resolve(part.owner)
    if hasattr(owner, "__path__"):
        return importlib.util.find_spec(f"{part.owner}.{part.name}") is not None
    return hasattr(owner, part.name) or mentions(inspect.getsource(owner), part.name)


def mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield private attributes of other objects, and names imported from private modules of Ray."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and re.match(r"ray\b", node.module or ""):
            private_module = re.search(r"\._|\.generated", node.module or "")
            yield from (alias.name for alias in node.names if private_module or alias.name.startswith("_"))


@pytest.mark.parametrize("part", PRIVATE_PARTS, ids=lambda part: f"{part.name}-{part.used_in}")
def test_each_listed_private_part_exists_in_ray_and_is_used(part: PrivatePart) -> None:
    assert exists(part)
    assert mentions((ROOT / f"{part.used_in.replace('.', '/')}.py").read_text(), part.name)


@pytest.mark.heavy
def test_every_private_part_in_use_is_listed() -> None:
    used = {name for path in SOURCES for name in private_names(ast.parse(Path(path).read_text()))}
    listed = {part.name for part in PRIVATE_PARTS} | {part.owner.rpartition(".")[2] for part in PRIVATE_PARTS}
    assert used - listed == set()
    assert {"_raylet", "_actor_manager", "init_grpc_channel"} <= used, "the search finds them"
