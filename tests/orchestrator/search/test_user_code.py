"""Searches that pause trials, with a user's function and script that say that they resume (`checkpoints = true`)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.changes import parse as changes_of
from sweeplaw.trials.errors import InputError

FUNCTION = """
import json
from pathlib import Path
from sweeplaw.trials.changes import parse, value_at

def train(config, checkpoint_folder):
    kept = Path(checkpoint_folder, "state.json")
    state = json.loads(kept.read_text()) if kept.exists() else {"step": 0, "x": 8.0, "lived": []}
    while state["step"] < config["steps"]:
        lr = value_at("lr", config["lr"], parse(config.get("changes", "")), state["step"])
        state["x"] -= lr * state["x"]
        state["lived"].append(lr)
        state["step"] += 1
        kept.write_text(json.dumps(state))
        yield {"step": state["step"], "val_loss": state["x"] ** 2 + 1, "updates": len(state["lived"])}
    return {"val_loss": state["x"] ** 2 + 1, "lived": json.dumps(state["lived"])}

def forgetful(config):
    return 1.0
"""
SCRIPT = """
import json, os, signal, sys, time
kept = os.path.join(os.environ["SWEEPLAW_CHECKPOINT_FOLDER"], "at")
at = int(open(kept).read()) if os.path.exists(kept) else 0
first = at
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while at < 40:
    at += 1
    open(kept, "w").write(str(at))
    print(json.dumps({"step": at, "val_loss": float(sys.argv[1]) + 1 / at, "first": first}), flush=True)
    time.sleep(0.02)
"""
SWEEP = """
name = "mine"
[workload]
{workload}
[search]
{search}
[scientific]
steps = [40]
[nuisance]
lr = {{ log = [1e-3, 0.5] }}
"""
PYTHON = 'kind = "python:mine:train"\ncheckpoints = true'
COMMAND = 'kind = "command"\nargv = ["{python}", "{sweep_folder}/mine_script.py", "{lr}"]\ncheckpoints = true'
HALVING = 'kind = "halving"\nsamples = 9\nfirst = 0.1\nreduction = 3'
POPULATION = 'kind = "population"\nmembers = 4\nintervals = 4'


def run(tmp_path: Path, workload: str, search: str) -> tuple[Launched, pl.DataFrame]:
    (tmp_path / "mine.py").write_text(FUNCTION)
    (tmp_path / "mine_script.py").write_text(SCRIPT)
    sweep = parse(SWEEP.format(workload=workload, search=search), folder=tmp_path)
    done = launch(plan(sweep), Store.open(tmp_path / "s", create=True), Profile(kind="inline"))
    return done, tables.load(str(tmp_path / "s"), states=None).trials.collect()


@pytest.mark.heavy
def test_halving_continues_a_function_from_what_it_wrote(tmp_path: Path) -> None:
    done, rows = run(tmp_path, PYTHON, HALVING)
    assert done.search_end.startswith("every trial")
    assert set(rows["state"]) == {"completed", "paused"}
    completed = rows.filter(pl.col("state") == "completed")
    assert completed.height < rows.height == 9
    assert (completed["updates"] == 40).all(), "no step was done twice or left out"
    assert completed["lr"].max() == rows["lr"].max(), "the best one"
    kept = {path.name for path in (tmp_path / "s/checkpoints").iterdir()}
    assert kept == set(rows.filter(pl.col("state") == "paused")["trial_id"])


@pytest.mark.process
@pytest.mark.slow
def test_halving_continues_a_script_from_what_it_wrote(tmp_path: Path) -> None:
    _, rows = run(tmp_path, COMMAND, HALVING)
    assert set(rows["state"]) == {"completed", "paused"}
    completed = rows.filter(pl.col("state") == "completed")
    assert completed["lr"].min() == rows["lr"].min()
    assert (completed["first"] >= 4).all(), "it began at the step of its rung"


@pytest.mark.heavy
def test_members_of_a_population_of_functions_begin_from_anothers_checkpoint(tmp_path: Path) -> None:
    workload = PYTHON + '\nknobs = { changes = "" }'
    done, rows = run(tmp_path, workload, POPULATION)
    assert done.search_end == "every member has trained to its end"
    completed = rows.filter(pl.col("state") == "completed")
    changed = completed.filter(pl.col("changes") != "")
    assert changed.height
    for row in changed.iter_rows(named=True):
        lived = [row["lr"]] * 40
        for change in changes_of(row["changes"]):
            lived[change.step :] = [change.values["lr"]] * (40 - change.step)
        assert row["lived"] == str(lived), "40 steps, at the rates that its schedule says"


@pytest.mark.heavy
def test_members_that_continue_from_the_same_one_differ(tmp_path: Path) -> None:
    """Where only two changes are possible, up or down, two members often drew the same and became one."""
    search = 'kind = "population"\nmembers = 8\nintervals = 5\nquantile = 0.5\nresample = 0'
    _, rows = run(tmp_path, PYTHON + '\nknobs = { changes = "" }', search)
    assert rows.filter(pl.col("state") == "completed").height == 8


def test_what_cannot_pause_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)

    def check(workload: str, search: str = HALVING) -> None:
        registry.check(parse(SWEEP.format(workload=workload, search=search), folder=tmp_path))

    silent = PYTHON.replace("checkpoints = true", "")
    with pytest.raises(InputError, match=r"python:mine:train does not write .*with checkpoints = true in \[workload\]"):
        check(silent)
    with pytest.raises(InputError, match="checkpoints = true"):
        check(silent, 'kind = "random"\nsamples = 4\n[search.early_stopping]')
    with pytest.raises(InputError, match=r'declared as changes = "" in \[workload.knobs\]'):
        check(PYTHON, POPULATION)
    with pytest.raises(InputError, match=r"workload.checkpoints = 'yes' \(accepted: true or false\)"):
        check(PYTHON.replace("true", '"yes"'))
    with pytest.raises(InputError, match="python:mine:forgetful has no parameter checkpoint_folder"):
        run(tmp_path, PYTHON.replace("train", "forgetful"), HALVING)


@pytest.mark.heavy
@pytest.mark.parametrize(("search", "knobs"), [(HALVING, ""), (POPULATION, '\nknobs = { changes = "" }')])
def test_curves_are_whole_and_the_next_launch_has_nothing_to_do(tmp_path: Path, search: str, knobs: str) -> None:
    """What a trial reported before it paused is in the curve of its last attempt, by which a new launch decides."""
    _, rows = run(tmp_path, PYTHON + knobs, search)
    curves = tables.load(str(tmp_path / "s"), states=None).curves.collect()
    for row in rows.iter_rows(named=True):
        steps = curves.filter(pl.col("trial_id") == row["trial_id"])["step"].to_list()
        assert sorted(steps) == list(range(1, row["last_step"] + 1))
    again, same = run(tmp_path, PYTHON + knobs, search)
    assert again.states == {}
    assert same.equals(rows)
