r"""A fit as LaTeX: the formula, the same with the fitted numbers, and each parameter with its interval.

The result is one ``aligned`` environment, to be set in math mode: ``$$ … $$`` in a notebook, ``\[ … \]`` in a paper.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeplaw.trials import expression

if TYPE_CHECKING:
    from sweeplaw.analysis.fitting.fitted_law import Fit
    from sweeplaw.analysis.fitting.uncertainty import Interval

GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
)  # fmt: skip
DIGITS = 2  # significant digits of an uncertainty; the value is rounded at the same decimal place
UNKNOWN_DIGITS = 4  # of a value without an uncertainty
_SIGNED, _SUM, _PRODUCT, _POWER = 0, 1, 2, 3  # how tightly an expression binds


def latex(fit: Fit) -> str:
    """Return the fit in LaTeX, with the verdict if it is not verified."""
    known = {**fit.params, **dict(fit.law.fixed)}
    errors = {name: _errors(fit.params[name], interval) for name, interval in fit.intervals.items()}
    places = {name: _place(known[name], errors.get(name, ())) for name in known}
    numbers = {name: number(value, places[name]) for name, value in known.items()}
    tree = expression.parse(fit.law.formula).body
    head = f"L({', '.join(map(symbol, fit.law.inputs))})"
    lines = [f"{head} &= {_term(tree, {})}", f"&= {_term(tree, numbers)}"]
    lines += [f"{symbol(name)} &= {number(known[name], places[name], errors.get(name))}" for name in fit.law.names]
    lines += [] if fit.verified else [r"&\quad\text{(not verified)}"]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def symbol(name: str) -> str:
    """Return a name as a LaTeX symbol: ``alpha``, ``N``, ``RD`` (R with the index D) or upright text."""
    if name in GREEK:
        return f"\\{name}"
    if len(name) == 1:
        return name
    if len(name) == 2 and name.isalnum():
        return f"{name[0]}_{{{name[1]}}}"
    return f"\\mathrm{{{name.replace('_', chr(92) + '_')}}}"


def number(value: float, place: int, errors: tuple[float, float] | None = None) -> str:
    """Return a number rounded at the decimal ``place`` (2: hundredths; -1: tens) with its errors below and above.

    Large and small numbers are written with a power of ten.
    """
    if not math.isfinite(value):
        return _digits(value, 0)
    size = math.floor(math.log10(abs(value))) if value else 0
    power = 0 if -4 <= size < 6 else size
    text = _digits(value / 10.0**power, place + power)
    if errors is not None:
        low, high = (_digits(abs(error) / 10.0**power, place + power) for error in errors)
        below, above = ("-" if errors[0] >= 0 else "+"), ("+" if errors[1] >= 0 else "-")  # an end beyond the value
        text += f"_{{{below}{low}}}^{{{above}{high}}}"
    scaled = rf"\left({text}\right)" if errors else text
    return rf"{scaled} \times 10^{{{power}}}" if power else text


def _digits(value: float, place: int) -> str:
    if not math.isfinite(value):
        return r"\infty" if value > 0 else r"-\infty" if value < 0 else r"\text{undefined}"
    return f"{round(value, place):.{max(place, 0)}f}"


def _errors(value: float, interval: Interval) -> tuple[float, float]:
    """Return the distances to the lower and the upper end of the interval."""
    return value - interval.low, interval.high - value


def _place(value: float, errors: tuple[float, ...]) -> int:
    """Return the decimal place at which the value is rounded: the second digit of its smaller uncertainty."""
    sizes = [abs(error) for error in errors if error and math.isfinite(error)]
    digits, size = (DIGITS, min(sizes)) if sizes else (UNKNOWN_DIGITS, abs(value) or 1.0)
    return digits - 1 - math.floor(math.log10(size)) if math.isfinite(size) else 0


def _term(tree: ast.expr, numbers: Mapping[str, str], outer: int = 0) -> str:
    """Return an expression with names in ``numbers`` replaced, in parentheses if ``outer`` binds more tightly."""
    text, binds = _written(tree, numbers)
    return rf"\left({text}\right)" if binds < outer else text


def _written(tree: ast.expr, numbers: Mapping[str, str]) -> tuple[str, int]:
    """Return an expression and how tightly it binds."""
    match tree:
        case ast.Constant(value=int() | float() as value):
            return f"{value:g}", _POWER + 1
        case ast.Name(id=name):
            text = numbers.get(name, "") or symbol(name)
            return text, (_SIGNED if text.startswith("-") else _PRODUCT if "times" in text else _POWER + 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"-{_term(operand, numbers, _PRODUCT)}", _SIGNED
        case ast.UnaryOp(operand=operand):
            return _written(operand, numbers)
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            return rf"\frac{{{_term(left, numbers)}}}{{{_term(right, numbers)}}}", _PRODUCT
        case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
            return f"{_term(base, numbers, _POWER + 1)}^{{{_term(exponent, numbers)}}}", _POWER
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return _product(_term(left, numbers, _PRODUCT), _term(right, numbers, _PRODUCT)), _PRODUCT
        case ast.BinOp(op=op, left=left, right=right):
            sign, tight = ("-", _PRODUCT) if isinstance(op, ast.Sub) else ("+", _SUM)
            return f"{_term(left, numbers)} {sign} {_term(right, numbers, tight)}", _SUM
        case ast.Call(func=ast.Name(id=name), args=args):
            inside = ", ".join(_term(argument, numbers) for argument in args)
            function = {"abs": r"\mathrm{abs}", "log10": r"\log_{10}", "log2": r"\log_2", "sqrt": r"\sqrt"}
            written = f"{{{inside}}}" if name == "sqrt" else rf"\left({inside}\right)"
            return function.get(name, f"\\{name}") + written, _POWER + 1
        case _:
            return rf"\text{{{ast.unparse(tree)}}}", _POWER + 1


def _product(left: str, right: str) -> str:
    """Return two factors, with a dot where digits would meet."""
    between = r" \cdot " if re.match(r"-?[\d]", right) else r" \, "
    return f"{left}{between}{right}"
