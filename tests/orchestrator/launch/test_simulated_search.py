"""Searches on the simulated cluster: they decide as a launch does, on a virtual clock."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.sweeps.simulation import simulated_search
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.plan.sweep import parse as parse_sweep
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format import search_state

SWEEP = """
name = "searched"
workload = "surrogate"
seeds = {seeds}
[search]
{search}
[budget]
{budget}
[scientific]
params = [1e8, 3e8]
tokens = [2e9]
[nuisance]
lr = {{ log = [1e-4, 1e-1], num = 13 }}
batch_sequences = [64, 128, 256, 512]
[fixed]
noise = 0.001
"""
RACK = """
kind = "slurm"
hardware = "h100-sxm"
gpus_per_trial = 1
cpus_per_trial = 4
[slurm]
nodes = {nodes}
cpus_per_node = 64
gpus_per_node = 8
{more}
"""
INLINE = Profile(kind="inline")
STOPPING = 'kind = "random"\nsamples = 8\n[search.early_stopping]\nchecks = 2'


def sweep(search: str = 'kind = "tpe"', budget: str = "trials = 24", seeds: int = 1) -> SweepSpec:
    return parse_sweep(SWEEP.format(search=search, budget=budget, seeds=seeds))


def rack(nodes: int = 1, more: str = "") -> Profile:
    return parse(tomllib.loads(RACK.format(nodes=nodes, more=more)), name="rack")


def simulated(spec: SweepSpec, profile: Profile, runs: int = 1, seed: int = 0) -> dict[str, Any]:
    return simulated_search(spec, None, profile, None, seed, runs).summary()


@pytest.mark.heavy
@pytest.mark.parametrize(("search", "seeds"), [('kind = "halving"\nsamples = 6', 1), (STOPPING, 2)])
def test_what_does_not_depend_on_the_order_is_what_a_launch_finds(tmp_path: Path, search: str, seeds: int) -> None:
    """On one slot the dispatcher asks for the next trial while one runs; a launch without workers does not."""
    spec = sweep(search, "", seeds)
    done = launch(plan(spec), Store.open(tmp_path / "s", create=True), INLINE)
    (real,) = search_state.load(Store.open(tmp_path / "s").location).values()
    (found,) = simulated(spec, INLINE)["searches"]
    assert found["recommended"] == list(done.recommended)
    assert (found["proposals"], found["ended"]) == (real.proposals, real.ended)
    assert found["states"] == {state: count for state, count in sorted(done.states.items()) if count}


@pytest.mark.heavy
def test_a_local_search_certifies_the_optima_that_a_launch_certifies(tmp_path: Path) -> None:
    spec = sweep('kind = "local"', "")
    done = launch(plan(spec), Store.open(tmp_path / "s", create=True), INLINE)
    (found,) = simulated(spec, rack())["searches"]
    assert all(row["certified"] for row in found["recommended"])
    assert [{**row, "basis": ""} for row in found["recommended"]] == [{**row, "basis": ""} for row in done.recommended]


@pytest.mark.heavy
def test_it_goes_on_from_what_a_store_has(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    launch(plan(sweep(budget="trials = 10")), store, INLINE)
    half = simulated_search(sweep(), store, INLINE, None, 0, 1).summary()["searches"][0]
    whole = simulated(sweep(), INLINE)["searches"][0]
    assert half["trials"] == 14
    assert half["recommended"] == whole["recommended"]


@pytest.mark.heavy
def test_more_slots_end_sooner_and_the_search_knows_what_is_pending() -> None:
    spec = sweep(budget="trials = 32")
    one, many = (simulated(spec, rack()) for _ in range(2))
    assert one == many
    alone = simulated(spec, rack().model_copy(update={"slots": 1}))
    assert one["makespan_hours"]["mean"] < alone["makespan_hours"]["mean"] / 4
    assert one["searches"][0]["trials"] == alone["searches"][0]["trials"] == 32


@pytest.mark.heavy
def test_launches_differ_in_the_seed_of_their_failures_alone() -> None:
    failing = rack(2, "[simulation]\nmtbf_hours = 2")
    first, again = (simulated(sweep(), failing, runs=3) for _ in range(2))
    assert first == again
    assert first["interruptions"] > 0
    later = simulated(sweep(), failing, runs=3, seed=1)
    assert later["searches"][:2] == first["searches"][1:]
    assert [one["trials"] for one in first["searches"]] == [24, 24, 24]


@pytest.mark.heavy
def test_halving_pays_for_half_of_its_samples() -> None:
    """Curves have points at quarters: 27, 9 and 3 trials to .25, .5 and 1 would be .39; promotion is asynchronous."""
    spec = sweep('kind = "halving"\nsamples = 27', "")
    whole = 27 * sum(6 * size * 2e9 for size in (1e8, 3e8))
    assert 0.35 < simulated(spec, rack())["useful_flops"] / whole < 0.6


@pytest.mark.parametrize(("budget", "share"), [("device_hours = 2", 2.0), ("wall_hours = 0.5", 4.0)])
def test_budgets_of_time_end_the_search_on_the_virtual_clock(budget: str, share: float) -> None:
    found = simulated(sweep(budget=budget), rack())
    assert found["searches"][0]["ended"].startswith(f"budget.{budget} ")
    assert found["useful_device_hours"] < share + 8  # what ran on eight devices ends as preempted
    assert found["searches"][0]["trials"] >= 3


def test_what_cannot_be_known_is_refused_with_what_would_do(tmp_path: Path) -> None:
    model = """
    name = "m"
    [search]
    kind = "tpe"
    [budget]
    trials = 4
    [scientific]
    params_non_embedding = [10_000]
    unique_tokens = [100_000]
    [nuisance]
    lr = { log = [1e-4, 1e-1] }
    [fixed]
    corpus = "stdlib"
    """
    with pytest.raises(InputError, match="known without training only from a formula or a recorded table"):
        simulated(parse_sweep(model), rack())
    with pytest.raises(InputError, match="simulated in one launch"):
        simulated(sweep(), rack(more="array = 4"))
    with pytest.raises(InputError, match="goes on until its budget is spent"):
        simulated(sweep(budget=""), rack())


@pytest.mark.heavy
def test_plan_prints_the_simulation_of_a_search_and_has_it_as_json(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.format(search='kind = "law"', budget="trials = 20", seeds=1))
    (tmp_path / "rack.toml").write_text(RACK.format(nodes=1, more=""))
    call = ["plan", str(tmp_path / "sweep.toml"), "--simulate", str(tmp_path / "rack.toml")]
    done = CliRunner().invoke(app, [*call, "--figure", str(tmp_path / "g.svg")])
    assert done.exit_code == 0, done.output
    assert "  search    20 proposals" in done.output
    assert "recommended by the search:" in done.output
    assert (tmp_path / "g.svg").stat().st_size > 1000
    values = json.loads(CliRunner().invoke(app, [*call, "--json"]).output)
    assert values["search"]["kind"] == "law"
    assert values["simulation"]["searches"][0]["trials"] == 20


def test_a_replayed_table_is_simulated_with_its_losses(tmp_path: Path) -> None:
    rows = [
        f"{n},{d},{lr},{3 + 10 * abs(lr - 0.01) + 1e8 / n}"
        for n in (1e8, 2e8)
        for d in (2e9,)
        for lr in (0.001, 0.003, 0.01, 0.03)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["N,D,lr,val_loss", *rows]))
    text = """
    name = "r"
    workload = { kind = "replay", table = "t.csv" }
    [search]
    kind = "local"
    [scientific]
    N = [1e8, 2e8]
    D = [2e9]
    [nuisance]
    lr = [0.001, 0.003, 0.01, 0.03]
    """
    (found,) = simulated(parse_sweep(text, folder=tmp_path), rack())["searches"]
    assert [(row["lr"], row["certified"]) for row in found["recommended"]] == [(0.01, True), (0.01, True)]
