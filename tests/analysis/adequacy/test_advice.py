"""What a law implies for compute has an interval, and is withheld with the reason where the law does not carry it."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from sweeplaw import analysis
from sweeplaw.analysis.fitting.derived.allocation import allocate, exponents
from sweeplaw.analysis.fitting.derived.derived_interval import MANY_ROWS, Quantity, derived_interval
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.trials.errors import InputError
from tests.paths import SHARED

Array = np.ndarray


def surface(noise: float = 0.003, **changed: Array) -> dict[str, Array]:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 3e9, 8), np.geomspace(1e9, 1e11, 8)))
    rows = {"N": n, "D": d, **changed}
    losses = 1.69 + 406.4 / rows["N"] ** 0.34 + 410.7 / rows["D"] ** 0.28
    return {**rows, "loss": losses * np.exp(noise * np.random.default_rng(0).normal(size=len(losses)))}


def of(rows: dict[str, Array], law: str = "additive") -> Fit:
    return analysis.fit(rows, law, space="log", all_rows=True)


def one_size() -> dict[str, Array]:
    """Sizes within a factor 1.003."""
    return surface(N=np.repeat([1e8, 1.001e8, 1.002e8, 1.003e8], 16), D=np.tile(np.geomspace(1e9, 1e11, 16), 4))


@pytest.mark.parametrize("copies", [1, 2000], ids=["40 rows", "80,000 rows"])
def test_the_interval_of_a_loss_of_a_linear_law_is_the_textbook_interval(copies: int) -> None:
    x = np.tile(np.geomspace(1, 30, 40), copies)
    assert (len(x) > MANY_ROWS) == (copies > 1)
    losses = 3.3 + 0.25 / x + 0.01 * np.random.default_rng(3).normal(size=len(x))
    fit = analysis.fit({"x": x, "loss": losses}, "reciprocal", "ls", space="raw", all_rows=True)
    design, point = np.stack([np.ones(len(x)), 1 / x], axis=1), np.array([1.0, 1 / 100])
    estimate, squares, _, _ = np.linalg.lstsq(design, losses, rcond=None)
    error = np.sqrt(point @ np.linalg.inv(design.T @ design) @ point * squares[0] / (len(x) - 2))
    width = float(student.ppf(0.975, len(x) - 2) * error)
    bound = fit.law.function.bind([np.array([100.0])])
    loss = Quantity(lambda theta: bound.predict(theta)[:, 0], lambda theta: theta[:, :0], np.zeros(0))
    found = derived_interval(fit.setup, fit.solution.theta, loss, 0.95)
    expected = (float(point @ estimate) - width, float(point @ estimate) + width)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.005 * width)


def sigmoid(low: float, high: float) -> Fit:
    """Return the sigmoid of an accuracy in the loss over this range of losses."""
    losses = np.linspace(low, high, 40)
    accuracy = 0.25 + 0.75 / (1 + np.exp(4 * (losses - 2.7))) + 0.005 * np.random.default_rng(0).normal(size=40)
    formula, bounds = "c + (1 - c) / (1 + exp(k * (L - M)))", {"k": (0.01, 100.0), "M": (0.1, 10.0)}
    return analysis.fit(
        {"L": losses, "acc": accuracy}, formula, "ls", x={"L": "L"}, y="acc", space="raw", bounds=bounds
    )


@pytest.mark.heavy
def test_an_input_without_a_power_is_judged_by_the_profiles_alone() -> None:
    wide, flat = sigmoid(2.2, 3.5), sigmoid(5.0, 5.2)  # factors 1.6 and 1.04
    assert wide.adequacy.badges[2] == "parameters identified"
    assert flat.adequacy.badges[2] == "parameters not identified"
    assert not any("spans only" in sentence for sentence in flat.adequacy.open_parameters)
    rows = one_size()
    own = analysis.fit(rows, "E + A / N**a + B / D**b", x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    assert any("N spans only a factor 1.003" in sentence for sentence in own.adequacy.open_parameters)


@pytest.mark.heavy
def test_a_loss_at_a_point_that_is_none_is_refused() -> None:
    fit = of(surface())
    for point in ({"N": 0.0, "D": 1e9}, {"N": -1.0, "D": 1e9}, {"N": np.inf, "D": 1e9}, {"N": np.nan, "D": 1e9}):
        with pytest.raises(InputError, match="N"):
            analysis.loss_at(fit, point)
    assert analysis.loss_at(fit, {"N": 1e8, "D": 1e10})[0] == pytest.approx(fit.predict({"N": 1e8, "D": 1e10})[0])


@pytest.mark.heavy
def test_a_budget_beyond_what_any_law_was_checked_for_is_withheld() -> None:
    fit = of(surface())
    with pytest.raises(InputError, match="no law has been checked beyond 10,000 times"):
        analysis.allocate(fit, 1e40)
    assert analysis.allocate(fit, 1e40, force=True).params > 0
    far, near = fit.to_dict([1e40, 1e22])["derived"]["compute_optimal"]
    assert far["params"] is None
    assert "no law has been checked beyond 10,000 times" in far["withheld"]
    assert near["params"] > 0


@pytest.mark.skipif(not (SHARED / "isoflops.csv").exists(), reason="the public isoFLOP sets are not here")
@pytest.mark.heavy
def test_profile_intervals_of_an_allocation_are_nearly_those_of_a_bootstrap() -> None:
    rows = pl.read_csv(SHARED / "isoflops.csv").filter(pl.col("source") == "ml_scalefit")
    options = {"x": {"N": "params", "D": "tokens"}, "y": "loss", "space": "log", "all_rows": True}
    drawn = analysis.fit(rows, "additive", bootstrap=1000, by="row", **options)  # type: ignore[arg-type]
    profiled = analysis.fit(rows, "additive", **options)  # type: ignore[arg-type]
    for flops in (2.5e21, 2.5e23):
        ours, theirs = allocate(profiled, flops), allocate(drawn, flops)
        assert ours.params == theirs.params
        for name in ("params", "tokens", "tokens_per_param", "loss"):
            one, other = ours.intervals[name], theirs.intervals[name]
            assert one.method.startswith("profile likelihood")
            width = np.log(other.high / other.low)
            assert abs(np.log(one.low / other.low)) < 0.25 * width
            assert abs(np.log(one.high / other.high)) < 0.25 * width
        assert ours.intervals["tokens"].low == pytest.approx(flops / 6 / ours.intervals["params"].high)
    a, growth = exponents(profiled, 2.5e21)["a"]
    again = exponents(drawn, 2.5e21)["a"][1]
    assert growth.low < a < growth.high
    assert (growth.low, growth.high) == pytest.approx((again.low, again.high), abs=0.01)


@pytest.mark.heavy
def test_a_sound_law_is_advised_by_with_intervals_and_its_distance_from_the_runs() -> None:
    rows = surface()
    fit, largest = of(rows), float(6 * (rows["N"] * rows["D"]).max())
    derived = fit.to_dict(budgets=[largest, 12 * largest])["derived"]
    assert derived["withheld"] is None
    near, far = derived["compute_optimal"]
    assert "beyond" not in near["sentence"]
    assert far["sentence"].endswith(", 12x beyond the largest run")
    assert far["times_beyond_largest_run"] == pytest.approx(12)
    for one in (near, far):
        assert all(one["intervals"][name]["low"] < one[name] < one["intervals"][name]["high"]
                   for name in ("params", "tokens", "tokens_per_param", "loss"))  # fmt: skip
    a = derived["a"]
    assert a["interval"]["low"] < 0.28 / 0.62 < a["interval"]["high"]
    loss, interval = analysis.loss_at(fit, {"N": 1e10, "D": 1e12})
    assert interval.low < 1.69 + 406.4 / 1e10**0.34 + 410.7 / 1e12**0.28 < interval.high
    assert interval.low < loss < interval.high


@pytest.mark.heavy
def test_sizes_within_a_factor_of_1_003_give_no_advice() -> None:
    fit = of(one_size())
    values = fit.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["adequacy"]["parameters"]["identified"] is False
    assert any(
        sentence.startswith("N spans only a factor 1.003") for sentence in values["adequacy"]["parameters"]["sentences"]
    )
    derived = values["derived"]
    assert derived["withheld"]
    assert derived["a"]["value"] is None
    for one in derived["compute_optimal"]:
        assert (one["params"], one["tokens"], one["loss"]) == (None, None, None)
        assert one["withheld"] == derived["withheld"]
    assert f"no allocation of compute: {derived['withheld']}" in fit.summary()
    with pytest.raises(InputError, match="no allocation: "):
        analysis.allocate(fit, 1e21)
    assert analysis.allocate(fit, 1e21, force=True).params > 0


@pytest.mark.heavy
def test_an_inadequate_law_gives_advice_only_by_force_and_marked() -> None:
    rows = surface()
    rows["loss"] = 1.69 + ((406.4 / rows["N"] ** 0.34) ** 2 + (410.7 / rows["D"] ** 0.28) ** 2) ** 0.5
    fit = of(rows)
    assert fit.verified
    assert fit.to_dict()["derived"]["withheld"].startswith("the law is inadequate: ")
    forced = fit.to_dict(budgets=[1e22], force=True)["derived"]
    assert forced["forced"] is True
    assert forced["a"]["value"] > 0
    (one,) = forced["compute_optimal"]
    assert one["params"] > 0
    assert one["sentence"].startswith("not advised: for 1e+22 FLOPs train ")
    assert one["withheld"] == forced["withheld"]


@pytest.mark.heavy
def test_an_interval_without_an_end_is_open_and_withholds_the_budget() -> None:
    from sweeplaw.analysis.adequacy.advice import uncertain
    from sweeplaw.analysis.fitting.uncertainty import Interval

    assert uncertain({"params": Interval(1e9, 9e10, 0.95, "profile likelihood")}) == ""
    for low, high in ((1e9, 2e11), (0.0, 1e11), (1e9, np.inf)):
        assert "uncertain by more than a factor 100" in uncertain({"params": Interval(low, high, 0.95, "")})
    with pytest.raises(InputError, match="positive"):
        of(surface()).to_dict(budgets=[-1.0])


@pytest.mark.heavy
def test_what_an_inadequate_law_withholds_is_refused_before_profiles_are_traced(monkeypatch) -> None:
    rows = surface()
    rows["loss"] = 1.69 + ((406.4 / rows["N"] ** 0.34) ** 2 + (410.7 / rows["D"] ** 0.28) ** 2) ** 0.5
    monkeypatch.setattr("sweeplaw.analysis.fitting.fitted_law.profile", lambda *_, **__: pytest.fail("traced"))
    with pytest.raises(InputError, match="no allocation: the law is inadequate"):
        analysis.allocate(of(rows), 1e22)


@pytest.mark.heavy
def test_nothing_is_advised_where_a_knob_was_never_tried_on_both_sides_of_its_best() -> None:
    """Learning rates far above the best one: losses are a fifth too high, the more so the larger the model."""
    plain = pl.DataFrame(surface())
    best = 2e-3 * (plain["N"] / 1e8) ** -0.3

    def tuned(rates: list[float]) -> Fit:
        rows = [
            plain.with_columns(lr=pl.lit(rate), loss=plain["loss"] * (1 + 0.02 * (np.log(rate) - best.log()) ** 2))
            for rate in rates
        ]
        return analysis.fit(pl.concat(rows), "additive", x={"N": "N", "D": "D"}, y="loss", space="log", knobs=["lr"])

    narrow, wide = tuned([1e-2, 2e-2, 4e-2]), tuned([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    with pytest.raises(InputError, match="the best lr is the lowest or highest tried at 64 of 64 points"):
        analysis.allocate(narrow, 1e21)
    assert "no allocation of compute: the best lr is the lowest" in narrow.summary()
    assert analysis.allocate(narrow, 1e21, force=True).params > 0
    assert analysis.allocate(wide, 1e21).params > 0
