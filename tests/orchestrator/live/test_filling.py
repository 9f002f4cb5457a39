"""The map of settings of a live page: what a square counts, where it stands, its words, of trials planted by hand."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report.charts.chart import LETTER
from sweeplaw.orchestrator.live.cells import cells
from sweeplaw.orchestrator.live.filling import MOST_LEVELS, MOST_ROWS, Square, filling, filling_card, legend
from sweeplaw.orchestrator.live.overview import Overview
from tests.orchestrator.live.test_pieces import BY, NOTHING, NOW, pack

COLUMNS = ["trial_id", "params", "tokens", "lr", "batch", "seed", "state", "final", "val_loss"]
ROWS = pl.DataFrame(
    [
        ("a", 1e6, 1e9, 0.1, 8, 0, "completed", True, 3.0),
        ("b", 1e6, 1e9, 0.1, 8, 1, "completed", True, 2.0),  # the mean over seeds of this setting is 2.5
        ("c", 1e6, 1e9, 0.1, 16, 0, "completed", True, 2.6),
        ("d", 1e6, 1e9, 0.2, 8, 0, "diverged", True, None),
        ("e", 1e6, 1e9, 0.2, 16, 0, "failed", True, None),
        ("f", 2e6, 1e9, 0.1, 8, 0, "completed", True, 2.4),
        ("g", 2e6, 1e9, 0.2, 8, 0, "failed", False, 1.0),
        ("h", 2e6, 1e9, 0.2, 16, 0, "completed", True, float("inf")),
    ],
    COLUMNS,
    orient="row",
)


def overview(rows: pl.DataFrame = ROWS, knobs: tuple[str, ...] = ("batch", "lr"), packs: Any = ()) -> Overview:
    by = dataclasses.replace(BY, knobs=knobs)
    points = [{"params": 1e6, "tokens": 1e9, "trials": 5}, {"params": 2e6, "tokens": 1e9, "trials": 9}]
    found = cells(rows, by, [{"sweep": "x", "points": points}], open_=True, running=False)
    return Overview("s", "m", NOW, rows, dataclasses.replace(NOTHING, packs=packs), by, found, ())


def test_a_square_has_the_counts_the_mean_loss_and_a_trial_of_its_best_setting() -> None:
    running = (pack("x", 1, params=2e6, tokens=1e9, lr=0.2, batch=16), pack("y", 1, params=1e6))
    made = filling(overview(packs=running), ROWS)
    assert made.across == ("lr", (0.1, 0.2))
    assert made.second == ("batch", (8, 16))
    assert made.squares == {
        (1e6, 1e9, 0.1, 8): Square(2, 0, 2, 2.5, "b"),
        (1e6, 1e9, 0.1, 16): Square(1, 0, 1, 2.6, "c"),
        (1e6, 1e9, 0.2, 8): Square(0, 1, 1, None, "d"),
        (1e6, 1e9, 0.2, 16): Square(0, 0, 1, None, "e"),
        (2e6, 1e9, 0.1, 8): Square(1, 0, 1, 2.4, "f"),
        (2e6, 1e9, 0.2, 8): Square(0, 0, 0, None, "g"),
        (2e6, 1e9, 0.2, 16): Square(1, 0, 1, None, "h"),
    }
    assert made.running == {(2e6, 1e9, 0.2, 16)}
    assert [row["best_mean"] for row in made.rows] == [2.5, 2.4]
    assert made.hidden == 0


def test_further_knobs_are_at_their_best() -> None:
    by_lr = filling(overview(knobs=("lr",)), ROWS)
    assert (by_lr.across, by_lr.second) == (("lr", (0.1, 0.2)), None)
    square = by_lr.squares[1e6, 1e9, 0.1, None]
    assert dataclasses.replace(square, loss=None) == Square(3, 0, 3, None, "b")
    assert square.loss == pytest.approx((3.0 + 2.0 + 2.6) / 3)
    none = filling(overview(knobs=()), ROWS)
    assert (none.across, none.second) == (None, None)
    assert none.squares[1e6, 1e9, None, None].ended == 5
    depth = ROWS.with_columns(depth=pl.int_range(pl.len()))
    many = filling_card(overview(depth, ("batch", "depth", "lr")), depth, "map")
    assert many is not None
    assert many.subtitle.startswith(
        "lr across, 8 squares each (on a narrow page one, at the best depth): depth from 0 to 7. "
    )
    assert many.subtitle.endswith("Colour: loss above the best of its row; batch at their best.")


def test_the_card_says_what_is_drawn() -> None:
    found = filling_card(overview(), ROWS, "map")
    assert found is not None
    assert found.title == "1 of 2 cells is complete"
    squares = "lr across, 2 squares each (on a narrow page one, at the best batch): batch 8 and 16."
    assert found.subtitle == f"{squares} Colour: loss above the best of its row."
    assert found.caption.endswith("or none was planned.")
    narrowed = filling_card(overview(), ROWS.head(2), "map")
    assert narrowed is not None
    assert narrowed.caption.endswith("or none was planned, or WHERE leaves them out.")
    assert found.alt == "A row for each of 2 cells, 1 of 2 complete."
    assert found.sheet is not None
    wide, narrow = found.drawings
    titles = re.findall("<title>(.*?)</title>", wide)
    assert [title.replace("\xa0", " ") for title in titles] == [
        "1 M parameters, 1 B tokens, lr 0.1, batch 8: loss 2.5000, 0 % above the best, 2 runs",
        "1 M parameters, 1 B tokens, lr 0.1, batch 16: loss 2.6000, 4 % above the best, 1 run",
        "1 M parameters, 1 B tokens, lr 0.2, batch 8: 1 diverged, 0 not completed",
        "1 M parameters, 1 B tokens, lr 0.2, batch 16: 0 diverged, 1 not completed",
        "2 M parameters, 1 B tokens, lr 0.1, batch 8: loss 2.4000, 0 % above the best, 1 run",
        "2 M parameters, 1 B tokens, lr 0.2, batch 16: 0 diverged, 1 not completed",
    ]
    assert re.findall(r'<a href="trial/(\w)"', wide) == list("bcdefh")
    assert re.findall(r'<a href="trial/(\w)"', narrow) == ["b", "d", "f", "h"], "the best of all second levels"
    assert (wide.count('class="top1"'), wide.count('class="wait"')) == (2, 2)
    words = [re.sub("<.*?>", "", text).replace("\xa0", " ") for text in re.findall("<text .*?</text>", wide)]
    assert words == ["0.1", "0.2", "best", "1 M · 1 B", "5 of 5 · 2.000", "2 M · 1 B", "2 of 9 · 2.400"]
    words = [re.sub("<.*?>", "", text).replace("\xa0", " ") for text in re.findall("<text .*?</text>", narrow)]
    assert words == ["0.1", "0.2", "best", "1 M · 1 B", "2.000", "2 M · 1 B", "2.400"]


def test_labels_of_long_levels_do_not_touch() -> None:
    levels = [float(f"{value:.3g}") for value in np.geomspace(1e-4, 3e-2, 11)]
    rows = pl.concat(
        [ROWS.head(1).with_columns(lr=pl.lit(lr), trial_id=pl.lit(f"t{k}")) for k, lr in enumerate(levels)]
    )
    card = filling_card(overview(rows, ("lr",)), rows, "map")
    assert card is not None
    for drawing in card.drawings:
        found = re.findall(r'x="([\d.]+)" y="14.0" text-anchor="(?:middle|end)">([^<]+)<', drawing)
        assert [text for _, text in found][0 :: len(found) - 1] == ["0.0001", "best"]
        widths = [LETTER * len(text) / 2 for _, text in found]
        middles = [float(x) for x, _ in found[:-1]] + [float(found[-1][0]) - widths[-1]]
        for k in range(len(found) - 1):
            assert middles[k] + widths[k] < middles[k + 1] - widths[k + 1]
        assert len(found) > 3


def test_a_running_setting_has_a_frame_whether_it_has_ended_before_or_not() -> None:
    running = tuple(pack(str(lr), 1, params=2e6, tokens=1e9, lr=lr, batch=batch) for lr, batch in ((0.2, 16), (0.2, 8)))
    found = filling_card(overview(packs=running), ROWS, "map")
    assert found is not None
    assert [drawing.count('class="run"') for drawing in found.drawings] == [2, 1]
    assert found.drawings[0].count('class="wait"') == 1


def test_of_many_cells_and_levels_evenly_chosen_ones_are_drawn() -> None:
    count = MOST_ROWS + 3
    rows = pl.concat(
        [ROWS.head(1).with_columns(params=float(n), lr=float(n), trial_id=pl.lit(f"t{n}")) for n in range(1, count + 1)]
    )
    found = overview(rows, ("lr",))
    made = filling(found, rows)
    assert made.across is not None
    assert (len(made.rows), len(made.across[1])) == (MOST_ROWS, min(MOST_LEVELS, count))
    card = filling_card(found, rows, "map")
    assert card is not None
    every = found.cells.frame.height  # type: ignore[union-attr]
    assert made.hidden == every - MOST_ROWS
    assert f" {made.hidden} further cells not drawn, evenly chosen." in card.caption
    assert filling_card(dataclasses.replace(found, by=None), rows, "map") is None
    assert filling_card(dataclasses.replace(found, cells=None), rows, "map") is None


def test_the_legend_names_every_colour_and_mark() -> None:
    words = re.sub("<.*?>", "|", legend()).replace("\xa0", " ")
    named = [word for word in words.split("|") if word]
    assert named[0] == "best"
    assert named[-5:] == ["more", "best of its row", "running", "diverged or failed", "waiting"]
    assert legend().count('<i class="hk') == len(named) - 4
