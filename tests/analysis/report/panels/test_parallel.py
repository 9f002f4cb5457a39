"""The card of parallel coordinates: which axes it has, and where there is nothing to show."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

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


def labels(body: str, rail: int) -> list[tuple[float, str]]:
    (found,) = re.findall(rf'data-i="{rail}".*?<i class', body, re.DOTALL)
    return [(float(top), text) for top, text in re.findall(r'class="pct" style="top:([\d.]+)%">([^<]*)<', found)]


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        ([79_912, 80_100, 128_000], ["79.9 k", "128 k"]),
        ([512, 1_024, 2_048], ["512", "1,024", "2,048"]),
        ([1e-5, 1e-4, 1e-3], ["10⁻⁵", "10⁻⁴", "10⁻³"]),
        ([0.1, 0.1001, 0.1002, 0.2], ["0.1", "0.2"]),
        ([2_000_000, 2_000_100, 4_000_000], ["2 M", "4 M"]),
        (list(range(100, 200)), None),
        ([1.0 + 0.001 * k**2 for k in range(40)], None),
    ],
)
def test_labels_of_a_rail_are_of_one_form_and_none_touches_another(levels: list[float], shown: list[str]) -> None:
    count = len(levels)
    rows = {"N": [1e6, 4e6] * count, "D": [1e9] * 2 * count, "lr": [float(one) for one in levels for _ in "ab"],
            "kind": ["a"] * 2 * count, "loss": [3.0 + 0.01 * k for k in range(2 * count)]}  # fmt: skip
    card = parallel_card(SimpleNamespace(settings=pl.DataFrame(rows)), BY, ["lr"], "k")  # type: ignore[arg-type]
    assert card is not None
    found = sorted(labels(card.drawings[0], 1), reverse=True)
    texts = [text.replace("\N{NO-BREAK SPACE}", " ") for _, text in found]
    if shown is not None:
        assert texts == shown
    tops = [top for top, _ in found]
    assert 2 <= len(tops) <= 8
    assert len(set(texts)) == len(texts)
    assert all(low - high >= 4.5 for low, high in pairwise(tops)), "15 of 330 pixels"


def test_rails_stand_as_far_apart_as_their_longest_label() -> None:
    kinds = ["warmup-stable-decay", "cosine"] * 2
    card = parallel_card(family(kind=kinds, lr=[0.1] * 4), BY, ["kind"], "k")
    assert card is not None
    assert 'class="pcin" style="min-width:283px"' in card.drawings[0]  # two rails and the loss, 19 letters and room


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
