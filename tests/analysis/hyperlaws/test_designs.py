"""Designs between a good one and none: what is missing is said, what can be answered is, and numbers stay quiet."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw, fit_runs, hyperlaw
from sweeplaw.analysis.hyperlaws.knob_law import widened
from sweeplaw.analysis.tuning.design import Untuned
from sweeplaw.analysis.tuning.plateau import widths
from sweeplaw.trials.errors import InputError


def small_table(noise: float = 0.002, seed: int = 0, decays: tuple[float, ...] = (0.1, 0.5, 2.0)) -> pl.DataFrame:
    """Return a table of 16 cells, of three weight decays and two batch sizes, lr a rule."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in (6_000.0, 12_000.0, 25_000.0, 50_000.0):
        for d in (147_456.0, 212_992.0, 294_912.0, 425_984.0):
            for batch in (512, 1024):
                for decay in decays:
                    away = np.log(decay / 0.6)
                    loss = 2.5 * (n * d) ** -0.03 * np.exp(0.002 * away**2 + noise * rng.standard_normal())
                    rows.append((n, d, batch, decay, 280 * (batch / (n * d)) ** 0.5, loss))
    names = ["N", "D", "batch_tokens", "weight_decay", "lr", "val_loss"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.mark.heavy
@pytest.mark.parametrize("estimator", ["pooled:0.0025", "cells", "joint"])
@pytest.mark.parametrize("seed", range(4))
def test_a_small_table_gives_a_law_or_a_reason_and_no_empty_score(estimator: str, seed: int) -> None:
    # NumPy's warnings are errors in tests.
    frame = small_table(seed=seed)
    for knobs in (["weight_decay"], ["lr"], ["batch_tokens"], ["lr", "weight_decay"]):
        try:
            found = hyperlaw(frame, knobs=knobs, estimator=estimator, resamples=100)
        except InputError:
            continue
        lines = found.summary().splitlines()
        assert all(line.strip() for line in lines)
        assert all("no score" in line or " 0." in line or any(c.isdigit() for c in line.split(":")[1]) for line in lines
                   if "per mille" in line)  # fmt: skip
        assert ":  per mille" not in found.summary()


def test_a_grid_too_coarse_for_its_bowls_is_told_from_a_loss_without_a_minimum() -> None:
    sizes, rates = [1e6, 3e6, 1e7, 3e7], [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    frame = pl.DataFrame(
        [(n, 1e7, lr, np.log(lr / 0.01)) for n in sizes for lr in rates], ["N", "D", "lr", "away"], orient="row"
    )
    steep, flat = 2 * (1 + pl.col("away") ** 2), 2 - 1e-4 * pl.col("away") ** 2
    with pytest.raises(InputError, match="no cell has 3 values of lr within 12 % of its lowest loss") as error:
        hyperlaw(frame.with_columns(val_loss=steep), ["N"], ["lr"])
    assert "has no minimum" not in str(error.value)
    with pytest.raises(InputError, match="the loss near the best runs of the cells has no minimum"):
        hyperlaw(frame.with_columns(val_loss=flat), ["N"], ["lr"])


def test_one_cell_or_two_have_no_law() -> None:
    two = small_table().filter(pl.col("N") == 6_000, pl.col("D") < 250_000)
    with pytest.raises(InputError, match="2 cells only: a law needs at least 3"):
        hyperlaw(two, knobs=["weight_decay"])
    with pytest.raises(InputError, match=r"one cell only \(.*N = 6000"):
        hyperlaw(two.filter(pl.col("D") == pl.col("D").min()), knobs=["weight_decay"])


def test_a_knob_that_a_rule_set_is_refused_with_its_levels_and_what_can_be_asked_for() -> None:
    own = small_table().with_columns(launch_id=pl.lit("l"), source=pl.lit(None, pl.String))
    launch = {
        "workload": "w",
        "scientific": ["N", "D"],
        "nuisance": ["batch_tokens", "weight_decay"],
        "derived": {"lr": "a rule"},
    }
    with pytest.raises(Untuned) as refused:
        fit_runs(own, ("N", "D"), ["lr"], "val_loss", (), [launch], resamples=0)
    assert refused.value.able == ("weight_decay",)
    message = refused.value.render()
    assert "1 level a cell, 3 are needed: make lr an axis under [nuisance] of the sweep" in message
    assert "--knob weight_decay" in message
    assert pickle.loads(pickle.dumps(refused.value)).render() == message


def test_two_levels_are_too_few_for_an_optimum() -> None:
    with pytest.raises(
        Untuned, match=r"(?s)batch_tokens has at most 2 levels in a cell.*--knob weight_decay"
    ) as refused:
        hyperlaw(small_table(), knobs=["weight_decay", "batch_tokens"], resamples=0)
    assert refused.value.able == ("weight_decay",)


def test_a_loss_without_a_minimum_is_refused_with_the_edges_that_it_touches() -> None:
    falling = small_table(noise=0.0).with_columns(pl.col("val_loss") * (1 - 0.005 * pl.col("weight_decay").log() ** 2))
    with pytest.raises(InputError, match=r"(?s)no minimum.*lowest weight_decay tried in 16 of 16 cells: add smaller"):
        hyperlaw(falling, knobs=["weight_decay"], resamples=0)


@pytest.mark.heavy
def test_a_coefficient_that_no_float_holds_is_shown_as_a_power_of_ten() -> None:
    frame = small_table(noise=0.0, decays=(0.05, 0.1, 0.3, 0.8, 2.0))
    scaled = frame.with_columns(N=1e9 * (1 + 0.1 * (pl.col("N") / 50_000.0)))
    best = 0.5 * (pl.col("N") / 1.05e9) ** 60
    bent = scaled.with_columns(val_loss=3 * (0.002 * (pl.col("weight_decay") / best).log() ** 2).exp())
    law = hyperlaw(bent, knobs=["weight_decay"], resamples=20).law("weight_decay")
    assert law.exponents["N"].value == pytest.approx(60, abs=1)
    assert law.at({"N": 1.05e9, "D": 2e5}).value == pytest.approx(0.5, rel=0.05)
    steep = hyperlaw(bent, cell=("N", "D"), knobs=["weight_decay"], resamples=20)
    assert "inf" not in steep.summary()
    assert "nan" not in steep.summary()


def test_a_flat_direction_has_an_infinite_tolerance_without_a_warning() -> None:
    (width,) = widths(np.array([[1e-12]]), ["lr"], [0.0025])
    assert width.factor == np.inf
    assert widths(np.array([[0.01]]), ["lr"], [0.0025])[0].factor == pytest.approx(
        np.exp(np.sqrt(2 * np.log1p(0.0025) / 0.01))
    )


@pytest.mark.heavy
def test_intervals_of_few_cells_cover_like_students_t() -> None:
    rng = np.random.default_rng(0)
    cells, sets = 8, 600
    hits = np.zeros((sets, 2), dtype=bool)
    for i in range(sets):
        values = rng.standard_normal(cells)
        draws = (rng.multinomial(cells, np.full(cells, 1 / cells), 400) @ values / cells)[:, None]
        for k, one in enumerate((draws, widened(draws, np.array([values.mean()]), cells - 1))):
            low, high = np.quantile(one, [0.025, 0.975])
            hits[i, k] = low <= 0 <= high
    plain, wide = hits.mean(axis=0)
    assert plain < 0.91  # a bootstrap over eight cells by itself
    assert 0.92 < wide < 0.97


def test_the_widening_is_the_ratio_of_students_t_to_the_normal_law() -> None:
    draws, center = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([2.0, 2.0])
    factor = stats.t.ppf(0.975, 5) / 1.959964
    assert widened(draws, center, 5) == pytest.approx(center + factor * (draws - center), rel=1e-6)
    assert widened(draws, center, 10**7) == pytest.approx(draws, rel=1e-5)


def laws(found: Hyperlaw, others: Any = ()) -> list[str]:
    return [line for line in found.summary(others).splitlines() if " = " in line and not line.startswith("note")]


@pytest.mark.heavy
def test_a_form_with_the_same_laws_is_not_shown_again() -> None:
    frame = pl.concat(
        small_table(noise=0.0, decays=(0.1, 0.5, 2.0)).with_columns(
            batch_tokens=pl.lit(float(batch)),
            val_loss=pl.col("val_loss") * np.exp(0.002 * np.log(batch / 600) ** 2),
        )
        for batch in (256, 512, 1024, 2048)
    )
    knobs = ["weight_decay", "batch_tokens"]
    first = hyperlaw(frame, knobs=knobs, resamples=0)
    other = hyperlaw(frame, knobs=knobs, on={"batch_tokens": ("N", "D")}, estimator="joint", resamples=0)
    assert len(laws(first)) == 2
    assert laws(first, [first]) == laws(first)
    shown = first.summary([other])
    assert "with batch_tokens on N and D:" in shown
    assert shown.count("weight_decay = ") <= 2
