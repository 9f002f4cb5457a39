"""The language of formulas: arithmetic on names, in sweep files (``0.3 * params ** -0.33``) and laws (``E + A / N^a``).

A formula may contain

- numbers, names, parentheses, and text in quotes, which can be compared but not computed with;
- ``+ - * / // % **``, where ``^`` also means ``**``;
- ``< <= > >= == !=``, ``and or not``, ``a if b else c``;
- the functions of `FUNCTIONS`: abs ceil exp floor int log log10 log2 max min round sqrt.

Everything else is refused: there is no attribute access, no subscript, no other call, and no way to reach a builtin.
A formula has at most `MAX_LENGTH` characters and `MAX_DEPTH` levels, and its numbers are finite.
Sweep formulas are evaluated with Python's numbers (`orchestrator.plan.formulas`). Law formulas are differentiated
(`analysis.laws.formula`), so they refuse what has no derivative: text, comparisons, conditions and rounding.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sweeplaw.trials.errors import InputError, nearest, shown

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 100  # levels of parts within parts; a sum of n terms has n
MAX_DIGITS = 400  # that round() keeps or drops: more than a number has, and few enough that 10 ** digits is small


def _round(number: Any, *digits: Any) -> Any:
    if any(abs(count) > MAX_DIGITS for count in digits):
        raise ValueError(f"round() takes at most {MAX_DIGITS} digits")
    return round(number, *digits)


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
    "round": _round,
    "sqrt": math.sqrt,
}
_ARGUMENTS: Mapping[str, tuple[int, int]] = {  # least and most; one for the other functions
    "log": (1, 2),
    "max": (2, MAX_LENGTH),
    "min": (2, MAX_LENGTH),
    "round": (1, 2),
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
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{shown(text)} is not a formula: {error}") from None
    except (RecursionError, MemoryError):
        raise InputError(_too_deep(text)) from None
    if _depth(tree) > MAX_DEPTH:
        raise InputError(_too_deep(text))
    if faults := find_faults(tree, _fault):
        *others, last = (f"{shown(text)}: {fault}" for fault in faults)
        raise InputError([*others, f"{last} (accepted: {_ACCEPTED})"])
    return tree


def computed_names(tree: ast.AST) -> frozenset[str]:
    """Return the names whose values are computed with; the others are compared, or are a value of the formula."""
    operands = (leaf for node in ast.walk(tree) for leaf in _operands(node))
    return frozenset(leaf.id for leaf in operands if isinstance(leaf, ast.Name))


def _too_deep(text: str) -> str:
    return f"{shown(text)} is nested too deeply (accepted: at most {MAX_DEPTH} levels)"


def _depth(tree: ast.AST) -> int:
    """Return the number of levels of a syntax tree."""
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


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
    if any(isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) for leaf in _operands(node)):
        return f"text can be compared, not computed with, as in {_excerpt(node)}"
    if isinstance(node, ast.Call):
        return _call_fault(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not _is_finite(node.value):
        return "a number in it is not finite"
    if isinstance(node, _NODES) or (isinstance(node, ast.Constant) and isinstance(node.value, int | float | str)):
        return None
    return f"{_excerpt(node)} is not accepted in a formula"


def _call_fault(node: ast.Call) -> str | None:
    if not isinstance(node.func, ast.Name):  # an attribute or a subscript is also a fault of its own
        return f"{_excerpt(node.func)} is not a function" if isinstance(node.func, ast.Call) else None
    name = node.func.id
    if name not in FUNCTIONS:
        return f"{name}() is not known{nearest(name, FUNCTIONS)}"
    least, most = _ARGUMENTS.get(name, (1, 1))
    if least <= len(node.args) <= most:
        return None
    takes = f"{least} or more" if most == MAX_LENGTH else str(least) if least == most else f"{least} or {most}"
    return f"{name}() takes {takes} argument{'s' * (most > 1)}, {len(node.args)} given"


def _operands(node: ast.AST) -> list[ast.AST]:
    """Return the names and constants that this node computes with, as far as no other node computes with them first.

    A condition and ``and``/``or`` pass on the value of a part of theirs.
    """
    stack: list[ast.AST]
    match node:
        case ast.BinOp(left=left, right=right):
            stack = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            stack = [operand]
        case ast.Call(args=args):
            stack = list(args)
        case _:
            return []
    found = []
    while stack:
        match part := stack.pop():
            case ast.IfExp(body=body, orelse=orelse):
                stack += [body, orelse]
            case ast.BoolOp(values=values):
                stack += values
            case _:
                found.append(part)
    return found


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond the floats
        return False


def _excerpt(node: ast.AST) -> str:
    return shown(ast.unparse(node)) if isinstance(node, ast.expr | ast.keyword) else repr(type(node).__name__)
