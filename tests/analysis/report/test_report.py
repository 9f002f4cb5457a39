"""Reports: their values agree with the table, and the page is self-contained."""

import json
import re
import shutil
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from jinja2 import UndefinedError

from sweeplaw import analysis
from sweeplaw.analysis.report import answer, report
from sweeplaw.analysis.report import page as report_page
from sweeplaw.analysis.report.extrapolation import rung_values
from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.paper import figures
from sweeplaw.analysis.report.read import read_families
from sweeplaw.analysis.tables import display
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import load
from sweeplaw.analysis.tuning.optimum import optima
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.workloads import surrogate

pytestmark = pytest.mark.heavy  # pages are drawn

SWEEP = """
name = "law"
description = "A <known> surface."
workload = "surrogate"
seeds = 2
[scientific]
params = { log = [1e7, 1e9], num = 5 }
tokens = { log = [1e9, 1e11], num = 5 }
[nuisance]
weight_decay = [0.03, 0.1, 0.3]
[fixed]
noise = 0.0005
[derived]
lr = "1.79 * params ** -0.713 * tokens ** 0.307"
batch_sequences = "0.58 * tokens ** 0.571 / 256"
"""


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo, already, cluster):
        pass

    def recorded(self, rows):
        pass


def run(text, path):
    launch(plan(parse(text)), Store.open(path, create=True), profile.load("inline"), Silent())
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = run(SWEEP, tmp_path_factory.mktemp("report") / "store")
    behaviours = SWEEP.replace("[fixed]\n", '[fixed]\nbehaviour = "diverged"\n').replace("seeds = 2", "seeds = [9]")
    return run(behaviours.replace("num = 5", "num = 2"), path)


def test_the_title_names_every_sweep_and_an_export_has_the_same_families(tmp_path):
    small = SWEEP.replace("num = 5", "num = 3")
    run(small, tmp_path / "s")
    assert "<h1>law</h1>" in page_of(tmp_path / "s")
    run(small.replace('"law"', '"again"').replace("noise = 0.0005", "noise = 0.001"), tmp_path / "s")
    page = page_of(tmp_path / "s")
    assert "<title>law, again – scaling laws</title>" in page
    assert "A &lt;known&gt; surface" not in page.split("<h2>")[0]
    load(tmp_path / "s").trials.collect().write_parquet(tmp_path / "s.parquet")
    assert family_names(tmp_path / "s.parquet") == family_names(tmp_path / "s")
    with pytest.raises(InputError, match="2 families, which differ in noise"):
        analysis.fit(tmp_path / "s.parquet")


def family_names(path):
    found = read_families(path, where=None, loss="val_loss", x=None, verify=False).families
    return [family.name for family in found]


def page_of(path):
    made = report.make(path)
    return report_page.page(made, display.finite(report.report_values(made)))


@pytest.fixture(scope="module")
def made(store):
    return report.make(store)


def test_the_surface_of_a_known_law_is_recovered_with_covering_intervals(made):
    law = report.report_values(made)["families"][0]["surface"]
    truth = {"E": surrogate.E, "A": surrogate.A, "B": surrogate.B, "alpha": surrogate.ALPHA, "beta": surrogate.BETA}
    assert law["verified"], law["status"]
    draws = made.sections[0].surface.fit.draws
    for name, value in truth.items():  # five intervals at once: each at 99.9 % so that together they hold at 99.5 %
        interval = draws.interval(name, 0.999)
        assert interval.low <= value <= interval.high, name
        assert interval.low <= law["intervals"][name]["low"] < law["intervals"][name]["high"] <= interval.high


def test_every_row_is_used_or_counted(made, store):
    trials = report.report_values(made)["trials"]
    assert trials["rows"] == load(store, states=None).trials.collect().height == 154 + 8
    assert trials["used"] + sum(trials["dropped"].values()) == trials["rows"]
    assert trials["states"] == {"completed": 150, "diverged": 12}


def test_the_best_setting_is_chosen_by_its_mean_over_seeds(made):
    family = made.sections[0].family
    trials = family.trials.group_by("params", "tokens", "weight_decay").agg(pl.col("val_loss").mean())
    least = trials.group_by("params", "tokens").agg(pl.col("val_loss").min()).sort("params", "tokens")
    best = family.best.sort("params_non_embedding", "tokens")
    assert best["val_loss"].to_list() == pytest.approx(least["val_loss"].to_list(), rel=1e-12)
    assert family.seeds.height == 50


def test_the_optimum_of_every_knob_reports_whether_it_is_at_an_edge(made):
    cells = report.report_values(made)["families"][0]["optima"]
    assert len(cells) == 25
    for cell in cells:
        knob = cell["knobs"]["weight_decay"]
        assert knob["levels"] == [0.03, 0.1, 0.3]
        assert knob["touches_edge"] == (knob["best"] != 0.1)


def test_laws_in_one_variable_equal_fits_of_the_same_rows(made):
    one = report.report_values(made)["families"][0]["slices"][0]
    rows = made.sections[0].family.seeds.filter(pl.col("tokens") == one["at"]["tokens"])
    fit = analysis.fit(rows, "power_asymptote", "huber:0.001", x="params_non_embedding", y="val_loss", space="log")
    assert one["params"] == pytest.approx(dict(fit.params), rel=1e-9)


def test_a_link_under_the_name_of_a_report_is_replaced_and_not_followed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "page", lambda made, values: "the page")
    target, folder = tmp_path / "target", tmp_path / "store"
    folder.mkdir()
    target.write_text("of a user")
    for name in ("report.html", "report.json"):
        (folder / name).symlink_to(target)
    html, data = report_page.write(made, folder)
    assert target.read_text() == "of a user"
    assert (html.is_symlink(), html.read_text()) == (False, "the page")
    assert json.loads(data.read_text())["families"]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]


def test_the_page_is_self_contained_and_escapes_text(made, tmp_path):
    html, data = report_page.write(made, tmp_path)
    page = html.read_text()
    assert page.count("<svg") >= 5
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|file:)""", page)
    assert page.count("<script") == 1  # our own, for reading aids
    assert "A &lt;known&gt; surface." in page
    assert "diverged" in page
    values = json.loads(data.read_text())
    assert values["families"][0]["surface"]["rows_used"] == 50
    assert values["launches"][0]["sweep_file"] == SWEEP


def test_with_too_few_points_the_reason_replaces_the_law(tmp_path):
    text = SWEEP.replace("num = 5", "num = 2")
    values = report.report_values(report.make(run(text, tmp_path / "s")))
    family = values["families"][0]
    assert all("needs 4" in one["why_not"] for one in family["slices"])
    assert report_page.page(report.make(tmp_path / "s"), display.finite(values))


def test_a_store_without_completed_trials_has_a_page_that_says_what_is_there(tmp_path):
    text = SWEEP.replace("[fixed]\n", '[fixed]\nbehaviour = "failed"\n')
    made = report.make(run(text, tmp_path / "s"))
    values = report.report_values(made)
    page = report_page.page(made, display.finite(values))
    assert "<strong>No trial has completed yet</strong>" in page
    assert values["trials"]["states"] == {"failed": 10}  # then the launch ended: nothing completes
    assert "<b>10</b><span>failed</span>" in page
    assert (values["families"], values["trials"]["used"]) == ([], 0)
    with pytest.raises(InputError, match=r"no completed trials to report \(10 state failed\)"):
        read_families(tmp_path / "s", where=None, loss="val_loss", x=None, verify=False)
    Store.open(tmp_path / "empty", create=True)
    with pytest.raises(InputError, match="no completed trials to report"):
        report.make(tmp_path / "empty")


@pytest.mark.heavy
def test_families_are_split_by_other_scientific_axes(tmp_path):
    text = SWEEP.replace("[nuisance]", "noise = [0.0, 0.001]\n[nuisance]").replace("noise = 0.0005\n", "")
    made = report.make(run(text, tmp_path / "s"))
    assert [section.family.values for section in made.sections] == [{"noise": 0.0}, {"noise": 0.001}]


def test_a_batch_in_sequences_and_in_tokens_is_one_knob(tmp_path):
    grid = product((1e7, 1e8), (1e9, 1e10), (3e-4, 1e-3, 3e-3), (32, 64, 128))
    rows = [
        {"n": n, "d": d, "lr": lr, "bs": bs, "bt": 1024 * bs, "val_loss": 2 + 40 / n**0.3 + abs(lr - 1e-3) + 1 / bs}
        for n, d, lr, bs in grid
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "runs.csv")
    names = {"params_non_embedding": "n", "tokens": "d", "batch_sequences": "bs", "batch_tokens": "bt"}
    pairs = [*(f"{ours}={theirs}" for ours, theirs in names.items()), "lr=lr", "val_loss=val_loss"]
    import_from(str(tmp_path / "runs.csv"), str(tmp_path / "store"), pairs=pairs)
    assert report.make(tmp_path / "store").by.knobs == ("lr", "batch_tokens")


@pytest.mark.heavy
def test_columns_of_ones_own_are_called_by_their_names_everywhere(tmp_path):
    rows = [
        {"width": n, "samples": d, "lr": lr, "bs": bs, "mse": 0.1 + 2 / n**0.8 + 5 / d**0.6 + (lr - 0.1) ** 2 / bs}
        for n, d, lr, bs in product((8, 16, 32), (100, 300, 1000), (0.05, 0.1, 0.2), (1, 2, 4))
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "runs.csv")
    made = report.make(tmp_path / "runs.csv", x={"N": "width", "D": "samples"}, loss="mse")
    html = report_page.page(made, report.report_values(made))
    for said in ("width 8, samples 1 k", "Larger width", "Larger samples", "colour: width", "(samples at its end)"):
        assert said in html.replace("\N{NO-BREAK SPACE}", " ")
    for said in ("parameters, ", " tokens:", "Larger models", "More data"):
        assert said not in html


@pytest.mark.parametrize("sizes", [(0.0, 1.0, 2.0, 4.0), (-1.0, -2.0, -4.0, -8.0), (1e-60, 1.0, 2.0, 4.0)])
def test_runs_of_no_size_are_in_no_family(sizes):
    rows = [{"n": n, "d": d, "loss": 2 + 1 / d} for n in sizes for d in (1.0, 2.0, 4.0)]
    found = families(pl.DataFrame(rows), Axes("n", "d", "loss", (), ()))
    assert sorted({n for one in found for n in one.best["n"]}) == [n for n in sizes if n >= 1]


@pytest.mark.heavy
def test_cells_with_one_setting_are_counted_below_the_optima_of_the_others(tmp_path):
    grid = [(n, d, lr) for n in (1e7, 1e8) for d in (1e9, 1e10) for lr in (3e-4, 1e-3, 3e-3)]
    rows = [
        {"n": n, "d": d, "lr": lr, "val_loss": 2 + 40 / n**0.3 + (lr - 1e-3) ** 2}
        for n, d, lr in [*grid, (1e9, 1e9, 1e-3), (1e9, 1e10, 1e-3)]
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "runs.csv")
    pairs = ["params_non_embedding=n", "tokens=d", "lr=lr", "val_loss=val_loss"]
    import_from(str(tmp_path / "runs.csv"), str(tmp_path / "store"), pairs=pairs)
    made = report.make(tmp_path / "store")
    html = report_page.page(made, report.report_values(made))
    assert '<span>Optimum of every cell</span><span class="r">4 cells</span>' in html
    assert "Not listed: 2 cells with one setting." in html
    assert html.count('<td class="text small">') == 4


@pytest.mark.parametrize("beside", ["own runs", "nothing"])
@pytest.mark.heavy
def test_imported_runs_without_a_knob_are_reported(store, tmp_path, beside):
    path = shutil.copytree(store, tmp_path / "store") if beside == "own runs" else tmp_path / "store"
    # Without weight decay; one run at a point of our own, the best there, and others at further points.
    runs = tmp_path / "theirs.csv"
    points = [(1e7, 1e9, 0.3), *((n, d, 2 + 400 / n**0.3 + 900 / d**0.3) for n in (2e7, 4e7, 8e7) for d in (2e9, 4e9))]
    runs.write_text(
        "n,d,lr,val_loss\n" + "".join(f"{n},{d},{1e-3 * (1 + i)},{loss}\n" for i, (n, d, loss) in enumerate(points))
    )
    columns = {"params_non_embedding": "n", "tokens": "d", "lr": "lr", "val_loss": "val_loss"}
    import_from(str(runs), str(path), pairs=[f"{ours}={theirs}" for ours, theirs in columns.items()], source="theirs")
    made = report.make(path)
    html = report_page.page(made, report.report_values(made))
    assert "Import of theirs.csv" in html
    assert f"<h1>{'law' if beside == 'own runs' else path}</h1>" in html
    assert sum(section.family.trials.height for section in made.sections) == (7 if beside == "nothing" else 157)
    assert ("Optimum of every cell" in html) == (beside == "own runs")  # a cell with one setting has none


def test_the_figure_of_a_knob_counts_the_settings_far_above_its_frame():
    runs = pl.DataFrame(
        {"n": 1e7, "d": 1e9, "lr": [1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3], "loss": [2.2, 2.1, 2, 2.1, 2.2, 9]}
    )
    by = Axes("n", "d", "loss", (), ("lr",))
    (family,) = families(runs, by)
    panel = figures.nuisance(family, by, "lr", optima(runs, ["n", "d"], ["lr"], "loss")).axes[0]
    assert panel.get_title(loc="right") == "1 setting above the frame"
    assert 10 < panel.get_ylim()[1] < 15  # 350 % of loss is outside, 10 % inside
    levelled = runs.with_columns(loss=pl.Series([2.2, 2.1, 2, 2.1, 2.2, 2.3]))
    (family,) = families(levelled, by)
    panel = figures.nuisance(family, by, "lr", optima(levelled, ["n", "d"], ["lr"], "loss")).axes[0]
    assert panel.get_title(loc="right") == ""


def test_the_figure_of_a_knob_has_no_line_where_one_value_ran():
    runs = pl.DataFrame({"n": [1e7, 1e7, 1e8], "d": 1e9, "lr": [1e-4, 2e-4, 4e-4], "loss": [2.2, 2.1, 2.0]})
    by = Axes("n", "d", "loss", (), ("lr",))
    (family,) = families(runs, by)
    assert len(figures.nuisance(family, by, "lr", optima(runs, ["n", "d"], ["lr"], "loss")).axes[0].lines) == 1


def test_a_family_without_values_of_a_knob_has_an_empty_figure_of_it():
    runs = pl.DataFrame({"n": 1e7, "d": 1e9, "lr": pl.Series([None, None], dtype=pl.Float64), "loss": [2.0, 2.1]})
    by = Axes("n", "d", "loss", (), ("lr",))
    (family,) = families(runs, by)
    found = optima(runs, ["n", "d"], ["lr"], "loss")
    assert found == []
    assert not figures.nuisance(family, by, "lr", found).axes[0].lines


def test_the_page_marks_the_numbers_of_a_surface_that_is_not_verified(made):
    values = display.finite(report.report_values(made))
    law = values["families"][0]["surface"]
    html = report_page.page(made, values)
    values["families"][0]["surface"] = {**law, "verified": False}
    marked = report_page.page(made, values)
    rows = answer.parameter_rows(law)
    assert [name for name, _, _ in rows] == ["E", "A", "B", "alpha", "beta"]
    for name, value, _ in rows:
        assert f"<td>{name}</td><td>{value}</td>" in html
        assert f"<td>{name}</td><td>{value} ?</td>" in marked
    for budget in answer.next_budgets(law):
        assert f"<td>{budget[1]}</td>" in html
        assert f"<td>{budget[1]} ?</td>" in marked
    assert "There is no law to quote" not in html
    assert "There is no law to quote" in marked
    assert "Loss follows" not in marked


OWN = """
name = "own"
[workload]
kind = "python:own_objective:train"
[workload.knobs]
examples = { type = "int", unit = "examples" }
[workload.metrics]
val_loss = { unit = "squared error" }
[scientific]
width = [2, 4]
examples = [10, 20]
"""
OBJECTIVE = """
def train(config):
    for step in (1, 2):
        yield {"step": step, "val_loss": 1 / config["width"] / step, "mse": 2 / config["examples"]}
"""


def test_a_report_of_ones_own_trials_has_their_columns_units_and_curves(tmp_path):
    (tmp_path / "own_objective.py").write_text(OBJECTIVE)
    launch(plan(parse(OWN, folder=tmp_path)), Store.open(tmp_path / "s", create=True), profile.load("inline"), Silent())
    numbers = "columns of numbers: attempt, examples, last_step, mse, seed, train_seconds, val_loss, width"
    with pytest.raises(InputError, match=rf"tokens is null in all trials; give --x D=COLUMN\n  - {numbers}$"):
        report.make(tmp_path / "s")
    made = report.make(tmp_path / "s", x={"N": "width", "D": "examples"})
    html = report_page.page(made, display.finite(report.report_values(made)))
    assert "validation loss (squared error)" in html
    assert "D, examples" in html
    assert "nats" not in html
    (section,) = made.sections
    best = report.best_of_each_size(section)
    curves = figures.training_curves(load(tmp_path / "s").curves.collect(), best, section.by)
    (panel,) = curves.axes
    assert panel.get_xlabel() == "step"
    drawn = [np.asarray(line.get_xdata()).tolist() for line in panel.get_lines()]
    assert [1, 2] in drawn
    assert all(steps in ([], [1, 2]) for steps in drawn)
    other = report.make(tmp_path / "s", x={"N": "width * 2", "D": "examples"}, loss="mse")
    assert sorted(other.sections[0].family.best["width * 2"]) == [4, 4, 8, 8]


@pytest.mark.parametrize(("low", "high"), [(6.0, 70.0), (300.0, 2000.0), (600.0, 900.0), (20.0, 1500.0)])
def test_a_logarithmic_axis_below_two_decades_has_several_labels(low, high):
    _, panel = figures._panel()
    panel.plot([low, high], [1, 2])
    figures.log_axis(panel, "x")
    low, high = panel.get_xlim()
    axis = panel.xaxis
    major = zip(
        axis.get_majorticklocs(), axis.get_major_formatter().format_ticks([*axis.get_majorticklocs()]), strict=True
    )
    minor = zip(
        axis.get_minorticklocs(), axis.get_minor_formatter().format_ticks([*axis.get_minorticklocs()]), strict=True
    )
    assert len([label for place, label in [*major, *minor] if label and low <= place <= high]) >= 2


def test_the_page_has_three_badges_and_gives_no_allocation_by_a_law_that_failed(made):
    values = display.finite(report.report_values(made))
    law = values["families"][0]["surface"]
    html = report_page.page(made, values)
    assert [badge.grade for badge in answer.badges(law)] == ["ok", "ok", "ok"]
    for badge in answer.badges(law):
        assert f"<b>{badge.title}</b><span>{html_text(badge.sentence)}</span>" in html
    assert "What to train for a budget" in html
    why = "the residuals follow a smooth pattern (F test, p < 0.001)"
    withheld = f"the law is inadequate: {why}"
    none: dict[str, Any] = {"params": None, "tokens": None, "tokens_per_param": None, "loss": None, "intervals": {}}
    runs = [{**one, **none, "withheld": withheld} for one in law["derived"]["compute_optimal"]]
    verdict = {**law["adequacy"]["law"], "verdict": "inadequate", "reasons": [why]}
    derived = {**law["derived"], "withheld": withheld, "compute_optimal": runs}
    failed = {**law, "adequacy": {**law["adequacy"], "law": verdict}, "derived": derived}
    values["families"][0]["surface"] = failed
    page = report_page.page(made, values)
    assert [badge.grade for badge in answer.badges(failed)] == ["ok", "no", "ok"]
    assert "<strong>Do not extrapolate it</strong>: the residuals follow a smooth pattern." in page
    assert "What to train for a budget" not in page
    assert "No allocation of compute is given: the law is inadequate: the residuals follow a smooth pattern." in page
    assert "each tenfold of compute" not in page


def html_text(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;")


def test_a_page_that_names_what_it_was_not_given_is_an_error_and_no_gap() -> None:
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        report_page.environment().from_string("{{ nothing }}").render()


def test_a_launch_file_of_other_content_is_shown_with_dashes(tmp_path):
    run(
        SWEEP.replace("num = 5", "num = 2").replace("[0.03, 0.1, 0.3]", "[0.1]").replace("seeds = 2", "seeds = 1"),
        tmp_path,
    )
    (recorded,) = (tmp_path / "launches").glob("*.json")
    for text in ('{"a": NaN}', '{"file": "theirs.csv"}', '{"sweep": "s", "dropped": [1]}'):
        recorded.write_text(text, encoding="utf-8")
        made = report.make(tmp_path)
        html, _ = report_page.write(made, tmp_path)
        assert "–" in html.read_text(encoding="utf-8").split("Where the numbers come from")[1]


def test_sizes_too_many_to_be_left_out_one_by_one_are_said_to_be_untested() -> None:
    rng = np.random.default_rng(0)
    size, tokens = np.exp(rng.uniform(14, 20, 240)), np.repeat([1e9, 3e9, 1e10, 3e10], 60)
    loss = 1.7 + 400 / size**0.34 + 400 / tokens**0.28
    fit = analysis.fit({"N": size, "D": tokens, "loss": loss}, "additive", x={"N": "N", "D": "D"}, y="loss")
    first, second = rung_values(fit, [])
    assert (first["axis"], first["rungs"]) == ("N", [])
    assert first["sentences"] == [
        "N has 240 values: none was left out to see whether it fits the law of the others (done for up to 200)"
    ]
    assert (second["axis"], len(second["rungs"])) == ("D", 4)
