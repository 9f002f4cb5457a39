"""The report as Markdown and its tables as LaTeX say what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.dom.minidom
from html import escape as html_text
from pathlib import Path

import polars as pl
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from sweeplaw.analysis.report import other_formats, page
from sweeplaw.analysis.report.report import make
from sweeplaw.analysis.tables.files.latex import LONG, latex_table, latex_text
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

RENDERER = MarkdownIt("commonmark").enable("table")
HOSTILE = "<script>alert(1)</script> | [x](javascript:y) **b** `c` \\\\input{/etc/passwd} 50 % & $x_1^2$ #"
SWEEP = f"""
name = "law"
description = "{HOSTILE}"
workload = "surrogate"
[scientific]
params = {{ log = [1e7, 1e9], num = 4 }}
tokens = {{ log = [1e9, 1e11], num = 4 }}
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 7 }}
[fixed]
noise = 0.0005
batch_sequences = 512
"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = tmp_path_factory.mktemp("formats") / "store"
    launch(plan(parse(SWEEP)), Store.open(store, create=True), profile.load("inline"))
    folder = store.parent / "page"
    folder.mkdir()
    return page.write(make(store), folder)[0].read_text()


@pytest.mark.heavy
def test_control_characters_of_names_and_texts_are_visible_in_every_format(tmp_path: Path) -> None:
    """A terminal obeys them, and a picture with one is no XML."""
    rows = [(n, 1e9, name, 4e2 / n**0.3) for n in (1e7, 1e8) for name in ("a\x00\x1b[31m\x7f", "b\x9b\r")]
    runs = pl.DataFrame(rows, schema=["N", "D", "o\x1b[2Jpt", "val_loss"], orient="row")
    runs = runs.with_columns(pl.lit("a\x00\x1b[31m\x7f").alias("optimizer"), sweep=pl.col("o\x1b[2Jpt"))
    runs.write_parquet(tmp_path / "runs.parquet")
    made = make(tmp_path / "runs.parquet", x={"N": "N", "D": "D"})
    html, data = page.write(made, tmp_path)
    written = [html, *other_formats.write_markdown(html.read_text(), tmp_path)]
    written += [data, other_formats.write_latex(html.read_text(), tmp_path)]
    for path in written:
        assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", path.read_bytes().decode()) == [], path
        if path.suffix == ".svg":
            xml.dom.minidom.parse(str(path))
    assert r"\x1b[2J" in html.read_text()
    assert r"\\x1b\[2J" in (tmp_path / "report.md").read_text()


@pytest.mark.heavy
def test_the_page_of_a_table_advises_no_command_that_takes_a_store(tmp_path: Path) -> None:
    states = pl.Series("state", ["completed"] * 15 + ["diverged"])
    rows = [(n, d, 1.7 + 4e2 / n**0.3 + 4e2 / d**0.28) for n in (1e7, 4e7, 1e8, 1e9) for d in (1e9, 4e9, 1e10, 1e11)]
    pl.DataFrame(rows, schema=["N", "D", "val_loss"], orient="row").with_columns(states).write_csv(
        tmp_path / "runs.csv"
    )
    text = page.write(make(tmp_path / "runs.csv", x={"N": "N", "D": "D"}), tmp_path)[0].read_text()
    assert "What to run next" in text
    assert "1 diverged" in text
    assert "sweeplaw show" not in text
    assert "sweeplaw next" not in text
    assert "None" not in BeautifulSoup(text, "html.parser").get_text()


@pytest.mark.heavy
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_units_that_seem_to_be_millions_are_said_where_numbers_are(scale: float, tmp_path: Path) -> None:
    rows = [
        (n * scale, d * scale, 1.7 + 4e2 / n**0.34 + 4e2 / d**0.28)
        for n in (1e7, 4e7, 1e8, 1e9)
        for d in (1e9, 4e9, 1e10, 1e11)
    ]
    pl.DataFrame(rows, schema=["N", "D", "val_loss"], orient="row").write_csv(tmp_path / "runs.csv")
    text = page.write(make(tmp_path / "runs.csv", x={"N": "N", "D": "D"}), tmp_path)[0].read_text()
    marked = [one.get_text() for one in BeautifulSoup(text, "html.parser").select(".badges .part, p.bad")]
    assert sum("seems to be in millions" in one for one in marked) == (3 if scale < 1 else 0)
    assert ("Units unclear" in text) == (scale < 1)


def test_the_page_of_a_store_quotes_its_path_in_commands(html: str) -> None:
    assert re.search(r"<code>sweeplaw next \S+/store ", html)


def test_options_named_on_the_page_stay_on_one_line_and_are_plain_in_markdown(html: str) -> None:
    assert '<span class="nb">--all-rows</span>' in html
    assert "--all-rows (all_rows=True)" in other_formats.markdown(html)[0]


def words(cell: object) -> str:
    """Return the letters and digits of a cell, whatever stands between them."""
    return re.sub(r"\W+", "", cell.get_text())  # type: ignore[attr-defined]


def tables(html: str) -> list[list[list[str]]]:
    found = BeautifulSoup(html, "html.parser").find_all("table")
    return [[[words(cell) for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")] for table in found]


@pytest.mark.heavy
def test_markdown_has_every_table_heading_and_picture_of_the_page(html: str) -> None:
    text, pictures = other_formats.markdown(html)
    again = RENDERER.render(text)
    assert "@font-face" in html
    assert not any("@font-face" in picture for picture in pictures.values())
    assert tables(again) == tables(html)
    assert len(tables(html)) >= 4
    titles = [words(one) for one in BeautifulSoup(again, "html.parser").find_all(["h2", "h3"])]
    on_page = BeautifulSoup(html, "html.parser")
    expected = [
        one
        for one in on_page.find_all(["h2", "h3"])
        if not (one.parent and one.parent.name == "figure" and one.parent.select(".pca"))
    ]
    assert titles == [words(one) for one in expected]
    assert sorted(pictures) == sorted(set(re.findall(r"\]\((report_figures/[^)]*)\)", text)))
    assert len(pictures) >= 5
    for content in pictures.values():
        drawing = xml.dom.minidom.parseString(content).documentElement
        assert drawing is not None
        assert [float(drawing.getAttribute(side)) > 20 for side in ("width", "height")] == [True, True]
        assert not re.search(r"https?://(?!www\.w3\.org)", content)


@pytest.mark.heavy
def test_what_a_sweep_says_of_itself_is_text_in_markdown_and_latex(html: str) -> None:
    text, _ = other_formats.markdown(html)
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # the sweep file is quoted
    again = BeautifulSoup(RENDERER.render(outside), "html.parser")
    assert not again.find_all(["script", "a"])
    assert HOSTILE.replace("\\\\", "\\").rstrip(".") in " ".join(again.get_text().split())
    assert "\\input" not in other_formats.latex_tables(html)


def test_a_message_and_an_alternative_text_cannot_leave_their_place_in_markdown() -> None:
    page = (
        "<main><pre>before\n```\n<img src='https://far.example/x.png'>\n`````\nafter</pre>"
        '<p><img src="near.svg" alt="a](https://far.example/y.png) ![b"></p></main>'
    ).replace("<img src='https", "&lt;img src='https")
    text, _ = other_formats.markdown(page)
    again = BeautifulSoup(RENDERER.render(text), "html.parser")
    assert [one.get("src") for one in again.find_all("img")] == ["near.svg"]
    assert not again.find_all("a")
    (code,) = again.find_all("pre")
    assert "`````\nafter" in code.get_text()


@pytest.mark.heavy
def test_latex_has_every_table_with_as_many_cells_in_each_row(html: str) -> None:
    text = other_formats.latex_tables(html)
    found = re.findall(r"\\begin\{tabular\}\{([lrp]+)\}(.*?)\\end\{tabular\}", text.replace(LONG, "p"), re.DOTALL)
    rows = [
        [len(re.split(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")] for _, body in found
    ]
    assert rows == [[len(row) for row in table] for table in tables(html)]
    assert [len(columns) for columns, _ in found] == [counts[0] for counts in rows]


@pytest.mark.heavy
def test_pictures_are_not_written_behind_a_link(html: str, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / other_formats.PICTURES).symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link"):
        other_formats.write_markdown(html, tmp_path / "store")
    assert not list((tmp_path / "victim").iterdir())


def test_latex_escapes_what_is_special() -> None:
    assert latex_text("a_b & 50 % #1 {x} ~ <1e3> 6 × 10²¹ −3 N^0.5 ^b \\c $") == (
        r"a\_b \& 50 \% \#1 \{x\} \textasciitilde{} \textless{}1e3\textgreater{} 6 $\times$ 10$^{21}$ $-$3 N$^{0.5}$ "
        r"\textsuperscript{b} \textbackslash{}c \$"
    )
    assert latex_table(["N", "what"], [["1", "a&b"]], words=[False, True]) == (
        "\\begin{tabular}{rl}\n\\toprule\nN & what \\\\\n\\midrule\n1 & a\\&b \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("E + A / N**alpha + B / D**-0.3", r"E + A / N\textsuperscript{alpha} + B / D$^{-0.3}$"),
        ("U**(a / b), (N + 1)**2, x**.5.", r"U\textsuperscript{a / b}, (N + 1)$^{2}$, x$^{.5}$."),
        ("**not identified**: (**two** sizes)", r"\textbf{not identified}: (\textbf{two} sizes)"),
        ("a ** b, **kwargs, N*", "a ** b, **kwargs, N*"),
        ("the knob `batch_size`, ``--law``", r"the knob \texttt{batch\_size}, \texttt{-{}-law}"),
        ('"adequate" by its "F test" (5")', "``adequate'' by its ``F test'' (5'')"),
        ("the cells' best is 'muon', not the cell's ''", "the cells' best is `muon', not the cell's `{}'"),
        ("\"'a' of b's 'c'\"", "``{}`a' of b's `c'{}''"),
        ("--by KNOB --- a-b ` 1–2", r"-{}-by KNOB -{}-{}- a-b \textasciigrave{} 1--2"),
        ('**`a_b` is "best"**', r"\textbf{\texttt{a\_b} is ``best''}"),
    ],
)
def test_latex_has_the_marks_of_remarks(text: str, expected: str) -> None:
    """Quotes are curved and never joined to another kind, hyphens of options are no dashes, powers are raised."""
    assert latex_text(text) == expected
    table = f"<table><tr><th class='text'>why</th></tr><tr><td>{html_text(text)}</td></tr></table>"
    assert f"\n{expected} \\\\\n" in other_formats.latex_tables(table)


def test_latex_sets_words_to_the_left_and_long_ones_in_lines() -> None:
    page = "<table><tr><th>parameter</th><th>value</th></tr><tr><td>alpha</td><td>0.3</td></tr></table>"
    assert r"\begin{tabular}{lr}" in other_formats.latex_tables(page)
    page = (
        "<table><tr><th>N</th><th class='text'>why</th></tr><tr><td>1 M</td><td>" + "word " * 30 + "</td></tr></table>"
    )
    assert rf"\begin{{tabular}}{{r{LONG}}}" in other_formats.latex_tables(page)


@pytest.mark.heavy
@pytest.mark.process
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_sets_the_tables(html: str, tmp_path: Path) -> None:
    head = "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(head + other_formats.latex_tables(html) + "\\end{document}\n")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)
