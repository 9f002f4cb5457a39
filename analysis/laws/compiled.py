"""Compiled formulas: value, gradient and curvature of a law at many parameter vectors over many rows.

Shapes: parameters are (batch, p), data columns (n,), results (batch, n). Nodes that depend on the data alone (log N,
say) are computed once when the data are bound; those that depend on the parameters alone stay (batch, 1) columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np

from sweeplaw.analysis.laws.formula import Array, Graph, apply, parse
from sweeplaw.trials.errors import InputError

CHUNK = 1 << 18  # rows predicted at a time, which bounds the size of intermediate arrays


@dataclass(frozen=True, slots=True)
class Function:
    """A compiled formula. ``curvature`` holds only the second derivatives that are not identically zero."""

    graph: Graph
    variables: tuple[str, ...]
    parameters: tuple[str, ...]
    value: int
    gradient: tuple[int, ...]
    curvature: tuple[tuple[int, int, int], ...]
    linear: tuple[int, ...]
    order: tuple[tuple[int, ...], ...]
    data_only: tuple[int, ...]

    def bind(self, data: Sequence[Array]) -> Bound:
        """Bind the data, one array for each variable: (n,), or (batch, n) if each vector has its own."""
        values: dict[int, Array] = {}
        for node in self.data_only:
            op, _, payload = self.graph.nodes[node]
            if op == "name":
                values[node] = np.atleast_2d(np.asarray(data[self.variables.index(str(payload))], dtype=float))
            else:
                values[node] = apply(self.graph.nodes[node], values)
        return Bound(self, values, np.shape(data[0])[-1] if data else 0)


@dataclass(frozen=True, slots=True)
class Bound:
    """A function and the columns that depend on its data alone, each (1, n) or (1, 1), or (batch, n)."""

    function: Function
    columns: Mapping[int, Array]
    rows: int

    def __call__(self, theta: Array, depth: int, rows: slice = slice(None)) -> dict[int, Array]:
        """Return every node's array at ``theta`` (batch, p): depth 0 for values, 1 with gradient, 2 with curvature.

        Outside the domain of the function they are NaN or infinite, without a warning.
        """
        nodes = self.function.graph.nodes
        values = {node: column[:, rows] if column.shape[1] > 1 else column for node, column in self.columns.items()}
        with np.errstate(all="ignore"):
            for node in self.function.order[depth]:
                op, _, payload = nodes[node]
                if op == "name":
                    index = self.function.parameters.index(str(payload))
                    values[node] = theta[:, index : index + 1]
                else:
                    values[node] = apply(nodes[node], values)
        return values

    def predict(self, theta: Array) -> Array:
        """Return the law at ``theta`` (batch, p): (batch, n)."""
        predicted = np.empty((theta.shape[0], self.rows))
        with np.errstate(all="ignore"):
            for left in range(0, self.rows, CHUNK):
                rows = slice(left, left + CHUNK)
                predicted[:, rows] = self(theta, 0, rows)[self.function.value]
        return predicted


@lru_cache(maxsize=256)
def compile_formula(
    text: str, variables: tuple[str, ...], parameters: tuple[str, ...], fixed: tuple[tuple[str, float], ...] = (),
    forms: tuple[tuple[str, str], ...] = (),
) -> Function:  # fmt: skip
    """Compile a formula. ``fixed`` parameters are replaced by their numbers. Raise InputError.

    ``forms`` are names of the formula that stand for formulas of the parameters themselves: other coordinates.
    """
    graph = Graph()
    numbers = {name: graph.constant(number) for name, number in fixed}
    value = parse(graph, text, numbers | {name: parse(graph, form, numbers) for name, form in forms})
    unknown = graph.names(value) - set(variables) - set(parameters)
    if unknown:
        raise InputError(f"formula {text!r} has {', '.join(sorted(unknown))}, neither a variable nor a parameter")
    gradient = tuple(graph.derivative(value, name) for name in parameters)
    second = {
        (i, j): graph.derivative(gradient[i], parameters[j])
        for i, j in combinations_with_replacement(range(len(parameters)), 2)
    }
    curvature = tuple((i, j, node) for (i, j), node in second.items() if graph.known(node) != 0)
    levels = ([value], [value, *gradient], [value, *gradient, *(node for _, _, node in curvature)])
    needed = [_reach(graph, roots) for roots in levels]
    data_only = tuple(node for node in needed[2] if graph.names(node) <= set(variables))
    return Function(
        graph, variables, parameters, value, gradient, curvature, _linear(second, len(parameters), graph),
        tuple(tuple(node for node in level if node not in set(data_only)) for level in needed), data_only,
    )  # fmt: skip


def _reach(graph: Graph, roots: Sequence[int]) -> list[int]:
    """Return every node the roots depend on, arguments first."""
    found: set[int] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(graph.nodes[node][1])
    return sorted(found)


def _linear(second: Mapping[tuple[int, int], int], count: int, graph: Graph) -> tuple[int, ...]:
    """Return parameters, chosen greedily, in which the formula is jointly linear: their mixed derivatives vanish."""
    chosen: list[int] = []
    for candidate in range(count):
        pairs = [(min(candidate, other), max(candidate, other)) for other in [*chosen, candidate]]
        if all(graph.known(second[pair]) == 0 for pair in pairs):
            chosen.append(candidate)
    return tuple(chosen)
