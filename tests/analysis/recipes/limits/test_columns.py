"""Runs read for a study: odd values are refused in one message, unless no run has them; each run counts once."""

from __future__ import annotations

from itertools import combinations

import polars as pl
import pytest

from sweeplaw.analysis.recipes.limits.columns import read_runs
from sweeplaw.analysis.recipes.study.compute import costs
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.trials.errors import InputError


def table(**odd: list[float]) -> pl.DataFrame:
    sound = {"N": [1e6] * 6, "U": [1e7] * 6, "K": [1.0] * 6, "loss": [3.0] * 6}
    return pl.DataFrame(sound | odd)


def test_every_odd_value_is_said_in_one_message():
    inf, nan = float("inf"), float("nan")
    runs = table(
        loss=[nan, -1.0, inf, 3.0, 3.0, 3.0], N=[1e6, 1e6, 1e6, -5.0, 1e6, 1e6], U=[1e7, 1e7, 1e7, 1e7, 0.0, inf],
        K=[1.0, 1.0, 1.0, 1.5, 0.0, 1.0], error=[nan, 0.1, 0.1, -0.1, 0.0, 1e308],
        flops=[1.0, 1.0, 1.0, 1.0, -2.0, 0.0],
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_runs(runs)
    assert [fault.split(" (")[0] for fault in caught.value.faults] == [
        "loss = -1 in 1 row", "N = -5 in 1 row", "U = 0, inf in 2 rows", "K = 1.5, 0 in 2 rows",
        "error = -0.10000000000000001, 1e+308 in 2 rows", "flops = -2 in 1 row",
    ]  # fmt: skip
    assert caught.value.hints == ("2 rows without N, U, loss or a finite loss left out",)


def test_infinite_n_and_k_are_limits_and_whole_k_is_accepted():
    inf = float("inf")
    assert read_runs(table(N=[inf, 1e6, 1e6, 1e6, 1e6, 1e6], K=[1.0, inf, 2.0, 3.0, 4.0, 5.0])).frame.height == 6


def test_malformed_texts_of_all_columns_are_said_in_one_message():
    runs = table().with_columns(N=pl.lit("big"), U=pl.Series(["1M", "much", "1M", "more", "1M", "much"]))
    with pytest.raises(InputError) as caught:
        read_runs(runs)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["N", "U", "U"]


def evaluated(**more: float) -> pl.DataFrame:
    """Three models of 10, 20 and 40 FLOPs at one setting, and all ensembles of them by two means."""
    losses = {"a": 3.0, "b": 3.2, "c": 3.1}
    flops = {"a": 10.0, "b": 20.0, "c": 40.0}
    place = {"params_non_embedding": 1e6, "unique_tokens": 1e6, "lr": 0.1}
    rows = [
        {**place, "trial_id": name, "members": 1, "val_loss": loss, "flops": flops[name], **more}
        for name, loss in losses.items()
    ]
    for combine, lower in (("logits", 0.2), ("probabilities", 0.1)):
        for size in (1, 2, 3):
            rows += [
                {**place, "trial_id": f"{combine}{names}", "members": size, "subset": ",".join(names),
                 "combine": combine, "flops": sum(flops[name] for name in names),
                 "val_loss": sum(losses[name] for name in names) / size - lower * (size - 1)}
                for names in combinations("abc", size)
            ]  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.heavy
def test_a_model_that_was_evaluated_again_counts_once() -> None:
    study = recipe_limits({"ensemble": evaluated(), "standard": evaluated().head(3)}, draws=100)
    members = {one.at["combine"]: one.curve.losses[0].tolist() for one in study.recipes["ensemble"].members}
    assert members == {
        "logits": pytest.approx([3.1, 2.9, 2.7]), "probabilities": pytest.approx([3.1, 3.0, 2.9])
    }  # fmt: skip
    assert [(one.recipe, one.k, one.training, one.tuning) for one in costs(study)] == [
        ("ensemble", 3.0, 70.0, 70.0), ("standard", 1.0, pytest.approx(70 / 3), 70.0)
    ]  # fmt: skip


def test_a_student_that_was_evaluated_again_keeps_the_flops_of_its_teachers() -> None:
    frame = read_runs(evaluated(teacher_flops=5.0)).frame
    assert frame["subset"].null_count() == 0
    assert frame.filter(pl.col("K") == 1)["teacher_flops"].to_list() == [5.0] * 6
