"""What documents name in backticks, resolved against the checkout: paths, dotted names, commands and make targets.

A span is split into words. These words are not references to this checkout and are skipped:

- placeholders and values: with one of ``< > { } * $ = [ ] ?``, a URL, or a first part in capitals (``STORE/x``);
- files of the reader: ``results/``, ``.venv/``, absolute and home paths, and file names without a folder, except
  ``.py`` and ``.md``, which must be somewhere in the checkout;
- folders of a store (`trials.store_format.layout`), such as ``merges/``;
- names in modules of others: their top module must be importable, and nothing further is checked.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

DOCUMENTS = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
PACKAGES = ("analysis", "benchmarks", "clusters", "docs", "orchestrator", "tests", "trials")

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"[<>{}*$=\[\]?]|://")
_PATH = re.compile(r"[\w.\-]+(/[\w.\-]+)*/?")
_FILE = re.compile(r".*\.(py|md|toml|txt|json|jsonl|csv|parquet|html|ids|png|yml|ndjson|arrow|tex)")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_ALIASES = {"sl": "sweeplaw", "pa": "pyarrow"}


def spans(text: str) -> list[str]:
    """Return what stands in backticks, code blocks excepted."""
    return re.findall(r"`([^`]+)`", _FENCE.sub("", text))


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Return the words of every ``sweeplaw`` command, in backticks or at the beginning of a line of a code block."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    found = [line for line in [*spans(text), *lines] if line.startswith("sweeplaw ")]
    return [shlex.split(" ".join(line.split()), comments=True) for line in found]


def faults(text: str) -> Iterator[str]:
    """Yield a sentence for each reference of a document that leads nowhere."""
    for span in spans(text):
        if target := re.fullmatch(r"make ([a-z]+)( .*)?", span):
            if target[1] not in _targets():
                yield f"`{span}`: the Makefile has no target {target[1]}"
            continue
        for word in span.split():
            if fault := _fault(word.rstrip(",;:")):
                yield f"`{span}`: {fault}"
    for word in {word for block in _FENCE.findall(text) for word in block.split()}:
        if word.split("/")[0] in PACKAGES and "/" in word and _PATH.fullmatch(word) and not (ROOT / word).exists():
            yield f"{word} in a code block is not in the checkout"


def _fault(word: str) -> str | None:
    word = re.sub(r"\([^()]*\)$", "", word)  # a call
    if _PLACEHOLDER.search(word) or not re.match(r"[a-zA-Z_.]", word):
        return None
    if "/" in word or _FILE.fullmatch(word):
        return None if not _PATH.fullmatch(word) or _path_exists(word) else f"{word} is not in the checkout"
    if _DOTTED.fullmatch(word):
        return None if resolves(word) else f"{word} does not exist"
    return None


def _path_exists(path: str) -> bool:
    first = path.split("/")[0]
    if first in ("results", ".venv", "build") or first.isupper():
        return True
    if "/" not in path:
        return not path.endswith((".py", ".md")) or path in _file_names()
    return (ROOT / path).exists() or path.rstrip("/") in _store_folders()


def resolves(name: str) -> bool:
    """Return whether a dotted name is a module of ours, something in one, a member of a class of ours, or foreign."""
    first, *rest = name.split(".")
    first = _ALIASES.get(first, first)
    if first in _classes():
        return len(rest) == 1 and rest[0] in _members(first)
    if first == "sweeplaw" and rest and rest[0] in PACKAGES:
        first, *rest = rest
    if first not in (*PACKAGES, "sweeplaw"):
        return importlib.util.find_spec(first) is not None
    module = ROOT / first
    while rest and ((module / rest[0]).is_dir() or (module / f"{rest[0]}.py").is_file()):
        module = module / rest.pop(0)
    source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    if len(rest) == 2 and rest[0] in _names(source):
        return rest[1] in _members(rest[0])
    return not rest or (len(rest) == 1 and rest[0] in _names(source))


@functools.cache
def _names(source: Path) -> frozenset[str]:
    """Return the names that a module defines at its top level, or exports lazily (`_EXPORTS`)."""
    if not source.is_file():
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        found |= _defined(node)
        value = getattr(node, "value", None)
        if "_EXPORTS" in _defined(node) and isinstance(value, ast.Dict):
            found |= {key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return frozenset(found)


def _defined(node: ast.AST) -> set[str]:
    """Return the names that a statement defines: of a function or class, or assigned, also as attributes of self."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    leaves = [leaf for target in targets for leaf in (target.elts if isinstance(target, ast.Tuple) else [target])]
    named = {leaf.id for leaf in leaves if isinstance(leaf, ast.Name)}
    return named | {leaf.attr for leaf in leaves if isinstance(leaf, ast.Attribute)}


@functools.cache
def _classes() -> dict[str, list[ast.ClassDef]]:
    """Return every class of ours by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(node)
    return found


def is_class(name: str) -> bool:
    """Return whether a class of ours has this name."""
    return name in _classes()


def _members(name: str) -> set[str]:
    """Return the attributes and methods of the classes of this name, inherited ones included."""
    found: set[str] = set()
    for node in _classes().get(name, []):
        found |= {member for statement in ast.walk(node) for member in _defined(statement)}
        for base in node.bases:
            found |= _members(base.id) if isinstance(base, ast.Name) and base.id != name else set()
    return found


@functools.cache
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@functools.cache
def _file_names() -> frozenset[str]:
    folders = [ROOT / name for name in (*PACKAGES, "examples")]
    return frozenset(path.name for folder in folders for path in folder.rglob("*.*")) | {
        path.name for path in ROOT.glob("*.*")
    }


@functools.cache
def _store_folders() -> frozenset[str]:
    """Return the folders of a store, from the layout's docstring."""
    layout = (ROOT / "trials" / "store_format" / "layout.py").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^    .*?\b([a-z]+)/", layout, flags=re.MULTILINE)) | {"usage", "checkpoints"}
