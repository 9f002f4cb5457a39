"""The tree in the README, made from the files' own first sentences.

python docs/tree.py            # rewrite README.md
python docs/tree.py --check    # exit code 1 when it is not fresh
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "trials", "analysis", "clusters", "benchmarks", "examples")
BEGIN, END = "<!-- tree: made by docs/tree.py -->\n", "<!-- end of tree -->\n"
WIDTH = 32


def phrase(path: Path) -> str:
    """The first line of a module's docstring, or the first comment of a sweep or profile."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(".")
    return text.split("\n")[0].lstrip("# ").rstrip(".") if text.startswith("#") else tomllib.loads(text)["name"]


def lines(folder: Path, depth: int) -> Iterator[str]:
    """A line for each file below ``folder``, its folders behind its files."""
    pad = "  " * depth
    own = folder / "__init__.py"
    about = phrase(own) if own.exists() else ""
    yield f"{pad}{folder.name}/".ljust(WIDTH) + f"  {about}".rstrip()
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    for path in entries:
        if path.suffix in (".py", ".toml"):
            yield f"{pad}  {path.name}".ljust(WIDTH) + f"  {phrase(path)}"
    for path in entries:
        if path.is_dir() and any(path.rglob("*.py")) | any(path.glob("*.toml")):
            yield from lines(path, depth + 1)


def block() -> str:
    """The tree as a Markdown code block."""
    tree = [line.rstrip() for name in PACKAGES for line in lines(ROOT / name, 0)]
    return BEGIN + "```text\n" + "\n".join(tree) + "\n```\n" + END


def main() -> int:
    """Rewrite the README, or say whether it is fresh."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    start, stop = text.index(BEGIN), text.index(END) + len(END)
    fresh = text[:start] + block() + text[stop:]
    if "--check" in sys.argv:
        return int(fresh != text)
    readme.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
