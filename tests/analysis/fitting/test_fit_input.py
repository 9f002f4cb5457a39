"""Rows that cannot be fitted are named, suspicious rows are reported, and no row is dropped silently."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.apparent_units import apparent_units
from sweeplaw.trials.errors import InputError

X = np.geomspace(1e6, 1e9, 24)
D = np.geomspace(1e9, 1e8, 24) * (1 + np.arange(24) % 5)
LOSS = 1.7 + 400 * X**-0.34 + 410 * D**-0.28 + 0.001 * np.cos(np.arange(24))


def table(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"N": X, "D": D, "loss": LOSS, **changes}


def changed(column: np.ndarray, **rows: float) -> np.ndarray:
    copy = column.copy()
    for name, value in rows.items():
        copy[int(name[1:])] = value
    return copy


def test_fewer_points_than_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="4 rows with 4 distinct points cannot fix the 5 parameters"):
        analysis.fit({name: column[:4] for name, column in table().items()})


def test_copies_of_a_row_do_not_count_as_points() -> None:
    with pytest.raises(InputError, match="20 rows with 4 distinct points"):
        analysis.fit({name: np.tile(column[:4], 5) for name, column in table().items()})


def test_an_input_with_one_distinct_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"N is 1e\+08 in all 24 rows"):
        analysis.fit(table(N=np.full(24, 1e8)))


def test_equal_losses_are_refused() -> None:
    with pytest.raises(InputError, match="all 24 losses are equal"):
        analysis.fit(table(loss=np.full(24, 3.0)))


def test_losses_below_the_asymptotes_bound_are_named() -> None:
    rows = changed(LOSS, r3=1.5, r7=1.6)
    with pytest.raises(InputError, match=r"E >= 1\.69 in rows 4, 8"):
        analysis.fit(table(loss=rows), bounds={"E": (1.69, None)})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "missing or NaN"),
        (np.inf, "infinite"),
        (0.0, "zero or negative"),
        (-1.0, "zero"),
        (1e300, "above 1e+50"),
        (1e-300, "below 1e-50"),
    ],
)
@pytest.mark.parametrize("column", ["N", "D", "loss"])
def test_rows_that_cannot_take_part_are_counted_and_named(column: str, value: float, reason: str) -> None:
    rows = table()
    rows[column] = changed(rows[column], r5=value, r11=value)
    fit = analysis.fit(rows)
    assert (fit.rows_used, fit.rows_dropped) == (22, 2)
    assert fit.observations.dropped[0].rows == (6, 12)
    assert any(reason in warning and "rows 6, 12" in warning for warning in fit.warnings)


def test_of_many_rows_left_out_all_are_counted_and_a_thousand_named() -> None:
    rows = {name: np.concatenate([np.asarray(values), np.full(1500, -1.0)]) for name, values in table().items()}
    (dropped,) = analysis.fit(rows).observations.dropped
    assert (dropped.count, len(dropped.rows)) == (1500, 1000)


def test_a_fault_of_too_few_rows_names_the_rows_left_out() -> None:
    with pytest.raises(InputError, match=r"left out: 20 loss missing or NaN, rows 5, 6"):
        analysis.fit(table(loss=np.where(np.arange(24) < 4, LOSS, np.nan)))


@pytest.mark.parametrize(
    ("columns", "factors", "phrase"),
    [
        ({"N": "N", "D": "D"}, (1e6, 1), "N seems to be in millions (--x 'N=1e6*N' says so)"),
        ({"N": "N", "D": "D"}, (1e9, 1e9), "N seems to be in billions, D in billions"),
        (
            {"N": "params_M", "D": "tokens_B"},
            (1e6, 1e9),
            "N (params_M) seems to be in millions, D (tokens_B) in billions",
        ),
        ({"N": "size (B)", "D": "D"}, (1e9, 1), "--x 'N=1e9*\"size (B)\"' says so"),
    ],
)
@pytest.mark.heavy
def test_sizes_too_small_to_be_counts_are_said_to_be_in_a_unit_and_give_no_advice(columns, factors, phrase) -> None:
    rows = table()
    small = {columns["N"]: rows["N"] / factors[0], columns["D"]: rows["D"] / factors[1], "loss": rows["loss"]}
    fit = analysis.fit(small, x=columns, y="loss")
    assert any(phrase in warning for warning in fit.warnings)
    assert phrase in fit.to_dict([1e22])["derived"]["withheld"]
    with pytest.raises(InputError, match="FLOPs per N and D in these units"):
        analysis.allocate(fit, 1e22)
    scaled = {name: f'{factor:g} * "{columns[name]}"' for name, factor in zip(("N", "D"), factors, strict=True)}
    sound = analysis.fit(small, x=scaled, y="loss")
    assert not any("seems to be" in warning for warning in sound.warnings)
    assert sound.params["A"] == pytest.approx(analysis.fit(rows).params["A"], rel=1e-3)
    k = 6 * factors[0] * factors[1]
    assert "FLOPs" not in (fit.to_dict([1e22], flops_per_nd=k)["derived"]["withheld"] or "")


def test_a_unit_that_divides_the_inputs_does_not_tell_the_unit_of_the_table() -> None:
    rows = table()
    fit = analysis.fit({**rows, "N": rows["N"] / 1e6}, units={"N": 1e6})
    assert any("--unit divides what the law sees" in warning for warning in fit.warnings)


def test_two_units_in_one_column_are_refused() -> None:
    rows = table()
    mixed = np.where(np.arange(24) % 3 == 0, rows["N"] / 1e6, rows["N"])
    with pytest.raises(InputError, match=r"N seems to be in two units: 8 rows are at most"):
        analysis.fit({**rows, "N": mixed})


def test_counts_of_any_size_need_no_unit() -> None:
    rows = table()
    assert not any("seems to be" in warning for warning in analysis.fit(rows).warnings)
    own = {**rows, "N": rows["N"] / 1e6, "workload": np.full(24, "command")}
    assert not any("seems to be" in warning for warning in analysis.fit(own).warnings)


@pytest.mark.heavy
@pytest.mark.parametrize("objective", ["huber:0.001", "lad"])
def test_rows_far_from_the_law_are_named(objective: str) -> None:
    noisy = LOSS * np.exp(np.random.default_rng(0).normal(0, 0.002, len(LOSS)))
    assert not any(
        "from the law as half" in one for one in analysis.fit(table(loss=noisy), "additive", objective).warnings
    )
    noisy[[5, 11]] *= [3.0, 0.7]
    found = analysis.fit(table(loss=noisy), "additive", objective).warnings
    (named,) = [one for one in found if "from the law as half of all rows are" in one]
    assert named.startswith("2 rows more than 30 times as far")
    assert named.endswith("times its loss: rows 6, 12")
    assert "the farthest at 3" in named or "the farthest at 2.9" in named


def test_repeated_rows_give_a_warning() -> None:
    rows = {name: np.append(column, column[:2]) for name, column in table().items()}
    assert any("2 rows repeat an earlier row exactly (rows 25, 26)" in item for item in analysis.fit(rows).warnings)


def test_a_row_for_which_the_condition_is_null_is_dropped_and_counted() -> None:
    rows = {**table(), "kind": [None if row == 4 else "a" for row in range(24)]}
    fit = analysis.fit(rows, where="kind = 'a'")
    assert (fit.rows_used, fit.rows_dropped) == (23, 1)
    assert fit.observations.dropped[0].rows == (5,)


def test_all_faults_of_the_columns_are_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        analysis.fit({"size": X, "tokens": D, "value": LOSS})
    assert "which column is N? Give --x N=COLUMN" in str(caught.value)
    assert "which column is loss? Give --y COLUMN" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": "aditive"}, "did you mean 'additive'"),
        ({"objective": "hubr:0.1"}, "did you mean 'huber'"),
        ({"objective": "huber:-1"}, "positive delta"),
        ({"objective": "lad:1"}, "takes no delta"),
        ({"x": {"N": "N", "D": "tokns"}}, "tokns"),
        ({"units": {"N": 0.0}}, "accepted: a positive number"),
        ({"units": {"Q": 10.0}}, "unit of 'Q'"),
        ({"where": "N >"}, "expression"),
        ({"fixed": {"gamma": 1.0}}, "no parameter 'gamma'"),
        ({"bounds": {"E": (2.0, 1.0)}}, "bounds of E are empty"),
        ({"bootstrap": 10, "by": "seed"}, "several rows"),
        ({"bootstrap": 10, "by": "cell", "keys": ["family"]}, "'family' is no column"),
        ({"bootstrap": 10, "by": "rows"}, "by = 'rows' is not known"),
    ],
)
def test_faults_of_options_name_what_is_accepted(options, message) -> None:
    with pytest.raises(InputError, match=message):
        analysis.fit(table(), **options)


@pytest.mark.heavy
def test_the_best_setting_of_each_point_is_fitted_and_the_others_are_counted() -> None:
    rows = {name: np.tile(column, 3) for name, column in table().items()}
    rows["loss"], rows["lr"] = rows["loss"] + np.repeat([0.2, 0.0, 0.5], 24), np.repeat([1e-3, 2e-3, 4e-3], 24)
    fit = analysis.fit(rows)
    assert (fit.rows_used, fit.rows_dropped) == (24, 48)
    assert fit.value == pytest.approx(analysis.fit(table()).value, rel=1e-9)
    assert fit.value == analysis.fit(rows, best=True).value
    assert any("runs at one point differ in lr: the best setting of each point is used" in one for one in fit.warnings)
    assert any("not the best setting of their point" in one for one in fit.warnings)
    every = analysis.fit(rows, all_rows=True)
    assert (every.rows_used, every.rows_dropped) == (72, 0)
    assert every.observations.rule == "all rows"


def test_a_formula_without_x_is_told_what_x_is():
    with pytest.raises(InputError, match=r"x says which of its names are inputs"):
        analysis.fit({"Z": [1.0, 2.0, 4.0], "loss": [3.0, 2.5, 2.2]}, "E + A/Z**a")


def test_predict_by_keyword_is_told_to_give_a_mapping():
    x = [1.0, 2.0, 4.0, 8.0, 16.0]
    fit = analysis.fit({"x": x, "loss": [1.0 + 2.0 / value for value in x]}, "power_asymptote")
    for wrong in ({}, {"N": 64}):
        with pytest.raises(InputError, match=r"one mapping: predict\(\{"):
            fit.predict(**wrong)


def test_every_unknown_column_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        analysis.fit(table(), x={"N": "params", "D": "tokens"}, y="nll")
    assert [word in str(caught.value) for word in ("3 faults", "'params'", "'tokens'", "'nll'")] == [True] * 4


@pytest.mark.heavy
def test_a_law_that_degenerates_at_its_bounds_warns_in_words_alone() -> None:
    """Losses that rise with N: A is 0 at the optimum, and its logarithm minus infinity, which NumPy says nothing of."""
    n, d = (axis.ravel() for axis in np.meshgrid(1e7 * 2.5 ** np.arange(6), 3e8 * 2.5 ** np.arange(6)))
    found = analysis.fit({"N": n, "D": d, "loss": 2.5 + 0.02 * np.log(n / 1e6) + 0.02 * np.log(d / 1e8)}, space="log")
    assert not found.verified
    assert any("A is not identified" in note for note in found.summary().splitlines())


@pytest.mark.parametrize(("sizes", "unit"), [([0.001, 0.002, 0.007], "billions"), ([1.0, 2.0, 7.0], "millions")])
def test_sizes_alone_seem_to_be_in_the_unit_in_which_models_are_usual(sizes: list[float], unit: str) -> None:
    found = apparent_units({"N": np.array(sizes)}, {"N": "size"}, {})
    assert found.startswith(f"N (size) seems to be in {unit} (")
