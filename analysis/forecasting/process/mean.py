"""A law as the mean of a forecast: its logarithm in unconstrained coordinates, with a normal prior on each.

The prior of a coordinate follows from the role of its parameter in the formula: an asymptote is about half of the
lowest loss or less, down to none, a coefficient is the share of its term at the centre of the data, an exponent is near
a third, within a factor of three or so.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeplaw.analysis.laws.catalog import KAPLAN, SKALING
from sweeplaw.analysis.laws.compiled import Bound, Function, compile_formula
from sweeplaw.analysis.laws.law import Law, Param
from sweeplaw.trials.errors import InputError

Array = np.ndarray
Role = Literal["asymptote", "coefficient", "exponent", "other"]

REACH = 4.0  # standard deviations of the prior within which a coordinate is searched
E_SHARE, E_SPREAD = 0.55, 0.5  # of the lowest loss: the prior mean and standard deviation of an asymptote
TERM_SHARE = 0.25  # of the median loss: the prior mean of a term beside an asymptote
EXPONENT, EXPONENTS = 0.35, (0.03, 4.0)  # the prior mean of an exponent, and between which values it is searched
SPREADS: Mapping[Role, float] = {"coefficient": 1.5, "exponent": 1.0, "other": 3.0}  # of logarithms
# (prior mean, standard deviation) of log k of the coupled law, whose k is 1 in the additive one
COUPLING = (-0.3, 0.7)

# Coordinates in which the prior is independent, and back: t is the log of a term of the loss, a its exponent there.
_NATURAL: Mapping[str, Mapping[str, tuple[str, str]]] = {
    SKALING.formula: {
        "A": ("exp(A / exp(k))", "k * log(A)"), "B": ("exp(B / exp(k))", "k * log(B)"),
        "a": ("exp(a - k)", "log(a * k)"), "b": ("exp(b - k)", "log(b * k)"),
    },
    KAPLAN.formula: {"Nc": ("exp(Nc / exp(aN))", "aN * log(Nc)"), "Dc": ("exp(Dc / exp(aD))", "aD * log(Dc)")},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mean:
    """A law over coordinates (p,) as a ``function``. ``prior`` and ``spread``: means and deviations of their prior."""

    law: Law
    function: Function
    centre: tuple[float, ...]
    forward: tuple[Function, ...]
    backward: tuple[Function, ...]
    prior: Array
    spread: Array
    low: Array
    high: Array

    def bind(self, inputs: Mapping[str, Array]) -> BoundMean:
        """Return the mean at these inputs, in the law's units."""
        columns = [inputs[name] / middle for name, middle in zip(self.law.inputs, self.centre, strict=True)]
        return BoundMean(self, self.function.bind(columns))

    def clip(self, theta: Array) -> Array:
        """Return the coordinates inside the reach of the prior and the bounds of the law; NaN becomes the prior's."""
        return np.clip(np.where(np.isfinite(theta), theta, self.prior), self.low, self.high)

    def params(self, theta: Array) -> Array:
        """Return the law's parameters, in centred units, at coordinates (p,)."""
        return _values(self.forward, theta)

    def coordinates(self, params: Array) -> Array:
        """Return the coordinates of parameters (p,) in centred units, inside the reach of the prior."""
        with np.errstate(all="ignore"):
            return self.clip(_values(self.backward, params))


@dataclass(frozen=True, slots=True)
class BoundMean:
    """A mean at the inputs of n rows."""

    mean: Mean
    bound: Bound

    def value(self, theta: Array) -> Array:
        """Return the log of the law at coordinates (p,): (n,). NaN where the law is not positive."""
        with np.errstate(all="ignore"):
            return np.asarray(np.log(self.bound.predict(theta[None])[0]))

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Return the log of the law (n,) and its exact derivatives with respect to the coordinates (n, p)."""
        function = self.bound.function
        with np.errstate(all="ignore"):
            nodes = self.bound(theta[None], 1)
            law = np.broadcast_to(nodes[function.value][0], (self.bound.rows,))
            columns = np.empty((theta.size, law.size))
            for index, node in enumerate(function.gradient):
                columns[index] = nodes[node][0]
            return np.asarray(np.log(law)), np.asarray((columns / law).T)

    def reducible(self, theta: Array) -> Array:
        """Return the share of the loss that is not its asymptote: (n,), 1 for a law without one."""
        law = self.mean.law
        index, fixed = asymptote(law), dict(law.fixed).get(law.asymptote or "", 0.0)
        lower = fixed if index is None else _values(self.mean.forward[index : index + 1], theta)[0]
        return np.asarray(1.0 - lower / np.exp(self.value(theta)))


def _values(functions: Sequence[Function], at: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.array([function.bind([np.ones(1)]).predict(at[None])[0, 0] for function in functions])


def mean_of(law: Law, inputs: Mapping[str, Array], losses: Array, fitted: Array | None) -> Mean:
    """Return the law as a mean over its free parameters.

    ``fitted`` are parameters (p,) in centred units, near which parameters of no known role are expected.
    """
    centre = centre_of(law, inputs)
    texts = [_coordinate(law, param, inputs) for param in law.free]
    forward = tuple(_compile(text, law, logs=True) for text, _ in texts)
    function = _composed(law, [text for text, _ in texts])
    backward = tuple(_compile(text, law) for _, text in texts)
    with np.errstate(all="ignore"):
        expected = None if fitted is None else _values(backward, fitted)
    prior = np.array([_prior(law, index, losses, expected) for index in range(len(law.free))])
    middle, spread = prior[:, 0], prior[:, 1]
    bounds = np.array([_bounds(law, index, text) for index, (text, _) in enumerate(texts)])
    low = np.maximum(middle - REACH * spread, bounds[:, 0])
    high = np.maximum(np.minimum(middle + REACH * spread, bounds[:, 1]), low)
    return Mean(law, function, centre, forward, backward, np.clip(middle, low, high), spread, low, high)


def centre_of(law: Law, inputs: Mapping[str, Array]) -> tuple[float, ...]:
    """Return what each input is divided by: a geometric mean, or 1 if the law's parameters do not absorb it."""
    keys = law.centred_by or law.inputs
    return tuple(float(np.exp(np.mean(np.log(inputs[key])))) if law.scaled else 1.0 for key in keys)


def asymptote(law: Law) -> int | None:
    """Return the index of the free parameter that the loss falls to: the one whose derivative is 1 everywhere."""
    function = law.function
    found = [index for index, node in enumerate(function.gradient) if function.graph.known(node) == 1.0]
    return found[0] if found else None


def role(law: Law, index: int) -> Role:
    """Return what a free parameter is in its formula."""
    param, tree = law.free[index], ast.parse(law.formula.replace("^", "**"), mode="eval")
    if index == asymptote(law):
        return "asymptote"
    if _couples(law, param):
        return "other"
    if index in law.function.linear or (param.scale != "1" and param.name in _NATURAL.get(law.formula, {})):
        return "coefficient"
    powers = (node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow))
    names = {leaf.id for power in powers for leaf in ast.walk(power) if isinstance(leaf, ast.Name)}
    return "exponent" if param.name in names and not param.log else "other"


def _couples(law: Law, param: Param) -> bool:
    """Return whether a parameter is the k of the coupled law."""
    return law.formula == SKALING.formula and param.name == "k"


def _coordinate(law: Law, param: Param, inputs: Mapping[str, Array]) -> tuple[str, str]:
    """Return the formula of a parameter in coordinates, and of its coordinate in parameters."""
    there, back = _unscaled(law, param)
    scale = "1" if law.scaled or there == param.name else _scale(law, param, inputs)
    if scale == "1":
        return there, back
    forms = {one.name: _unscaled(law, one)[0] for one in law.free}
    return f"({there}) * ({_replace(scale, forms)})", _replace(back, {param.name: f"({param.name} / ({scale}))"})


def _unscaled(law: Law, param: Param) -> tuple[str, str]:
    """Return what `_coordinate` does, of a coefficient without its scale.

    A parameter that may be negative is its own coordinate. So is an asymptote, because none at all is a usual value
    of it, which lies infinitely far off on a scale of logarithms.
    """
    if param.low < 0 or law.names.index(param.name) == asymptote(law):
        return param.name, param.name
    return _NATURAL.get(law.formula, {}).get(param.name, (f"exp({param.name})", f"log({param.name})"))


def _scale(law: Law, param: Param, inputs: Mapping[str, Array]) -> str:
    """Return the factor of a coefficient whose term is 1 at the centre of the inputs, as a formula of the others."""
    middle = {name: repr(float(np.exp(np.mean(np.log(column))))) for name, column in inputs.items()}
    index = law.names.index(param.name)
    if param.scale != "1":
        return _replace(param.scale, middle)
    if index == asymptote(law) or index not in law.function.linear:
        return "1"
    formula = law.formula.replace("^", "**")
    term = " - ".join(f"({_replace(formula, {**middle, param.name: value})})" for value in ("1.0", "0.0"))
    try:
        found = compile_formula(f"1 / ({term})", ("_",), law.names, law.fixed)
    except InputError:  # too long, or of no real value there
        return "1"
    ones = found.bind([np.ones(1)]).predict(np.full((1, len(law.names)), 0.3))[0, 0]
    return f"1 / ({term})" if np.isfinite(ones) and ones > 0 else "1"


def _replace(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda match: f"({names[match[0]]})" if match[0] in names else match[0], text)


def _compile(text: str, law: Law, logs: bool = False) -> Function:
    return compile_formula(text, ("_",), law.names, _logs_of_fixed(law) if logs else law.fixed)


def _composed(law: Law, texts: Sequence[str]) -> Function:
    """Return the law as a function of its coordinates, whose formulas in its free parameters are ``texts``."""
    fixed = tuple((name, f"exp({name})" if value > 0 else name) for name, value in law.fixed)
    forms = (*zip(law.names, texts, strict=True), *fixed)
    return compile_formula(law.formula, law.inputs, law.names, _logs_of_fixed(law), forms)


def _logs_of_fixed(law: Law) -> tuple[tuple[str, float], ...]:
    return tuple((name, math.log(value) if value > 0 else value) for name, value in law.fixed)


def _prior(law: Law, index: int, losses: Array, expected: Array | None) -> tuple[float, float]:
    """Return the mean and standard deviation of a coordinate.

    In a formula of the user's own, a fit that the role of a parameter rules out says that it plays another.
    """
    middle, spread = _by_role(law, index, losses, expected)
    other = None if expected is None or law.scaled else float(expected[index])
    if other is not None and math.isfinite(other) and abs(other - middle) > REACH * spread:
        return other, SPREADS["other"]
    return middle, spread


def _by_role(law: Law, index: int, losses: Array, expected: Array | None) -> tuple[float, float]:
    param, kind = law.free[index], role(law, index)
    if kind == "asymptote":
        return E_SHARE * float(np.min(losses)), E_SPREAD * float(np.min(losses))
    if _couples(law, param):
        return COUPLING
    if kind == "coefficient":
        return math.log(_term(law) * float(np.median(losses))), SPREADS[kind]
    if kind == "exponent" and param.low >= 0:
        return math.log(EXPONENT), SPREADS[kind]
    return _by_start(param) if law.scaled or expected is None else (_known(expected[index]), SPREADS["other"])


def _term(law: Law) -> float:
    """Return the share of the loss that one term is expected to have."""
    if asymptote(law) is not None or law.fixed:
        return TERM_SHARE
    return 1.0 / max(1, sum(role(law, index) == "coefficient" for index in range(len(law.free))))


def _known(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def _by_start(param: Param) -> tuple[float, float]:
    """Return a prior over the range in which the search for the parameter begins."""
    low, high = param.start
    ends = (low, high) if param.low < 0 or low <= 0 else (math.log(low), math.log(high))
    return sum(ends) / 2, (ends[1] - ends[0]) / 2


def _bounds(law: Law, index: int, text: str) -> tuple[float, float]:
    """Return the bounds of a coordinate: of its parameter where it is that or its logarithm, and those of exponents."""
    param = law.free[index]
    if text == param.name:
        return param.low, param.high
    low, high = EXPONENTS if role(law, index) == "exponent" else (0.0, math.inf)
    if text == f"exp({param.name})":
        low, high = max(low, param.low), min(high, param.high)
    return (math.log(low) if low > 0 else -math.inf), math.log(high)
