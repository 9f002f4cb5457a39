"""Sections of a report on searches, recipes and tuning, of made-up and planted results, against `drawings.json`.

Where they are meant to change, `python -m tests.analysis.report.test_other_drawings` rewrites it; its diff is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from sweeplaw.analysis.recipes.comparison import RecipeComparison
from sweeplaw.analysis.recipes.study.distillation import retained_shares
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.analysis.report.panels.against import against_card
from sweeplaw.analysis.report.panels.isoflop import curves_card, growth_card
from sweeplaw.analysis.report.panels.search import search_cards
from sweeplaw.analysis.report.paper import finding_figures
from sweeplaw.analysis.report.paper.hyperlaw_figures import importance_bars
from sweeplaw.analysis.report.paper.search_figures import search_figures
from sweeplaw.analysis.report.paper.tuning_figures import expected_best_figure, profile_figure
from sweeplaw.analysis.report.recipes.cards import study_panels
from sweeplaw.analysis.report.recipes.figures import study_figures
from sweeplaw.analysis.report.search_section import SearchSection, search_sections, search_values
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tuning.importance import Importance
from sweeplaw.analysis.tuning.transfer import Transfer
from sweeplaw.trials.store_format.search_state import SearchState
from tests.analysis import laws_of_knobs, test_texts
from tests.analysis.recipes.study.planted import runs
from tests.analysis.report.panels import test_isoflop
from tests.drawings import abridged, card_drawn, drawn
from tests.test_golden import differences

EXPECTED = Path(__file__).with_name("drawings.json")
ROUNDING = 0.005  # of numbers that rest on draws

STATE = SearchState(
    "s", "law", "val_loss", False, 7, 6, {"flops": 1e18}, "what it believes", "it is over",
    ({"N": 1e8, "D": 2e9, "lr": 0.02, "batch": 64, "value": 2.5, "trust": 0.75, "certified": None, "basis": "a law",
      "intervals": {"lr": (0.01, 0.04)}, "edges": {"batch": "low"}},),
)  # fmt: skip


def searched() -> SearchSection:
    """Return a search of two points: one trial was stopped, one failed, one setting has two seeds."""
    rows = [
        (1, 1e8, 0.01, 32, 2.75, "completed", None), (2, 1e8, 0.02, 64, 2.5, "completed", None),
        (2, 1e8, 0.02, 64, 2.53125, "completed", None), (3, 2e8, 0.01, 32, 2.25, "completed", None),
        (4, 1e8, 0.3, 128, None, "stopped", 3.0), (5, 2e8, 0.02, 32, None, "failed", None),
        (6, 2e8, 0.04, 64, 2.125, "completed", None),
    ]  # fmt: skip
    names = ["search_number", "N", "lr", "batch", "val_loss", "state", "predicted_val_loss"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        D=pl.lit(2e9), sweep=pl.lit("s"), trial_id=pl.format("t{}", pl.int_range(7)), search_reason=pl.lit("why"),
        flops=6e9 * pl.col("N"), ended_at=10 - pl.int_range(7),
        search_setting=pl.struct(N="N", D=pl.lit(2e9), lr="lr", batch="batch").struct.json_encode(),
    )  # fmt: skip
    tables = Tables(frame.lazy(), frame.lazy(), {}, "none", ({"sweep": "s"},))
    ((section,), faults) = search_sections("none", tables, frame, Axes("N", "D", "val_loss", (), ("lr", "batch")))
    assert faults == []
    return replace(section, state=STATE)


def search() -> dict[str, Any]:
    section = searched()
    untimed = replace(section, path=tuple(replace(one, spent=None) for one in section.path), state=None)
    figures = {**search_figures(section), "without FLOPs": search_figures(untimed)["search_path"]}
    cards = [card_drawn(card) for one in (section, untimed) for card in search_cards(one, "s")]
    return {
        "values": search_values(section),
        "cards": cards,
        **{name: drawn(figure) for name, figure in figures.items()},
    }


def recipes() -> dict[str, Any]:
    student = {"recipe": ["student"], "N": [3e8], "U": [2e8], "K": [1], "loss": [3.4], "seed": [0]}
    table = runs(0.001, 2, members=(1, 2, 4)).filter(pl.col("U") < 1e9, pl.col("N") < 1e9)
    study = recipe_limits(pl.concat([table, pl.DataFrame(student)], how="vertical_relaxed"), draws=20)
    shares = retained_shares(study, "student", "joint")
    figures = {name: drawn(figure) for name, figure in study_figures(study, shares).items()}
    cards = [card_drawn(card) for card in study_panels(study, shares, "r")]
    return {"values": study.to_dict(), "cards": cards, "text": study.summary().splitlines(), **figures}


def against() -> dict[str, Any]:
    found = cast(RecipeComparison, test_texts.RESULTS["comparison"])
    sizes = tuple(replace(one, size=1e8 * 2**k) for k, one in enumerate(found.by_size))
    card = against_card(replace(found, by_size=sizes), "k")
    assert card is not None
    return card_drawn(card)


def tuning() -> dict[str, Any]:
    one = cast(Any, laws_of_knobs.RESULTS["tuning by one loss"])
    shares = cast(Importance, test_texts.RESULTS["importance"])
    everywhere = replace(shares, cell={})
    figures = {
        "two": expected_best_figure(laws_of_knobs.TUNED), "one": expected_best_figure(one),
        "profile": profile_figure(cast(Transfer, test_texts.RESULTS["transfer"])),
        "importance": importance_bars([shares, everywhere]), "of four": importance_bars([shares] * 4),
    }  # fmt: skip
    return {name: drawn(figure) for name, figure in figures.items()}


def isoflop() -> dict[str, Any]:
    curves = test_isoflop.found()
    cards = [curves_card(curves, test_isoflop.BY, "i"), growth_card(curves, test_isoflop.BY, (0.5, 0.4, 0.6), "g")]
    figures = [finding_figures.isoflop(curves, test_isoflop.BY), finding_figures.growth(curves, test_isoflop.BY)]
    return {"cards": [card_drawn(one) for one in cards if one], "figures": [drawn(one) for one in figures]}


MADE: dict[str, Callable[[], dict[str, Any]]] = {
    "search": search, "recipes": recipes, "against": against, "tuning": tuning,
    "isoflop": isoflop,
}  # fmt: skip


def said(name: str) -> Any:
    return abridged(json.loads(json.dumps(MADE[name](), default=str)))


@pytest.mark.heavy
@pytest.mark.parametrize("name", MADE)
def test_a_section_says_and_draws_what_it_is_meant_to(name: str) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))[name]
    assert list(differences(expected, said(name), exact=False, relative=ROUNDING, absolute=1e-7)) == []


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(said(name), ensure_ascii=False)}" for name in MADE)
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
