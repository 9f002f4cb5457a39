"""The card of importance: shares of planted grids are those of their closed form, and what they are not is said."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report.family import Family, families
from sweeplaw.analysis.report.findings import importance as findings
from sweeplaw.analysis.report.findings.importance import CAP, HIGHER, NOISE, PAIRS, knob_shares
from sweeplaw.analysis.report.panels.importance import importance_card
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.importance import importance

BY = Axes("size", "tokens", "loss", (), ("lr", "batch"))
LEVELS = (-1.0, 0.0, 1.0)


def family(sizes: int = 6, ratio: float = 2.0, by: Axes = BY, keep: float = 1.0) -> Family:
    """Return cells of a 3 x 3 grid in which the effect of lr is ``ratio`` times that of batch: no noise, no pairs."""
    rows = [
        {
            "size": 10.0 ** (7 + k),
            "tokens": 1e9,
            "lr": 10.0**u,
            "batch": 64 * 2.0**v,
            "loss": 3 + 0.01 * (ratio * u + v),
        }
        for k in range(sizes)
        for u, v in product(LEVELS, LEVELS)
    ]
    (one,) = families(pl.DataFrame(rows).sample(fraction=keep, seed=0), by)
    return one


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_shares_are_the_squares_of_additive_effects_and_have_no_interval_where_all_cells_agree() -> None:
    found = knob_shares(family(), BY)
    assert found is not None
    assert found.shares["lr"] == pytest.approx(0.8, abs=1e-3)
    assert found.shares["batch"] == pytest.approx(0.2, abs=1e-3)
    assert found.shares[PAIRS] == pytest.approx(0.0, abs=1e-3)
    assert HIGHER not in found.shares
    assert found.ranking == ("lr", "batch")
    assert found.intervals["lr"].low == pytest.approx(0.8, abs=1e-3)
    card = importance_card(found, BY, "k")
    assert plain(card.title) == "lr explains 80 % of the variation of the loss over what was tried"
    assert "6 cells, each with the same weight; losses cut at 25 % above" in plain(card.caption)
    assert card.caption.endswith("It does not say what tuning the knob gains near the best.")
    assert card.sheet is not None
    assert len(card.sheet.rows) == 6 * 3


def test_the_cells_are_those_of_the_library_to_the_last_digit() -> None:
    one = family()
    found = knob_shares(one, BY)
    assert found is not None
    theirs, _ = importance(one.trials, ["lr", "batch"], "loss", ["size", "tokens"], cap=CAP)
    assert [cell.to_dict() for cell in found.cells] == [cell.to_dict() for cell in theirs]
    assert found.shares["lr"] == np.mean([cell.knobs["lr"] for cell in theirs])


def test_intervals_span_cells_that_differ_and_few_cells_have_none() -> None:
    half, other = family(4), family(4, ratio=0.5)
    mixed = pl.concat([half.trials, other.trials.with_columns(tokens=pl.lit(2e9))])
    (one,) = families(mixed, BY)
    found = knob_shares(one, BY)
    assert found is not None
    assert found.shares["lr"] == pytest.approx(0.5, abs=1e-3)
    ends = found.intervals["lr"]
    assert 0.2 < ends.low < 0.4
    assert 0.6 < ends.high < 0.8
    few = knob_shares(family(4), BY)
    assert few is not None
    assert few.intervals == {}
    assert "No intervals: 4 cells are too few to resample." in importance_card(few, BY, "k").caption


def test_one_knob_or_runs_that_are_no_grid_have_no_card() -> None:
    assert (
        knob_shares(family(by=Axes("size", "tokens", "loss", (), ("lr",))), Axes("size", "tokens", "loss", (), ("lr",)))
        is None
    )
    rng = np.random.default_rng(0)
    scattered = pl.DataFrame(
        {
            "size": 1e7,
            "tokens": 1e9,
            "lr": rng.uniform(size=40),
            "batch": rng.uniform(size=40),
            "loss": 3 + rng.uniform(size=40),
        }
    )
    (one,) = families(scattered, BY)
    assert knob_shares(one, BY) is None


def test_cells_without_levels_of_every_knob_are_left_out_and_counted() -> None:
    lone = pl.DataFrame({"size": [5e6], "tokens": [1e9], "lr": [1.0], "batch": [64.0], "loss": [3.1]})
    (one,) = families(pl.concat([family().trials.select(lone.columns), lone]), BY)
    found = knob_shares(one, BY)
    assert found is not None
    assert (len(found.cells), found.left_out) == (6, 1)
    caption = importance_card(found, BY, "k").caption
    assert "1 cell left out: one level of a knob, or no grid." in caption
    assert (NOISE in found.shares) is ("not subtracted" not in caption)


def test_of_many_cells_some_are_decomposed_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MOST_CELLS", 3)
    found = knob_shares(family(), BY)
    assert found is not None
    assert [one.cell["size"] for one in found.cells] == pytest.approx([1e7, 1e9, 1e12])
    assert "3 more cells not decomposed." in importance_card(found, BY, "k").caption
