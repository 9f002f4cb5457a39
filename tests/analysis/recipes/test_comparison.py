"""Comparisons of recipes on planted differences: the estimate, its interval, its power, and its worth in compute."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.recipes import comparison
from sweeplaw.analysis.recipes.comparison import compare_recipes
from sweeplaw.trials.errors import InputError

SIZES = (1e6, 4e6, 16e6, 64e6)
DATA = (1e8, 4e8, 16e8)


def loss(n: float, d: float) -> float:
    """Return a loss of the usual size; exponents and constants are close to Hoffmann et al. 2022."""
    return 1.7 + 400 / n**0.34 + 410 / d**0.28


def runs(
    gain: float = 1.0,
    offset: float = 0.0,
    noise: float = 0.0,
    seeds: range = range(3),
    shared: float = 0.0,
    draw: int = 0,
) -> pl.DataFrame:
    """Return runs at every size and budget: with ``gain`` times the compute, ``offset`` nats more, ``noise`` of each
    run and noise that a seed brings to every recipe (``shared``).
    """
    rng, common = np.random.default_rng(draw), np.random.default_rng(99)
    by_seed = {(n, d, seed): common.normal(0, 1) for n, d, seed in product(SIZES, DATA, range(40))}
    rows = [
        (n, d, seed, loss(n * gain**0.5, d * gain**0.5) + offset + noise * rng.normal() + shared * by_seed[n, d, seed])
        for n, d, seed in product(SIZES, DATA, seeds)
    ]
    return pl.DataFrame(rows, schema=["N", "D", "seed", "val_loss"], orient="row")


def compared(*sources: pl.DataFrame | str, **options: Any) -> Any:
    """Return the only comparison."""
    (found,) = compare_recipes(*sources, **options)
    return found


@pytest.mark.heavy
def test_a_planted_speed_up_is_found():
    found = compared(runs(), runs(gain=1.5))
    assert found.overall.points == 12
    assert found.overall.pairs == 36
    assert found.speed_up.value == pytest.approx(1.5, rel=0.02)
    noisy = compared(runs(noise=0.005), runs(gain=1.5, noise=0.005, draw=1)).speed_up
    assert 1 < noisy.low < 1.5 < noisy.high
    back = compared(runs(gain=1.5), runs())
    assert back.speed_up.value == pytest.approx(1 / 1.5, rel=0.02)


@pytest.mark.heavy
def test_of_one_size_the_speed_up_is_by_a_law_of_compute_alone():
    """The second needs two thirds of the data, so of the compute too."""
    rows = [(4e6, d, loss(4e6, d), loss(4e6, 1.5 * d)) for d in 1e8 * 2.0 ** np.arange(8)]
    frame = pl.DataFrame(rows, schema=["N", "D", "first", "second"], orient="row")
    found = compared(*(frame.select("N", "D", val_loss=name) for name in ("first", "second"))).speed_up
    assert found.law == "power_asymptote"
    assert found.value == pytest.approx(1.5, rel=0.02)


@pytest.mark.heavy
def test_where_no_difference_is_shown_no_recipe_is_called_faster():
    found = compared(runs(noise=0.005), runs(noise=0.005, draw=1))
    assert not found.overall.shown(0.95)
    assert "no difference shown" in found.headline()[1]
    assert found.headline()[2].startswith("worth in compute: nothing shown (speed-up of the second ")
    clear = compared(runs(noise=0.005), runs(gain=1.5, noise=0.005, draw=1))
    assert "the second recipe reaches the other's loss" in clear.headline()[2]


@pytest.mark.heavy
def test_a_speed_up_of_tuned_recipes_says_that_it_is_of_their_best_settings():
    """The second is better at its best learning rate and worse at the other, so nothing is shown over all."""
    first, second = (pl.concat([one.with_columns(lr=pl.lit(lr), val_loss=pl.col("val_loss") + more) for lr, more in
                                ((0.01, best), (0.03, worst))]) for one, best, worst in
                     ((runs(), 0.0, 0.05), (runs(), -0.02, 0.07)))  # fmt: skip
    found = compared(first, second)
    assert "of each one's best setting at a size" in found.headline()[2]
    assert found.speed_up.value > 1
    assert "best setting" not in compared(runs(), runs(gain=1.5)).headline()[2]


@pytest.mark.heavy
def test_a_law_that_does_not_fit_the_first_recipe_tells_no_speed_up():
    rows = [(n, d, seed, 1.7 + 1e6 / n + (n / 4e6 - 1) ** 2 * 1e-3 + 100 / d**0.2) for n, d, seed in
            product((1e6, 2e6, 4e6, 16e6, 64e6), (1e8, 2e8, 4e8, 16e8), range(2))]  # fmt: skip
    first = pl.DataFrame(rows, schema=["N", "D", "seed", "val_loss"], orient="row")
    found = compared(first, first.with_columns(pl.col("val_loss") - 0.05))
    assert found.speed_up.value is None
    assert "the law is inadequate" in found.speed_up.note


def test_sizes_in_words_are_keys_and_no_numbers():
    words = {n: f"{n / 1e6:.0f}M" for n in SIZES}
    first, second = (one.with_columns(pl.col("N").replace_strict(words), flops=pl.lit("many"))
                     for one in (runs(), runs(offset=0.1)))  # fmt: skip
    found = compared(first, second)
    assert found.overall.difference == pytest.approx(0.1)
    assert "0 points with known N and D" in found.speed_up.note


@pytest.mark.heavy
def test_runs_of_one_seed_are_subtracted_from_each_other():
    """The noise that a seed brings to both recipes falls out; without seeds in common it stays."""
    first = runs(noise=0.001, shared=0.05)
    paired = compared(first, runs(offset=0.004, noise=0.001, shared=0.05, draw=1))
    apart = compared(first, runs(offset=0.004, noise=0.001, shared=0.05, draw=1, seeds=range(20, 23)))
    assert paired.paired
    assert not apart.paired
    assert paired.overall.corrected < 1e-6
    assert paired.overall.verdict(0.95) == "the first is better"
    assert apart.overall.corrected > 0.01
    assert paired.overall.noise == pytest.approx(0.05, rel=0.3)


@pytest.mark.heavy
def test_by_size_the_answer_is_that_of_a_paired_t_test():
    first, second = runs(noise=0.02), runs(offset=0.02, noise=0.02, draw=5)
    found = compared(first, second)
    effect = found.by_size[0]
    smallest = [frame.filter(pl.col("N") == SIZES[0]).sort("D", "seed") for frame in (first, second)]
    small = [frame["val_loss"].to_numpy() for frame in smallest]
    difference = (small[1] - small[0]).reshape(len(DATA), 3)
    within = difference - difference.mean(axis=1, keepdims=True)
    error = np.sqrt((within**2).sum() / 6 / 9)
    assert effect.difference == pytest.approx(difference.mean())
    assert effect.p == pytest.approx(2 * stats.t.sf(abs(difference.mean()) / error, 6))
    assert effect.corrected >= effect.p


@pytest.mark.heavy
def test_intervals_hold_and_equal_recipes_differ_no_more_often_than_promised(monkeypatch):
    """Within three standard errors of 100 draws."""
    monkeypatch.setattr(comparison, "speed_up", lambda points, level: None)  # a law of 12 points, a second each
    held, alarms = [], []
    for draw in range(100):
        found = compared(runs(noise=0.02, draw=draw), runs(offset=0.01, noise=0.02, draw=1000 + draw))
        held.append(found.overall.low <= 0.01 <= found.overall.high)
        same = runs(noise=0.02, draw=2000 + draw)
        equal = compared(runs(noise=0.02, draw=draw), same)
        alarms.append(min(effect.corrected for effect in equal.by_size) < 0.05)
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(alarms) <= 0.11


@pytest.mark.heavy
def test_the_runs_that_would_settle_a_difference_settle_it():
    found = compared(runs(noise=0.03, seeds=range(2)), runs(offset=0.012, noise=0.03, seeds=range(2), draw=3))
    effect = found.by_size[2]
    assert effect.more is None or effect.more > 0
    assert effect.detectable > abs(effect.difference)
    assert "no difference shown" in effect.verdict(0.95)


@pytest.mark.heavy
def test_the_price_of_more_runs_is_that_of_both_recipes():
    cost = [pl.lit(100.0).alias("train_seconds"), pl.lit(1e15).alias("flops")]
    first = runs(noise=0.03, seeds=range(2)).with_columns(cost)
    second = runs(offset=0.02, noise=0.03, seeds=range(2), draw=3).with_columns(cost)
    found = compared(first, second, on=["N", "D"])
    priced = [effect for effect in found.by_size if effect.more]
    assert priced
    for effect in priced:
        assert effect.seconds == pytest.approx(200 * effect.more)
        assert effect.flops == pytest.approx(2e15 * effect.more)


@pytest.mark.heavy
def test_several_values_of_a_knob_are_corrected_for_their_number():
    parts = [
        runs(noise=0.02, offset=0.003 * k, draw=k).with_columns(pl.lit(name).alias("optimizer"))
        for k, name in enumerate(("adamw", "lion", "muon"))
    ]
    parts.insert(0, parts[0].with_columns(pl.col("seed") + 3))  # the most frequent value is the first recipe
    found: list[Any] = compare_recipes(pl.concat(parts), by="optimizer")
    assert [one.second for one in found] == ["optimizer = lion", "optimizer = muon"]
    assert {one.first for one in found} == {"optimizer = adamw"}
    smallest = min(found, key=lambda one: one.overall.p)
    assert smallest.overall.corrected == pytest.approx(2 * smallest.overall.p)
    assert any("left out" in note for note in found[0].notes)


@pytest.mark.heavy
def test_recipes_that_differ_in_more_than_the_knob_are_refused_with_the_way_out():
    both = pl.concat([
        runs().with_columns(optimizer=pl.lit("adamw"), lr=pl.lit(0.001)),
        runs(offset=0.1).with_columns(optimizer=pl.lit("muon"), lr=pl.lit(0.02)),
    ])  # fmt: skip
    with pytest.raises(InputError, match=r"also in lr \(0.001; 0.02\).*--with lr"):
        compare_recipes(both, by="optimizer")
    found = compared(both, by="optimizer", also=["lr"])
    assert found.differing == {"optimizer": ("adamw", "muon"), "lr": ("0.001", "0.02")}
    assert found.overall.difference == pytest.approx(0.1)


@pytest.mark.heavy
def test_settings_that_only_one_recipe_has_are_not_taken_for_seeds():
    tuned = pl.concat([runs(offset=offset).with_columns(lr=lr) for lr, offset in ((1e-3, 0.1), (2e-3, 0.0))])
    text = "lr is 0.001, 0.002 in the {}, and the {} has no such column"
    where = "runs that are equal in all that both have: "
    with pytest.raises(InputError, match=re.escape(where + text.format("first", "second"))):
        compare_recipes(tuned, runs())
    with pytest.raises(InputError, match=re.escape(text.format("second", "first"))):
        compare_recipes(runs(), tuned)
    assert compared(runs(), tuned.filter(lr=2e-3)).overall.difference == pytest.approx(0)
    assert compared(runs(), tuned, on=["N", "D"]).overall.difference == pytest.approx(0.05)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="one value only"):
        compare_recipes(runs().with_columns(optimizer=pl.lit("adamw")), by="optimizer")
    with pytest.raises(InputError, match="second source"):
        compare_recipes(runs())
    with pytest.raises(InputError, match=r"D: 1e\+08.*in the first, 7 in the second"):
        compare_recipes(runs(), runs().with_columns(D=pl.lit(7.0)), on=["N", "D"])
    with pytest.raises(InputError, match=r"no run of .* finite val_loss"):
        compare_recipes(runs(), runs().with_columns(val_loss=pl.lit(float("nan"))))
    with pytest.raises(InputError, match="no column 'nothing'"):
        compare_recipes(runs(), runs(), also=["nothing"])
    with pytest.raises(InputError, match="--on"):
        compare_recipes(pl.DataFrame({"val_loss": [1.0, 2.0]}), pl.DataFrame({"val_loss": [1.0, 3.0]}))


def test_one_pair_alone_claims_nothing():
    one = pl.DataFrame({"N": [1e6], "D": [1e8], "val_loss": [3.0]})
    found = compared(one, one.with_columns(val_loss=pl.lit(2.9)), on=["N", "D"])
    assert found.overall.p is None
    assert found.overall.low is None
    assert "indistinguishable from noise" in found.overall.verdict(0.95)
    assert found.speed_up.value is None
    assert found.overall.difference == pytest.approx(-0.1)


@pytest.mark.heavy
def test_a_comparison_is_plain_values_and_text():
    found = compared(runs(noise=0.01), runs(gain=1.4, noise=0.01, draw=1))
    values = json.loads(json.dumps(found.to_dict()))
    assert values["by_size"][0]["name"] == "N = 1M"
    assert values["speed_up"]["value"] > 1
    assert "the second recipe reaches the other's loss" in found.summary()
    assert "the second is better" in found.summary()


def test_recipes_without_a_common_size_are_not_compared_unasked():
    larger = runs(draw=1).with_columns(N=pl.col("N") * 1.5, D=pl.col("D") * 1.5)
    with pytest.raises(InputError) as refused:
        compare_recipes(runs(), larger)
    assert [fault.split(" is common")[0] for fault in refused.value.faults] == ["no N", "no D"]
    assert refused.value.hints == ("--with N --with D compares runs that differ in it anyway",)
    assert compared(runs(), larger, also=["N", "D"]).overall.points == 1


def test_a_source_and_itself_are_said_to_be_the_same_and_nothing_is_tested(tmp_path):
    path = tmp_path / "runs.csv"
    runs(noise=0.02).write_csv(path)
    found = compared(str(path), str(path))
    assert found.same
    assert (found.overall.difference, found.overall.points, found.overall.pairs) == (0.0, 12, 36)
    assert {found.overall.p, found.overall.corrected, found.overall.low, found.overall.noise} == {None}
    assert found.by_size == ()
    (line,) = found.summary().splitlines()
    assert line.startswith(f"both are the same source, {path}, so there is nothing to compare")
    assert not compared(runs(noise=0.02), runs(noise=0.02, draw=1)).same


@pytest.mark.parametrize("seeds", [True, False])
def test_runs_with_the_same_losses_are_said_to_have_them(seeds):
    """Also those of a part of the other source; one run that is another is a comparison."""
    every = runs(noise=0.02) if seeds else runs(noise=0.02).drop("seed")
    part = every.filter(pl.col("N") < 5e7)
    (line,) = compared(every, part).summary().splitlines()[:1]
    assert line == "first and second have the same losses in all 27 runs that they share, and no knob differs"
    other = part.with_columns(val_loss=pl.when(pl.int_range(pl.len()) == 0).then(3.0).otherwise("val_loss"))
    assert not compared(every, other).same


def test_recipes_with_the_same_losses_whose_knob_differs_are_compared():
    """That a knob does nothing is a finding."""
    found = compared(runs().with_columns(knob=pl.lit(1)), runs().with_columns(knob=pl.lit(2)))
    assert not found.same
    assert found.differing == {"knob": ("1", "2")}
