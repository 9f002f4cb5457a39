"""The card of the best of k settings: its title counts them, and its caption the cells that it leaves out."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.panels.tuning import best_of_card
from sweeplaw.analysis.tables.families import Axes

BY = Axes("size", "tokens", "loss", (), ("lr",))


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
    made = best_of_card(family, BY, "k")
    assert made is not None
    assert made.title.replace("\N{NO-BREAK SPACE}", " ") == title


def test_cells_with_few_settings_are_counted_in_the_caption_and_alone_give_no_card() -> None:
    many = [2.0, 2.1] * 6
    (family,) = families(runs({1e7: many, 1e8: many[:10], 1e9: many[:4]}), BY)
    made = best_of_card(family, BY, "k")
    assert made is not None
    assert made.title.endswith("of 10 to 12")
    assert "1 cell with fewer than 8 left out." in made.caption
    (family,) = families(runs({1e9: many[:4]}), BY)
    assert best_of_card(family, BY, "k") is None


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
        made = best_of_card(family, axes, "k")
        assert made is not None
        titles.append(made.title)
    assert titles[0] == titles[1]
