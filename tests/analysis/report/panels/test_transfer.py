"""The card of one setting for all sizes and budgets."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report.charts.dots import MOST_DOTS
from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.findings.transfer import one_setting
from sweeplaw.analysis.report.panels.transfer import transfer_card
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.transfer import transfer

BY = Axes("params", "tokens", "val_loss", ("corpus",), ("lr", "beta2"))
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def runs(corpora: tuple[str, ...] = ("a", "b"), budgets: tuple[float, ...] = (1e7, 4e7)) -> pl.DataFrame:
    """Return runs whose best lr is 4e-3 of corpus a and 2e-3 of the others, and whose loss differs by corpus."""
    rows = [
        {"corpus": corpus, "params": n, "tokens": d, "lr": lr, "beta2": 0.9, "seed": seed,
         "val_loss": 2 + len(corpus) + 0.1 * np.log(lr / (4e-3 if corpus == "a" else 2e-3)) ** 2}
        for corpus in corpora for n in (1e5, 4e5) for d in budgets for lr in RATES for seed in (0, 1)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_the_setting_is_the_one_that_the_library_chooses_over_families_sizes_and_budgets() -> None:
    found = one_setting(families(runs(), BY), BY)
    assert found is not None
    assert found.to_dict() == transfer(runs(), ["corpus", "params", "tokens"], ["lr"]).to_dict()
    assert found.candidates == len(RATES)
    assert len(found.workloads) == 8


def test_the_card_says_how_far_the_setting_is_from_the_best_of_each_workload_it_was_not_tuned_on() -> None:
    found = one_setting(families(runs(), BY), BY)
    assert found is not None
    card = transfer_card(found, "k")
    worst = max(one.single or 0.0 for one in found.workloads if one.phase == "evaluation")
    assert worst == pytest.approx(0.1 * np.log(2) ** 2 / 3)  # one step of the ladder
    assert (
        card.title.replace("\N{NO-BREAK SPACE}", " ")
        == "One setting, lr=0.002, is within 1.6 % of the best of 4 other workloads"
    )
    assert card.caption.startswith("Tuned on 4 workloads, every second one, of 4 settings that all of them share")
    assert card.sheet is not None
    table = list(csv.DictReader(io.StringIO(unquote(card.sheet.link().partition(",")[2]))))
    shares = [float(row["one_setting_excess"]) for row in table if row["phase"] == "evaluation"]
    assert max(shares) == worst
    assert [row["phase"] for row in table].count("tuning") == 4
    assert all("corpus=b, params=" in drawing for drawing in card.drawings)


@pytest.mark.heavy
def test_of_very_many_workloads_some_dots_are_drawn_and_the_caption_says_so() -> None:
    found = one_setting(families(runs(), BY), BY)
    assert found is not None
    (one,) = [one for one in found.workloads if one.phase == "evaluation"][:1]
    count = 2 * MOST_DOTS
    many = replace(found, workloads=tuple(replace(one, single=0.1 * k / count) for k in range(count)))
    card = transfer_card(many, "k")
    assert f"{MOST_DOTS:,} of {count:,} are drawn." in card.caption
    assert card.drawings[0].count("one setting is") == MOST_DOTS
    assert "drawn" not in transfer_card(found, "k").caption


def test_where_the_setting_did_not_run_the_title_counts_where_it_did() -> None:
    found = one_setting(families(runs(), BY), BY)
    assert found is not None
    gone = next(one.workload for one in found.workloads if one.phase == "evaluation")
    left = runs().filter(~pl.all_horizontal(*(pl.col(k) == v for k, v in {**gone, "lr": 2e-3}.items())))
    fewer = one_setting(families(left, BY), BY)
    assert fewer is not None
    title = transfer_card(fewer, "k").title.replace("\N{NO-BREAK SPACE}", " ")
    assert title == "One setting, lr=0.002, ran in 3 of 4 other workloads"


def test_runs_with_a_null_knob_are_left_out_and_no_losses_of_other_settings_are_averaged() -> None:
    """A second knob tells them apart: its runs are 1 above the others, and have no lr."""
    apart = runs().with_columns(lr=None, beta2=0.95, val_loss=pl.col("val_loss") + 1)
    both = pl.concat([runs(), apart], how="vertical_relaxed")
    found = one_setting(families(both, BY), BY)
    assert found is not None
    assert found.single == {"lr": 2e-3, "beta2": 0.9}
    assert found.candidates == len(RATES)
    assert list(found.dropped.values()) == [apart.height]


@pytest.mark.parametrize(
    "frame",
    [
        runs(("a",), (1e7,)),
        runs().filter(pl.col("lr") < 3e-3),
        runs().filter((pl.col("corpus") == "a") == (pl.col("lr") > 3e-3)),
        runs().filter(pl.col("lr") == 1e-3),
        runs().clear(),
    ],
    ids=["two workloads", "two settings", "grids that do not overlap", "one setting", "nothing"],
)
def test_there_is_no_card_where_there_is_little_to_choose_from(frame: pl.DataFrame) -> None:
    assert one_setting(families(frame, BY), BY) is None
