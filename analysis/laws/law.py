"""The record of a law: a formula with its parameters, bounds, units and source; built also from a formula alone.

A law is data. `laws.compiled` compiles its formula and derivatives; `analysis.fitting.solver.solve` fits it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from sweeplaw.analysis.laws.compiled import Function, compile_formula
from sweeplaw.analysis.laws.formula import Graph, parse
from sweeplaw.trials.errors import InputError, nearest, shown

Array = np.ndarray

MAX_EXPONENT = 20.0  # a steeper law is a step, not a power law: a fit there is degenerate


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a law.

    ``start`` is the range in which the search for a non-linear parameter begins, with inputs divided by their geometric
    mean. ``scale`` is the factor by which the parameter grows when inputs return to their own unit (A of
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
class SearchForm:
    """A law in other parameters, in which the search for its minima is better conditioned.

    ``back`` has the formula of each of the law's own parameters in those of the form. Parameters of the same name have
    the law's bounds. Both may name the geometric mean of an input over the rows: N0 is that of N.
    """

    formula: str
    params: tuple[Param, ...]
    back: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Law:
    """A law L(inputs): formula, parameters, and source.

    ``fixed`` parameters are known numbers. ``scaled``: the parameters' ``scale`` absorbs the division of each input by
    its geometric mean. ``centred_by`` names, for each input, the one whose mean divides it (U is divided by D's).
    ``search`` is the form in which its minima are sought while no parameter is fixed.
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
    search: SearchForm | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the free parameters, in order."""
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

    def predict(self, params: Mapping[str, float], x: Mapping[str, ArrayLike]) -> Array:
        """Return the loss (nats a token) at the inputs' values, in the law's units: (n,)."""
        columns = self.columns(x)
        theta = np.array([[params[name] for name in self.names]], dtype=float)
        return np.asarray(self.function.bind(columns).predict(theta)[0])

    def gradient(self, params: Mapping[str, float], x: Mapping[str, ArrayLike]) -> Array:
        """Return d loss / d parameter: (n, p), columns in the order of `names`."""
        bound = self.function.bind(self.columns(x))
        values = bound(np.array([[params[name] for name in self.names]], dtype=float), 1)
        columns = [np.broadcast_to(values[node][0], (bound.rows,)) for node in self.function.gradient]
        return np.stack(columns, axis=1)

    def columns(self, x: Mapping[str, ArrayLike]) -> list[Array]:
        """Return the inputs of ``x`` in the law's order as arrays of one length. Raise InputError if one is missing."""
        missing = [name for name in self.inputs if name not in x]
        if missing:
            raise InputError(f"{self.name} needs {', '.join(self.inputs)}; {', '.join(missing)} missing")
        try:
            return [
                np.atleast_1d(np.asarray(column, dtype=float))
                for column in np.broadcast_arrays(*map(np.atleast_1d, (x[name] for name in self.inputs)))
            ]
        except (TypeError, ValueError) as error:
            raise InputError(f"inputs of {self.name}: {error} (accepted: numbers, arrays of one length)") from None

    def fix(self, **values: float) -> Law:
        """Return this law with some parameters known. Raise InputError for unknown names and infinite values."""
        infinite = {name: value for name, value in values.items() if not math.isfinite(value)}
        faults = [f"{name} = {value:g} (accepted: a finite number)" for name, value in infinite.items()]
        if faults := [*self._unknown(values), *faults]:
            raise InputError(faults)
        return replace(self, fixed=tuple({**dict(self.fixed), **values}.items()), scaled=False)

    def within(self, **bounds: tuple[float | None, float | None]) -> Law:
        """Return this law with other bounds on some parameters; None keeps a side. Raise InputError."""
        if faults := self._unknown(bounds):
            raise InputError(faults)
        return replace(
            self, params=tuple(_bounded(param, *bounds.get(param.name, (None, None))) for param in self.params)
        )

    def _unknown(self, names: Iterable[str]) -> list[str]:
        """Return a sentence about each name that is no parameter."""
        known = [param.name for param in self.params]
        return [f"{self.name} has no parameter {name!r}{nearest(name, known)}" for name in names if name not in known]

    def search_law(self, means: Sequence[float]) -> Law | None:
        """Return this law in the form in which its minima are sought, None if that is its own.

        ``means`` are the inputs' geometric means over the rows.
        """
        if self.search is None or self.fixed:
            return None
        own = {param.name: param for param in self.params}
        params = tuple(
            replace(param, low=own[param.name].low, high=own[param.name].high) if param.name in own else param
            for param in self.search.params
        )
        named = zip(self._middles, means, strict=True)
        fixed = tuple((name, float(mean)) for name, mean in named if re.search(rf"\b{name}\b", self.search.formula))
        return replace(self, formula=self.search.formula, params=params, fixed=fixed, search=None)

    def from_search(self, theta: Array, means: Sequence[float]) -> Array:
        """Return the law's own parameters (batch, p) at vectors of those of `search_law` with these means."""
        assert self.search is not None
        names, back = tuple(param.name for param in self.search.params), dict(self.search.back)
        columns = [_evaluate(back[name], self._middles, means, names, theta) for name in self.names]
        return np.stack(columns, axis=1)

    @property
    def _middles(self) -> tuple[str, ...]:
        return tuple(f"{name}0" for name in self.inputs)

    def scales(self, theta: Array, centre: Sequence[float]) -> Array:
        """Return the factors from centred to own units for each parameter vector: (batch, p), positive."""
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
    """Build a law from a formula: every name that is no input is a parameter, at least 0 unless ``bounds`` has it.

    A parameter with finite bounds is searched inside them. Raise InputError with every fault.
    """
    if not isinstance(formula, str) or isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise InputError(f"formula = {shown(formula)}, inputs = {shown(inputs)} (accepted: a text, a list of names)")
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
