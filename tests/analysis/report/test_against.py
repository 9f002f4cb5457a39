"""Another recipe in the report: the answer of `compare_recipes`, on the page, in its JSON and in the picture."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.recipes.comparison import compare_recipes
from sweeplaw.analysis.report.panels.against import against_card
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy  # pages are drawn

SWEEP = """
name = "{name}"
workload = "surrogate"
seeds = 3
[scientific]
params = [1e7, 1e8, 1e9]
tokens = [1e9, 1e10]
[nuisance]
lr = [1e-3, 1e-2]
[fixed]
noise = 0.001
batch_sequences = 512
weight_decay = {decay}
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("against")
    for name, decay in (("first", 0.1), ("se<b>cond", 0.4)):
        made = plan(parse(SWEEP.format(name="s", decay=decay)))
        launch(made, Store.open(folder / name, create=True), profile.load("inline"))
    return str(folder / "first"), str(folder / "se<b>cond")


def test_the_page_and_its_json_have_the_comparison_to_the_last_digit(stores: tuple[str, str], tmp_path: Path) -> None:
    first, second = stores
    done = CliRunner().invoke(app, ["report", first, "--compare", second, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    (found,) = compare_recipes(first, second)
    values = json.loads((tmp_path / "report.json").read_text())["against"]
    assert values["overall"]["difference"] == found.overall.difference
    assert [one["size"] for one in values["by_size"]] == [1e7, 1e8, 1e9]
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="against">') :].split("</section>")[0]
    assert "se<b>cond" not in page
    assert "they differ in weight_decay 0.1 and 0.4" in section
    assert f"{found.overall.difference:+.4g}" in section
    assert not re.search(r"\de-\d", re.sub(r"<svg.*?</svg>|href=\"data:[^\"]*\"", "", section, flags=re.DOTALL))


def test_a_store_against_itself_is_one_sentence_without_a_table(stores: tuple[str, str], tmp_path: Path) -> None:
    first, _ = stores
    done = CliRunner().invoke(app, ["report", first, "--compare", first, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="against">') :].split("</section>")[0]
    assert f"Both are the same source, {first}, so there is nothing to compare" in section
    assert "<table" not in section
    assert "p, corrected" not in section


def test_the_picture_has_a_mark_and_an_interval_for_each_size(stores: tuple[str, str]) -> None:
    (found,) = compare_recipes(*stores)
    card = against_card(found, "k")
    assert card is not None
    assert found.overall.difference > 0
    assert card.title.startswith("The first is better: 0.0")
    assert card.sheet is not None
    assert [row[0] for row in card.sheet.rows] == [1e7, 1e8, 1e9]
    for drawing in card.drawings:
        assert drawing.count('class="wh ') == drawing.count('class="pt ') + drawing.count('class="p pt ') == 3


def test_another_source_without_equal_runs_is_refused(stores: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("N,D,val_loss\n1,2,3\n")
    done = CliRunner().invoke(
        app, ["report", stores[0], "--compare", str(tmp_path / "other.csv"), "--out", str(tmp_path)]
    )
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "report.html").exists()


def test_options_of_another_command_are_said_to_be_its(
    stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeplaw.analysis.report.report.fit_laws", lambda *_: pytest.fail("a law was fitted"))
    (tmp_path / "other.csv").write_text("width,val_loss\n1,3\n1,3\n")
    found = {"other.csv": "no knob is common to both", "far": "no params is common to both"}
    made = plan(parse(SWEEP.format(name="s", decay=0.1).replace("1e7, 1e8, 1e9", "2e7")))
    launch(made, Store.open(tmp_path / "far", create=True), profile.load("inline"))
    for name, fault in found.items():
        words = ["report", stores[0], "--compare", str(tmp_path / name), "--out", str(tmp_path / "out")]
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, InputError)
        assert error.faults[0].startswith(fault)
        option = {"other.csv": "--on", "far": "--with"}[name]
        assert error.hints[-1] == (
            f"a report has no {option}: `sweeplaw compare`, which takes the same two sources, has"
        )


def test_damage_in_the_other_source_is_said_and_ends_with_its_exit_code(
    stores: tuple[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(stores[1], other)
    part = min((other / "trials").glob("*.parquet"))
    (other / "trials" / "zz.parquet").write_bytes(part.read_bytes()[:100])
    done = CliRunner().invoke(app, ["report", stores[0], "--compare", str(other), "--out", str(tmp_path)])
    assert done.exit_code == 3, done.output
    assert "trials/zz.parquet" in done.stderr
    assert "trials/zz.parquet" in (tmp_path / "report.html").read_text()
