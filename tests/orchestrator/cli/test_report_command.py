"""`sweeplaw report`: where its two files go, and what has no folder for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store import claims
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy  # pages are drawn

SWEEP = """
name = "a"
workload = "surrogate"
[scientific]
params = [1e7, 1e8]
tokens = [1e9]
[nuisance]
lr = [1e-3, 1e-2]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported") / "s"
    launch(plan(parse(SWEEP)), Store.open(folder, create=True), profile.load("inline"))
    return folder


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_a_report_is_written_into_the_store(store: Path) -> None:
    done = call(store)
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[:2] == [f"{store}/report.html", f"{store}/report.json"]
    assert "<html" in (store / "report.html").read_text(encoding="utf-8")


def test_another_folder_is_made_for_it(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    done = call(store, "--out", out, "--json")
    assert done.exit_code == 0, done.exception
    shown = json.loads(done.stdout)
    assert (shown["html"], shown["json"]) == (f"{out}/report.html", f"{out}/report.json")
    written = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert {name: shown[name] for name in written} == written


def test_the_report_of_a_table_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("N,D,val_loss\n1,2,3\n")
    done = call(tmp_path / "runs.csv", "--x", "N=N", "--x", "D=D")
    assert done.exit_code == 0, done.exception
    written = ["runs.report.html", "runs.report.json"]
    assert done.stdout.splitlines()[:2] == [str(tmp_path / name) for name in written]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runs.csv", *written]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://bucket/runs", "s3://bucket/runs is not on this machine, so the report needs --out FOLDER"),
        ("nowhere.csv", "nowhere.csv is neither a store nor a file"),
    ],
)
def test_what_is_not_on_this_machine_has_no_folder_for_its_report(source: str, said: str) -> None:
    error = call(source).exception
    assert isinstance(error, InputError)
    assert str(error) == said


def test_a_report_that_is_refused_leaves_no_folder_and_takes_none_away(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("N,D,val_loss\n1,2,3\n")
    assert isinstance(call(tmp_path / "runs.csv", "--out", str(tmp_path / "a" / "b")).exception, InputError)
    assert [one.name for one in tmp_path.iterdir()] == ["runs.csv"]
    (tmp_path / "mine").mkdir()
    assert isinstance(call(tmp_path / "runs.csv", "--out", str(tmp_path / "mine")).exception, InputError)
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("size", [("--width", "3"), ("--height", "3")])
def test_a_figure_has_both_sizes_or_neither(size: tuple[str, str], tmp_path: Path) -> None:
    words = ["figure", "runs.csv", "loss_n", "--out", str(tmp_path / "x.svg"), *size]
    assert "go together: give both, or neither" in str(CliRunner().invoke(app, words).exception)
    words += ["--height" if size[0] == "--width" else "--width", "-1"]
    assert "= -1 (accepted: a positive number)" in str(CliRunner().invoke(app, words).exception)


def test_before_a_trial_has_completed_the_page_says_what_runs_and_what_a_relaunch_would_run(tmp_path: Path) -> None:
    text = SWEEP.replace("[nuisance]", '[fixed]\nbehaviour = "failed"\n[nuisance]')
    done = launch(plan(parse(text)), Store.open(tmp_path / "s", create=True), profile.load("inline"))
    assert done.states == {"failed": 4}
    shown = call(tmp_path / "s")
    assert shown.exit_code == 0, shown.exception
    assert shown.stdout.splitlines()[2] == "no trial has completed yet. No launch is running."
    store = Store.open(tmp_path / "s")
    claims.claim(store.location, ["a", "b", "c"], "99990101T000000-next", 60)
    values = json.loads(call(tmp_path / "s", "--json").stdout)
    assert values["running"][0] == "0 trials running now, 3 waiting."
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "No trial has completed yet</strong>, so there is no law. 0 trials running now, 3 waiting." in page


def test_completed_trials_without_a_loss_that_a_law_can_take_are_not_called_uncompleted(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("N,D,val_loss\n1e6,1e7,0\n2e6,1e7,-3\n")
    words = ["report", str(tmp_path / "runs.csv"), "--x", "N=N", "--x", "D=D", "--out", str(tmp_path / "page.html")]
    said = "one of 2 completed trials has N, D and a positive finite val_loss"
    assert f"n{said}." in CliRunner().invoke(app, words).stdout.splitlines()
    assert f"<strong>N{said}</strong>, so there is no law." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_can_have_a_name_of_its_own(store: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(store), "--out", str(tmp_path / "new" / "friday.html")])
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["friday.html", "friday.json"]
    assert "<html" in (tmp_path / "new" / "friday.html").read_text(encoding="utf-8")[:500]


def test_a_loss_that_picked_no_setting_is_reported_for_the_best_of_k(tmp_path: Path) -> None:
    rows = [f"1e6,1e7,{0.001 * k},{2 + 0.01 * (7 - k) ** 2},{2.5 + 0.01 * (8 - k) ** 2}" for k in range(1, 13)]
    (tmp_path / "runs.csv").write_text("\n".join(["N,D,lr,val_loss,other_loss", *rows]))
    words = ["report", str(tmp_path / "runs.csv"), "--x", "N=N", "--x", "D=D", "--out", str(tmp_path), "--json"]
    assert json.loads(CliRunner().invoke(app, words).stdout)["families"][0]["best_of"]["report"] == "val_loss"
    found = json.loads(CliRunner().invoke(app, [*words, "--report", "other_loss"]).stdout)["families"][0]["best_of"]
    assert (found["pick"], found["report"], found["places"][0]["settings"]) == ("val_loss", "other_loss", 12)
    last = found["places"][0]["curve"][-1]
    assert (last["picked"], last["reported"]) == pytest.approx((2.0, 2.51))  # of lr .007, where the first is least
    assert last["selection_bias"] == pytest.approx(0.01)  # the second is least at .008, where the first is 2.01
    with pytest.raises(InputError, match=r"no column 'othr_loss'; did you mean 'other_loss'"):
        CliRunner().invoke(app, [*words, "--report", "othr_loss"], catch_exceptions=False)


@pytest.mark.process
def test_a_home_that_is_no_folder_is_no_word_of_a_report(store: Path, tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    unset = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-m", "sweeplaw", "report", str(store), "--out", str(tmp_path / "page.html")],
        env={**environment, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_a_figure_that_cannot_exist_is_refused_before_any_law(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeplaw.analysis.report.report.fit_laws", lambda *_: pytest.fail("a law was fitted"))
    done = CliRunner().invoke(app, ["figure", str(store), "los_n", "--out", str(tmp_path / "x.svg")])
    assert isinstance(done.exception, InputError)
    assert "there is no figure 'los_n'; did you mean 'loss_n'?" in str(done.exception)


@pytest.mark.process
def test_a_fault_of_a_style_is_heard_where_words_of_the_home_are_not(store: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mplstyle").write_text("font.siz: 7\nlines.linewidth: thick\n")
    words = [
        "figure",
        str(store),
        "loss_n",
        "--out",
        str(tmp_path / "x.pdf"),
        "--style",
        str(tmp_path / "bad.mplstyle"),
    ]
    done = subprocess.run([sys.executable, "-m", "sweeplaw", *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "font.siz" in done.stderr
    assert "lines.linewidth" in done.stderr
    assert not (tmp_path / "x.pdf").exists()
