"""Settings of one law: seeds averaged, recipes apart, other knobs at their best, a zero that is a level."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
from sweeplaw.analysis.hyperlaws.suggestion.from_runs import fit_tuned, from_runs
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.analysis.tuning.settings import is_group, require_one_recipe
from sweeplaw.trials.errors import InputError

NK, ND = -0.6, 0.25


def runs(factor: float = 1.0, noise: float = 0.0003, seed: int = 0, **columns: Any) -> pl.DataFrame:
    """Return nine cells of ten learning rates about lr* = factor .5 N^-.6 D^.25, with constant ``columns``."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in (1e8, 2e8, 4e8):
        for d in (4e9, 1.6e10, 6.4e10):
            for lr in 0.5 * n**NK * d**ND * 2.0 ** np.arange(-2.1, 2.5, 0.5):
                away = np.log(lr / (factor * 0.5 * n**NK * d**ND))
                rows.append((n, d, lr, 3 * d**-0.02 * np.exp(0.006 * away**2 + noise * rng.standard_normal())))
    table = pl.DataFrame(rows, schema=["N", "D", "lr", "val_loss"], orient="row")
    return table.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def worse(frame: pl.DataFrame, by: float) -> pl.DataFrame:
    return frame.with_columns(pl.col("val_loss") * (1 + by))


def exponents(frame: pl.DataFrame, knob: str = "lr", **options: Any) -> list[float]:
    law = hyperlaw(frame, knobs=options.pop("knobs", [knob]), resamples=0, **options).law(knob)
    return [law.coefficient.value, *(exponent.value for exponent in law.exponents.values())]


@pytest.mark.heavy
@pytest.mark.parametrize("values", [("dense", "moe"), (False, True)])
def test_an_axis_of_text_or_booleans_is_a_recipe_and_says_so(values: tuple[Any, Any]) -> None:
    both = pl.concat([runs(moe=values[0]), runs(factor=1.5, seed=1, moe=values[1])])
    found = hyperlaw(both, cell=("moe", "N", "D"), knobs=["lr"], resamples=100)
    named = hyperlaw(both, knobs=["lr"], recipes=["moe"], resamples=100)
    assert found.axes == ("N", "D")
    assert found.law("lr").offsets[f"moe={str(values[1]).lower()}"].value == pytest.approx(1.5, rel=0.05)
    assert found.law("lr").exponents["N"].value == pytest.approx(NK, abs=0.05)
    assert found.law("lr").formula == named.law("lr").formula
    assert any("moe holds text or booleans" in note and "--recipe" in note for note in found.notes)
    assert any(f"moe = {str(values[0]).lower()}, which has most cells" in note for note in found.notes)


def test_cells_without_a_numeric_axis_are_refused() -> None:
    with pytest.raises(InputError, match=r"name the numeric axes of the cells .*: moe holds groups"):
        cell_table(runs(moe="dense"), ["moe"], ["lr"], "val_loss")


def test_cells_without_a_knob_are_refused() -> None:
    with pytest.raises(InputError, match="name at least one knob"):
        cell_table(runs(moe="dense"), ["N", "D"], [], "val_loss")


def test_a_column_of_numbers_with_a_text_among_them_is_still_refused_with_its_row() -> None:
    frame = runs().with_columns(N=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("n/a")).otherwise(pl.col("N")))
    assert not is_group(frame["N"])
    with pytest.raises(InputError, match="row 4 holds 'n/a'"):
        hyperlaw(frame, knobs=["lr"], resamples=0)


def test_recipes_that_nobody_named_are_split_and_never_averaged() -> None:
    both = pl.concat([runs(schedule="cosine"), runs(factor=1.6, seed=1, schedule="wsd")])
    found = hyperlaw(both, knobs=["lr"], resamples=100)
    assert found.cells == 18
    assert found.law("lr").offsets["schedule=wsd"].value == pytest.approx(1.6, rel=0.05)
    (note,) = [note for note in found.notes if "differ in schedule" in note]
    assert "schedule = cosine: 90 runs" in note
    assert "--where \"schedule = 'cosine'\"" in note


def test_a_suggestion_from_several_recipes_names_the_conditions_that_select_one() -> None:
    both = pl.concat([runs(schedule="cosine"), runs(factor=1.6, seed=1, schedule="wsd")])
    with pytest.raises(InputError, match=r"(?s)2 recipes.*--where \"schedule = 'wsd'\""):
        require_one_recipe(both, ("N", "D"), ["lr"], "val_loss")
    require_one_recipe(both.filter(pl.col("schedule") == "wsd"), ("N", "D"), ["lr"], "val_loss")
    with pytest.raises(InputError, match="several recipes"):
        from_runs(hyperlaw(both, knobs=["lr"], resamples=20), 1e9, 1e11, 2048)


def test_recipes_without_a_common_cell_are_split_all_the_same() -> None:
    other = runs(factor=1.6, seed=1, schedule="wsd").with_columns(pl.col("N") * 1.5)
    both = pl.concat([runs(schedule="cosine"), other])
    found = hyperlaw(both, knobs=["lr"], resamples=100)
    assert found.law("lr").offsets["schedule=wsd"].value == pytest.approx(1.6 * 1.5**-NK, rel=0.1)
    with pytest.raises(InputError, match=r"(?s)2 recipes.*--where \"schedule = 'wsd'\""):
        require_one_recipe(both, ("N", "D"), ["lr"], "val_loss")


def test_families_that_launches_recorded_are_recipes_and_their_tuned_knobs_are_held() -> None:
    own: dict[str, Any] = {"launch_id": "l", "source": None, "trial_id": "t"}
    rows = [
        runs(seed=4 * i + j, ctx=c, wd=w, **own) for i, c in enumerate((512, 1024)) for j, w in enumerate((0.1, 1.0))
    ]
    frame = pl.concat([rows[0], worse(rows[1], 0.01), rows[2], worse(rows[3], 0.01)], how="vertical_relaxed")
    launch = {"workload": "w", "scientific": ["params", "tokens", "ctx"], "nuisance": ["lr", "wd"], "derived": {}}
    table = cell_table(
        frame.with_columns(pl.col("source").cast(pl.String)), ["N", "D"], ["lr"], "val_loss", (), [launch]
    )
    assert table.recipes == ("ctx",)
    assert table.held == ("wd",)
    assert int(table.runs.sum()) == 2 * runs().height
    assert dict(table.dropped) == {"not at the best wd of the cell": 2 * runs().height}


def test_rows_without_a_value_are_counted_by_the_column_that_lacks_it() -> None:
    number = pl.int_range(pl.len())
    frame = runs().with_columns(
        pl.when(number != 0).then(pl.col("N")).alias("N"), pl.when(~number.is_in([0, 1, 2])).then("lr").alias("lr")
    )
    table = cell_table(frame, ["N", "D"], ["lr"], "val_loss")
    assert dict(table.dropped) == {"N is null": 1, "lr is null": 2}


@pytest.mark.heavy
def test_losses_are_averaged_over_seeds_before_anything_is_compared() -> None:
    seeds = [runs(noise=0.002, seed=seed, seed_=seed).rename({"seed_": "seed"}) for seed in range(3)]
    many = pl.concat(seeds)
    means = many.group_by(["N", "D", "lr"], maintain_order=True).agg(pl.col("val_loss").mean())
    ours, plain = (cell_table(frame, ("N", "D"), ["lr"], "val_loss") for frame in (many, means))
    assert ours.z == pytest.approx(plain.z, abs=1e-12)
    assert ours.runs.tolist() == [3] * len(plain.z)
    assert any("270 runs are 90 settings" in note for note in ours.notes)
    for estimator in ("pooled:0.0025", "cells", "joint"):
        assert exponents(many, estimator=estimator) == pytest.approx(exponents(means, estimator=estimator), abs=1e-6)


def test_one_lucky_seed_is_not_the_best_of_its_cell() -> None:
    many = pl.concat([runs(noise=0.0, s=seed).rename({"s": "seed"}) for seed in range(4)])
    lucky = (pl.col("lr") == pl.col("lr").min().over("N", "D")) & (pl.col("seed") == 2)
    spoiled = many.with_columns(val_loss=pl.when(lucky).then(pl.col("val_loss") * 0.98).otherwise(pl.col("val_loss")))
    table = cell_table(spoiled, ("N", "D"), ["lr"], "val_loss")
    for c in range(9):
        rows = table.rows_of(c)
        assert table.z[rows].argmin() != table.x[rows, 0].argmin()


@pytest.mark.heavy
def test_a_knob_outside_the_law_is_held_at_its_best_in_each_cell() -> None:
    best = runs(weight_decay=0.1)
    both = pl.concat([best, worse(runs(factor=3.0, seed=1, weight_decay=1.0), 0.02)])
    found = hyperlaw(both, knobs=["lr"], resamples=0)
    assert exponents(both) == pytest.approx(exponents(best))
    assert found.dropped == {"not at the best weight_decay of the cell": best.height}
    assert found.rows_measured + sum(found.dropped.values()) == found.rows_in
    assert any("weight_decay varies too" in note for note in found.notes)


def test_a_batch_size_in_two_units_is_one_knob() -> None:
    frame = pl.concat([runs(batch_tokens=2.0**k) for k in (16, 17, 18, 19)])
    rise = 1 + 0.01 * (pl.col("batch_tokens").log() - np.log(2.0**17.3)) ** 2
    frame = frame.with_columns(pl.col("val_loss") * rise, batch_sequences=pl.col("batch_tokens") / 1024)
    table = cell_table(frame, ("N", "D"), ["batch_tokens"], "val_loss")
    assert table.held == ("lr",)
    assert len(table.z) == 36


def zeroed(decays: tuple[float, ...], cost: tuple[float, ...]) -> pl.DataFrame:
    return pl.concat(
        [
            worse(runs(seed=i, weight_decay=decay), more)
            for i, (decay, more) in enumerate(zip(decays, cost, strict=True))
        ]
    )


@pytest.mark.heavy
def test_a_zero_level_leaves_the_laws_of_the_other_knobs_as_they_are() -> None:
    frame = zeroed((0.0, 0.1), (0.0, 0.02))
    found = hyperlaw(frame, knobs=["lr", "weight_decay"], resamples=0)
    assert (
        found.law("lr").formula == hyperlaw(frame.filter(pl.col("weight_decay") == 0), knobs=["lr"]).law("lr").formula
    )
    assert [law.knob for law in found.laws] == ["lr"]
    (note,) = [note for note in found.notes if "is zero in 90 runs" in note]
    assert "weight_decay has no law: weight_decay has a single value" in note


@pytest.mark.heavy
def test_the_law_of_a_knob_with_a_zero_level_is_of_its_positive_values() -> None:
    frame = zeroed((0.0, 0.05, 0.1, 0.2, 0.4), (0.0, 0.009, 0.004, 0.003, 0.008))
    found = hyperlaw(frame, knobs=["lr", "weight_decay"], resamples=20)
    alone = hyperlaw(frame.filter(pl.col("weight_decay") > 0), knobs=["lr", "weight_decay"], resamples=20)
    assert found.law("weight_decay").formula == alone.law("weight_decay").formula
    assert found.law("lr").exponents["N"].value == pytest.approx(NK, abs=0.06)
    assert any("is of its positive values" in note for note in found.notes)
    assert {width.knob for width in found.plateau} == {"lr", "weight_decay"}


def test_suggest_answers_for_the_knobs_that_the_runs_determine() -> None:
    frame = zeroed((0.0, 0.1), (0.0, 0.02)).with_columns(batch_tokens=2.0**18)
    found = fit_tuned(frame, ("N", "D"), ["lr", "batch_tokens", "weight_decay"], "val_loss", resamples=50)
    assert [law.knob for law in found.laws] == ["lr"]
    assert any("batch_tokens has a single value" in note for note in found.notes)
    lr = from_runs(found, 1e9, 1e11, 2048).settings["lr"].value
    assert lr == pytest.approx(0.5 * 1e9**NK * 1e11**ND, rel=0.1)


def test_runs_of_other_sizes_in_a_cell_are_not_its_repeats() -> None:
    table = cell_table(runs(), ["D"], ["lr"], "val_loss")
    assert table.held == ("N",)
    assert int(table.runs.max()) == 1
    assert len(table.z) == 30
