"""The section of a report on sweeps that search: its path, recommendations, certificates, and what was stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report import page, report
from sweeplaw.analysis.report.charts.dots import MOST_DOTS
from sweeplaw.analysis.report.panels.search import search_cards
from sweeplaw.analysis.report.paper.search_figures import search_figures
from sweeplaw.analysis.report.search_section import Proposed, SearchSection, search_sections, search_values
from sweeplaw.analysis.tables.display import finite
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import Tables, load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store

BY = Axes("params", "tokens", "val_loss", (), ())
SWEEP = """
name = "{kind}"
workload = "surrogate"
[search]
kind = "{kind}"
{more}
[scientific]
params = {{ log = [1e7, 1e8], num = 2 }}
tokens = [1e9, 4e9]
[nuisance]
lr = {{ log = [1e-4, 3e-1], num = 8 }}
batch_sequences = [32, 64, 128, 256, 512, 1024]
[fixed]
noise = 0.001
"""
STOPPING = """
samples = 12
[search.early_stopping]
checks = 2
"""


def searched(folder: Path, kind: str, more: str) -> Path:
    launch(
        plan(parse(SWEEP.format(kind=kind, more=more))), Store.open(folder / kind, create=True), Profile(kind="inline")
    )
    return folder / kind


def values_of(store: Path) -> dict[str, Any]:
    (section,) = report.make(store).searches
    return search_values(section)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("report"), "local", "[budget]\ntrials = 120")


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("report"), "random", STOPPING)


@pytest.mark.heavy
def test_the_path_accounts_for_every_flop_and_its_best_is_the_best_of_the_store(local: Path) -> None:
    found = values_of(local)
    rows = load(local).trials.collect()
    assert found["flops"] == pytest.approx(rows["flops"].sum())
    assert sorted(one["number"] for one in found["path"]) == list(range(rows.height))
    spent = [one["spent_flops"] for one in found["path"]]
    assert spent == sorted(spent)
    least = rows.group_by("params", "tokens").agg(pl.col("val_loss").min()).sort("params", "tokens")
    last = {(one["point"]["params"], one["point"]["tokens"]): one["best"] for one in found["path"]}
    assert [last[key] for key in sorted(last)] == least["val_loss"].to_list()


@pytest.mark.heavy
def test_every_recommendation_of_a_local_search_has_its_certificate(local: Path) -> None:
    found = values_of(local)
    rows = load(local).trials.collect()
    assert len(found["recommended"]) == 4
    for one in found["recommended"]:
        there = rows.filter(pl.col("params") == one["point"]["params"], pl.col("tokens") == one["point"]["tokens"])
        best = there.sort("val_loss").row(0, named=True)
        assert one["certified"] is True
        assert one["knobs"] == {"batch_sequences": best["batch_sequences"], "lr": best["lr"]}
        assert ("batch_sequences" in one["edges"]) == (best["batch_sequences"] in (32, 1024))
        assert "no neighbour of" in one["basis"]


@pytest.mark.heavy
def test_a_law_guided_search_recommends_with_interval_and_trust(tmp_path: Path) -> None:
    found = values_of(searched(tmp_path, "law", "[budget]\ntrials = 40"))
    assert "lr ~ params^" in found["belief"]
    for one in found["recommended"]:
        low, high = one["intervals"]["lr"]
        assert low <= one["knobs"]["lr"] <= high
        assert 0 < one["trust"] <= 1
        assert one["certified"] is None


@pytest.mark.heavy
def test_what_was_stopped_has_a_prediction_and_counts_nowhere_as_a_loss(stopping: Path) -> None:
    made = report.make(stopping)
    found = search_values(made.searches[0])
    rows = load(stopping, states=None).trials.collect()
    assert len(found["stopped"]) == rows.filter(pl.col("state") == "stopped").height > 0
    for one in found["stopped"]:
        assert one["value"] is None
        assert one["predicted"] > one["best"]
        assert "is predicted as" in one["reason"]
        partial = rows.filter(pl.col("trial_id") == one["trial_id"]).row(0, named=True)
        assert one["flops"] == pytest.approx(partial["flops"] * partial["last_step"] / partial["steps"])
    lowest = rows.filter(pl.col("state") == "completed").group_by("params", "tokens").agg(pl.col("val_loss").min())
    assert sorted(made.searches[0].best.values()) == sorted(lowest["val_loss"].to_list())
    assert made.sections[0].family.trials.height == (rows["state"] == "completed").sum()


@pytest.mark.heavy
def test_the_page_shows_the_section_and_json_has_its_values(stopping: Path, tmp_path: Path) -> None:
    made = report.make(stopping)
    html, data = page.write(made, tmp_path)
    text = html.read_text()
    for words in ("Search: random", "Stopped early", "which is no result", "Recommended settings", "Why each of the"):
        assert words in text
    values = json.loads(data.read_text())["searches"]
    assert values == json.loads(json.dumps(finite([search_values(made.searches[0])])))
    assert {"search_path", "search_surface"} == search_figures(made.searches[0]).keys()
    for name in ("regret", "proposals", "maps"):
        assert text.count(f'id="search0-{name}"') == 1


@pytest.mark.heavy
def test_the_cards_show_every_proposal_once_and_what_was_stopped_as_a_prediction(stopping: Path) -> None:
    (section,) = report.make(stopping).searches
    regret, proposals, maps = search_cards(section, "s")
    finished = [one for one in section.path if one.value is not None]
    stopped = [one for one in section.path if one.state == "stopped"]
    for drawing in proposals.drawings:
        assert drawing.count('class="p pt') == len(finished)
        assert drawing.count('class="p hollow') == drawing.count("predicted when it was stopped") == len(stopped)
    (every,) = maps.drawings
    assert every.count('class="p exx"') == len(section.path) - len(finished)
    assert every.count("recommended: ") == len(section.state.recommended) == len(section.best) == 4  # type: ignore[union-attr]
    assert regret.drawings[0].count('<path class="cur') == len(section.best)
    assert regret.sheet is not None
    assert [row[4] for row in regret.sheet.rows] == [one.best for one in section.path]


def test_a_search_without_a_finished_proposal_has_no_cards() -> None:
    assert search_cards(SearchSection("s", "val_loss", False, ("params",), ("lr",), (), {}, None), "s") == []


def made(values: list[float | None], knobs: list[Any] | None = None, name: str = "b", **more: Any) -> SearchSection:
    """Return a search of one point for each two proposals, with these values in their order."""
    best: dict[str, float] = {}
    path = []
    for k, value in enumerate(values):
        one = Proposed(
            k, {"N": 10 ** (k // 2)}, {"lr": k + 1.0, name: knobs[k] if knobs else k + 1.0}, "completed", value, None,
            more.get("flops", 1e18), "", f"t{k}", k, (k + 1) * 1e18,
        )  # fmt: skip
        if value is not None:
            best[one.at] = (max if more.get("maximize") else min)(best.get(one.at, value), value)
        path.append(replace(one, best=best.get(one.at)))
    return SearchSection("s", "accuracy", bool(more.get("maximize")), ("N",), ("lr", name), tuple(path), best, None)


@pytest.mark.parametrize("values", [[1.7e308, -1.7e308], [1e-310, 2.0], [0.0, 1e300], [-3.0, -3.0]])
@pytest.mark.parametrize(
    "knobs", [[1e-300, 1e300], [5e-324, 1.7e308], [10**400, 1], [math.nan, 1.0], [-1.7e308, 1.7e308]]
)
def test_values_and_knobs_as_far_apart_as_doubles_are_drawn(values: list[float | None], knobs: list[Any]) -> None:
    for one in search_cards(made(values, knobs), "s"):
        for drawing in one.drawings:
            ElementTree.fromstring(drawing)


def test_the_words_of_the_cards_are_true_of_what_is_drawn() -> None:
    regret, proposals, maps = search_cards(made([0.0, 1.0, None, None, 2.0, 3.0], maximize=True, name="CLIP"), "s")
    assert regret.title == "6 proposals over 3 points"
    assert "as a share below the best of its point in the end" in regret.subtitle
    assert "in the order of their ends. 1 more point not drawn." in regret.caption
    assert proposals.title == "The proposals in their order"
    assert "2 at points that are not drawn" in proposals.caption
    assert "over lr and CLIP" in maps.title
    assert all(">CLIP</text>" in drawing for drawing in maps.drawings)
    zero = search_cards(made([0.0, 1.0], flops=None), "s")[0]
    assert zero.caption.endswith("Where the best is 0, 1 % is a difference of 0.01: N 1.")


@pytest.mark.heavy
def test_of_very_many_proposals_some_are_drawn_and_the_captions_say_so() -> None:
    one = made([1.0, 2.0])
    path = [
        replace(one.path[0], number=k, knobs={"lr": k + 1.0, "b": k + 1.0}, value=1 + 1 / (k + 1))
        for k in range(2 * MOST_DOTS)
    ]
    regret, proposals, maps = search_cards(replace(one, path=tuple(path)), "s")
    assert proposals.caption.endswith(f"finished proposals. {MOST_DOTS:,} of {2 * MOST_DOTS:,} are drawn.")
    assert f"Of a map at most {MOST_DOTS:,} are drawn" in maps.caption
    for card in (proposals, maps):
        assert card.drawings[0].count("<circle") == MOST_DOTS
    assert "drawn" not in regret.caption
    assert all("in the table" not in card.caption for card in (regret, proposals, maps))
    more = search_cards(replace(one, path=tuple(path * 2)), "s")
    for card in (more[0], more[2]):
        assert "5,000 of 6,000 proposals are in the table; the store has all." in card.caption
        assert card.sheet is not None
        assert (len(card.sheet.rows), card.sheet.rows[-1][0]) == (5000, path[-1].number)


def test_proposals_of_a_table_without_a_state_or_with_half_a_character_are_told() -> None:
    rows = pl.DataFrame({
        "search_number": [0, 1], "sweep": "s", "state": [None, "failed"], "trial_id": ["a", "b"],
        "search_setting": r'{"lr": "\ud800"}', "val_loss": [1.0, 2.0],
    })  # fmt: skip
    (section,), _ = search_sections("no such store.csv", Tables(rows.lazy(), rows.lazy(), {}, "s.csv"), rows, BY)
    values = search_values(section)
    assert values["states"] == {"failed": 1, "unknown": 1}
    assert values["path"][0]["knobs"] == {"lr": "?"}


@pytest.mark.heavy
def test_the_lines_of_the_figure_are_the_regret_of_each_point(local: Path) -> None:
    (section,) = report.make(local).searches
    left, right = search_figures(section)["search_path"].axes
    for (_, ran), line in zip(section.points.items(), left.lines, strict=True):
        losses = [one.best for one in ran if one.best is not None]
        drawn = np.asarray(line.get_ydata()).tolist()
        assert drawn[:-1] == pytest.approx([max(100 * (loss / losses[-1] - 1), 0.01) for loss in losses])
        assert np.asarray(line.get_xdata())[-1] == section.path[-1].spent
    assert sum(np.asarray(line.get_xdata()).size for line in right.lines) == len(section.path)


@pytest.mark.heavy
def test_an_exported_table_keeps_the_path_without_the_state_of_the_search(local: Path, tmp_path: Path) -> None:
    load(local, states=None).trials.collect().write_parquet(tmp_path / "t.parquet")
    (section,) = report.make(tmp_path / "t.parquet").searches
    found, whole = search_values(section), values_of(local)
    assert found["kind"] is None
    assert found["recommended"] == []
    assert [(one["number"], one["value"], one["reason"]) for one in found["path"]] == [
        (one["number"], one["value"], one["reason"]) for one in whole["path"]
    ]


@pytest.mark.heavy
def test_a_damaged_state_is_named_and_the_rest_of_the_section_stands(tmp_path: Path) -> None:
    store = searched(tmp_path, "local", "[budget]\ntrials = 12")
    (file,) = (store / "searches").iterdir()
    file.write_text("{")
    made = report.make(store)
    assert any(f"searches/{file.name}" in fault for fault in made.faults)
    assert len(made.searches[0].path) == 12
    assert page.page(made, finite(report.report_values(made)))


@pytest.mark.heavy
def test_a_grid_has_no_such_section(tmp_path: Path) -> None:
    assert report.make(searched(tmp_path, "grid", "")).searches == ()


@pytest.mark.heavy
def test_a_maximized_metric_is_best_where_it_is_largest(tmp_path: Path) -> None:
    more = "maximize = true\n[budget]\ntrials = 30"
    found = values_of(searched(tmp_path, "tpe", more))
    for one in found["path"]:
        assert one["best"] >= one["value"]
        assert math.isfinite(one["best"])
    assert found["maximize"] is True
