"""A formula is parsed safely, has the value Python gives it, and its derivatives are those of calculus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw import analysis
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.compiled import compile_formula
from sweeplaw.analysis.laws.law import formula_law
from sweeplaw.trials.errors import InputError

STEP = 1e-6


def test_a_formula_has_the_value_python_gives_it() -> None:
    formula = "E + (A / N**a + 3 * B * D**-0.5)**k - min(a, b) * max(N, D) + exp(-N) * log(D) / sqrt(N)"
    values = {"E": 1.7, "A": 2.0, "B": 0.4, "a": 0.3, "b": 0.2, "k": 0.9}
    data: dict[str, Any] = {"N": np.array([1.5, 2.5]), "D": np.array([3.0, 1.1])}
    names = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "min": np.minimum, "max": np.maximum}
    expected = eval(formula, names, {**data, **values})
    law = formula_law(formula, ["N", "D"])
    assert law.predict(values, data) == pytest.approx(expected, rel=1e-14)


def test_a_caret_has_the_precedence_of_a_power() -> None:
    assert formula_law("E + A * x^-a", ["x"]).predict({"E": 1, "A": 2, "a": 3}, {"x": 2.0}) == pytest.approx([1.25])


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')", "().__class__", "E + A.real", "E if A else x", "[E for E in x]", "E + 'a'",
        "lambda x: x", "open(x)", "E + A @ x", "E := x", "exp(A, x)", "min(A)", "f(x)", "1e999 * A * x", "E +",
        "A * x; E", "True * A * x", "A * (-1)**0.5 * x",
    ],
)  # fmt: skip
def test_everything_outside_arithmetic_is_refused(formula: str) -> None:
    with pytest.raises(InputError):
        formula_law(formula, ["x"])


@pytest.mark.parametrize(
    ("formula", "part"),
    [
        ("E + A * round(x)", "round()"), ("E + A * x // 2", "A * x // 2"), ("A * (x < E)", "x < E"),
        ("A * x if E else x", "A * x if E else x"), ("A * x * (E and x)", "E and x"), ("E * A ** (not x)", "not x"),
    ],
)  # fmt: skip
def test_parts_of_the_language_without_a_derivative_are_refused_by_name(formula: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        formula_law(formula, ["x"])
    assert f"a law is differentiated, and {part!r} has" in str(caught.value).replace("round()", "'round()'")


def test_a_deep_or_long_formula_is_refused_and_not_a_crash() -> None:
    with pytest.raises(InputError):
        formula_law("(" * 900 + "x" + ")" * 900 + "* A", ["x"])
    with pytest.raises(InputError, match="characters"):
        formula_law("A*x" + "+x" * 2000, ["x"])


def _point(name: str, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    rng, law = np.random.default_rng(seed), LAWS[name]
    theta = rng.uniform(0.3, 1.5, size=(3, len(law.names)))
    theta += np.array([max(param.low, 0.0) * (param.name == "Xmax") for param in law.free])  # above Xstart
    middle = {"N": 1e9, "D": 1e10} if "1e9" in law.formula else {}
    theta *= 0.3 if middle else 1.0  # powers in the exponents of powers
    return theta, [middle.get(item, 1.0) * rng.uniform(0.5, 5.0, size=7) + (item == "X") for item in law.inputs]


@pytest.mark.heavy
@pytest.mark.parametrize("name", list(LAWS))
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_gradient_and_curvature_are_the_finite_differences_of_value_and_gradient(name: str, seed: int) -> None:
    law = LAWS[name]
    theta, data = _point(name, seed)
    function = law.function
    bound = function.bind(data)
    shape = (len(theta), bound.rows)

    def gradient(at: np.ndarray) -> np.ndarray:
        nodes = bound(at, 1)
        return np.stack([np.broadcast_to(nodes[node], shape) for node in function.gradient])

    nodes = bound(theta, 2)
    second = {(i, j): np.broadcast_to(nodes[node], shape) for i, j, node in function.curvature}
    for index in range(theta.shape[1]):
        ahead, behind = theta.copy(), theta.copy()
        ahead[:, index] += STEP
        behind[:, index] -= STEP
        slope = (bound.predict(ahead) - bound.predict(behind)) / (2 * STEP)
        bend = (gradient(ahead) - gradient(behind)) / (2 * STEP)
        kinked = name == "data_constrained"  # its min and max have a kink, where no difference quotient agrees
        agree = np.isclose(gradient(theta)[index], slope, rtol=1e-5, atol=1e-7)
        assert agree.mean() > (0.9 if kinked else 0.9999)
        for other in range(theta.shape[1]):
            exact = second.get((min(index, other), max(index, other)), np.zeros(shape))
            agree = np.isclose(exact, bend[other], rtol=1e-4, atol=1e-5)
            assert agree.mean() > (0.9 if kinked else 0.9999)


def test_linear_parameters_are_detected() -> None:
    function = compile_formula(
        "E + A / N**a + B / D**b + G / (N**a * D**b)", ("N", "D"), ("E", "A", "B", "G", "a", "b")
    )
    assert [function.parameters[index] for index in function.linear] == ["E", "A", "B", "G"]


def test_a_name_that_is_no_input_is_a_parameter_and_an_unused_input_is_a_fault() -> None:
    assert formula_law("E + A * x**-a", ["x"]).names == ("E", "A", "a")
    with pytest.raises(InputError, match="'D' does not appear"):
        formula_law("E + A * x**-a", ["x", "D"])


@pytest.mark.heavy
def test_a_mixture_of_data_is_a_formula_of_ones_own() -> None:
    web, code = (column.ravel() for column in np.meshgrid(np.linspace(0.1, 0.6, 6), np.linspace(0.05, 0.35, 5)))
    truth = {"c": 2.0, "k": 1.5, "t": -2.5, "u": -0.7}  # the rest of the tokens is a third domain
    losses = truth["c"] + truth["k"] * np.exp(truth["t"] * web + truth["u"] * code)
    losses *= np.exp(0.0005 * np.random.default_rng(5).normal(size=web.size))
    table = {"web_share": web, "code_share": code, "loss": losses}
    fit = analysis.fit(
        table, "c + k*exp(t*web + u*code)", "ls", x={"web": "web_share", "code": "code_share"}, y="loss",
        bounds={"t": (-20.0, 0.0), "u": (-20.0, 0.0)},
    )  # fmt: skip
    assert fit.verified, fit.status
    for name, value in truth.items():
        assert fit.intervals[name].low < value < fit.intervals[name].high
        assert fit.params[name] == pytest.approx(value, rel=0.06)
    richest = {"web": np.array([0.9, 0.1]), "code": np.array([0.05, 0.05])}  # of web and of the rest
    assert fit.predict(richest)[0] < losses.min() < fit.predict(richest)[1]
