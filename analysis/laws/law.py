"""What a law is: a formula with its parameters, bounds, units and source. A researcher's own formula is one more.

A law is data. `laws.compiled` compiles its formula, derivatives included; `analysis.fitting.solve` fits it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.laws.compiled import Function, compile_formula
from sweeplaw.analysis.laws.formula import Graph, parse
from sweeplaw.trials.errors import InputError, nearest

Array = np.ndarray

STEEPEST = 20.0  # exponents above this are a step, not a power law: a fit there is degenerate


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a law.

    ``start`` is where the search for a non-linear parameter begins, with inputs divided by their geometric mean.
    ``scale`` is the factor by which the parameter grows when inputs are measured in their own unit again (A of
    ``A / N**alpha`` grows by ``N**alpha``). ``log`` searches on its logarithm: for scales without a natural size.
    """

    name: str
    unit: str = ""
    low: float = 0.0
    high: float = math.inf
    start: tuple[float, float] = (0.05, 1.5)
    scale: str = "1"
    log: bool = False


@dataclass(frozen=True, slots=True)
class Law:
    """A law L(inputs): formula, parameters, and where it comes from.

    ``fixed`` parameters are known numbers. ``scaled`` says that dividing each input by its geometric mean is
    absorbed by the parameters' ``scale``; ``centred_by`` names the input whose mean divides each one (U goes with D).
    """

    name: str
    formula: str
    inputs: tuple[str, ...]
    params: tuple[Param, ...]
    source: str
    asymptote: str | None = None
    fixed: tuple[tuple[str, float], ...] = ()
    scaled: bool = True
    centred_by: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The free parameters, in order."""
        fixed = dict(self.fixed)
        return tuple(param.name for param in self.params if param.name not in fixed)

    @property
    def free(self) -> tuple[Param, ...]:
        """The free parameters' records, in order."""
        fixed = dict(self.fixed)
        return tuple(param for param in self.params if param.name not in fixed)

    @property
    def function(self) -> Function:
        """The compiled formula over the free parameters."""
        return compile_formula(self.formula, self.inputs, self.names, self.fixed)

    def predict(self, params: Mapping[str, float], x: Mapping[str, Array]) -> Array:
        """Loss (nats a token) at the inputs' values, in the law's units: one number a row."""
        columns = self.columns(x)
        theta = np.array([[params[name] for name in self.names]], dtype=float)
        return self.function.bind(columns).predict(theta)[0]

    def gradient(self, params: Mapping[str, float], x: Mapping[str, Array]) -> Array:
        """d loss / d parameter: (n, p), columns in the order of `names`."""
        bound = self.function.bind(self.columns(x))
        values = bound(np.array([[params[name] for name in self.names]], dtype=float), 1)
        columns = [np.broadcast_to(values[node][0], (bound.rows,)) for node in self.function.gradient]
        return np.stack(columns, axis=1)

    def columns(self, x: Mapping[str, Array]) -> list[Array]:
        """The inputs of ``x`` in the law's order, as arrays of one length. Raises InputError for a missing one."""
        missing = [name for name in self.inputs if name not in x]
        if missing:
            raise InputError(f"{self.name} needs {', '.join(self.inputs)}; {', '.join(missing)} missing")
        return [
            np.atleast_1d(np.asarray(column, dtype=float))
            for column in np.broadcast_arrays(*map(np.atleast_1d, (x[name] for name in self.inputs)))
        ]

    def fix(self, **values: float) -> Law:
        """This law with some parameters known. Raises InputError for a name it does not have."""
        known = [param.name for param in self.params]
        faults = [
            f"{self.name} has no parameter {name!r}{nearest(name, known)}" for name in values if name not in known
        ]
        faults += [
            f"{name} = {value:g} (accepted: a finite number)"
            for name, value in values.items()
            if not math.isfinite(value)
        ]
        if faults:
            raise InputError(faults)
        return replace(self, fixed=tuple({**dict(self.fixed), **values}.items()), scaled=False)

    def within(self, **bounds: tuple[float | None, float | None]) -> Law:
        """This law with other bounds on some parameters; None keeps a side."""
        known = {param.name for param in self.params}
        faults = [
            f"{self.name} has no parameter {name!r}{nearest(name, known)}" for name in bounds if name not in known
        ]
        if faults:
            raise InputError(faults)
        return replace(
            self, params=tuple(_bounded(param, *bounds.get(param.name, (None, None))) for param in self.params)
        )

    def scales(self, theta: Array, centre: Sequence[float]) -> Array:
        """Factors from centred to own units for each parameter vector: (batch, p), positive."""
        factors = [_evaluate(param.scale, self.inputs, centre, self.names, theta) for param in self.free]
        return np.stack(factors, axis=1)


def _bounded(param: Param, low: float | None, high: float | None) -> Param:
    low, high = (param.low if low is None else low), (param.high if high is None else high)
    if not low < high:
        raise InputError(f"the bounds of {param.name} are empty: [{low:g}, {high:g}]")
    return replace(param, low=low, high=high)


def _evaluate(
    formula: str, inputs: Sequence[str], centre: Sequence[float], names: Sequence[str], theta: Array
) -> Array:
    if formula == "1":
        return np.ones(theta.shape[0])
    function = compile_formula(formula, tuple(inputs), tuple(names))
    return function.bind([np.array([value]) for value in centre]).predict(theta)[:, 0]


def formula_law(
    formula: str,
    inputs: Sequence[str],
    bounds: Mapping[str, tuple[float, float]] | None = None,
    name: str = "formula",
) -> Law:
    """A researcher's own law from its formula: every name that is no input is a parameter, at least 0 unless bounded.

    A parameter with finite bounds is searched inside them. Raises InputError.
    """
    bounds = dict(bounds or {})
    graph = Graph()
    node = parse(graph, formula)
    order = [str(payload) for op, _, payload in graph.nodes if op == "name"]
    found = graph.names(node)
    faults = [f"input {item!r} does not appear in {formula!r}" for item in inputs if item not in found]
    names = [item for item in dict.fromkeys(order) if item in found and item not in inputs]
    faults += [
        f"bounds given for {item!r}, no parameter of the formula{nearest(item, names)}"
        for item in bounds
        if item not in names
    ]
    if not names:
        faults.append(f"formula {formula!r} has no parameter: every name in it is an input")
    if faults:
        raise InputError(faults)
    params = tuple(_own_parameter(item, bounds.get(item)) for item in names)
    return Law(name, formula, tuple(inputs), params, "given by the user", scaled=False)


def _own_parameter(name: str, bounds: tuple[float, float] | None) -> Param:
    if bounds is None:
        return Param(name, start=(0.01, 3.0))
    low, high = bounds
    start = (low if low > 0 else min(0.01, high / 100), high) if math.isfinite(high) and high > 0 else (0.01, 3.0)
    return Param(name, low=low, high=high, start=start)
