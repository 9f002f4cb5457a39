"""Formulas in sweep files: ``0.3 * params ** -0.33``, ``epochs * unique_tokens <= 4e6``.

`trials.expression` defines the language and refuses everything else; here a formula is compiled once and evaluated with
Python's numbers.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sweeplaw.trials import expression
from sweeplaw.trials.errors import InputError


def _power(base: Any, exponent: Any) -> Any:
    """Return ``base ** exponent``, in floating point unless the exact integer is small: 9**9**9 must end at once."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) <= 1 or exponent * math.log2(abs(base)) < 128:
            return base**exponent
        return math.pow(base, exponent)
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"{base} ** {exponent} is not a real number")
    return result


_SCOPE = {"__builtins__": {}, **expression.FUNCTIONS, "_power": _power}


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula: its text and the names it reads."""

    text: str
    names: frozenset[str]
    _code: CodeType

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return the formula's value. Raise InputError if it has none for these values."""
        try:
            return eval(self._code, _SCOPE, values)  # `parse` has checked the syntax tree against the whitelist
        except (ArithmeticError, ValueError, TypeError) as error:
            shown = ", ".join(f"{name} = {values[name]!r}" for name in sorted(self.names))
            raise InputError(f"{self.text!r} has no value at {shown}: {error}") from None


class _Powers(ast.NodeTransformer):
    """Replaces ``a ** b`` by ``_power(a, b)``."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow):
            return node
        return ast.Call(ast.Name("_power", ast.Load()), [node.left, node.right], [])


def parse(text: str) -> Formula:
    """Return the formula in ``text``. Raise InputError naming every part that is not accepted."""
    tree = expression.parse(text)
    names = _names(tree)
    if private := sorted(name for name in names if name.startswith("_")):
        raise InputError(
            [f"{text!r}: the name {name!r} is not accepted (names do not start with _)" for name in private]
        )
    try:
        code = compile(ast.fix_missing_locations(_Powers().visit(tree)), "<formula>", "eval")
    except (RecursionError, MemoryError):
        raise InputError(f"{text!r} is nested too deeply") from None
    return Formula(text, names, code)


def _names(tree: ast.Expression) -> frozenset[str]:
    """Return the names a formula reads, those of the functions it calls excepted."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return frozenset(names - called)
