"""The formula of a law: differentiated symbolically and evaluated for whole batches at once.

Every law, from the catalog or a researcher's own, is a text such as ``E + A / N**alpha + B / D**beta`` in the language
of `trials.expression`. Parsing builds a graph in which equal subexpressions are one node; first and second derivatives
are further nodes of the same graph, so ``N**-alpha`` is computed once for the value, the gradient and the curvature.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce

import numpy as np

from sweeplaw.trials import expression
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import is_number

Array = np.ndarray
Node = tuple[str, tuple[int, ...], float | str]

FUNCTIONS = ("abs", "exp", "log", "log10", "log2", "max", "min", "sqrt")  # those with a derivative
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)

_APPLY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "mul": np.multiply,
    "exp": np.exp,
    "log": np.log,
    "min": np.minimum,
    "max": np.maximum,
    "less": lambda a, b: np.less(a, b).astype(float),
}


class Graph:
    """Expressions as numbered nodes without duplicates. A node's arguments have smaller numbers than the node."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._number: dict[Node, int] = {}
        self._derivatives: dict[tuple[int, str], int] = {}

    def _make(self, op: str, args: tuple[int, ...] = (), payload: float | str = 0.0) -> int:
        node = (op, args, payload)
        if node not in self._number:
            self._number[node] = len(self.nodes)
            self.nodes.append(node)
        return self._number[node]

    def constant(self, value: float) -> int:
        """Return the node of a number. Raise ValueError if it is not real and finite."""
        if isinstance(value, complex) or not math.isfinite(value):  # (-1)**0.5 is complex
            raise ValueError("a constant in it is not a finite real number")
        return self._make("const", (), float(value))

    def name(self, name: str) -> int:
        """Return the node of a variable or a parameter."""
        return self._make("name", (), name)

    def known(self, node: int) -> float | None:
        """Return the value of a constant node, None for any other."""
        op, _, payload = self.nodes[node]
        return float(payload) if op == "const" else None

    def add(self, a: int, b: int) -> int:
        """Return the node of a + b."""
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant(x + y)
        if x == 0 or y == 0:
            return b if x == 0 else a
        return self._make("add", (min(a, b), max(a, b)))

    def mul(self, a: int, b: int) -> int:
        """Return the node of a b."""
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant(x * y)
        if x == 0 or y == 0:
            return self.constant(0.0)
        if x == 1 or y == 1:
            return b if x == 1 else a
        for number, other in ((a, b), (b, a)):
            op, args, _ = self.nodes[other]
            if op == "mul" and self.known(number) is not None:  # into the first factor: usually the smaller
                first, second = args if self.known(args[1]) is None else args[::-1]  # a constant folds, and this ends
                return self.mul(self.mul(number, first), second)
        return self._make("mul", (min(a, b), max(a, b)))

    def negative(self, a: int) -> int:
        """Return the node of -a."""
        return self.mul(self.constant(-1.0), a)

    def power(self, base: int, exponent: int) -> int:
        """Return the node of base ** exponent. A symbolic exponent goes through exp and log: base must be positive."""
        x, y = self.known(base), self.known(exponent)
        if x is not None and y is not None:
            return self.constant(x**y)
        if y == 0 or y == 1:
            return self.constant(1.0) if y == 0 else base
        op, args, payload = self.nodes[base]
        if op == "exp":
            return self.exp(self.mul(exponent, args[0]))
        if op == "pow" and y is not None:
            return self._make("pow", args, float(payload) * y)
        if y is not None:
            return self._make("pow", (base,), y)
        return self.exp(self.mul(exponent, self.log(base)))

    def exp(self, a: int) -> int:
        """Return the node of e ** a."""
        value = self.known(a)
        return self._make("exp", (a,)) if value is None else self.constant(math.exp(value))

    def log(self, a: int) -> int:
        """Return the node of the natural logarithm of a."""
        value = self.known(a)
        if value is not None:
            return self.constant(math.log(value))
        op, args, _ = self.nodes[a]
        return args[0] if op == "exp" else self._make("log", (a,))

    def choose(self, op: str, a: int, b: int) -> int:
        """Return the node of the min or max of a and b."""
        return self._make(op, (a, b))

    def derivative(self, node: int, name: str) -> int:
        """Return the node of d node / d name."""
        key = (node, name)
        if key not in self._derivatives:
            self._derivatives[key] = self._derive(node, name)
        return self._derivatives[key]

    def _derive(self, node: int, name: str) -> int:
        op, args, payload = self.nodes[node]
        if op in ("const", "less"):
            return self.constant(0.0)
        if op == "name":
            return self.constant(1.0 if payload == name else 0.0)
        inner = [self.derivative(argument, name) for argument in args]
        if all(self.known(item) == 0 for item in inner):
            return self.constant(0.0)
        if op == "add":
            return self.add(*inner)
        if op == "mul":
            return self.add(self.mul(inner[0], args[1]), self.mul(args[0], inner[1]))
        if op == "pow":
            order = float(payload)
            return self.mul(self.mul(self.constant(order), self.power(args[0], self.constant(order - 1))), inner[0])
        if op == "exp":
            return self.mul(node, inner[0])
        if op == "log":
            return self.mul(self.power(args[0], self.constant(-1.0)), inner[0])
        first, second = args if op == "min" else args[::-1]
        chosen = self._make("less", (first, second))
        other = self.add(self.constant(1.0), self.negative(chosen))
        return self.add(self.mul(chosen, inner[0]), self.mul(other, inner[1]))

    def names(self, node: int) -> frozenset[str]:
        """Return every name the node depends on."""
        found: set[str] = set()
        seen: set[int] = set()
        stack = [node]
        while stack:
            op, args, payload = self.nodes[stack.pop()]
            if op == "name":
                found.add(str(payload))
            stack.extend(argument for argument in args if argument not in seen)
            seen.update(args)
        return frozenset(found)


def parse(graph: Graph, text: str, known: Mapping[str, int] | None = None) -> int:
    """Return the node of this formula. ``known`` maps names to the nodes that replace them (fixed parameters).

    The language is that of `trials.expression`, less the parts without a derivative. Raise InputError naming every part
    that is not accepted.
    """
    tree = expression.parse(text)
    if faults := expression.find_faults(tree, _underivable):
        accepted = f"numbers, names, + - * / ** (or ^), {', '.join(FUNCTIONS)}"
        refused = f"a law is differentiated, and {', '.join(faults)} has no derivative"
        raise InputError(f"formula {text!r}: {refused} (accepted: {accepted})")
    try:
        return _build(graph, tree.body, known or {})
    except (ValueError, OverflowError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise InputError(f"formula {text!r}: {error or type(error).__name__}") from None


def _underivable(node: ast.AST) -> str | None:
    """Return the text of a node that has no derivative, None for any other."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return None if name in FUNCTIONS else f"{name}()"
    if isinstance(node, ast.UnaryOp | ast.BinOp):
        return None if isinstance(node.op, _OPERATORS) else repr(ast.unparse(node))
    if isinstance(node, ast.Constant):
        number = is_number(node.value)
        return None if number else repr(node.value)
    return repr(ast.unparse(node)) if isinstance(node, ast.Compare | ast.BoolOp | ast.IfExp) else None


def _build(graph: Graph, tree: ast.expr, known: Mapping[str, int]) -> int:
    match tree:
        case ast.Constant(value=int() | float() as value):
            return graph.constant(float(value))
        case ast.Name(id=name):
            return known[name] if name in known else graph.name(name)
        case ast.UnaryOp(op=op, operand=operand):
            inner = _build(graph, operand, known)
            return graph.negative(inner) if isinstance(op, ast.USub) else inner
        case ast.BinOp(op=op, left=left, right=right):
            return _binary(graph, op, _build(graph, left, known), _build(graph, right, known))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _call(graph, name, [_build(graph, argument, known) for argument in args])
    raise AssertionError(f"{ast.unparse(tree)!r} passed the check")


def _binary(graph: Graph, op: ast.operator, left: int, right: int) -> int:
    match op:
        case ast.Add():
            return graph.add(left, right)
        case ast.Sub():
            return graph.add(left, graph.negative(right))
        case ast.Mult():
            return graph.mul(left, right)
        case ast.Div():
            return graph.mul(left, graph.power(right, graph.constant(-1.0)))
    return graph.power(left, right)


def _call(graph: Graph, name: str, args: Sequence[int]) -> int:
    first = args[0]
    match name:
        case "min" | "max":
            return reduce(partial(graph.choose, name), args)
        case "abs":
            return graph.choose("max", first, graph.negative(first))
        case "exp":
            return graph.exp(first)
        case "sqrt":
            return graph.power(first, graph.constant(0.5))
        case "log2" | "log10":
            return graph.mul(graph.log(first), graph.constant(1 / math.log(int(name[3:]))))
    log = graph.log(first)
    return log if len(args) == 1 else graph.mul(log, graph.power(graph.log(args[1]), graph.constant(-1.0)))


def apply(node: Node, values: Mapping[int, Array]) -> Array:
    """Return the array of one node, given the arrays of its arguments."""
    op, args, payload = node
    if op == "const":
        return np.full((1, 1), float(payload))
    if op == "pow":
        return _power(values[args[0]], float(payload))
    return _APPLY[op](*(values[argument] for argument in args))


def _power(base: Array, exponent: float) -> Array:
    if exponent == -1.0:
        return np.asarray(np.reciprocal(base))
    return np.asarray(base * base if exponent == 2.0 else np.power(base, exponent))
