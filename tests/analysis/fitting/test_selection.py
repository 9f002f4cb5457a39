"""One store has one answer: a fit, the report and the table `best` use the same runs of one family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw import analysis
from sweeplaw.analysis.report.comparison import compared
from sweeplaw.analysis.report.family import Family, families
from sweeplaw.analysis.report.family_laws import fit_laws
from sweeplaw.analysis.tables.families import Axes, axes
from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.workloads import surrogate
from tests.paths import SHARED

SWEEP = """
name = "NAME"
workload = "surrogate"
seeds = SEEDS
[scientific]
params = { log = [1e7, 1e9], num = 4 }
tokens = { log = [1e9, 1e10], num = 3 }
[nuisance]
lr = { log = [1e-3, 3e-2], num = 5 }
batch_sequences = { log = [128, 1024], num = 3 }
[fixed]
noise = 0.003
weight_decay = DECAY
"""


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo, already, cluster):
        pass

    def recorded(self, rows):
        pass


def run(path: Path, name: str = "a", seeds: str = "2", decay: str = "0.1") -> Path:
    text = SWEEP.replace("NAME", name).replace("SEEDS", seeds).replace("DECAY", decay)
    launch(plan(parse(text)), Store.open(path, create=True), profile.load("inline"), Silent())
    return path


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("one") / "store")


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Return a store of two recipes, one of them swept twice."""
    path = run(tmp_path_factory.mktemp("two") / "store")
    run(path, "b", "[9]")
    return run(path, "c", decay="1.0")


def _families(path: Path) -> tuple[list[Family], Axes]:
    tables = load(path)
    trials = tables.trials.collect()
    by = axes(tables, trials)
    return families(trials, by), by


def command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout


@pytest.mark.heavy
def test_fit_and_report_of_one_store_are_one_law_and_best_has_its_points(one):
    fit = analysis.fit(one)
    (family,), by = _families(one)
    surface = next(fit_laws(family, by)).fit
    assert surface is not None
    assert dict(fit.params) == pytest.approx(dict(surface.params), rel=1e-7)  # the rows are in another order
    assert fit.rows_used == surface.rows_used == 24  # two seeds at each of twelve points
    code, output = command("fit", one, "--json")
    assert code == 0
    assert json.loads(output)["params"] == pytest.approx(dict(fit.params), rel=1e-9)
    assert json.loads(output)["rows"] == "the best setting of each point"
    points = json.loads(output)["selection"]["families"][0]["points"]
    best = load(one).best(["N", "D"]).sort("params_non_embedding", "tokens")
    assert [point["lowest"] for point in points] == pytest.approx(best["val_loss"].to_list(), rel=1e-12)
    assert [point["lr"] for point in points] == best["lr"].to_list()
    assert best["seeds"].to_list() == [2] * 12


@pytest.mark.heavy
def test_best_is_the_default_and_all_rows_are_said_in_the_heading(one):
    fit = analysis.fit(one)
    assert analysis.fit(one, best=True).value == fit.value
    assert fit.objective.describe() == "mean huber (delta 0.001) of log L - log Lhat"
    every = analysis.fit(one, all_rows=True)
    assert every.rows_used == 360
    assert analysis.fit(one, best=False).value == every.value
    assert (fit.observations.rule, every.observations.rule) == ("the best setting of each point", "all rows")


@pytest.mark.heavy
def test_the_loss_at_the_points_is_that_of_the_planted_law_where_the_lowest_run_is_below_it(one):
    fit = analysis.fit(one)
    frame = fit.observations.frame
    truth = pl.Series([surrogate.law(n, d) for n, d in zip(frame["params"], frame["tokens"], strict=True)])
    corrected = pl.Series(fit.observations.losses) - truth
    # some optima lie between or beyond the values tried, so that no correction is below the law for long
    assert corrected.median() == pytest.approx(0, abs=0.003)


@pytest.mark.parametrize("ask", [lambda store: analysis.fit(store), lambda store: analysis.fit(load(store))])
@pytest.mark.heavy
def test_two_recipes_are_refused_with_the_condition_of_each(two, ask):
    with pytest.raises(InputError) as caught:
        ask(two)
    assert "2 families, which differ in weight_decay" in caught.value.faults[0]
    assert caught.value.hints == (
        'weight_decay = 0.1: 540 runs, --where "weight_decay = 0.1"',
        'weight_decay = 1.0: 360 runs, --where "weight_decay = 1.0"',
    )


@pytest.mark.heavy
def test_a_family_is_fitted_by_its_condition_and_all_with_pool(two, one):
    assert command("fit", two)[0] != 0
    only = analysis.fit(two, where="weight_decay = 1.0")
    assert only.rows_used == 24
    both = analysis.fit(two, where="weight_decay = 0.1")
    assert any("runs of 2 sweeps are used together: a, b" in note for note in both.warnings)
    assert both.rows_used == 36
    pooled = analysis.fit(two, pool=True)
    assert pooled.rows_used == 24 + 36
    assert any("runs of 2 families are fitted together" in note for note in pooled.warnings)
    tuned = analysis.fit(two, knobs=["lr", "batch_sequences", "weight_decay"])
    assert 24 <= tuned.rows_used <= 36


@pytest.mark.heavy
def test_best_has_a_row_for_each_recipe_by_the_mean_over_seeds(two):
    best = load(two).best(["N", "D"])
    assert best.height == 24
    assert best.filter(pl.col("weight_decay") == 0.1)["seeds"].to_list() == [3] * 12
    assert best.filter(pl.col("weight_decay") == 0.1)["sweep"].null_count() == 12  # runs of two sweeps
    trials = load(two).trials.collect()
    keys = ["params_non_embedding", "tokens", "weight_decay"]
    means = trials.group_by([*keys, "lr", "batch_sequences"]).agg(pl.col("val_loss").mean())
    least = means.group_by(keys).agg(pl.col("val_loss").min()).sort(keys)
    assert best.sort(keys)["val_loss"].to_list() == pytest.approx(least["val_loss"].to_list(), rel=1e-12)
    code, output = command("query", two, "--best-per", "N,D", "--columns", "N,D,val_loss,seeds,seed_std", "--json")
    assert code == 0
    assert len(json.loads(output)) == 24
    assert set(json.loads(output)[0]) == {"N", "D", "val_loss", "seeds", "seed_std"}


@pytest.mark.heavy
def test_a_report_compares_families_and_never_pools_them(two):
    found, by = _families(two)
    assert [family.name for family in found] == ["weight_decay = 0.1", "weight_decay = 1.0"]
    x = {"N": by.n, "D": by.d}
    fits = {one.name: analysis.fit(one.seeds, x=x, y=by.loss, all_rows=True, bootstrap=200) for one in found}
    values = compared(fits)
    assert values is not None
    assert [law["family"] for law in values["laws"]] == list(fits)
    assert all(set(law["intervals"]) == {"E", "A", "B", "alpha", "beta"} for law in values["laws"])
    (pair,) = values["pairs"]
    asymptote = next(one for one in pair["differences"] if one["parameter"] == "E")
    low, high = asymptote["interval"]
    # Planted: the losses differ by a constant, that of a weight decay ten times too large.
    planted = surrogate.loss(1e8, 1e9, 1e-3, 0.1, 100) - surrogate.loss(1e8, 1e9, 1e-3, 1.0, 100)
    assert low <= planted <= high
    assert "the law is inadequate" in pair["why_not"]  # the best of a coarse grid is not quite additive
    assert pair["sentence"] == "weight_decay = 0.1 and weight_decay = 1.0: where they cross is not known"
    assert compared({"all trials": fits["weight_decay = 0.1"]}) is None
    assert (compared({**fits, "third": None}) or {})["without_law"] == ["third"]


@pytest.mark.heavy
def test_families_whose_laws_fit_are_told_not_to_cross():
    rng = np.random.default_rng(0)
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    fits = {}
    for name, offset in (("a", 0.0), ("b", 0.2)):
        loss = 1.7 + offset + 400 / n**0.34 + 410 / d**0.28 + 0.002 * rng.normal(size=36)
        fits[name] = analysis.fit({"N": n, "D": d, "loss": loss}, y="loss", bootstrap=200)
    (pair,) = (compared(fits) or {})["pairs"]
    assert "a and b do not cross between" in pair["sentence"]


@pytest.mark.heavy
def test_own_and_imported_runs_are_two_families(one, tmp_path):
    path = run(tmp_path / "store")
    runs = tmp_path / "theirs.csv"
    runs.write_text("n,d,lr,val_loss\n" + "".join(f"{n},{d},{lr},{2 + 100 / n ** 0.3 + lr}\n"
                    for n in (1e7, 1e8, 1e9) for d in (1e9, 2e9, 4e9) for lr in (0.1, 0.2)))  # fmt: skip
    pairs = ["params_non_embedding=n", "tokens=d", "lr=lr", "val_loss=val_loss"]
    import_from(str(runs), str(path), pairs=pairs, source="theirs")
    with pytest.raises(InputError) as caught:
        analysis.fit(path)
    assert "2 families, which differ in source" in caught.value.faults[0]
    assert 'imported runs: 18 runs, --where "source IS NOT NULL"' in caught.value.hints
    theirs: dict[str, Any] = {
        "where": "source IS NOT NULL",
        "law": "power_asymptote",
        "x": {"x": "params_non_embedding"},
    }
    with pytest.raises(InputError, match="3 families, which differ in tokens"):  # a law of N alone is one of each D
        analysis.fit(path, **theirs)
    assert analysis.fit(path, **theirs, pool=True).rows_used == 9  # of two learning rates the better one
    assert analysis.fit(path, where="source IS NULL").params == pytest.approx(analysis.fit(one).params, rel=1e-9)


@pytest.mark.heavy
def test_a_table_of_any_origin_says_what_was_taken_as_knobs():
    path = SHARED / "step_law_dense.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    fit = analysis.fit(path, y="loss")
    assert (fit.rows_used, fit.rows_dropped) == (17, 1894)
    note = "runs at one point differ in lr, bs: the best setting of each point is used, by its mean over seeds"
    assert any(note in warning for warning in fit.warnings)
    assert analysis.fit(path, y="loss", all_rows=True).rows_used == 1911


def test_replicates_are_all_fitted_as_they_are():
    rows = {"N": [1e6, 1e6, 1e7, 1e7, 1e8, 1e8], "seed": [0, 1] * 3, "loss": [3.0, 3.1, 2.5, 2.6, 2.3, 2.2]}
    fit = analysis.fit(rows, "power_asymptote", x="N")
    assert (fit.rows_used, fit.observations.losses.tolist()) == (6, rows["loss"])
    assert fit.observations.rule == "every row: no knob differs at a point"
    assert fit.observations.selection is None


def _swept(**changes: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"N": [10.0**power for power in range(5, 10)]}).join(
        pl.DataFrame({"lr": [1e-3, 2e-3, 4e-3, 8e-3]}), how="cross"
    )
    loss = 1.7 + 400 / pl.col("N") ** 0.34 + (pl.col("lr") / 3e-3).log() ** 2 / 100
    return frame.with_columns(loss=loss).with_columns(**changes)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"lr": pl.when(pl.int_range(pl.len()) % 7 == 0).then(float("nan")).otherwise(pl.col("lr"))}, 5),
        ({"lr": pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col("lr"))}, 5),
        ({"lr": pl.when(pl.col("lr") < 2e-3).then(0.0).otherwise(pl.col("lr"))}, 5),
        ({"lr": pl.col("lr").cast(pl.String)}, 5),
        ({"pair": pl.concat_list("lr", "N"), "when": pl.date(2024, 1, 1)}, 5),
    ],
    ids=["NaN", "null", "zero", "text", "lists and dates"],
)
def test_a_knob_may_hold_anything(changes, rows):
    assert analysis.fit(_swept(**changes), "power_asymptote", x="N").rows_used == rows


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["a", "b"])])
def test_a_recipe_may_be_of_any_type_of_text(kind):
    runs = _swept(recipe=pl.when(pl.col("lr") > 3e-3).then(pl.lit("a")).otherwise(pl.lit("b")).cast(kind))
    with pytest.raises(InputError, match="2 families, which differ in recipe"):
        analysis.fit(runs, "power_asymptote", x="N")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [(["lrr"], "did you mean 'lr'"), (["N"], "is no knob"), (["loss"], "is no knob"), (["used"], "rename the column")],
)
def test_what_cannot_be_a_knob_is_refused(knobs, words):
    with pytest.raises(InputError, match=words):
        analysis.fit(_swept(used=pl.col("lr")), "power_asymptote", x="N", knobs=knobs)


def test_a_trial_that_did_not_complete_is_never_the_best_of_its_point():
    state = pl.when(pl.col("lr") == 2e-3).then(pl.lit("diverged")).otherwise(pl.lit("completed"))
    runs = _swept(trial_id=pl.int_range(pl.len()).cast(pl.String), state=state)
    low = runs.with_columns(loss=pl.when(pl.col("state") == "diverged").then(0.1).otherwise(pl.col("loss")))
    fit = analysis.fit(low, "power_asymptote", x="N")
    assert fit.observations.frame["lr"].unique().to_list() == [4e-3]
    assert any("left out: 5 not completed" in warning for warning in fit.warnings)


def test_columns_that_an_expression_reads_are_inputs_and_split_nothing():
    sizes = [(n, d) for n in (1e3, 2e3, 4e3, 8e3) for d in (1e3, 2e3, 4e3, 8e3, 16e3)]
    table = pl.DataFrame(
        {
            "params": [n for n, _ in sizes],
            "tokens": [d for _, d in sizes],
            "loss": [1 + 3 * (n * d / 1e6) ** -0.3 for n, d in sizes],
        }
    )
    found = analysis.fit(table, "power_asymptote", x={"C": "6 * params * tokens"}, y="loss * 1.0")
    assert found.rows_used == len(sizes)
    assert found.params["alpha"] == pytest.approx(0.3, rel=1e-6)


@pytest.mark.heavy
def test_recipes_at_points_of_their_own_are_not_pooled_unasked():
    """Muon's sizes are not Adam's, so that nothing differs at any one point."""
    rows = [
        (factor * n, d, name, (1.7 + 400 / (factor * n) ** 0.34 + 410 / d**0.28) * rise)
        for name, factor, rise in (("adam", 1.0, 1.0), ("muon", 1.3, 1.1))
        for n in (1e7, 1e8, 1e9, 1e10)
        for d in (1e9, 1e10, 1e11)
    ]
    runs = pl.DataFrame(rows, schema=["N", "D", "recipe", "loss"], orient="row")
    with pytest.raises(InputError, match="recipe = 'muon'"):
        analysis.fit(runs, "additive", x={"N": "N", "D": "D"}, y="loss")
    alone = analysis.fit(runs, "additive", x={"N": "N", "D": "D"}, y="loss", where="recipe = 'adam'")
    assert alone.params["E"] == pytest.approx(1.7, rel=1e-4)
    assert analysis.fit(runs, "additive", x={"N": "N", "D": "D"}, y="loss", pool=True).rows_used == 24
