"""Formulas of a sweep as functions: ``0.3 * params ** -0.33``, ``epochs * unique_tokens <= 4e6``.

`trials.expression` defines the language and refuses everything else; here a formula is compiled once and evaluated with
Python's numbers.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sweeplaw.trials import expression
from sweeplaw.trials.errors import InputError, shown


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


_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_SCOPE = {"__builtins__": {}, **expression.FUNCTIONS, "_power": _power}


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula: its text, the names it reads, and those of them that it computes with."""

    text: str
    names: frozenset[str]
    computed: frozenset[str]
    _code: CodeType

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return the formula's value. Raise InputError if it has none for these values."""
        if text := [name for name in self.computed if isinstance(values[name], str)]:
            raise InputError(f"{self._at(values)}: {min(text)} is text, which can be compared, not computed with")
        try:
            return eval(self._code, _SCOPE, values)  # `parse` has checked the syntax tree against the whitelist
        except (ArithmeticError, ValueError, TypeError) as error:
            raise InputError(f"{self._at(values)}: {error}") from None

    def _at(self, values: Mapping[str, Any]) -> str:
        known = ", ".join(f"{name} = {shown(values[name])}" for name in sorted(self.names))
        return f"{shown(self.text)} has no value{' at ' * bool(known)}{known}"


class _Powers(ast.NodeTransformer):
    """Replaces ``a ** b`` by ``_power(a, b)``."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Pow):
            return node
        return ast.Call(ast.Name("_power", ast.Load()), [node.left, node.right], [])


def parse(text: str) -> Formula:
    """Return the formula in ``text``. Raise InputError naming every part that is not accepted."""
    try:
        tree = expression.parse(text)
    except InputError as error:
        dotted = _dotted(text)
        others = [fault for fault in error.faults if not any(f"{name!r} is not accepted" in fault for name in dotted)]
        works = "accepted are knobs that move together in a [[zip]] block, or a knob named without dots"
        refused = [f"{shown(text)}: {name} has a dot, and a formula reads no such names; {works}" for name in dotted]
        raise InputError([*refused, *others]) from None
    names, computed = _names(tree), expression.computed_names(tree)
    if private := sorted(name for name in names if name.startswith("_")):
        raise InputError(
            [f"{shown(text)}: the name {name!r} is not accepted (names do not start with _)" for name in private]
        )
    code = compile(ast.fix_missing_locations(_Powers().visit(tree)), "<formula>", "eval")
    return Formula(text, names, computed, code)


def _dotted(text: str) -> list[str]:
    """Return the names with dots, such as the knobs of a script may have, in a text that is no formula."""
    return sorted(set(_DOTTED.findall(_QUOTED.sub("", text))))


def _names(tree: ast.Expression) -> frozenset[str]:
    """Return the names a formula reads, those of the functions it calls excepted."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return frozenset(names - called)
