"""The section of a report on recipes, and its page: what they show, and for which sources there is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from sweeplaw.analysis.recipes.study.distillation import retained_share, retained_shares
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.analysis.report import page, report
from sweeplaw.analysis.report.recipes.cards import _kept, study_panels
from sweeplaw.analysis.report.recipes.figures import study_figures
from sweeplaw.analysis.report.recipes.section import recipes_section, write_figures, write_page
from sweeplaw.analysis.tables.tables import load
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import known, runs

pytestmark = pytest.mark.heavy  # pages are drawn


def losses(noise: float = 0.001) -> pl.DataFrame:
    """Return three recipes and a student."""
    student = {"recipe": ["student"], "N": [3e8], "U": [2e8], "K": [1], "loss": [3.4], "seed": [0]}
    return pl.concat([runs(noise, 2), pl.DataFrame(student)], how="vertical_relaxed")


def written(table: pl.DataFrame, folder: Path) -> Path:
    """Return the path of a table written as CSV."""
    table.write_csv(folder / "losses.csv")
    return folder / "losses.csv"


def test_a_study_has_a_figure_of_each_kind():
    study = recipe_limits(losses(), draws=50)
    found = study_figures(study, retained_shares(study, "student", "joint"))
    assert found.keys() == {"recipes_n", "recipes_k", "recipes_u", "recipes_students"}
    axes = found["recipes_n"].axes
    assert axes[0].get_title(loc="left") == "U = 200M unique tokens"
    labels = axes[0].get_legend_handles_labels()[1]
    assert labels[0] == "standard"
    limit = known(study.recipes["joint"].at(2e8)).value
    assert f"joint, K to infinity: {limit:.3f}" in labels
    multiples = found["recipes_u"].axes[1].get_legend_handles_labels()[1]
    assert multiples == ["regularized", "joint", "student"]


@pytest.mark.parametrize(
    ("least", "count", "title"),
    [
        (0.4, 1, "The student keeps 40 % of the ensemble's gain"),
        (0.4, 2, "Students keep 40 % of the ensemble's gain or more"),
        (-0.4, 1, "The student keeps nothing of the ensemble's gain"),
        (0.0, 3, "Not every student keeps some of the ensemble's gain"),
    ],
)
def test_the_title_says_what_students_keep(least: float, count: int, title: str) -> None:
    assert _kept(least, count).replace("\N{NO-BREAK SPACE}", " ") == title


def test_a_study_without_laws_has_no_figures_and_no_cards():
    one = {"recipe": ["a"], "N": [1e8], "U": [2e8], "loss": [3.0]}
    assert study_figures(recipe_limits(one, draws=0)) == {}
    assert study_panels(recipe_limits(one, draws=0), (), "r") == []


def test_the_cards_of_a_study_have_its_limits_multiples_and_students():
    study = recipe_limits(losses(), draws=50)
    shares = retained_shares(study, "student", "joint")
    cards = {card.key: card for card in study_panels(study, shares, "r")}
    assert list(cards) == [*(f"r-{axis}{k}" for axis in "nk" for k in range(4)), "r-u", "r-multiples", "r-students"]
    limit = known(study.recipes["joint"].at(2e8)).value
    assert cards["r-n0"].title == f"200\N{NO-BREAK SPACE}M unique tokens: joint, K to infinity reaches {limit:.3f}"
    assert all(f"joint, K → ∞: {limit:.3f}" in drawing for drawing in cards["r-n0"].drawings)
    sizes = next(one for one in study.recipes["regularized"].sizes if one.at["U"] == 2e8)
    rows = [row for row in known(cards["r-n0"].sheet).rows if row[0] == "regularized"]
    assert [row[2] for row in rows] == sizes.curve.losses[0].tolist()
    reached = {one.what for one in study.recipes["joint"].reached}
    best = max(known(one.value) for one in study.multiples if one.recipe == "joint" and one.what in reached)
    assert cards["r-multiples"].title == f"Joint is worth up to {best:.3g} times the data"
    (share,) = [one for one in shares if one.share is not None]
    assert known(cards["r-students"].sheet).rows[0][1:] == (share.single, share.student, share.teacher, share.share)


def test_the_names_of_recipes_stay_and_what_no_data_replace_is_said():
    table = runs(0.001, 2).with_columns(
        recipe=pl.col("recipe").replace({"joint": "BERT"}),
        loss=pl.col("loss") - pl.when(pl.col("recipe") == "joint").then(1.0).otherwise(0.0),
    )
    multiples = study_panels(recipe_limits(table, draws=20), (), "r")[-1]
    assert multiples.title == "BERT can be worth more than any amount of data"
    assert "Not drawn, since standard reaches these losses with no amount of data: BERT at U = 800" in multiples.caption
    tiny = study_panels(recipe_limits(losses().with_columns(pl.col("loss") * 1e-6), draws=0), (), "r")
    assert "0.0000" not in "".join(tiny[0].drawings)
    assert len(set(re.findall(r'class="t"[^>]*text-anchor="end">([^<]*)<', tiny[0].drawings[0]))) > 3  # ticks


def test_long_names_of_students_leave_room_for_the_chart():
    shares = [retained_share(3.0, 2.9, 2.5, name="q" * 300)]
    (card,) = study_panels(
        recipe_limits({"recipe": ["a"], "N": [1e8], "U": [2e8], "loss": [3.0]}, draws=0), shares, "r"
    )
    for drawing in card.drawings:
        assert all(float(x) > 0 for x in re.findall(r'cx="([^"]*)"', drawing))
        assert not re.search(r"M(\S+) \S+H-", drawing)


def test_the_report_of_recipes_has_the_section_and_its_values(tmp_path):
    table = losses().with_columns(D="U")
    made = report.make(written(table, tmp_path), loss="loss", x={"N": "N", "D": "D"})
    html, data = page.write(made, tmp_path)
    text, values = html.read_text(), json.loads(data.read_text())["recipes"]
    assert "<h2>Recipes</h2>" in text
    assert "What each recipe reaches, and what it is worth in data" in text
    for name in ("n0", "n3", "k0", "k3", "u", "multiples"):
        assert text.count(f'id="recipes-{name}"') == 1
    assert values["standard"] == "standard"
    assert values["refused"] == ""


def test_a_source_without_recipes_has_no_section_and_one_of_two_validation_sets_a_reason(tmp_path):
    table = losses().with_columns(D="U")
    assert recipes_section(load(written(table.drop("recipe"), tmp_path))) is None
    assert recipes_section(load(written(table.filter(recipe="standard"), tmp_path))) is None
    apart = table.with_columns(validation=pl.col("recipe"))
    found = known(recipes_section(load(written(apart, tmp_path)), "loss"))
    assert found.study is None
    assert "different validation sets" in found.refused
    assert found.cards() == []


def test_a_page_needs_no_other_file_and_says_what_is_compared(tmp_path):
    study = recipe_limits(losses(), draws=50)
    write_page(tmp_path / "page.html", "a & b", study, retained_shares(study, "student", "joint"))
    text = (tmp_path / "page.html").read_text()
    assert "<h1>a &amp; b</h1>" in text
    assert "of the gain retained" in text
    assert not re.search(r"<(link|img)|<script[^>]*src|src=", text)
    with pytest.raises(InputError, match="cannot be written"):
        write_page(tmp_path / "page.html" / "page.html", "x", study)  # its folder is a file
    paths = write_figures(tmp_path / "figures", study, retained_shares(study, "student", "joint"))
    assert {path.name for path in paths} == {f"recipes_{what}.svg" for what in ("n", "k", "u", "students")}
    assert all(ElementTree.parse(path).getroot().tag.endswith("svg") for path in paths)
    with pytest.raises(InputError, match="cannot be made"):
        write_figures(tmp_path / "page.html", study)
