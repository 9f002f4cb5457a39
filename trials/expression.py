"""The language of formulas: arithmetic on names, in sweep files (``0.3 * params ** -0.33``) and laws (``E + A / N^a``).

A formula may contain

- numbers, names, parentheses, and text in quotes, which can be compared but not computed with;
- ``+ - * / // % **``, where ``^`` also means ``**``;
- ``< <= > >= == !=``, ``and or not``, ``a if b else c``;
- the functions of `FUNCTIONS`: abs ceil exp floor int log log10 log2 max min round sqrt.

Everything else is refused: there is no attribute access, no subscript, no other call, and no way to reach a builtin.
Sweep formulas are evaluated with Python's numbers (`orchestrator.plan.formulas`). Law formulas are differentiated
(`analysis.laws.formula`), so they refuse what has no derivative: text, comparisons, conditions and rounding.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sweeplaw.trials.errors import InputError, nearest

MAX_LENGTH = 2000  # characters

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "int": int,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd),
    *(ast.And, ast.Or, ast.Not, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
_NODES = (ast.Expression, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, *_OPERATORS)
_ACCEPTED = "numbers, names, + - * / // % ** (or ^), comparisons, and/or/not, a if b else c, " + ", ".join(FUNCTIONS)
_TEXT_OR_CARET = re.compile(r"""('''.*?'''|\"{3}.*?\"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|\^""", re.DOTALL)

Check = Callable[[ast.AST], str | None]


def parse(text: str) -> ast.Expression:
    """Return the syntax tree of a formula. Raise InputError naming every part that is outside the language."""
    if len(text) > MAX_LENGTH:
        raise InputError(f"a formula of {len(text)} characters; at most {MAX_LENGTH} are accepted")
    try:
        tree = ast.parse(_TEXT_OR_CARET.sub(lambda match: match[1] or "**", text).strip(), mode="eval")
        faults = find_faults(tree, _fault)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{text!r} is not a formula: {error}") from None
    if faults:
        *others, last = (f"{text!r}: {fault}" for fault in faults)
        raise InputError([*others, f"{last} (accepted: {_ACCEPTED})"])
    return tree


def find_faults(tree: ast.AST, check: Check) -> list[str]:
    """Return what ``check`` reports of the parts, left to right. A refused part is not searched; calls always are."""
    return list(dict.fromkeys(_walk(tree, check)))


def _walk(tree: ast.AST, check: Check) -> Iterator[str]:
    stack = [tree]  # no recursion: the depth of a formula is limited by its length alone
    while stack:
        node = stack.pop()
        fault = check(node)
        if fault is not None:
            yield fault
        if fault is None or isinstance(node, ast.Call):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _fault(node: ast.AST) -> str | None:
    """Return the reason why this node, its children aside, is outside the language; None if it is not."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else None  # anything else is a fault of its own
        return None if name is None or name in FUNCTIONS else f"{name}() is not known{nearest(name, FUNCTIONS)}"
    if isinstance(node, ast.BinOp) and any(_is_text(side) for side in (node.left, node.right)):
        return f"text can be compared, not computed with, as in {ast.unparse(node)!r}"
    if isinstance(node, _NODES) or (isinstance(node, ast.Constant) and isinstance(node.value, int | float | str)):
        return None
    what = ast.unparse(node) if isinstance(node, ast.expr | ast.keyword) else type(node).__name__
    return f"{what!r} is not accepted in a formula"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
