"""Small arithmetic formulas in sweep files: ``0.3 * params ** -0.33``, ``epochs * unique_tokens <= 4e6``.

A formula is parsed once against a whitelist of syntax and compiled; names are the only thing that varies. There is no
attribute access, no subscript, no call but the functions listed, and no way to reach a builtin.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sweeplaw.trials.errors import InputError

_MAX_LENGTH = 2000


def _power(base: Any, exponent: Any) -> Any:
    """``base ** exponent`` in floating point unless the exact integer is small: 9**9**9 must not take the machine."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) <= 1 or exponent * math.log2(abs(base)) < 128:
            return base**exponent
        return math.pow(base, exponent)
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"{base} ** {exponent} is not a real number")
    return result


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
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Load)


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula: its text and the names it needs."""

    text: str
    names: frozenset[str]
    _code: CodeType

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The formula's value. Raises InputError when it cannot be computed from these values."""
        try:
            return eval(self._code, _SCOPE, values)  # syntax tree checked against the whitelist in `parse`
        except (ArithmeticError, ValueError, TypeError) as error:
            seen = ", ".join(f"{name} = {values[name]!r}" for name in sorted(self.names))
            raise InputError(f"{self.text!r} has no value at {seen}: {error}") from None


_SCOPE = {"__builtins__": {}, **FUNCTIONS, "_power": _power}


class _Powers(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow):
            return node
        return ast.Call(ast.Name("_power", ast.Load()), [node.left, node.right], [])


def parse(text: str) -> Formula:
    """The formula in ``text``. Raises InputError naming what is not arithmetic."""
    if len(text) > _MAX_LENGTH:
        raise InputError(f"a formula of {len(text)} characters; at most {_MAX_LENGTH} are accepted")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{text!r} is not a formula: {error}") from None
    names = {name for node in ast.walk(tree) if (name := _checked(node, text)) is not None}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    code = compile(ast.fix_missing_locations(_Powers().visit(tree)), "<formula>", "eval")
    return Formula(text, frozenset(names - called), code)


def _checked(node: ast.AST, text: str) -> str | None:
    """The name this node reads, if any. Raises InputError when the node is outside the whitelist."""
    if isinstance(node, ast.Name):
        if node.id.startswith("_"):
            raise InputError(f"{text!r}: the name {node.id!r} is not accepted (names do not start with _)")
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return None
    if isinstance(node, ast.BinOp) and any(_is_text(side) for side in (node.left, node.right)):
        raise InputError(f"{text!r}: text can be compared, not computed with")
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FUNCTIONS
        and not node.keywords
    ):
        return None
    if isinstance(node, _NODES + _OPERATORS):
        return None
    what = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
    accepted = "numbers, names, + - * / // % **, comparisons, and/or/not, a if b else c, " + ", ".join(FUNCTIONS)
    raise InputError(f"{text!r}: {what!r} is not accepted in a formula (accepted: {accepted})")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
