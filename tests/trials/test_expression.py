"""The language of formulas: what it accepts, and that nothing else can be written in it."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.analysis.laws import formula as law_formula
from sweeplaw.analysis.laws.law import formula_law
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.expression import FUNCTIONS, MAX_LENGTH, parse
from sweeplaw.trials.formula import parse as parse_sweep_formula


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "a.real",
        "a[0]",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "open('f')",
        "f'{a}'",
        "(a := 3)",
        "'x' * 10 ** 9",
        "a @ b",
        "a in b",
        "a is b",
        "~a",
        "a; b",
        "import os",
        "max(*a)",
        "max(a, key=b)",
        "None",
        "1j",
        "a." * 900 + "a",
        "-" * 3000 + "a",
    ],
)
def test_everything_outside_arithmetic_is_refused(text):
    with pytest.raises(InputError):
        parse(text)


def test_no_builtin_is_reachable():
    assert not set(FUNCTIONS) & {"eval", "exec", "open", "getattr", "__import__", "vars", "type"}


def test_every_fault_of_a_formula_comes_in_one_message():
    with pytest.raises(InputError) as caught:
        parse("a.real + sqr(b) * c[0]")
    assert len(caught.value.faults) == 3
    assert "'a.real' is not accepted in a formula" in caught.value.faults[0]
    assert "sqr() is not known; did you mean 'sqrt'?" in caught.value.faults[1]
    assert "accepted: numbers, names" in caught.value.faults[2]


def test_a_formula_has_a_greatest_length():
    assert parse("a" * MAX_LENGTH)
    with pytest.raises(InputError, match="2001 characters"):
        parse("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("a ^ -b + 1", "a ** -b + 1"), ("c == 'a^b' or a^2 < 1", "c == 'a^b' or a**2 < 1"), ('c == "^"', 'c == "^"')],
)
def test_a_caret_is_a_power_except_inside_text(text, meaning):
    assert ast.dump(parse(text)) == ast.dump(parse(meaning))


def test_laws_take_the_functions_of_the_language_that_have_a_derivative():
    assert set(law_formula.FUNCTIONS) < set(FUNCTIONS)


@pytest.mark.heavy
@given(st.floats(0.1, 10.0), st.floats(1.1, 10.0))
@pytest.mark.parametrize(
    "text",
    [
        "abs(1 - x) + A",
        "A * log(x, A)",
        "log2(x) + A * log10(x)",
        "min(x, A, 3) / max(x, A)",
        "sqrt(x) ^ 3 - exp(-A) * log(x)",
    ],
)
def test_a_formula_has_one_value_in_sweeps_and_laws(text, x, A):
    expected = parse_sweep_formula(text)({"x": x, "A": A})
    assert formula_law(text, ["x"]).predict({"A": A}, {"x": x}) == pytest.approx([expected], rel=1e-12, abs=1e-12)
