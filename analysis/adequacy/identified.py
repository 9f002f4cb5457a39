"""Whether a fit's parameters are identified: a closed interval for each, and inputs that vary enough."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.compiled import Function
from sweeplaw.analysis.laws.formula import Node

LEAST_SPAN = 2.0  # largest over smallest value of an input, below which its exponent is not worth an extrapolation


def unidentified(fit: Fit) -> tuple[str, ...]:
    """Return a sentence about each parameter that the rows do not identify."""
    return tuple(item.verdict for item in fit.profiles.values() if not item.identified)


def narrow(fit: Fit) -> tuple[str, ...]:
    """Return a sentence about each input that spans less than a factor LEAST_SPAN, and so hardly has an exponent.

    In a formula of the user's own these are the inputs with a power. Others (the loss in a sigmoid, a share in a
    mixture) are judged by the profiles alone.
    """
    own = fit.law.name not in LAWS
    powers = _powers(fit.law.function) if own else frozenset(fit.law.inputs)
    spans = {name: float(column.max() / column.min()) for name, column in fit.observations.inputs.items()}
    return tuple(
        f"{name} spans only a factor {span:.4g}, and the law needs {LEAST_SPAN:g} to say how the loss depends on it"
        for name, span in spans.items()
        if span < LEAST_SPAN and name in powers
    )


def _powers(function: Function) -> frozenset[str]:
    """Return the names of which the formula takes a power or a logarithm: alone, or in sums and products of powers."""
    nodes, found, stack = function.graph.nodes, set[str](), [function.value]
    while stack:
        op, args, _ = nodes[stack.pop()]
        if op in ("log", "pow") and not _ops(nodes, args[0]) & {"exp", "log"}:
            found |= function.graph.names(args[0])
        stack.extend(args)
    return frozenset(found)


def _ops(nodes: Sequence[Node], node: int) -> frozenset[str]:
    """Return the operations of a node and below it."""
    op, args, _ = nodes[node]
    return frozenset((op,)).union(*(_ops(nodes, argument) for argument in args))
