"""A fit shows itself: a few lines, a table, the text and JSON of the command, LaTeX that TeX accepts, a figure."""

from __future__ import annotations

import json
import math
import re

import matplotlib
import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting import profiles
from sweeplaw.analysis.fitting.derived.derived_interval import MISFIT
from sweeplaw.analysis.fitting.display import fit_card
from sweeplaw.analysis.fitting.display.digits import in_step
from sweeplaw.analysis.fitting.display.fit_latex import number
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError

matplotlib.use("agg")

N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e10, 5)))


def table() -> dict[str, np.ndarray]:
    noise = 0.003 * np.random.default_rng(0).normal(size=N.size)
    return {"N": N, "D": D, "loss": 1.69 + 406.4 / N**0.34 + 410.7 / D**0.28 + noise}


@pytest.fixture(scope="module")
def fit() -> Fit:
    return analysis.fit(table(), "additive", bootstrap=50)


def test_the_repr_is_a_few_lines_with_every_parameter_and_the_verdict(fit: Fit) -> None:
    lines = repr(fit).splitlines()
    assert len(lines) <= 8
    for name, value in fit.params.items():
        text, low, high = in_step(value, fit.intervals[name].low, fit.intervals[name].high)
        assert f"{name} = {text} [{low}, {high}]" in repr(fit)
    assert fit.status in lines
    assert "30 rows used, 0 left out" in lines
    unverified = analysis.fit({"x": [1.0, 2, 4, 8, 16], "loss": [3.0, 3.1, 3.2, 3.3, 3.4]}, "power_asymptote", "ls")
    assert repr(unverified).count(" ?") == len(unverified.params)


def test_the_repr_computes_no_profile() -> None:
    fit = analysis.fit(table(), "additive")
    repr(fit)
    assert not fit._profiles


@pytest.mark.heavy
def test_the_asymptote_is_told_of_a_law_that_has_one(fit: Fit) -> None:
    assert fit.to_dict()["derived"]["asymptote"] == fit.params["E"]
    x = np.geomspace(1, 1e3, 12)
    assert "asymptote" not in analysis.fit({"x": x, "loss": 3 * x**-0.5}, "power", "ls").to_dict()["derived"]


@pytest.mark.heavy
def test_to_dict_is_json_and_the_summary_has_its_numbers(fit: Fit) -> None:
    values = fit.to_dict(budgets=[1e20], flops_per_nd=6)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["params"] == dict(fit.params)
    assert [item["flops"] for item in values["derived"]["compute_optimal"]] == [1e20]
    shown = fit.summary()
    for name, value in fit.params.items():
        text, low, high = map(re.escape, in_step(value, fit.intervals[name].low, fit.intervals[name].high))
        assert re.search(rf"^{name} +{text} +{low} +{high}$", shown, re.MULTILINE)
    assert f"status: {fit.status}" in shown


@pytest.mark.heavy
def test_an_open_interval_is_none_in_the_dict_and_infinite_in_the_fit() -> None:
    fit = analysis.fit({"x": [1.0, 2, 3], "loss": [3.587, 3.45994, 3.4188]}, "power_asymptote", "ls")
    assert all(math.isinf(interval.high) for interval in fit.intervals.values())
    assert all(interval["high"] is None for interval in fit.to_dict()["intervals"].values())


@pytest.mark.heavy
def test_the_html_escapes_what_the_user_wrote_and_needs_no_other_file() -> None:
    rows = {"x<b>": np.geomspace(1, 100, 12), "loss": 2 + 3 * np.geomspace(1, 100, 12) ** -0.5}
    html = analysis.fit(rows, "power_asymptote", x="x<b>")._repr_html_()
    assert "x&lt;b&gt;" in html
    assert "x<b>" not in html
    assert not re.search("<script|https?:|src=", html)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("E + A / N**a + B / D^b", r"E + \frac{A}{N^{a}} + \frac{B}{D^{b}}"),
        ("E - (A - B) * N**-a / D", r"E - \frac{\left(A - B\right) \, N^{-a}}{D}"),
        ("(A / N + B / D)**alpha", r"\left(\frac{A}{N} + \frac{B}{D}\right)^{\alpha}"),
        ("A * exp(-N / Nc) + sqrt(B / D)", r"A \, \exp\left(\frac{-N}{N_{c}}\right) + \sqrt{\frac{B}{D}}"),
    ],
)
def test_latex_writes_the_formula_as_it_is_computed(formula: str, expected: str) -> None:
    text = analysis.fit(table(), formula, x={"N": "N", "D": "D"}, bootstrap=2).to_latex()
    assert f"L(N, D) &= {expected} \\\\" in text
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")


def test_latex_has_each_parameter_rounded_by_its_interval(fit: Fit) -> None:
    text = fit.to_latex()
    for name, symbol in {"E": "E", "A": "A", "alpha": r"\alpha", "beta": r"\beta"}.items():
        found = re.search(rf"^{re.escape(symbol)} &= ([\d.]+)_\{{-([\d.]+)\}}\^\{{\+([\d.]+)\}}", text, re.MULTILINE)
        assert found, name
        value, low, high = map(float, found.groups())
        interval = fit.intervals[name]
        step = 10.0 ** -len(found[1].partition(".")[2])
        expected = (fit.params[name], fit.params[name] - interval.low, interval.high - fit.params[name])
        assert (value, low, high) == pytest.approx(expected, abs=max(step, 10 * (value >= 100)))


def test_numbers_beside_a_power_of_ten_share_it_with_their_errors() -> None:
    assert number(1.7e12, -11, (1.6e12, math.inf)) == r"\left(1.7_{-1.6}^{+\infty}\right) \times 10^{12}"
    assert number(398.0, 1) == "398.0"
    assert number(0.0, 2, (-0.01, 0.01)) == "0.00_{+0.01}^{+0.01}"


@pytest.mark.heavy
def test_the_figure_has_the_rows_the_law_and_its_band_under_labels_with_units(fit: Fit) -> None:
    axes = fit.plot(along="D")
    assert axes.get_xlabel() == "D (tokens)"
    assert len(axes.get_lines()) == 6
    points = np.asarray(axes.collections[0].get_offsets())
    assert points[:, 1] == pytest.approx(fit.observations.losses)
    assert len(axes.collections) == 1 + 6
    line = axes.get_lines()[0]
    predicted = fit.predict({"N": np.full(80, N.min()), "D": np.asarray(line.get_xdata())})
    assert np.asarray(line.get_ydata()) == pytest.approx(predicted)
    again = analysis.fit(table(), "power_asymptote", x="N", pool=True).plot(ax=axes)
    assert again is axes
    with pytest.raises(InputError, match="'U' is no input of additive"):
        fit.plot(along="U")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": 5}, "law = 5"),
        ({"law": "aditive"}, "did you mean 'additive'"),
        ({"x": ["N", "D"]}, "accepted: a mapping of inputs"),
        ({"objective": None}, "objective = None"),
        ({"y": 3}, "y = 3"),
        ({"bounds": {"E": 1}}, "bounds of 'E': 1"),
        ({"bounds": {5: (1, 2)}}, "bounds of 5"),
        ({"fixed": {"E": "low"}}, "fixed = "),
        ({"bootstrap": -1}, "bootstrap = -1"),
        ({"bootstrap": 5, "by": None}, "by = None"),
        ({"level": 95}, "level = 95"),
        ({"keys": "N"}, "keys = 'N'"),
        ({"bootstraps": 5, "lavel": 1}, "2 faults"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_accepted(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        analysis.fit(table(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [5, None, [1, 2], np.zeros((3, 2)), {1: [2.0]}, {"N": [1], "D": [1, 2]}, ""])
def test_what_is_no_table_is_refused_by_every_function(source: object) -> None:
    for read in (analysis.fit, analysis.hyperlaw, lambda one: analysis.optima(one, ["N"], ["lr"])):
        with pytest.raises(InputError):
            read(source)


@pytest.mark.heavy
def test_tables_show_their_source_and_what_is_left_out(tmp_path) -> None:
    pytest.importorskip("pandas")
    frame = pl.DataFrame({**table(), "state": ["completed"] * 29 + ["failed"]})
    frame.write_parquet(tmp_path / "runs.parquet")
    loaded = analysis.load(tmp_path / "runs.parquet")
    assert isinstance(loaded, Tables)
    assert repr(loaded).splitlines()[0].startswith(f"{tmp_path / 'runs.parquet'}: 29 trials")
    assert "1 row left out: state failed" in repr(loaded)
    assert loaded.to_arrow().num_rows == loaded.to_dict()["trials"] == 29
    assert loaded.best(["N"], "loss").height == 6
    assert loaded.to_pandas().shape == (29, 4)
    same = {
        round(analysis.fit(one).value, 15) for one in (loaded, loaded.trials, loaded.to_arrow(), loaded.to_pandas())
    }
    assert len(same) == 1


def test_a_status_is_shown_once_and_an_open_profile_explains_the_interval_of_resamples():
    status = "not identified: why; 2 of 16 starts agree, scaled gradient 0.0e+00, condition inf"
    answer = {"status": status, "warnings": [status, "other"], "identifiability": ["b is open"], "bootstrap": {}}
    assert fit_card.further_warnings(answer) == ["other"]
    assert fit_card.sides(answer) == ["b is open"]
    assert "spread of the resamples" in fit_card.sides({**answer, "bootstrap": {"resamples": 9}})[0]
    assert fit_card.status_in_words(status) == "not identified: why; 2 of 16 starts agree"


def test_a_range_without_width_is_not_printed():
    assert profiles._open(None, None, 11.1, 11.1, 0.0) == "not identified: no end of an interval was found"


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (None, None, "any value from 1.25e+16 to 1.25e+22 fits as well"),
        (3e18, None, "it is at least 3e+18, and any larger value up to 1.25e+22 fits as well"),
        (None, 3e19, "it is at most 3e+19, and any smaller value down to 1.25e+16 fits as well"),
    ],
)
def test_an_open_side_is_one_sentence_without_a_contradiction(low, high, sentence):
    assert profiles._open(low, high, 1.25e16, 1.25e22, 0.0) == f"not identified: {sentence}"
    assert profiles._open(3e18, 3e19, 1.25e16, 1.25e22, 0.0) == ""
    assert profiles._open(None, 3e19, 0.0, 1.25e22, 0.0) == ""  # it reaches the bound: any value below the end


@pytest.mark.heavy
def test_an_allocation_says_that_the_law_could_not_be_judged_and_that_intervals_are_widened() -> None:
    points = [(1e7, 2e8), (3e7, 6e8), (1e8, 2e9), (3e8, 6e9), (1e8, 5e8), (1e7, 1e9), (3e7, 1.5e8)]
    rows = [(n, d, 1.7 + 420 / n**0.34 + 900 / d**0.31) for n, d in points]
    rng = np.random.default_rng(0)
    noisy = [(n, d, loss * (1 + 0.001 * rng.normal())) for n, d, loss in rows]
    answer = analysis.fit(pl.DataFrame(noisy, schema=["N", "D", "loss"], orient="row")).to_dict()
    assert answer["adequacy"]["law"]["verdict"] == "cannot be judged"
    said = "\n".join(fit_card.fit_card(answer).after)
    assert "no test could judge the law: what follows holds only if its form is right\nC = 6 N D" in said
    answer["derived"]["a"]["interval"]["method"] = f"profile likelihood{MISFIT}"
    assert "the intervals below are widened for the misfit that the residuals hint at\nC = 6 N D" in "\n".join(
        fit_card.fit_card(answer).after
    )
