"""Importance of knobs: exact on full grids, with missing points reported, and the ranking of Optuna."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import optuna
import polars as pl
import pytest

from sweeplaw.analysis.tuning.anova import shares
from sweeplaw.analysis.tuning.importance import Importance, importance
from sweeplaw.trials.errors import InputError


def grid(noise: float = 0.0) -> pl.DataFrame:
    """Return 5 x 4 x 3 points; loss = 2 + .3 a + .1 b + .2 a b (centered levels), and a knob without effect."""
    rng = np.random.default_rng(0)
    rows = []
    for i, j, k in product(range(5), range(4), range(3)):
        a, b = i - 2, j - 1.5
        loss = 2 + 0.3 * a + 0.1 * b + 0.2 * a * b + noise * rng.standard_normal()
        rows.append((10.0**-i, 32 * 2**j, "xyz"[k], loss))
    return pl.DataFrame(rows, schema=["lr", "batch", "schedule", "val_loss"], orient="row")


KNOBS = ("lr", "batch", "schedule")


def test_shares_of_a_known_function_are_its_variances() -> None:
    (found,), dropped = importance(grid(), KNOBS)
    a, b = 0.09 * 2.0, 0.01 * 1.25  # variances of .3 a and .1 b over the levels
    ab = 0.04 * 2.0 * 1.25
    total = a + b + ab
    assert found.knobs["lr"] == pytest.approx(a / total)
    assert found.knobs["batch"] == pytest.approx(b / total)
    assert found.knobs["schedule"] == pytest.approx(0, abs=1e-12)
    assert found.pairs["lr", "batch"] == pytest.approx(ab / total)
    assert found.largest_pairs()[0] == (("lr", "batch"), found.pairs["lr", "batch"])
    assert found.rest == pytest.approx(0, abs=1e-12)
    assert found.ranking[0] == "lr"
    assert (dropped, found.filled, found.points) == (0, 0.0, 60)


def test_shares_sum_to_one_on_any_full_grid() -> None:
    values = np.random.default_rng(1).standard_normal((3, 4, 2, 5))
    found = shares(values)
    assert sum(found.axes) + sum(found.pairs.values()) + found.rest == pytest.approx(1)
    assert found.rest > 0


def noisy(seed: int, seeds: int) -> pl.DataFrame:
    """Return runs on 6 x 5 x 4 points; the loss curves in lr, its noise is .5 %; batch and decay do nothing."""
    rng = np.random.default_rng(seed)
    lr, batch, decay, _ = (part.ravel() for part in np.meshgrid(*map(np.arange, (6, 5, 4, seeds)), indexing="ij"))
    loss = 3 * np.exp(0.002 * (lr - 2.5) ** 2 + 0.005 * rng.standard_normal(len(lr)))
    return pl.DataFrame({"lr": 2.0**lr, "batch": 2.0**batch, "decay": 2.0**decay, "val_loss": loss})


@pytest.mark.heavy
@pytest.mark.parametrize(("seeds", "origin"), [(2, "seeds"), (1, "neighbours")])
def test_a_knob_without_effect_is_within_the_noise_of_a_run(seeds: int, origin: str) -> None:
    named = {"lr": 0, "batch": 0, "decay": 0}
    left, raw, costs = [], [], []
    for seed in range(24):
        frame = noisy(seed, seeds)
        (found,), _ = importance(frame, ["lr", "batch", "decay"], defaults={"batch": 4.0})
        assert found.noise is not None
        assert found.noise.origin == origin
        means = frame.group_by("lr", "batch", "decay", maintain_order=True).agg(pl.col("val_loss").mean())
        raw.append(shares(means["val_loss"].to_numpy().reshape(6, 5, 4)).axes[1])
        left.append(found.knobs["batch"])
        costs.append(found.frozen["batch"][1] or 0.0)
        for name in found.within_noise:
            named[name] += 1
    assert named["lr"] == 0
    assert min(named["batch"], named["decay"]) >= 19  # 95 % of 24 is 23; fewer than 19 has probability .001
    assert np.mean(left) < 0.5 * np.mean(raw)  # the half of noise that lies above its mean is left
    assert np.mean(costs) < 0.5 * 0.005 / np.sqrt(seeds)


def test_an_unknown_noise_is_said_and_nothing_is_subtracted() -> None:
    frame = grid(noise=0.1).filter(pl.col("lr").is_in([1.0, 0.1]))
    (found,), _ = importance(frame, KNOBS)
    assert (found.noise, found.noise_share, found.within_noise) == (None, None, ())
    assert "unknown" in found.noise_sentence()
    assert sum(found.knobs.values()) + sum(found.pairs.values()) + found.rest == pytest.approx(1)


@pytest.mark.parametrize("apart", [{"N": (1e6, 4e6)}, {"optimizer": ("adamw", "muon")}])
def test_runs_of_other_sizes_or_recipes_are_no_repeats(apart: dict[str, tuple[float | str, ...]]) -> None:
    (name, (first, second)) = next(iter(apart.items()))
    better = grid().with_columns(pl.col("val_loss") - 0.5, pl.lit(second).alias(name))
    both = pl.concat([grid().with_columns(pl.lit(first).alias(name)), better])
    (found,), _ = importance(both, KNOBS)
    assert found.noise is None or found.noise.sd < 1e-6


def test_a_few_missing_points_hardly_change_the_shares_and_are_reported() -> None:
    (full,), _ = importance(grid(), KNOBS)
    (holed,), _ = importance(grid().sample(fraction=0.85, seed=3), KNOBS)
    assert holed.filled == pytest.approx(0.15)
    for name in KNOBS:
        assert holed.knobs[name] == pytest.approx(full.knobs[name], abs=0.02)


def test_the_cost_of_freezing_is_the_excess_of_the_best_loss_there() -> None:
    frame = grid()
    (found,), _ = importance(frame, KNOBS, defaults={"lr": 1.0, "batch": 1000})
    losses = frame["val_loss"].to_numpy()
    at_default = losses[frame["lr"].to_numpy() == 1.0].min()
    assert found.frozen["lr"][0] == 1.0
    assert found.frozen["lr"][1] == pytest.approx(at_default / losses.min() - 1)
    assert found.frozen["batch"] == (1000, None)  # never run there: unknown, not zero
    assert found.cost_of_freezing("lr") == f"frozen at 1: +{100 * (at_default / losses.min() - 1):.2f} % of loss"
    assert found.cost_of_freezing("batch") == "1000 was not run"


def test_a_cap_keeps_diverged_runs_from_dominating_the_variance() -> None:
    frame = grid().with_columns(val_loss=pl.when(pl.col("schedule") == "z").then(50.0).otherwise(pl.col("val_loss")))
    (wild,), _ = importance(frame, KNOBS)
    (capped,), _ = importance(frame, KNOBS, cap=0.5)
    assert wild.ranking[0] == "schedule"
    assert wild.knobs["schedule"] > 0.99
    assert capped.knobs["schedule"] < wild.knobs["schedule"]


def test_budgets_are_decomposed_separately_and_rows_without_a_loss_are_counted() -> None:
    small, large = grid(), grid().with_columns(val_loss=5 - pl.col("val_loss"))
    frame = pl.concat([small.with_columns(D=1e9), large.with_columns(D=2e9)])
    frame = pl.concat([frame, frame.head(2).with_columns(val_loss=pl.lit(None, pl.Float64))])
    found, dropped = importance(frame, KNOBS, cells=["D"])
    assert [one.cell["D"] for one in found] == [1e9, 2e9]
    assert dropped == 2


@pytest.mark.heavy
def test_optunas_evaluator_ranks_the_knobs_equally() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    frame = grid(noise=0.01)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(frame[name].unique().sort().to_list()) for name in KNOBS
    }
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.create_trial(params={n: row[n] for n in KNOBS}, distributions=space, value=row["val_loss"])
            for row in frame.rows(named=True)
        ]
    )
    theirs = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    (ours,), _ = importance(frame, KNOBS)
    assert list(theirs) == list(ours.ranking)


def test_a_continuous_knob_and_an_unknown_one_are_rejected() -> None:
    wide = pl.DataFrame({"a": np.exp(np.arange(9e3) / 30), "b": np.exp(np.arange(9e3) / 40), "val_loss": 1.0})
    with pytest.raises(InputError, match="not a grid axis"):
        importance(wide, ["a", "b"])
    with pytest.raises(InputError, match="did you mean 'lr'"):
        importance(grid(), ["lrr"])


def test_losses_that_are_not_positive_are_left_out_and_refused_where_no_other_is() -> None:
    losses = pl.DataFrame({"lr": [1.0, 2.0, 4.0] * 2, "wd": [1.0] * 3 + [2.0] * 3, "val_loss": [3.0, 2.0, 2.5] * 2})
    assert importance(losses.with_columns(val_loss=pl.col("val_loss") - 2), ["lr"])[1] == 2
    with pytest.raises(InputError, match=r"no row has a positive val_loss up to 1e\+50"):
        importance(losses.with_columns(val_loss=0.0), ["lr"])


def test_of_many_pairs_the_five_largest_are_shown_largest_first() -> None:
    pairs = {("a", str(number)): share for number, share in enumerate((0.1, 0.3, 0.05, 0.2, 0.02, 0.15, 0.01))}
    shown = Importance.largest_pairs(SimpleNamespace(pairs=pairs))  # type: ignore[arg-type]
    assert [share for _, share in shown] == [0.3, 0.2, 0.15, 0.1, 0.05]
