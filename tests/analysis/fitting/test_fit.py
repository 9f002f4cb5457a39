"""A fit recovers planted parameters, agrees with another solver, ignores units, and reports what is not identified."""

from __future__ import annotations

import inspect
import re
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from sweeplaw import analysis
from sweeplaw.analysis.fitting.options import DEFAULTS, FitOptions
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.scaling.validation import compare
from sweeplaw.trials.errors import InputError

PLANTED = {
    "power": {"A": 3.0, "alpha": 0.3},
    "power_asymptote": {"C": 1.7, "A": 2.0, "alpha": 0.45},
    "reciprocal": {"C": 3.3, "A": 0.25},
    "additive": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "skaling": {"E": 1.5, "A": 200.0, "B": 500.0, "a": 0.3, "b": 0.35, "k": 0.8},
    "kaplan": {"Nc": 8.8e13, "Dc": 5.4e13, "aN": 0.076, "aD": 0.095},
    "data_constrained": {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.36, "RN": 5.3, "RD": 15.4},
    "batch": {"E": 1.7, "A": 300.0, "B": 900.0, "G": 40.0, "a": 0.32, "b": 0.5, "c": 0.6},
    "broken": {"E": 1.2, "A": 2.0, "c0": 0.25, "c1": 0.4, "d": 40.0, "f": 0.3},
    "farseer": {"E": 0.45, "B": 0.09, "beta": 0.31, "p": -0.12, "q": 0.3, "r": -0.2, "u": 0.17, "v": -0.1, "w": 0.12},
    "overfitting": {
        "E": 1.87,
        "A": 521.0,
        "B": 1488.0,
        "alpha": 0.35,
        "beta": 0.36,
        "P": 0.02,
        "delta": 0.7,
        "kappa": 0.5,
    },
    "critical_batch": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "M0": 30.0, "c": 0.47},
    "steps_to_loss": {"Kmin": 2000.0, "Mcrit": 5e5},
    "precision": {"E": 2.76, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.5, "gamma": 2.2},
    "mixture_of_experts": {
        "E": 1.36,
        "A": 36.0,
        "B": 36.0,
        "alpha": 0.19,
        "beta": 0.18,
        "delta": -0.23,
        "omega": 0.55,
        "gamma": 0.01,
        "zeta": -0.026,
        "Xstart": 2.07,
        "Xmax": 290.0,
    },
}
OBJECTIVES = [
    Objective(space="raw"), Objective("huber", 1e-3, "log", "sum"), Objective("ls", None, "raw"),
    Objective("ls", None, "log", "sum"), Objective("lad", None, "raw"), Objective("lad", None, "log", "sum"),
]  # fmt: skip


def design(rows: int = 80, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def spread(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), rows))

    size, tokens, batch = spread(1e7, 1e10), spread(2e8, 2e11), spread(1e5, 4e6)
    columns = {"N": size, "D": tokens, "U": tokens / spread(1, 30), "M": batch, "K": tokens / batch}
    columns |= {"x": spread(1, 1000), "X": 2.0 ** rng.integers(0, 9, rows)}
    return columns | {"P": rng.choice([4.0, 8.0, 16.0], rows)}


def fit_planted(name: str, objective: Objective, noise: float = 0.0) -> analysis.Fit:
    law, columns = LAWS[name], design()
    losses = law.predict(PLANTED[name], columns)
    losses = losses * np.exp(noise * np.random.default_rng(1).normal(size=len(losses)))
    return analysis.fit({**columns, "loss": losses}, law, objective, x={item: item for item in law.inputs}, y="loss")


@pytest.mark.parametrize("name", list(PLANTED))
@pytest.mark.parametrize(
    "objective", [Objective(space="raw"), Objective("ls", None, "log", "sum")], ids=Objective.describe
)
@pytest.mark.heavy
def test_every_law_recovers_planted_parameters_from_noise_free_losses(name: str, objective: Objective) -> None:
    fit = fit_planted(name, objective)
    assert fit.verified, fit.status
    assert fit.params == pytest.approx(PLANTED[name], rel=1e-6)


@pytest.mark.parametrize("name", ["power", "power_asymptote", "additive", "skaling", "kaplan", "batch"])
def test_least_squares_agrees_with_scipy_from_the_truth(name: str) -> None:
    fit = fit_planted(name, Objective("ls", None, "raw", "sum"), noise=0.003)
    law = fit.law
    function, setup = law.function, fit.setup

    def residual(z: np.ndarray) -> np.ndarray:
        return fit.observations.losses - setup.problem.bound.predict(z[None])[0]

    def slopes(z: np.ndarray) -> np.ndarray:
        nodes = setup.problem.bound(z[None], 1)
        shape = (setup.problem.bound.rows,)
        return -np.stack([np.broadcast_to(nodes[node][0], shape) for node in function.gradient], axis=1)

    start = setup.to_centred_units(np.array([[PLANTED[name][item] for item in law.names]]))[0]
    other = least_squares(residual, start, slopes, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale="jac")
    assert fit.value <= 2 * other.cost * (1 + 1e-12)
    mine = fit.fitted
    assert mine == pytest.approx(setup.problem.bound.predict(other.x[None])[0], rel=1e-8)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=Objective.describe)
@settings(max_examples=2, deadline=None)
@given(size=st.floats(1e-3, 1e9), tokens=st.floats(1e-3, 1e12))
@pytest.mark.heavy
def test_units_of_n_and_d_change_only_the_coefficients(objective: Objective, size: float, tokens: float) -> None:
    columns = design(40, 3)
    losses = LAWS["additive"].predict(PLANTED["additive"], columns)
    losses = losses + 0.01 * np.random.default_rng(2).standard_t(3, size=len(losses))
    table = {"N": columns["N"], "D": columns["D"], "loss": losses}
    plain = analysis.fit(table, objective=objective, y="loss")
    other = analysis.fit(table, objective=objective, y="loss", units={"N": size, "D": tokens})
    assert other.value == pytest.approx(plain.value, rel=1e-9)
    for name in ("E", "alpha", "beta"):
        assert other.params[name] == pytest.approx(plain.params[name], rel=1e-6)
    assert other.params["A"] == pytest.approx(plain.params["A"] * size ** -plain.params["alpha"], rel=1e-5)
    ahead = {"N": np.array([1e11]), "D": np.array([1e12])}
    assert other.predict(ahead) == pytest.approx(plain.predict(ahead), rel=1e-8)


@pytest.mark.heavy
@pytest.mark.parametrize("objective", OBJECTIVES, ids=Objective.describe)
def test_no_nearby_vector_has_a_lower_value(objective: Objective) -> None:
    fit = fit_planted("additive", objective, noise=0.01)
    assert fit.verified
    rng, span = np.random.default_rng(0), np.abs(fit.theta)
    for width in (1e-6, 1e-4, 1e-2, 0.3):
        cloud = fit.theta + width * span * rng.normal(size=(300, 5))
        predicted = fit.law.function.bind(list(fit.observations.inputs.values())).predict(np.abs(cloud))
        residual = fit.observations.losses - predicted
        if objective.space == "log":
            residual = np.log(fit.observations.losses) - np.log(predicted)
        assert objective.value(residual, np.ones(residual.shape[1])).min() >= fit.value * (1 - 1e-12)


@pytest.mark.heavy
def test_a_formula_gives_the_fit_of_the_built_in_law() -> None:
    columns = design()
    losses = LAWS["additive"].predict(PLANTED["additive"], columns) + 0.003 * np.sin(np.arange(80))
    table = {"size": columns["N"], "tokens": columns["D"], "loss": losses}
    x = {"N": "size", "D": "tokens"}
    own = analysis.fit(table, "lowest + P * N^-p + Q / D^q", x=x)
    built_in = analysis.fit(table, "additive", x=x)
    assert own.verified, own.status
    assert own.value == pytest.approx(built_in.value, rel=1e-9)
    assert own.params["p"] == pytest.approx(built_in.params["alpha"], rel=1e-6)


def test_an_integer_weight_equals_repeated_rows() -> None:
    x = np.geomspace(1, 100, 12)
    losses = 2 + 3 * x**-0.5 + 0.01 * np.cos(np.arange(12))
    times = np.arange(12) % 3 + 1
    table = {"x": x, "loss": losses, "w": times}
    weighted = analysis.fit(table, "power_asymptote", Objective("huber", 1e-3, weights="w"))
    repeated = analysis.fit({"x": np.repeat(x, times), "loss": np.repeat(losses, times)}, "power_asymptote")
    assert weighted.value == pytest.approx(repeated.value, rel=1e-10)
    assert weighted.params == pytest.approx(repeated.params, rel=1e-7)
    assert any("repeat an earlier row" in warning for warning in repeated.warnings)


@pytest.mark.heavy
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_only_the_ratios_of_weights_matter_to_intervals(reduction: Literal["mean", "sum"]) -> None:
    x = np.geomspace(1, 100, 24)
    losses = 2 + 3 * x**-0.5 + 0.01 * np.cos(5.0 * np.arange(24))
    times = 1.0 + np.arange(24) % 3

    def fit(scale: float) -> analysis.Fit:
        return analysis.fit(
            {"x": x, "loss": losses, "w": scale * times}, "power_asymptote", "ls", weights="w", reduction=reduction
        )

    one, large = fit(1), fit(4e4)  # as 1 / sigma^2 is
    for name, interval in one.intervals.items():
        assert large.intervals[name].low == pytest.approx(interval.low, rel=1e-6)
        assert large.intervals[name].high == pytest.approx(interval.high, rel=1e-6)
    assert large.value == pytest.approx(one.value * (4e4 if reduction == "sum" else 1), rel=1e-9)


def test_fits_of_different_objectives_are_never_compared() -> None:
    x = np.geomspace(1, 100, 20)
    table = {"x": x, "loss": 2 + 3 * x**-0.5 + 0.01 * np.cos(np.arange(20))}
    first, second = analysis.fit(table, "power_asymptote"), analysis.fit(table, "power_asymptote", "ls")
    with pytest.raises(InputError, match="different objectives"):
        compare(first, second)


def test_losses_that_do_not_fall_give_a_fit_reported_as_degenerate() -> None:
    x = np.array([1.0, 2, 4, 8, 16, 32])
    fit = analysis.fit({"x": x, "loss": 3 + 0.1 * np.log(x)}, "power_asymptote", "ls")
    assert not fit.verified
    assert "degenerate" in fit.status or "not identified" in fit.status
    assert fit.status in fit.warnings


@pytest.mark.heavy
def test_as_many_rows_as_parameters_are_reported_as_an_interpolation() -> None:
    fit = analysis.fit({"x": [1, 2, 3], "loss": [3.587, 3.45994, 3.4188]}, "power_asymptote", "ls", bootstrap=100)
    assert fit.draws is None
    assert any("interpolation" in warning for warning in fit.warnings)
    assert any("no bootstrap" in warning for warning in fit.warnings)
    assert all(np.isinf(interval.high) for interval in fit.intervals.values())


@pytest.mark.heavy
def test_a_fixed_parameter_stays_and_a_bound_is_respected() -> None:
    fit = fit_planted("additive", Objective("ls", None, "raw"), noise=0.01)
    table = {**fit.observations.inputs, "loss": fit.observations.losses}
    known = analysis.fit(table, "additive", "ls", fixed={"E": 1.69}, space="raw")
    assert known.law.names == ("A", "B", "alpha", "beta")
    assert known.value >= fit.value
    tight = analysis.fit(table, "additive", "ls", bounds={"alpha": (0.5, None)}, space="raw")
    assert tight.params["alpha"] == pytest.approx(0.5)
    assert "alpha" in tight.verdict.at_bounds


@pytest.mark.heavy
def test_a_lazy_frame_a_pandas_frame_a_mapping_and_a_file_give_one_fit(tmp_path) -> None:
    x = np.geomspace(1, 100, 12)
    table = {"x": x, "loss": 2 + 3 * x**-0.5 + 0.01 * np.cos(np.arange(12))}
    frame = pl.DataFrame(table)
    frame.write_parquet(tmp_path / "runs.parquet")
    pandas = pytest.importorskip("pandas")
    sources = [frame, frame.lazy(), pandas.DataFrame(table), table, tmp_path / "runs.parquet"]
    values = [analysis.fit(source, "power_asymptote").value for source in sources]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-12)


def test_every_option_is_documented_and_in_the_signature_and_an_unknown_one_is_refused() -> None:
    assert analysis.fit.__doc__
    missing = [name for name in FitOptions.__annotations__ if not re.search(rf"\b{name}\b", analysis.fit.__doc__)]
    assert not missing
    assert set(FitOptions.__annotations__) == set(DEFAULTS) < set(inspect.signature(analysis.fit).parameters)
    with pytest.raises(InputError, match="'bootstraps' is no option of fit; did you mean 'bootstrap'"):
        analysis.fit({"x": [1, 2], "loss": [2, 1]}, "power", bootstraps=10)  # type: ignore[call-arg]


@pytest.mark.heavy
@pytest.mark.parametrize("objective", ["huber:0.001", "ls", "lad"])
@pytest.mark.parametrize("law", ["additive", "skaling"])
def test_the_order_of_the_rows_changes_no_digit_of_a_fit(law: str, objective: str) -> None:
    rng = np.random.default_rng(0)
    size, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(6e3, 5e4, 4), np.geomspace(1.5e5, 4e5, 4)))
    losses = (1.7 + 30 / size**0.4 + 90 / tokens**0.4) * np.exp(0.01 * rng.normal(size=16))
    rows = {"N": size, "D": tokens, "loss": losses}
    first = analysis.fit(rows, law, objective, y="loss")
    for _ in range(4):
        order = rng.permutation(16)
        again = analysis.fit({name: column[order] for name, column in rows.items()}, law, objective, y="loss")
        assert dict(again.params) == dict(first.params)
        assert again.status == first.status
