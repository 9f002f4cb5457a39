"""Every search is continued from its store: after SIGKILL, with more budget or space, by two launches at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from tests.orchestrator.search.kinds import KINDS, text
from tests.paths import ROOT

INLINE = Profile(kind="inline")
SAME = ["search_number", "search_known", "trial_id", "state", "last_step", "val_loss"]
SURROGATE = [name for name in KINDS if name != "population"]
UNBOUNDED = ["tpe", "cmaes", "archive"]  # go on until their budget is spent, whatever it is
every_kind = pytest.mark.parametrize("name", list(KINDS))


class Zygote:
    """A process that has loaded everything, and forks a process for each launch."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        command = [sys.executable, "-m", "tests.orchestrator.search.kinds"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)

    def begin(self, sweep: Path, store: Path, after: int = -1, delay: float = 0.0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{sweep}\t{store}\t{after}\t{delay}\n")
        self.process.stdin.flush()

    def wait(self) -> list[str]:
        """Return the trials that the launch recorded, once it has ended."""
        assert self.process.stdout is not None
        found: list[str] = []
        for line in iter(self.process.stdout.readline, ""):
            if line.strip() == "gone":
                return found
            found.append(line.split()[0])
        raise AssertionError("the process that launches has died")

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def zygotes() -> Iterator[tuple[Zygote, Zygote]]:
    found = Zygote(), Zygote()
    yield found
    for zygote in found:
        zygote.close()


def run(store: Path, content: str) -> Launched:
    return launch(plan(parse(content)), Store.open(store, create=True), INLINE)


def rows(store: Path) -> pl.DataFrame:
    return tables.load(str(store), states=None).trials.collect().sort("search_number", "trial_id")


@pytest.mark.kill
@pytest.mark.slow
@every_kind
def test_a_killed_launch_is_continued_as_if_it_had_not_been(
    tmp_path: Path, zygotes: tuple[Zygote, Zygote], name: str
) -> None:
    seeds = 2 if name in ("tpe", "local", "law") else 1
    content = text(name, seeds=seeds)
    (tmp_path / "sweep.toml").write_text(content)
    run(tmp_path / "whole", content)
    whole = rows(tmp_path / "whole")
    assert whole.height >= 3
    rng = random.Random(name)
    for after in (1, rng.choice([4, 7])):
        store = tmp_path / str(after)
        zygotes[0].begin(tmp_path / "sweep.toml", store, after, rng.choice([0.0, 0.003, 0.03]))
        done = zygotes[0].wait()
        assert len(done) >= min(after, whole.height)
        run(store, content)
        assert rows(store).select(SAME).equals(whole.select(SAME)), f"killed after {len(done)}"


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("name", SURROGATE)
def test_two_launches_at_once_repeat_no_work(tmp_path: Path, zygotes: tuple[Zygote, Zygote], name: str) -> None:
    (tmp_path / "sweep.toml").write_text(text(name, "trials = 14", sleep="0.15"))
    for zygote in zygotes:
        zygote.begin(tmp_path / "sweep.toml", tmp_path / "s")
    first, second = (zygote.wait() for zygote in zygotes)
    found = rows(tmp_path / "s")
    if name not in ("halving", "hyperband") and "early" not in name:
        assert not set(first) & set(second), "a trial ran twice"
    assert found["trial_id"].n_unique() == found.height
    assert set(first) | set(second) == set(found["trial_id"])
    assert found.height <= 14, "also where both claim the last one at the same moment"
    assert first or second


@pytest.mark.heavy
@every_kind
def test_a_budget_of_trials_is_spent_and_continued(tmp_path: Path, name: str) -> None:
    small = run(tmp_path / "s", text(name, "trials = 6"))
    assert sum(small.states.values()) <= 6
    ids = rows(tmp_path / "s")["trial_id"]
    again = run(tmp_path / "s", text(name, "trials = 12"))
    found = rows(tmp_path / "s")
    assert set(ids) <= set(found["trial_id"])
    assert found.height <= 12
    if name in UNBOUNDED:
        assert (small.search_end, again.search_end) == ("budget.trials = 6 is spent", "budget.trials = 12 is spent")
        assert found["search_number"].to_list() == list(range(12))


@pytest.mark.heavy
@pytest.mark.parametrize("name", SURROGATE)
def test_a_budget_of_flops_is_never_exceeded(tmp_path: Path, name: str) -> None:
    run(tmp_path / "s", text(name, "flops = 2e16"))
    found = rows(tmp_path / "s")
    share = (found["last_step"] / found["steps"]).clip(upper_bound=1)
    # A trial that is to pause trains on to its next evaluation: here at most a quarter of its steps, of 6e15 FLOPs.
    beyond = 0.25 * 6e15 if "early" in name else 0.0
    assert 0 < (found["flops"] * share).sum() <= 2e16 * (1 + 1e-9) + beyond


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["wall", "device"])
@pytest.mark.parametrize("name", ["tpe", "law", "local", "halving", "archive"])
def test_a_budget_of_hours_ends_the_launch_in_its_own_state_and_a_larger_one_continues(
    tmp_path: Path, name: str, bound: str
) -> None:
    def content(seconds: float) -> str:
        return text(name, f"{bound}_hours = {seconds / 3600:.9f}", sleep="0.3")

    small = run(tmp_path / "s", content(0.9))
    assert small.end is not None
    assert small.end.state == "budget"
    before = rows(tmp_path / "s")
    assert 1 <= before.height < 12
    if bound == "device":
        with pytest.raises(InputError, match=r"budget.device_hours = 0.00025, but 0.00\d* are used"):
            run(tmp_path / "s", content(0.9))
    large = run(tmp_path / "s", content(2.2))
    found = rows(tmp_path / "s")
    assert found.height > before.height or large.search_end
    assert set(before["trial_id"]) <= set(found["trial_id"])
    assert found["search_number"].is_unique().all()


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name in SURROGATE if name != "gp"])
def test_values_and_points_that_are_added_later_are_searched(tmp_path: Path, name: str) -> None:
    points = "1e6, 3e6" if name.startswith("law") else "1e6"  # a law search needs two points
    before, after = (text(name, "trials = 30", params=params) for params in (points, f"{points}, 1e7"))
    run(tmp_path / "s", before)
    first = rows(tmp_path / "s")
    run(tmp_path / "s", after.replace("[16, 64, 256]", "[16, 64, 256, 1024]").replace("trials = 30", "trials = 60"))
    found = rows(tmp_path / "s")
    assert set(first["trial_id"]) <= set(found["trial_id"])
    assert found["trial_id"].n_unique() == found.height
    assert set(found["params"]) == {*map(float, points.split(",")), 1e7}
    assert found.filter(pl.col("state") == "completed").height >= 2


@pytest.mark.heavy
@pytest.mark.parametrize("name", SURROGATE)
def test_knobs_that_move_together_are_proposed_together(tmp_path: Path, name: str) -> None:
    run(tmp_path / "s", text(name, "trials = 8", zips=True))
    pairs = set(rows(tmp_path / "s").select("lr", "batch_sequences").iter_rows())
    assert pairs <= {(0.0003, 16), (0.001, 32), (0.003, 64), (0.01, 64), (0.03, 128)}
    assert pairs


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["tpe", "local", "law", "archive", "cmaes"])
@pytest.mark.parametrize("ran", [1, 2])
def test_seeds_that_are_missing_are_completed_under_the_same_proposal(tmp_path: Path, name: str, ran: int) -> None:
    """A launch that ends between the seeds of a setting leaves some without a row; the next runs exactly those."""
    run(tmp_path / "s", text(name, f"trials = {3 + ran}", seeds=3))
    before = rows(tmp_path / "s")
    assert before.height == 3
    whole = run(tmp_path / "s", text(name, "trials = 12", seeds=3))
    found = rows(tmp_path / "s")
    assert sum(whole.states.values()) == found.height - 3
    assert found.group_by("search_number").len()["len"].unique().to_list() == [3]


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_on_a_real_ray_of_two_slots_counts_what_is_pending(tmp_path: Path) -> None:
    content = text("tpe", "trials = 12", sleep="0.2")
    done = launch(plan(parse(content)), Store.open(tmp_path / "s", create=True), Profile(kind="local", cpus=2))
    assert done.states == {"completed": 12}
    found = rows(tmp_path / "s")
    assert found["search_number"].to_list() == list(range(12))
    assert found["trial_id"].n_unique() == 12
    behind = (found["search_number"] - found["search_known"]).to_list()
    assert max(behind) == 2, "both slots were busy: the next proposal waits in the queue, so that no slot idles"
    assert min(behind[2:]) >= 1, "what runs is known to be pending"
