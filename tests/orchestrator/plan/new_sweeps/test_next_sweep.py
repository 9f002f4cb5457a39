"""The sweep file of a plan runs what the plan says: its points, its values, its seeds."""

import pytest

from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.new_sweeps.next_sweep import next_sweep
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy

SWEEP = """
name = "first"
workload = "surrogate"
[scientific]
params = [10_000_000, 100_000_000]
tokens = [1_000_000_000, 10_000_000_000]
[nuisance]
lr = [1e-3, 3e-3, 1e-2]
[fixed]
batch_sequences = 64
weight_decay = 0.1
"""


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo, already, cluster):
        pass

    def recorded(self, rows):
        pass


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    path = tmp_path_factory.mktemp("next") / "s"
    launch(plan(parse(SWEEP)), Store.open(path, create=True), profile.load("inline"), Silent())
    return load(path)


def specs(text):
    return [(one.knobs["params"], one.knobs["tokens"], one.knobs["lr"]) for one in plan(parse(text)).specs]


def test_new_points_take_the_best_setting_of_the_nearest(tables):
    best = tables.trials.collect().sort("val_loss").unique(["params", "tokens"], keep="first")
    near = best.filter(params=100_000_000, tokens=10_000_000_000)["lr"].item()
    text = next_sweep(tables, RunPlan("larger", "why", ((3e8, 1e10), (1e8, 4e10)), 2, 1.0, 0.2), "params_non_embedding")
    assert sorted(specs(text)) == [(100_000_000, 40_000_000_000, near), (300_000_000, 10_000_000_000, near)]
    assert parse(text).name == "first-next"
    assert next(iter(plan(parse(text)).specs)).knobs["batch_sequences"] == 64


def test_values_of_a_knob_run_at_the_points_that_ran(tables):
    text = next_sweep(
        tables,
        RunPlan("edge", "why", ((1e7, 1e9), (1e7, 1e10)), 4, 1.0, knobs={"lr": (0.03, 0.1)}),
        "params_non_embedding",
    )
    assert sorted(specs(text)) == sorted((10_000_000, d, lr) for d in (10**9, 10**10) for lr in (0.03, 0.1))


def test_repeats_have_seeds_of_their_own(tables, tmp_path):
    twice = RunPlan("repeats", "why", ((1e8, 1e10), (1e8, 1e10)), 2, 1.0, 0.1)
    found = list(plan(parse(next_sweep(tables, twice, "params_non_embedding"))).specs)
    assert len(found) == 2
    ran = set(tables.trials.collect()["trial_id"])
    assert not ran & {one.trial_id for one in found}
    assert len({one.knobs["seed"] for one in found}) == 2


def test_a_sweep_without_the_axes_has_no_file(tmp_path):
    text = SWEEP.replace("tokens = [1_000_000_000, 10_000_000_000]", "").replace("[fixed]", "[fixed]\ntokens = 1e9")
    launch(plan(parse(text)), Store.open(tmp_path / "s", create=True), profile.load("inline"), Silent())
    with pytest.raises(InputError, match="tokens is no axis of first"):
        next_sweep(load(tmp_path / "s"), RunPlan("x", "y", ((1e7, 1e9),), 1, None), "params_non_embedding")


def test_a_plan_of_one_family_takes_the_settings_of_that_family(tmp_path):
    text = SWEEP.replace("[nuisance]", "noise = [0.0, 0.3]\n[nuisance]")
    launch(plan(parse(text)), Store.open(tmp_path / "s", create=True), profile.load("inline"), Silent())
    for noise in (0.0, 0.3):
        larger = RunPlan("larger", "why", ((3e8, 1e10),), 1, 1.0, 0.2)
        found = next_sweep(load(tmp_path / "s"), larger, "params_non_embedding", family={"noise": noise})
        assert [one.knobs["noise"] for one in plan(parse(found)).specs] == [noise]
    with pytest.raises(InputError, match="no completed trial of first is of the plan's family"):
        next_sweep(load(tmp_path / "s"), larger, "params_non_embedding", family={"noise": 0.7})
