"""One setting for many workloads: chosen on some, evaluated on others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.tuning.transfer import PROFILE, transfer
from sweeplaw.trials.errors import InputError


def runs() -> pl.DataFrame:
    """Return six workloads whose best lr increases from 1e-3 to 4e-3."""
    rows = []
    for number in range(6):
        best = 1e-3 * 2 ** (number * 0.4)
        for lr in 5e-4 * 2.0 ** np.arange(0, 4.5, 0.5):
            rows.append((f"corpus-{number}", lr, 2 + number + 0.1 * np.log(lr / best) ** 2))
    return pl.DataFrame(rows, schema=["corpus", "lr", "val_loss"], orient="row")


def test_the_single_setting_has_the_least_mean_excess_over_the_tuning_workloads() -> None:
    frame = runs()
    held = pl.col("corpus").is_in(["corpus-4", "corpus-5"])
    found = transfer(frame, ["corpus"], ["lr"], evaluate_on=held)
    tuning = frame.filter(~held).with_columns(excess=pl.col("val_loss") / pl.col("val_loss").min().over("corpus") - 1)
    means = tuning.group_by("lr").agg(pl.col("excess").mean()).sort("excess")
    assert found.single["lr"] == pytest.approx(means["lr"][0])


@pytest.mark.parametrize("unknown", [None, float("nan")])
@pytest.mark.parametrize("column", ["size", "lr"])
def test_runs_whose_workload_or_knob_is_not_known_are_left_out_and_counted(column: str, unknown: float | None) -> None:
    sizes = runs().with_columns(size=pl.col("corpus").str.tail(1).cast(pl.Float64)).drop("corpus")
    stray = pl.DataFrame({"lr": [1e-3], "val_loss": [0.1], "size": [1.0]}).with_columns(
        pl.lit(unknown, pl.Float64).alias(column)
    )
    found = transfer(pl.concat([sizes, stray]), ["size"], ["lr"])
    assert found.workloads == transfer(sizes, ["size"], ["lr"]).workloads
    assert list(found.dropped.values()) == [1]


def test_evaluation_workloads_do_not_affect_the_choice() -> None:
    frame, held = runs(), pl.col("corpus") == "corpus-5"
    spoiled = frame.with_columns(val_loss=pl.when(held).then(10 - pl.col("val_loss")).otherwise(pl.col("val_loss")))
    before, after = (transfer(one, ["corpus"], ["lr"], evaluate_on=held) for one in (frame, spoiled))
    assert before.order == after.order
    phases = {one.workload["corpus"]: one.phase for one in before.workloads}
    assert phases == {f"corpus-{i}": "evaluation" if i == 5 else "tuning" for i in range(6)}


def test_rows_without_a_loss_or_a_workload_are_counted() -> None:
    odd = pl.DataFrame({"corpus": ["corpus-0", "corpus-1", None], "lr": [1e-3] * 3, "val_loss": [np.inf, -1.0, 2.0]})
    found = transfer(pl.concat([runs(), odd]), ["corpus"], ["lr"])
    assert list(found.dropped.values()) == [3]
    assert transfer(runs(), ["corpus"], ["lr"]).dropped == dict.fromkeys(found.dropped, 0)


def test_a_longer_list_is_never_worse_and_reaches_the_best_of_each_tuning_workload() -> None:
    found = transfer(runs(), ["corpus"], ["lr"], k=9)
    for one in found.workloads:
        known = [value for value in one.list if value is not None]
        assert known == sorted(known, reverse=True)
        assert one.single == one.list[0]
        if one.phase == "tuning":
            assert known[-1] == pytest.approx(0, abs=1e-12)
    for shares in found.profiles.values():
        assert list(shares) == sorted(shares)
        assert len(shares) == len(PROFILE)


def test_a_setting_not_run_in_every_tuning_workload_is_no_candidate() -> None:
    frame = runs().filter(~((pl.col("corpus") == "corpus-0") & (pl.col("lr") == 5e-4)))
    held = pl.col("corpus") != "corpus-0"
    found = transfer(frame, ["corpus"], ["lr"], evaluate_on=held)
    assert found.candidates == 8
    other = transfer(frame, ["corpus"], ["lr"], evaluate_on=~held, k=9)
    assert [one.workload["corpus"] for one in other.workloads if one.phase == "evaluation"] == ["corpus-0"]


def test_a_single_workload_or_phase_is_rejected_and_none_at_all() -> None:
    with pytest.raises(InputError, match=r"1 workload with a positive val_loss up to 1e\+50: there is nothing"):
        transfer(runs().filter(pl.col("corpus") == "corpus-1"), ["corpus"], ["lr"])
    with pytest.raises(InputError, match="both phases need at least one"):
        transfer(runs(), ["corpus"], ["lr"], evaluate_on=pl.lit(True))
    for workload, knobs in ((), ("lr",)), (("corpus",), ()):
        with pytest.raises(InputError, match="at least one of each"):
            transfer(runs(), workload, knobs)


@pytest.mark.parametrize("values", [["a", "b"], [False, True], [1e6, 1e7]])
def test_both_halves_have_the_values_of_every_column(values: list[object]) -> None:
    frame = runs().filter(pl.col("corpus") < "corpus-3").join(pl.DataFrame({"other": values}), how="cross")
    found = transfer(frame, ["corpus", "other"], ["lr"])
    for phase in ("tuning", "evaluation"):
        own = [one.workload for one in found.workloads if one.phase == phase]
        assert {one["corpus"] for one in own} == {"corpus-0", "corpus-1", "corpus-2"}
        assert {one["other"] for one in own} == set(values)


def test_where_a_board_is_all_of_one_colour_every_second_workload_is_for_evaluation() -> None:
    frame = runs().filter(pl.col("corpus") < "corpus-2").with_columns(size=pl.col("corpus"))
    found = transfer(frame, ["corpus", "size"], ["lr"])
    assert [one.phase for one in found.workloads] == ["tuning", "evaluation"]
