"""A law's formula as text: parsed by a whitelist, differentiated symbolically, evaluated over whole batches at once.

Every law, ours and a researcher's own, is such a text: ``E + A / N**alpha + B / D**beta``. Parsing makes a graph in
which equal subexpressions are one node; first and second derivatives are further nodes of the same graph, so that
``N**-alpha`` is computed once for the value, the gradient and the curvature. Nothing is ever handed to ``eval``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sweeplaw.trials.errors import InputError, nearest

Array = np.ndarray
Node = tuple[str, tuple[int, ...], float | str]

LONGEST = 2000  # characters; a law of physics fits on a line
FUNCTIONS = ("exp", "log", "sqrt", "min", "max")

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
    """Expressions as numbered nodes, each made once. A node's arguments have smaller numbers than the node."""

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
        """A number. Raises ValueError when it is not finite."""
        if not math.isfinite(value):
            raise ValueError("a constant in it is not finite")
        return self._make("const", (), float(value))

    def name(self, name: str) -> int:
        """A variable or a parameter."""
        return self._make("name", (), name)

    def known(self, node: int) -> float | None:
        """The value of a constant node, None for any other."""
        op, _, payload = self.nodes[node]
        return float(payload) if op == "const" else None

    def add(self, a: int, b: int) -> int:
        """a + b."""
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant(x + y)
        if x == 0 or y == 0:
            return b if x == 0 else a
        return self._make("add", (min(a, b), max(a, b)))

    def mul(self, a: int, b: int) -> int:
        """a b."""
        x, y = self.known(a), self.known(b)
        if x is not None and y is not None:
            return self.constant(x * y)
        if x == 0 or y == 0:
            return self.constant(0.0)
        if x == 1 or y == 1:
            return b if x == 1 else a
        for number, other in ((a, b), (b, a)):
            op, args, _ = self.nodes[other]
            if op == "mul" and self.known(number) is not None:  # into the first factor: it is most often the smaller
                return self.mul(self.mul(number, args[0]), args[1])
        return self._make("mul", (min(a, b), max(a, b)))

    def power(self, base: int, exponent: int) -> int:
        """base ** exponent; a symbolic exponent goes through exp and log, so its base has to be positive."""
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
        """e ** a."""
        value = self.known(a)
        return self._make("exp", (a,)) if value is None else self.constant(math.exp(value))

    def log(self, a: int) -> int:
        """The natural logarithm of a."""
        value = self.known(a)
        if value is not None:
            return self.constant(math.log(value))
        op, args, _ = self.nodes[a]
        return args[0] if op == "exp" else self._make("log", (a,))

    def choose(self, op: str, a: int, b: int) -> int:
        """min or max of a and b."""
        return self._make(op, (a, b))

    def derivative(self, node: int, name: str) -> int:
        """d node / d name, as a node."""
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
        other = self.add(self.constant(1.0), self.mul(self.constant(-1.0), chosen))
        if op == "min":
            return self.add(self.mul(chosen, inner[0]), self.mul(other, inner[1]))
        return self.add(self.mul(chosen, inner[0]), self.mul(other, inner[1]))

    def names(self, node: int) -> frozenset[str]:
        """Every name the node depends on."""
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
    """The node of this formula. ``known`` maps names that stand for something to their node (fixed parameters).

    Accepted: numbers, names, + - * / ** (also ^), parentheses and exp log sqrt min max. InputError says what was not.
    """
    if len(text) > LONGEST:
        raise InputError(f"the formula has {len(text)} characters (at most {LONGEST})")
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval")
        return _build(graph, tree.body, known or {})
    except SyntaxError as error:
        raise InputError(f"formula {text!r} does not parse: {error.msg}") from None
    except (ValueError, OverflowError, ZeroDivisionError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"formula {text!r}: {error or type(error).__name__}") from None


def _build(graph: Graph, tree: ast.expr, known: Mapping[str, int]) -> int:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float) and not isinstance(tree.value, bool):
        return graph.constant(float(tree.value))
    if isinstance(tree, ast.Name):
        return known.get(tree.id) if tree.id in known else graph.name(tree.id)  # type: ignore[return-value]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        inner = _build(graph, tree.operand, known)
        return graph.mul(graph.constant(-1.0), inner) if isinstance(tree.op, ast.USub) else inner
    if isinstance(tree, ast.BinOp):
        return _binary(graph, tree.op, _build(graph, tree.left, known), _build(graph, tree.right, known))
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        return _call(graph, tree.func.id, [_build(graph, argument, known) for argument in tree.args])
    accepted = f"numbers, names, + - * / **, {' '.join(FUNCTIONS)}"
    raise InputError(f"{ast.unparse(tree)!r} is not allowed in a formula (accepted: {accepted})")


def _binary(graph: Graph, op: ast.operator, left: int, right: int) -> int:
    if isinstance(op, ast.Add):
        return graph.add(left, right)
    if isinstance(op, ast.Sub):
        return graph.add(left, graph.mul(graph.constant(-1.0), right))
    if isinstance(op, ast.Mult):
        return graph.mul(left, right)
    if isinstance(op, ast.Div):
        return graph.mul(left, graph.power(right, graph.constant(-1.0)))
    if isinstance(op, ast.Pow):
        return graph.power(left, right)
    raise InputError(f"the operator {type(op).__name__} is not allowed in a formula (accepted: + - * / **)")


def _call(graph: Graph, name: str, args: Sequence[int]) -> int:
    if name not in FUNCTIONS:
        raise InputError(f"{name}() is not known (accepted: {' '.join(FUNCTIONS)}){nearest(name, FUNCTIONS)}")
    wanted = 2 if name in ("min", "max") else 1
    if len(args) != wanted:
        raise InputError(f"{name}() takes {wanted} argument{'s' * (wanted > 1)}, {len(args)} given")
    if name == "sqrt":
        return graph.power(args[0], graph.constant(0.5))
    if wanted == 2:
        return graph.choose(name, args[0], args[1])
    return graph.exp(args[0]) if name == "exp" else graph.log(args[0])


def apply(node: Node, values: Mapping[int, Array]) -> Array:
    """The array of one node, given the arrays of its arguments."""
    op, args, payload = node
    if op == "const":
        return np.full((1, 1), float(payload))
    if op == "pow":
        return _power(values[args[0]], float(payload))
    return _APPLY[op](*(values[argument] for argument in args))


def _power(base: Array, exponent: float) -> Array:
    if exponent == -1.0:
        return np.reciprocal(base)
    return base * base if exponent == 2.0 else np.power(base, exponent)
