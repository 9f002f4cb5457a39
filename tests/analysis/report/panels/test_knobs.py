"""The cards of the knobs of a report: what their titles, captions and tables say of hand-made cells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.report.charts.dots import MOST_DOTS, most_even
from sweeplaw.analysis.report.panels.knobs import _finding, cell_key, knob_axis, optimum_card, sweep_card
from sweeplaw.analysis.report.panels.shades import fill, heat, stroke
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.cell_settings import KnobOptimum

BY = Axes("size", "tokens", "loss", (), ("lr",))


@pytest.mark.parametrize(
    ("along", "exponent", "interval", "finding"),
    [
        ("size", -0.3, (-0.4, -0.2), "Larger size wants lower lr: N to the power −0.3"),
        ("size", 0.25, (0.1, 0.4), "Larger size wants higher lr: N to the power 0.25"),
        ("tokens", -0.3, None, "More data want lower lr: D to the power −0.3"),
        ("tokens", 0.3, (None, None), "More data want higher lr: D to the power 0.3"),
        ("tokens", 0.3, (-0.1, 0.7), "No trend of the best lr with D is shown"),
        ("size", 0.3, (0.0, 0.7), "No trend of the best lr with N is shown"),
        ("size", None, (0.1, 0.7), "The best lr at every size and budget"),
    ],
)
def test_the_title_says_what_the_law_shows(along: str, exponent: float | None, interval: Any, finding: str) -> None:
    law = {"exponents": {along: exponent}, "exponent_intervals": {along: interval}}
    assert _finding("lr", along, BY, law, []) == finding


@pytest.mark.parametrize(
    ("edges", "finding"),
    [
        (("high", "high", ""), "The best lr is the highest tried in 2 of 3 cells"),
        (("low", "low", "low"), "The best lr is the lowest tried in 3 of 3 cells"),
        (("high", "low"), "The best lr at every size and budget"),
        (("", "", "high"), "The best lr at every size and budget"),
    ],
)
def test_without_a_law_the_title_says_where_the_best_values_lie(edges: tuple[Any, ...], finding: str) -> None:
    optima = [KnobOptimum("lr", 0.1, (0.01, 0.1), edge) for edge in edges]
    assert _finding("lr", "size", BY, None, optima) == finding


def test_an_axis_of_levels_is_logarithmic_from_a_factor_of_five_and_has_its_ticks_at_them() -> None:
    assert [knob_axis(levels, "lr").log for levels in ([1, 4.9], [1, 5], [0, 100], [-5, 5])] == [
        False, True, False, False,
    ]  # fmt: skip
    axis = knob_axis([4.0, 1.0, 16.0, 4.0], "batch")
    assert (axis.title, axis.marks) == ("batch", (1.0, 4.0, 16.0))
    assert [text for _, text in axis.ticks(2)] == ["1", "4", "16"]
    assert cell_key(1e6, 2_000) == "c1e+06-2000"


def test_shades_go_from_dark_to_light_and_a_single_one_is_readable() -> None:
    assert [stroke(rank, 8) for rank in range(8)] == [f"s{k}" for k in range(8)]
    assert [fill(rank, 2) for rank in range(2)] == ["f0", "f7"]
    assert stroke(0, 1) == "s2"
    assert [heat(excess) for excess in (0.0, 0.001, 0.0011, 0.03, 0.06)] == [0, 0, 1, 5, 6]
    assert most_even([1, 2, 3], 3) == [1, 2, 3]
    assert most_even(list(range(11)), 3) == [0, 5, 10]


def cell(n: float, d: float, *, fitted: float | None = None, edge: Any = "", best: Any = 0.1) -> Any:
    optimum = KnobOptimum("lr", best, (0.05, 0.1, 0.2), edge, fitted, fitted and fitted / 2, fitted and fitted * 2)
    return SimpleNamespace(cell={"size": n, "tokens": d}, supported=fitted is not None, knob=lambda name: optimum)


def test_the_best_values_are_shown_against_the_axis_that_the_law_depends_on_most() -> None:
    optima = [cell(1e6, 1e8, fitted=0.08), cell(1e6, 1e9, edge="high", best=0.2), cell(4e6, 1e8, fitted=0.12)]
    law = {"coefficient": 0.1, "exponents": {"size": 0.1, "tokens": -0.4}}
    card = optimum_card(BY, "lr", optima, law, "k")
    assert card is not None
    assert card.title == "More data want lower lr: D to the power −0.4"
    assert card.subtitle == "Colour: size, dark few, light many. Lines: the law; shaded: its 95 % band."
    assert card.caption == (
        "3 cells. Diamonds: fitted optimum with its 95 % interval; hollow: best value tried. "
        "In 1 of 3 the best value is the lowest or highest tried."
    )
    assert card.alt == "Best lr in 3 cells."
    assert card.sheet is not None
    assert card.sheet.heads == ("size", "tokens", "best_lr", "fitted", "low", "high")
    assert card.sheet.rows[0] == (1e6, 1e8, 0.1, 0.08, 0.04, 0.16)
    assert card.sheet.rows[1] == (1e6, 1e9, 0.2, None, None, None)
    drawn = card.drawings[0]
    assert drawn.count("optimum 0.08") == drawn.count("optimum 0.12") == 1
    assert "best tried 0.2, the highest tried" in drawn
    without = optimum_card(BY, "lr", [cell(1e6, 1e8, fitted=0.08), cell(4e6, 1e8, fitted=0.12)], None, "k")
    assert without is not None
    assert (without.title, without.subtitle) == (
        "The best lr at every size and budget", "Colour: tokens, dark few, light many.",
    )  # fmt: skip
    assert "lowest or highest" not in without.caption


def test_a_knob_without_levels_to_compare_has_no_card() -> None:
    assert optimum_card(BY, "lr", [], None, "k") is None
    assert optimum_card(BY, "lr", [cell(1e6, 1e8, best="adamw")], None, "k") is None
    one = KnobOptimum("lr", 0.1, (0.1,), "")
    single: Any = SimpleNamespace(cell={"size": 1.0, "tokens": 1.0}, supported=False, knob=lambda name: one)
    assert optimum_card(BY, "lr", [single], None, "k") is None


def family(**columns: Any) -> Any:
    base = {"size": [1e6] * 3 + [4e6] * 3, "tokens": [1e8] * 6, "lr": [0.05, 0.1, 0.2] * 2}
    return SimpleNamespace(settings=pl.DataFrame({**base, "loss": [3.3, 3.0, 6.0, 2.2, 2.0, 2.1], **columns}))


def test_losses_are_shown_above_the_best_of_their_cell() -> None:
    optima = [cell(1e6, 1e8), cell(4e6, 1e8, edge="low")]
    card = sweep_card(family(), BY, "lr", optima, "k")
    assert card is not None
    assert card.title == "The best lr lies inside the grid in 1 of 2 cells"
    assert card.caption == "6 settings, means over seeds. 1 setting above the frame."
    assert card.alt == "Loss above the best against lr, 2 lines."
    assert card.sheet is not None
    assert card.sheet.heads == ("size", "tokens", "lr", "loss", "excess")
    excess = [row[-1] for row in card.sheet.rows]
    assert excess == pytest.approx([0.1, 0.0, 1.0, 0.1, 0.0, 0.05])
    assert "size 1 M, 100 M tokens, lr 0.1: loss 3.0000" in card.drawings[0].replace("\N{NO-BREAK SPACE}", " ")


def test_what_does_not_vary_within_a_cell_is_no_sweep() -> None:
    optima = [cell(1e6, 1e8), cell(4e6, 1e8)]
    assert sweep_card(family(lr=[0.1] * 6), BY, "lr", optima, "k") is None
    assert sweep_card(family(lr=["a", "b", "c"] * 2), BY, "lr", optima, "k") is None
    assert sweep_card(family(lr=[0.1] * 3 + [0.2] * 3), BY, "lr", optima, "k") is None
    many = pl.DataFrame(
        {"size": [float(k // 2 + 1) for k in range(24)], "tokens": 1e8, "lr": [0.1, 0.2] * 12, "loss": 2.0}
    )
    card = sweep_card(SimpleNamespace(settings=many), BY, "lr", optima, "k")  # type: ignore[arg-type]
    assert card is not None
    assert card.caption == "20 settings, means over seeds. 2 cells not drawn."


@pytest.mark.heavy
def test_of_very_many_cells_some_are_drawn_and_the_caption_says_so() -> None:
    """The law, the title and the edges are of all of them."""
    n, d = [1e6 * (1 + k) for k in range(80)], [1e8 * (1 + k) for k in range(40)]
    optima = [cell(a, b, fitted=0.1 if a < 4e7 else None, edge="high") for a in n for b in d]
    card = optimum_card(BY, "lr", optima, None, "k")
    assert card is not None
    assert card.sheet is not None
    assert (card.title, card.alt) == (
        "The best lr is the highest tried in 3200 of 3,200 cells", "Best lr in 3,200 cells."
    )  # fmt: skip
    assert f"{MOST_DOTS:,} of 3,200 are drawn and in the table. In 3200 of 3200 the best" in card.caption
    assert len(card.sheet.rows) == MOST_DOTS
    assert {card.sheet.rows[0][:2], card.sheet.rows[-1][:2]} == {(n[0], d[0]), (n[-1], d[-1])}
    for drawing in card.drawings:
        assert drawing.count("best tried") == MOST_DOTS
    few = optimum_card(BY, "lr", optima[:MOST_DOTS], None, "k")
    assert few is not None
    assert "drawn" not in few.caption


@pytest.mark.heavy
def test_of_very_many_settings_some_are_drawn_and_listed() -> None:
    lr = [1e-3 * 1.01**k for k in range(700)]
    sizes = [1e6 * (1 + k) for k in range(12)]
    settings = pl.DataFrame(
        {"size": [n for n in sizes for _ in lr], "tokens": 1e8, "lr": lr * len(sizes)}
    ).with_columns(loss=2.0 + 0.1 * (pl.col("lr") - 0.1) ** 2)
    card = sweep_card(SimpleNamespace(settings=settings), BY, "lr", [], "k")  # type: ignore[arg-type]
    assert card is not None
    assert card.sheet is not None
    assert card.caption.startswith(
        f"7,000 settings, means over seeds. {MOST_DOTS:,} of 7,000 are drawn and in the table."
    )
    assert "2 cells not drawn, nor in the table." in card.caption
    assert len(card.sheet.rows) == MOST_DOTS
    for drawing in card.drawings:
        assert drawing.count("<circle") == MOST_DOTS


def test_cells_with_one_value_of_a_knob_have_no_best_one() -> None:
    one = KnobOptimum("lr", 0.3, (0.3,), "")
    alone: Any = SimpleNamespace(cell={"size": 9e6, "tokens": 1e8}, supported=False, knob=lambda name: one)
    optima = [cell(1e6, 1e8), alone, cell(4e6, 1e8, edge="low")]
    runs = family().settings.vstack(pl.DataFrame({"size": [9e6], "tokens": [1e8], "lr": [0.3], "loss": [1.9]}))
    swept = sweep_card(SimpleNamespace(settings=runs), BY, "lr", optima, "k")  # type: ignore[arg-type]
    assert swept is not None
    assert swept.sheet is not None
    assert swept.title == "The best lr lies inside the grid in 1 of 2 cells"
    assert swept.caption.endswith("1 setting above the frame. 1 cell with one value of lr left out.")
    assert {row[0] for row in swept.sheet.rows} == {1e6, 4e6}
    best = optimum_card(BY, "lr", optima, None, "k")
    assert best is not None
    assert best.sheet is not None
    assert best.caption.startswith("2 cells.")
    assert best.caption.endswith("1 cell with one value of lr left out.")
    assert {row[0] for row in best.sheet.rows} == {1e6, 4e6}
