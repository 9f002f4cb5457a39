"""The card of parallel coordinates: which axes it has, and where there is nothing to show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl

from sweeplaw.analysis.report.panels import parallel
from sweeplaw.analysis.report.panels.parallel import parallel_card
from sweeplaw.analysis.tables.families import Axes

BY = Axes("N", "D", "loss", (), ("lr", "kind"))


def family(count: int = 4, **columns: Any) -> Any:
    base = {"N": [1e6, 1e6, 4e6, 4e6], "D": [1e9] * 4, "lr": [0.1, 0.2, 0.1, 0.4], "kind": ["a", "b", "a", "b"],
            "loss": [3.0, 3.3, 2.0, 2.0002]}  # fmt: skip
    return SimpleNamespace(settings=pl.DataFrame({**base, **columns}).head(count))


def test_the_axes_are_those_that_vary() -> None:
    card = parallel_card(family(kind=["a"] * 4), BY, ["lr", "kind"], "k")
    assert card is not None
    assert card.sheet is not None
    assert card.sheet.heads == ("N", "lr", "loss", "excess")
    assert [row[:3] for row in card.sheet.rows[:2]] == [(1e6, 0.2, 3.3), (4e6, 0.4, 2.0002)]  # the worst first
    assert (card.caption, card.alt) == (
        "4 settings, means over seeds.", "Parallel coordinates of N, lr and the loss above the best.",
    )  # fmt: skip
    (body,) = card.drawings
    paths = [line.split('"')[0] for line in body.split('d="M')[1:]]
    assert [path.split("L")[0] for path in paths] == ["0.0 95.5", "0.0 4.5", "0.0 95.5", "0.0 4.5"]
    assert [path.split("L")[2] for path in paths][2:] == ["100.0 0.0"] * 2  # the least excess shown
    assert [body.count(f"q{shade}") for shade in (0, 6)] == [3, 1]


def test_text_is_an_axis_of_words_in_the_order_of_the_alphabet() -> None:
    card = parallel_card(family(kind=["muon", "adamw", "muon", "sgd"], lr=[0.1] * 4), BY, ["lr", "kind"], "k")
    assert card is not None
    assert card.sheet is not None
    assert card.sheet.heads == ("N", "kind", "loss", "excess")
    (body,) = card.drawings
    assert [word for word in ("adamw", "muon", "sgd") if f">{word}</span>" in body] == ["adamw", "muon", "sgd"]
    heights = [float(path.split("L")[1].split()[1]) for path in body.split('d="M')[1:]]
    assert heights == [90.0, 10.0, 50.0, 50.0], "adamw, sgd, muon and muon, from the worst to the best; adamw lowest"


def test_without_a_knob_that_varies_there_is_no_card() -> None:
    assert parallel_card(family(lr=[0.1] * 4, kind=["a"] * 4), BY, ["lr", "kind"], "k") is None
    assert parallel_card(family(2), BY, ["lr"], "k") is None  # of one size and budget
    assert parallel_card(family(4, wd=[1, 2, 3, 4], N=[1e6] * 4), BY, ["lr", "wd"], "k") is not None


def test_of_many_settings_some_are_drawn_and_the_rest_counted(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "MOST_LINES", 3)
    card = parallel_card(family(), BY, ["lr"], "k")
    assert card is not None
    assert card.caption == "4 settings, means over seeds. 3 of 4 settings are drawn."
    assert card.drawings[0].count("<path") == 3
