"""The card of the best of k settings: its title counts them, and its caption the cells that it leaves out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report.charts.cards import Card
from sweeplaw.analysis.report.family import Family, families
from sweeplaw.analysis.report.findings.best_of import best_of, best_of_values
from sweeplaw.analysis.report.panels.tuning import best_of_card
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.experiment.experiment import tuning_experiment

BY = Axes("size", "tokens", "loss", (), ("lr",))


def card_of(family: Family, by: Axes, reported: str | None = None) -> Card | None:
    found = best_of(family, by, reported)
    return None if found is None else best_of_card(found, family, by, "k")


def runs(losses: dict[float, list[float]]) -> pl.DataFrame:
    """Return a run for each loss of each size, each with a learning rate of its own."""
    rows = [
        {"size": size, "tokens": 1e9, "lr": 0.01 * (k + 1), "loss": loss}
        for size, own in losses.items()
        for k, loss in enumerate(own)
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize(
    ("losses", "title"),
    [
        ([2.0 + 0.0001 * k for k in range(8)], "Any one setting is expected within 1 % of the best of 8"),
        ([2.0] * 5 + [2.1] * 5, "The best of 3 random settings is expected within 1 % of the best of 10"),
    ],
)
def test_the_title_says_how_many_settings_are_enough(losses: list[float], title: str) -> None:
    (family,) = families(runs({1e7: losses}), BY)
    made = card_of(family, BY)
    assert made is not None
    assert made.title.replace("\N{NO-BREAK SPACE}", " ") == title


def test_cells_with_few_settings_are_counted_in_the_caption_and_alone_give_no_card() -> None:
    many = [2.0, 2.1] * 6
    (family,) = families(runs({1e7: many, 1e8: many[:10], 1e9: many[:4]}), BY)
    made = card_of(family, BY)
    assert made is not None
    assert made.title.endswith("of 10 to 12")
    assert "1 cell with fewer than 8 left out." in made.caption
    (family,) = families(runs({1e9: many[:4]}), BY)
    assert card_of(family, BY) is None


def test_settings_with_a_null_knob_are_settings_like_others() -> None:
    """A second knob with few values neither merges the settings of a knob that is null in some, nor ends the report."""
    losses = [2.0] * 5 + [2.1] * 5
    plain = runs({1e7: losses})
    with_null = plain.with_columns(
        lr=pl.when(pl.col("lr") < 0.075).then("lr"),
        wd=pl.when(pl.col("lr") < 0.075).then(0.1).otherwise(10 * pl.col("lr")),
    )
    by = Axes("size", "tokens", "loss", (), ("lr", "wd"))
    titles = []
    for table, axes in ((plain, BY), (with_null, by)):
        (family,) = families(table, axes)
        made = card_of(family, axes)
        assert made is not None
        titles.append(made.title)
    assert titles[0] == titles[1]


def test_where_another_loss_is_reported_the_card_says_how_selection_biases_the_one_that_picks() -> None:
    rng = np.random.default_rng(0)
    table = runs({1e7: [2.0 + 0.1 * k for k in range(40)]}).with_columns(
        other=pl.col("loss") + rng.normal(0, 0.05, 40), loss=pl.col("loss") + rng.normal(0, 0.05, 40), seed=0
    )
    (family,) = families(table, BY)
    found, made = best_of(family, BY, "other"), card_of(family, BY, "other")
    assert found is not None
    assert made is not None
    library = tuning_experiment(table, ["size", "tokens"], ["lr"], "loss", "other", resamples=200)
    assert best_of_values(found)["places"][0]["curve"] == [
        {
            "k": one.k, "picked": one.picked, "reported": one.reported, "excess": one.excess,
            "selection_bias": one.flattery,
            "selection_bias_interval": one.flattery_interval and list(one.flattery_interval),
        }
        for one in library.places[0].curve
    ]  # fmt: skip
    assert "Reported is other; selection biases loss low by 0.0" in made.caption
    assert "for the best of 8." in made.caption
    assert made.sheet is not None
    assert made.sheet.heads[-3:] == ("selection_bias", "low", "high")


def test_a_loss_that_few_settings_have_gives_no_card() -> None:
    table = runs({1e7: [2.0 + 0.1 * k for k in range(10)]}).with_columns(
        other=pl.when(pl.col("loss") < 2.55).then("loss")
    )
    (family,) = families(table, BY)
    assert best_of(family, BY) is not None
    assert best_of(family, BY, "other") is None
