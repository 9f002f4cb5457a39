"""The expected best of k draws: against enumeration, closed forms and planted flattery."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.analysis.tuning.experiment.expected_best import (
    expected_best,
    flattery,
    flattery_intervals,
    ladder,
    rank_weights,
)
from sweeplaw.analysis.tuning.experiment.experiment import tuning_experiment
from sweeplaw.trials.errors import InputError


@pytest.mark.heavy
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=7, unique=True), st.data())
def test_it_is_the_mean_over_all_subsets_of_k(losses: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(losses)))
    other = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=len(losses), max_size=len(losses))))
    subsets = list(itertools.combinations(range(len(losses)), k))
    best = [min(subset, key=lambda i: losses[i]) for subset in subsets]
    picked, reported = expected_best(np.array(losses), other, [k])
    assert picked[0] == pytest.approx(np.mean([losses[i] for i in best]), abs=1e-9)
    assert reported[0] == pytest.approx(np.mean(other[best]), abs=1e-9)


def test_the_weights_are_a_distribution() -> None:
    weights = rank_weights(1000, [1, 2, 17, 999, 1000])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(weights[0], 1e-3)
    assert weights[-1, 0] == 1.0
    with pytest.raises(ValueError, match="k = 5 of 4 draws"):
        rank_weights(4, [5])


@pytest.mark.heavy
def test_it_is_unbiased_for_fresh_uniform_draws() -> None:
    """The expected lowest of k uniform draws is 1 / (k + 1)."""
    rng = np.random.default_rng(0)
    found = np.mean([expected_best(x, x, [1, 3, 8])[0] for x in rng.random((20_000, 16))], axis=0)
    np.testing.assert_allclose(found, [1 / 2, 1 / 4, 1 / 9], rtol=0.01)


@pytest.mark.parametrize(("count", "shown"), [(1, [1]), (5, [1, 2, 3, 4, 5]), (16, [1, 2, 3, 4, 6, 8, 12, 16])])
def test_the_ladder_doubles_and_ends_with_all(count: int, shown: list[int]) -> None:
    assert ladder(count) == shown


def noisy(count: int, noise: float, seed: int = 0) -> pl.DataFrame:
    """Return settings that are truly equal, with independent noise on two losses."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"N": [1e6] * count, "lr": np.arange(1.0, count + 1), "a": 2 + noise * rng.standard_normal(count),
         "b": 2 + noise * rng.standard_normal(count)}
    )  # fmt: skip


@pytest.mark.heavy
def test_flattery_of_equal_settings_is_the_expected_lowest_of_their_noise() -> None:
    """The lowest of 16 standard normal values is at -1.766 (Harter 1961); another loss is not lower at all."""
    found = [tuning_experiment(noisy(16, 0.1, seed), ["N"], ["lr"], "a", "b", resamples=100) for seed in range(500)]
    assert np.mean([one.flattery for one in found]) == pytest.approx(0.1766, abs=0.015)
    assert all(one.apart for one in found)


def test_text_of_another_entropy_is_no_flattery() -> None:
    """Two texts on which the settings come in one order: the second is harder, and more so for good settings."""
    losses = np.linspace(2.0, 3.0, 16)
    frame = pl.DataFrame({"lr": np.arange(16.0), "a": losses, "b": 1.2 + 0.8 * losses})
    found = tuning_experiment(frame, [], ["lr"], "a", "b", resamples=100)
    assert [one.flattery for one in found.places[0].curve] == pytest.approx([0.0] * 8, abs=1e-12)
    assert "a is 0 lower at the setting that it picks than at the one that b picks" in found.headline()[1]


@pytest.mark.heavy
def test_intervals_of_flattery_cover_it() -> None:
    rng, draws = np.random.default_rng(0), [2, 4, 8]
    true = rng.exponential(0.05, (1500, 32))
    pick, report = true + 0.01 * rng.standard_normal(true.shape), 1 + true + 0.01 * rng.standard_normal(true.shape)
    expected = np.mean([flattery(*one, draws) for one in zip(pick, report, strict=True)], axis=0)
    ends = np.array([flattery_intervals(x, y, draws, 0.95, 200, rng) for x, y in zip(pick[:200], report, strict=False)])
    covered = (ends[..., 0] <= expected) & (expected <= ends[..., 1])
    assert (covered.mean(axis=0) > 0.88).all()


def test_the_same_loss_flatters_nothing_and_says_how_many_draws_are_needed() -> None:
    losses = [2.0, 2.001, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7]
    frame = pl.DataFrame({"lr": np.arange(8.0), "val_loss": losses})
    found = tuning_experiment(frame, [], ["lr"], within=0.02, resamples=200)
    (place,) = found.places
    assert not found.apart
    assert place.best == {"lr": 0.0}
    assert [one.k for one in place.curve] == [1, 2, 3, 4, 6, 8]
    assert place.curve[-1].reported == 2.0
    picked = expected_best(np.array(losses), np.array(losses), range(1, 9))[0]
    assert place.needed == next(k for k, loss in enumerate(picked, 1) if loss / 2.0 - 1 <= 0.02)
    assert place.most_needed is None
    assert [one.reported_interval is not None for one in place.curve] == [True, True, False, False, False, False]
    assert "draws" in found.headline()[0]


def test_bad_input_is_refused_with_all_faults() -> None:
    frame = noisy(8, 0.1)
    with pytest.raises(InputError) as caught:
        tuning_experiment(frame, ["N"], [], "a", within=2, resamples=1, level=1.5)
    assert len(caught.value.faults) == 4
    with pytest.raises(InputError, match="no place has 4 settings"):
        tuning_experiment(frame.head(3), ["N"], ["lr"], "a")
    with pytest.raises(InputError, match="lost"):
        tuning_experiment(frame, ["N"], ["lr"], "lost")


@pytest.mark.parametrize("losses", [[0.0] * 8, [3.0] * 8, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
@pytest.mark.filterwarnings("error")
def test_losses_that_are_equal_or_zero_have_an_excess_without_a_warning(losses: list[float]) -> None:
    frame = pl.DataFrame({"N": [1e6] * 8, "lr": np.arange(1.0, 9.0), "val_loss": losses})
    (place,) = tuning_experiment(frame, ["N"], ["lr"]).places
    excess = [one.excess for one in place.curve]
    assert excess == ([0.0] * len(excess) if losses[1] == losses[0] else [np.inf] * (len(excess) - 1) + [0.0])
    assert place.needed == (1 if losses[1] == losses[0] else 8)


def test_the_excess_of_negative_losses_is_above_the_best() -> None:
    frame = pl.DataFrame({"N": [1e6] * 4, "lr": [1.0, 2.0, 3.0, 4.0], "val_loss": [-2.0, -4.0, -3.0, -1.0]})
    (place,) = tuning_experiment(frame, ["N"], ["lr"]).places
    assert [one.excess for one in place.curve] == pytest.approx([0.375, 1 / 6, 1 / 16, 0.0])


@pytest.mark.heavy
def test_of_a_place_with_very_many_settings_some_count() -> None:
    frame = noisy(20_000, 0.1).vstack(noisy(5, 0.1).with_columns(pl.lit(2e6).alias("N")))
    found = tuning_experiment(frame, ["N"], ["lr"], "a", resamples=100)
    assert [place.count for place in found.places] == [2000, 5]
    assert found.notes == ("1 place with more than 2,000 settings: as many of them, drawn at random",)
