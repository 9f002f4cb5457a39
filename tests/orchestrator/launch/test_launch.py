"""A launch runs exactly the planned trials, each once, whatever dies meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse, read
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.ray

HEAD = 'name = "t"\nworkload = "surrogate"\n'
GRID = "[scientific]\nparams = [1000, 2000]\ntokens = [50, 70]\n[nuisance]\nlr = [0.1, 0.2, 0.3]\n"


class Observer:
    def __init__(self):
        self.todo: list[Plan] = []

    def started(self, todo, already, cluster):
        self.todo.append(todo)

    def recorded(self, rows):
        """Ignore rows: tests read them from the store."""


def inline(text, path, *observers):
    return launch(plan(parse(text)), Store.open(path, create=True), profile.load("inline"), *observers)


def test_a_launch_records_every_planned_trial_once(tmp_path):
    observer = Observer()
    done = inline(HEAD + GRID, tmp_path / "s", observer)
    trials = load(tmp_path / "s").trials.collect()
    assert done.states == {"completed": 12}
    assert sorted(trials["trial_id"]) == sorted(plan(parse(HEAD + GRID)).ids)
    assert [todo.trials for todo in observer.todo] == [12]
    assert set(load(tmp_path / "s").curves.collect()["trial_id"]) == set(trials["trial_id"])


def test_launching_again_runs_nothing_and_a_larger_sweep_runs_the_difference(tmp_path):
    inline(HEAD + GRID, tmp_path / "s")
    again = inline(HEAD + GRID, tmp_path / "s")
    assert (again.already, again.states) == (12, {})
    more = inline(HEAD + GRID.replace("[50, 70]", "[50, 70, 90]"), tmp_path / "s")
    assert (more.already, more.states) == (12, {"completed": 6})
    assert load(tmp_path / "s").trials.collect()["trial_id"].n_unique() == 18


def test_bad_trials_are_rows_and_the_sweep_goes_on(tmp_path):
    body = (
        HEAD
        + GRID
        + 'behaviour = ["normal", "diverged", "out_of_memory", "failed", "raised"]\n[retry]\nout_of_memory = 1\n'
    )
    done = inline(body, tmp_path / "s")
    assert sum(done.states.values()) == 60
    assert done.states["diverged"] == done.states["out_of_memory"] == 12
    assert done.states["failed"] == 24
    tables = load(tmp_path / "s")
    assert tables.trials.collect().height == 12
    dropped = dict(tables.dropped)
    assert dropped.pop("earlier attempts or versions, replaced by later ones") == done.retries == 12, (
        "out_of_memory is retried once"
    )
    assert sum(dropped.values()) == 48


def test_a_trial_that_another_living_launch_holds_is_left_to_it(tmp_path):
    made = plan(parse(HEAD + GRID))
    store = Store.open(tmp_path / "s", create=True)
    held = sorted(made.ids)[:5]
    store.claim(held, "other", 600)
    done = launch(made, store, profile.load("inline"))
    assert (done.elsewhere, done.states) == (5, {"completed": 7})


def test_launches_with_shards_divide_a_sweep_and_one_without_takes_the_rest(tmp_path):
    made = plan(parse(HEAD + GRID))
    store = Store.open(tmp_path / "s", create=True)
    half = [profile.parse({"kind": "inline", "shard": f"{part}/2"}, name="half") for part in range(2)]
    first = launch(made, store, half[0])
    ran = sum(first.states.values())
    assert 0 < ran < 12
    again = launch(made, store, half[0])
    assert (again.states, again.already, again.elsewhere) == ({}, ran, 12 - ran)
    assert launch(made, store, profile.load("inline")).states == {"completed": 12 - ran}
    assert launch(made, store, half[1]).already == 12


def test_facts_of_a_launch_are_kept_in_the_store(tmp_path):
    text = HEAD + GRID + "[fixed]\nweight_decay = 0.2\n"
    inline(text, tmp_path / "s")
    (facts,) = load(tmp_path / "s").launches
    assert facts["sweep"] == "t"
    assert facts["sweep_file"] == text
    assert facts["scientific"] == ["params", "tokens"]
    assert facts["nuisance"] == ["lr"]
    assert facts["fixed"] == {"weight_decay": 0.2}
    assert facts["planned"] == 12


def test_a_workload_that_cannot_run_is_refused_before_anything_starts(tmp_path):
    text = (
        'name = "t"\n[scientific]\nparams = [30000]\nunique_tokens = [4096]\n[fixed]\ncorpus = "text:/nowhere/*.txt"\n'
    )
    with pytest.raises(InputError):
        inline(text, tmp_path / "s")
    assert not load(tmp_path / "s").trials.collect().height


def test_an_inline_launch_never_imports_ray(tmp_path):
    (tmp_path / "t.toml").write_text(HEAD + GRID)
    words = ["launch", str(tmp_path / "t.toml"), "--store", str(tmp_path / "s"), "--cluster", "inline"]
    script = f"""
import sys
from sweeplaw.orchestrator.cli import app
app({words!r}, standalone_mode=False)
assert "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "s").trials.collect().height == 12


# The command, on a real private Ray.

SWEEP = HEAD + "seeds = 10\n" + GRID + "[fixed]\nseconds = 0.05\n"


def command(*arguments, **options):
    return [sys.executable, "-m", "sweeplaw", *map(str, arguments)]


def sweeplaw(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240)


def test_the_command_runs_a_sweep_on_ray_and_prints_its_result(tmp_path):
    (tmp_path / "t.toml").write_text(SWEEP.replace("seeds = 10", "seeds = 2"))
    done = sweeplaw("launch", tmp_path / "t.toml", "--store", tmp_path / "s", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["states"] == {"completed": 24}
    assert load(tmp_path / "s").trials.collect().height == 24


def test_a_worker_killed_by_a_trial_costs_that_trial_only(tmp_path):
    text = HEAD + '[scientific]\nparams = [1000]\ntokens = [50, 60, 70]\n[nuisance]\nbehaviour = ["normal", "killed"]\n'
    (tmp_path / "t.toml").write_text(text)
    done = sweeplaw("launch", tmp_path / "t.toml", "--store", tmp_path / "s", "--json")
    assert done.returncode == 5, done.stderr  # trials failed
    rows = load(tmp_path / "s", states=None).trials.collect()
    assert sorted(rows["trial_id"]) == sorted(plan(parse(text)).ids)
    killed = rows.filter(pl.col("behaviour") == "killed")
    assert set(killed["state"]) == {"failed"}
    assert set(killed["attempt"]) == {3}
    assert all("given up after 3 attempts" in message for message in killed["message"])
    assert set(rows.filter(pl.col("behaviour") == "normal")["state"]) == {"completed"}


@pytest.mark.slow
def test_killing_the_driver_at_any_moment_loses_and_repeats_nothing(tmp_path):
    path, store = tmp_path / "t.toml", tmp_path / "s"
    path.write_text(SWEEP)
    planned = sorted(plan(read(path)).ids)
    dice = random.Random(os.environ.get("SWEEPLAW_KILL_SEED", "kill"))
    recorded: set[str] = set()
    for _ in range(4):
        driver = subprocess.Popen(
            command("launch", path, "--store", store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_more(store, len(recorded), driver)
        time.sleep(dice.uniform(0, 1.5))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        now = set(load(store, states=None).trials.collect()["trial_id"])
        assert recorded <= now, "a trial that was counted as finished is gone"
        recorded = now
    done = sweeplaw("launch", path, "--store", store)
    assert done.returncode == 0, done.stderr
    tables = load(store, states=None)
    assert sorted(tables.trials.collect()["trial_id"]) == planned
    assert not tables.dropped, "a finished trial ran twice"


def _wait_for_more(store, before, driver, patience=60.0):
    until = time.monotonic() + patience
    while time.monotonic() < until and driver.poll() is None:
        if (store / "store.json").exists() and load(store, states=None).trials.collect().height > before:
            return
        time.sleep(0.1)


def test_an_interrupt_leaves_a_store_from_which_launch_continues(tmp_path):
    path, store = tmp_path / "t.toml", tmp_path / "s"
    path.write_text(SWEEP.replace("seeds = 10", "seeds = 4"))
    driver = subprocess.Popen(
        command("launch", path, "--store", store), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _wait_for_more(store, 0, driver)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert b"relaunch to continue" in errors
    assert b"Traceback" not in errors
    done = sweeplaw("launch", path, "--store", store)
    assert done.returncode == 0, done.stderr
    assert sorted(load(store).trials.collect()["trial_id"]) == sorted(plan(read(path)).ids)


@pytest.mark.parametrize("moment", ["begun", "claimed", "backend"])
def test_what_a_launch_planned_is_known_if_it_is_interrupted_before_its_first_trial(tmp_path, monkeypatch, moment):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"sweeplaw.orchestrator.launch.launch.{moment}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inline(HEAD + GRID, tmp_path / "s")
    found = progress(Store.open(tmp_path / "s"))
    assert (found.waiting, found.missing, found.relaunch) == (12, 12, {"not run yet": 12})


def test_bad_input_is_one_message_and_exit_code_two(tmp_path):
    (tmp_path / "t.toml").write_text(HEAD + "[scientific]\nparms = [1]\n")
    done = sweeplaw("launch", tmp_path / "t.toml", "--store", tmp_path / "s")
    assert done.returncode == 2
    assert "did you mean 'params'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()
    assert sweeplaw("plan", tmp_path / "none.toml").returncode == 2


def test_a_trial_without_a_row_is_ended_after_the_patience_of_the_profile_and_the_rest_goes_on(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time\n\ndef train(config):\n"
        "    print('last words')\n    time.sleep(3600 if config['hang'] else 0)\n    return 1.0 + config['params']\n"
    )
    (tmp_path / "t.toml").write_text(
        'name = "t"\nworkload = "python:mine:train"\n[scientific]\nparams = [1, 2]\n[nuisance]\nhang = [true, false]\n'
        "[retry]\nworker_died = 0\n"
    )
    (tmp_path / "impatient.toml").write_text('kind = "local"\npatience_seconds = 3\n')
    arguments = ("--store", tmp_path / "s", "--cluster", tmp_path / "impatient.toml")
    done = sweeplaw("launch", tmp_path / "t.toml", *arguments)
    assert done.returncode == 5, done.stderr  # trials failed
    rows = load(tmp_path / "s", states=None).trials.collect()
    assert rows.height == 4
    assert set(rows.filter(pl.col("hang"))["state"]) == {"failed"}
    assert set(rows.filter(~pl.col("hang"))["state"]) == {"completed"}
    shown = sweeplaw("logs", tmp_path / "s", rows.filter(pl.col("hang"))["trial_id"][0])
    assert shown.stdout == "last words\n"


def test_a_sweep_beyond_its_budget_of_device_hours_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match="device_hours = 0"):
        inline(HEAD + GRID.replace("1000, 2000", "1000000000") + "[budget]\ndevice_hours = 0.001\n", tmp_path / "s")
