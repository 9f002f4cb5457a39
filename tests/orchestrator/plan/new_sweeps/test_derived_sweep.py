"""A derived sweep runs the best setting of each point of an earlier one, with the changes asked for."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator import cli
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import derive
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "tuned"
workload = "surrogate"
seeds = {seeds}
[scientific]
params = [1e6, 1e7]
tokens = [1e8, 4e8]
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 7 }}
weight_decay = [0.1, 0.4]
[fixed]
noise = {noise}
"""


def launched(folder: Path, text: str) -> Path:
    launch(plan(parse(text)), Store.open(folder, create=True), Profile(kind="inline"))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched(tmp_path_factory.mktemp("tuned") / "s", SWEEP.format(seeds=2, noise=0.01))


def expected(store: Path) -> pl.DataFrame:
    """The best settings by a plain group-by: least mean loss over seeds."""
    means = (
        load(store).trials.collect().group_by("params", "tokens", "lr", "weight_decay").agg(pl.col("val_loss").mean())
    )
    return means.sort("val_loss").group_by("params", "tokens", maintain_order=True).first().sort("params", "tokens")


@pytest.mark.heavy
def test_each_point_has_its_best_setting_changed_by_the_formulas(store: Path, tmp_path: Path) -> None:
    text = derive(load(store), {"tokens": "2 * tokens", "weight_decay": "weight_decay / 2"}, seeds=3)
    made = plan(parse(text))
    assert made.trials == 4 * 3
    rows = load(launched(tmp_path / "s", text)).trials.collect()
    best = expected(store)
    found = rows.filter(pl.col("seed") == 0).sort("params", "tokens")
    assert found["tokens"].to_list() == [2 * tokens for tokens in best["tokens"]]
    assert found["lr"].to_list() == best["lr"].to_list()
    assert found["weight_decay"].to_list() == [decay / 2 for decay in best["weight_decay"]]
    assert set(rows["noise"]) == {0.01}


@pytest.mark.heavy
def test_unchanged_settings_are_the_trials_that_ran(store: Path) -> None:
    ids = {trial for group in plan(parse(derive(load(store), {}, seeds=2))).groups for trial in group.ids}
    assert len(ids) == 8
    assert ids <= set(load(store).trials.collect()["trial_id"])


@pytest.mark.heavy
def test_a_sweep_of_one_point_is_derived(tmp_path: Path) -> None:
    text = SWEEP.format(seeds=1, noise=0.0).replace("[1e6, 1e7]", "[1e6]").replace("[1e8, 4e8]", "[1e8]")
    derived = derive(load(launched(tmp_path / "s", text)), {}, name="again", seeds=5)
    assert plan(parse(derived)).trials == 5
    assert parse(derived).name == "again"


@pytest.mark.parametrize("points", ["[1e6]", "[1e6, 1e7]"])
def test_one_scientific_axis_stays_an_axis(tmp_path: Path, points: str) -> None:
    text = 'name = "one"\nworkload = "surrogate"\n[scientific]\nparams = {}\n[fixed]\ntokens = 1e8\nnoise = 0.0\n'
    derived = parse(derive(load(launched(tmp_path / "s", text.format(points))), {"weight_decay": "weight_decay / 2"}))
    assert derived.names("scientific") == ("params",)
    assert plan(derived).trials == len(points.split(","))
    assert all(spec["weight_decay"] == 0.05 for spec in plan(derived).specs)


@pytest.mark.heavy
def test_all_faults_are_named_together(store: Path) -> None:
    changes = {"epoch": "2", "lr": "foo * 2", "tokens": "tokens *", "weight_decay": "import_"}
    with pytest.raises(InputError) as caught:
        derive(load(store), changes)
    message = str(caught.value)
    assert "epoch is not a knob of surrogate" in message
    assert "lr = foo * 2: foo is neither a knob nor a column with a value" in message
    assert "tokens: " in message
    assert "import_" in message
    with pytest.raises(InputError, match=r"batch_sequences = 1 / 3: 0\.333\d+ is not a whole number"):
        derive(load(store), {"batch_sequences": "1 / 3"})


@pytest.mark.heavy
def test_a_store_of_several_sweeps_asks_which(store: Path, tmp_path: Path) -> None:
    both = launched(tmp_path / "s", SWEEP.format(seeds=1, noise=0.0))
    launched(both, SWEEP.format(seeds=1, noise=0.0).replace("tuned", "other").replace("0.4]", "0.8]"))
    with pytest.raises(InputError, match=r"several sweeps .* --sweep \(other, tuned\)"):
        derive(load(both), {})
    with pytest.raises(InputError, match=r"no launch of a sweep 'x' \(launched: other, tuned\)"):
        derive(load(both), {}, sweep="x")
    assert parse(derive(load(both), {}, sweep="other")).name == "other-best"


def test_what_holds_no_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("params,tokens,lr,val_loss\n1,2,3,4\n")
    with pytest.raises(InputError, match="no sweep was launched"):
        derive(load(tmp_path / "t.csv"), {})


@pytest.mark.heavy
def test_the_command_writes_a_new_file_and_never_over_one(store: Path, tmp_path: Path, capsys) -> None:
    from typer.testing import CliRunner

    out = tmp_path / "next.toml"
    done = CliRunner().invoke(cli.app, ["derive", str(store), "--set", "tokens=2*tokens", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_text() == derive(load(store), {"tokens": "2*tokens"})
    again = CliRunner().invoke(cli.app, ["derive", str(store), "--out", str(out)])
    assert again.exit_code != 0
    assert isinstance(again.exception, InputError)
    shown = CliRunner().invoke(cli.app, ["derive", str(store)])
    assert shown.output == derive(load(store), {})
