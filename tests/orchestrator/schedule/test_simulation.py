"""Plans on simulated clusters: they agree with the estimate of the plan, a Slurm array, the retry policy."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.queue import build_queue
from sweeplaw.orchestrator.plan.estimate import estimate
from sweeplaw.orchestrator.plan.pace import Pace
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.plan.sweep import parse as parse_sweep
from sweeplaw.orchestrator.schedule.simulated.conditions import Conditions
from sweeplaw.orchestrator.schedule.simulated.gantt import gantt
from sweeplaw.orchestrator.schedule.simulated.launch import SimulatedLaunch
from sweeplaw.orchestrator.schedule.simulated.ledger import NodeOutage, SlotLedger, SlotLife, SlotSpan
from sweeplaw.orchestrator.schedule.simulated.simulation import SimulatedLaunches, simulate
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

SWEEP = """
name = "mixed"
workload = "surrogate"
seeds = 4
[scientific]
params = { log = [1e8, 1e9], num = 4 }
tokens = { log = [2e9, 2e10], num = 3 }
[nuisance]
batch_sequences = [512, 1024]
"""
SHORT = SWEEP.replace("tokens = { log = [2e9, 2e10], num = 3 }", "tokens = [2e8]")  # trials of at most an hour
MODELS = """
name = "models"
[scientific]
params_non_embedding = [1e8, 1e9, 8e9, 3e10]
unique_tokens = [1e9]
[nuisance]
lr = [1e-4, 2e-4, 4e-4]
[fixed]
corpus = "tokens:somewhere.bin?vocab=50304"
batch_sequences = 64
"""
SLURM = {"nodes": 8, "cpus_per_node": 64, "gpus_per_node": 8}
PACE = Pace(1.0, "as rated")


def profile(slurm: Mapping[str, Any] = SLURM, **settings: Any) -> Profile:
    content = {"kind": "slurm", "hardware": "h100-sxm", "gpus_per_trial": 1, "cpus_per_trial": 4}
    return parse({**content, "slurm": dict(slurm), **settings}, name="rack")


def made(text: str = SWEEP) -> Plan:
    return plan(parse_sweep(text))


def simulated(text: str = SWEEP, on: Profile | None = None, **options: Any) -> SimulatedLaunches:
    return simulate(made(text), on or profile(), build_queue, PACE, **options)


@pytest.mark.parametrize("text", [SWEEP, MODELS], ids=["equal", "several sizes"])
@pytest.mark.parametrize(
    "on",
    [
        profile(),
        profile(gpus_per_trial=0.25, cpus_per_trial=1),
        profile({**SLURM, "nodes": 4, "array": 4}),
        parse({"kind": "local", "cpus": 6, "memory_per_trial": "4 TB"}, name="cores"),
        parse({"kind": "inline", "memory_per_trial": "4 TB"}, name="inline"),
    ],
    ids=["gpus", "shares", "array", "cores", "inline"],
)
def test_useful_time_and_flops_are_those_of_the_plan(text: str, on: Profile) -> None:
    given = made(text)
    found = simulate(given, on, build_queue, PACE).summary()
    expected = estimate(given, on, PACE)
    assert found["useful_device_hours"] == pytest.approx(expected["device_hours"])
    assert found["useful_flops"] == pytest.approx(expected["flops"])
    assert (found["wasted_device_hours"], found["given_up"], found["ended"]) == ({}, 0, given.trials)
    assert found["least_hours"] <= found["makespan_hours"]["mean"] + 1e-9
    parts = [found[f"{name}_device_hours"] for name in ("useful", "starting", "away", "idle")]
    assert math.fsum(parts) == pytest.approx(found["device_hours"])


def test_a_slurm_array_is_as_many_launches_each_with_its_shard() -> None:
    whole = profile({**SLURM, "nodes": 2, "array": 3})
    found = simulated(on=whole)
    alone = [
        simulated(on=profile({**SLURM, "nodes": 2}, shard=f"{part}/3")).summary()["makespan_hours"]["mean"]
        for part in range(3)
    ]
    assert found.summary()["makespan_hours"]["mean"] == pytest.approx(max(alone))
    assert found.summary()["nodes"] == 6
    assert [ledger.seconds / 3600 for ledger in found.launches[0].ledgers] == pytest.approx(alone)


@pytest.mark.heavy
def test_failures_come_at_the_rate_of_the_cluster_or_of_each_node_and_the_seed_repeats_them() -> None:
    by_hand = simulated(failures_per_hour=2.0, seed=7, runs=20)
    of_nodes = simulated(on=profile(simulation={"mtbf_hours": 4.0}), seed=7, runs=20)
    assert by_hand.summary() == {**of_nodes.summary(), "profile": "rack"}
    found = by_hand.summary()
    hours = sum(one.seconds for one in by_hand.launches) / 3600
    away = sum(one.away for one in by_hand.launches) / 3600 / 8
    expected = 2.0 * (hours - away / 8)
    assert abs(found["interruptions"] * 20 - expected) < 4 * math.sqrt(expected)
    assert found["makespan_hours"]["low"] < found["makespan_hours"]["mean"] < found["makespan_hours"]["high"]
    assert simulated(failures_per_hour=2.0, seed=8, runs=20).summary() != found
    assert len(simulated(failures_per_hour=0.0, runs=20).launches) == 1, "nothing is random without failures"


@pytest.mark.heavy
def test_lost_nodes_give_up_only_trials_that_never_move_on_and_the_retry_policy_raises_the_bound() -> None:
    def ledger(more: int, **assumed: Any) -> SlotLedger:
        on = profile(checkpoint_seconds=60.0, simulation={"mtbf_hours": 0.25, "away_seconds": 60.0, **assumed})
        return simulated(f"{SHORT}[retry]\nworker_died = {more}\n", on, runs=1).launches[0].ledgers[0]

    moving, stuck, often = ledger(0), ledger(0, checkpoints=False), ledger(1000, checkpoints=False)
    trials = made(SHORT).trials
    assert (moving.given_up, moving.ended) == (0, trials)
    assert stuck.given_up > 0
    assert stuck.given_up + stuck.ended == trials
    assert (often.given_up, often.ended) == (0, trials)


@pytest.mark.heavy
def test_checkpoints_bound_what_an_interruption_costs() -> None:
    assumed = {"away_seconds": 60.0, "preemption_hours": 1.0}
    text = SHORT + "[retry]\nworker_died = 1000\n"
    often = simulated(text, profile(simulation=assumed, checkpoint_seconds=60.0))
    never = simulated(text, profile(simulation={**assumed, "checkpoints": False}))
    assert often.conditions.checkpoint_seconds == 60.0
    assert never.conditions.checkpoint_seconds is None
    lost, all_lost = (one.summary()["wasted_device_hours"]["preempted"] for one in (often, never))
    assert 0 < lost <= often.summary()["interruptions"] * 8 * 60.0 / 3600
    assert all_lost > 3 * lost


@pytest.mark.heavy
def test_the_cost_is_that_of_the_nodes_while_they_are_there() -> None:
    found = simulated(on=profile(device_hour_price=2.5), failures_per_hour=1.0, runs=3).summary()
    assert found["cost"] == pytest.approx(2.5 * (found["device_hours"] - found["away_device_hours"]))
    assert simulated().summary()["cost"] is None


def test_a_budget_that_ends_the_launch_is_named() -> None:
    assert "budget.wall_hours = 0.5" in simulated(SWEEP + "[budget]\nwall_hours = 0.5\n").summary()["budget"]
    assert simulated(SWEEP + "[budget]\nwall_hours = 500\n").summary()["budget"] is None


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"kind": "ray", "address": "auto", "slurm": None}, {}, "kind = 'ray' does not say what its nodes have"),
        ({"kind": "local", "slurm": None}, {}, "kind = 'local' does not say what its nodes have"),
        ({}, {"failures_per_hour": -1.0}, r"failures-per-hour = -1 \(accepted: 0 to 1,000,000"),
        ({}, {"failures_per_hour": math.nan}, "failures-per-hour = nan"),
        ({}, {"runs": 0, "seed": -1}, r"seed = -1 .*\n.*runs = 0 \(accepted: 1 to 10,000\)"),
        ({"shard": "99998/99999"}, {}, "shard = '99998/99999' has none of the 96 trials"),
    ],
)
def test_bad_input_is_refused_with_every_fault(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    settings = {key: value for key, value in change.items() if value is not None}
    on = (
        profile(**settings)
        if "kind" not in change
        else parse({"hardware": "h100-sxm", "gpus_per_trial": 1, **settings}, name="rack")
    )
    with pytest.raises(InputError, match=message):
        simulated(on=on, **options)


@pytest.mark.heavy
def test_a_trial_that_fits_no_node_and_one_of_unknown_flops_are_refused() -> None:
    with pytest.raises(InputError, match=r"a trial of .* needs about"):
        simulated(MODELS.replace("3e10", "9e11"), profile({**SLURM, "nodes": 1}))
    text = 'name = "own"\n[workload]\nkind = "command"\nargv = ["true", "{lr}", "{n}"]\n[scientific]\nn = [1, 2]\n'
    with pytest.raises(InputError, match="the FLOPs of 2 of 2 trials are not known"):
        simulated(text + "[fixed]\nlr = 0.1\n")


@pytest.mark.heavy
def test_the_picture_has_a_row_for_each_device_and_a_patch_for_each_span() -> None:
    text = MODELS.replace("[1e8, 1e9, 8e9, 3e10]", "[1e8, 8e9]").replace(
        "[1e-4, 2e-4, 4e-4]", "{ log = [1e-4, 1e-3], num = 150 }"
    )
    found = simulated(text, profile({**SLURM, "nodes": 1}), failures_per_hour=0.05, runs=1).launches[0]
    assert max(span.members for span in found.ledgers[0].spans) > 1, "some trials are stacked"
    (panel,) = gantt(found, "title").axes
    assert panel.get_ylim() == (0.0, 8.0)
    assert panel.get_xlim()[1] == pytest.approx(found.seconds / 3600)
    areas = {}
    for patch in panel.collections:
        boxes = [path.get_extents() for path in patch.get_paths()]
        assert not any(
            min(a.x1, b.x1) - max(a.x0, b.x0) > 1e-6 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1e-6
            for a, b in itertools.combinations(boxes, 2)
        ), "nothing is drawn over another"
        areas[patch.get_label()] = sum(box.width * box.height for box in boxes)
        assert all(box.y0 >= 0 and box.y1 <= 8.0 + 1e-9 for box in boxes)
    kinds = found.by_kind()
    assert areas["useful"] == pytest.approx(kinds["useful"] / 3600)
    assert areas["lost: node died"] == pytest.approx(kinds["node died"] / 3600)


@pytest.mark.heavy
def test_ten_thousand_trials_on_a_thousand_slots_are_simulated_in_less_than_half_a_minute() -> None:
    text = SWEEP.replace("seeds = 4", "seeds = 417")
    began = time.process_time()
    found = simulated(text, profile({**SLURM, "nodes": 125}), failures_per_hour=1.0, runs=1).summary()
    assert time.process_time() - began < 30.0
    assert found["ended"] + found["given_up"] == 24 * 417
    assert (found["devices"], found["interruptions"] > 50) == (1000, True)


@pytest.mark.process
def test_neither_ray_nor_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom sweeplaw.orchestrator.cli import app\n"
        f"assert CliRunner().invoke(app, {written(tmp_path)!r}).exit_code == 0\n"
        "print(sorted({'ray', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def written(folder: Path) -> list[str]:
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "rack.toml").write_text(
        'kind = "slurm"\nhardware = "h100-sxm"\ngpus_per_trial = 1\n[slurm]\nnodes = 4\ncpus_per_node = 8\n'
        "gpus_per_node = 8\n[simulation]\nmtbf_hours = 20\n"
    )
    return ["plan", str(folder / "sweep.toml"), "--simulate", str(folder / "rack.toml")]


@pytest.mark.heavy
def test_the_command_prints_and_draws_a_simulation(tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    words = written(tmp_path)
    text = CliRunner().invoke(app, [*words, "--figure", str(picture), "--runs", "3"], catch_exceptions=False)
    assert text.exit_code == 0
    assert "simulated on rack (4 nodes, 32 devices; 3 launches, seeds from 0):" in text.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(
        app, [*words, "--seed", "5", "--json", "--failures-per-hour", "0"], catch_exceptions=False
    )
    found = json.loads(result.output)["simulation"]
    assert (found["profile"], found["seed"], found["failures_per_hour"], found["launches"]) == ("rack", 5, 0, 1)


@pytest.mark.heavy
def test_options_of_a_simulation_need_it(tmp_path: Path) -> None:
    sweep = written(tmp_path)[:2]
    with pytest.raises(InputError, match="--failures-per-hour requires --simulate PROFILE"):
        CliRunner().invoke(app, [*sweep, "--failures-per-hour", "1"], catch_exceptions=False)
    with pytest.raises(InputError, match=r"--figure out.gif: unsupported extension \(accepted: .png, .svg, .pdf\)"):
        CliRunner().invoke(app, [*written(tmp_path), "--figure", "out.gif"], catch_exceptions=False)


def test_the_summary_of_two_launches_by_hand() -> None:
    """Launches of 2 and 4 hours on two nodes of 3 and 1 devices; half an hour of the second's large node is away."""
    first, second = SlotLedger({"a": 3.0, "b": 1.0}), SlotLedger({"a": 3.0, "b": 1.0})
    for ledger in (first, second):
        ledger.slots["slot"] = SlotLife(TrialResources(4, 2.0), ("a",), 0.0)
        ledger.started("slot", 900.0)
        ledger.trained("x", SlotSpan("slot", 2.0, 900.0, 4500.0, "useful", 6e18))
        ledger.finish("x")
    second.trained("y", SlotSpan("slot", 2.0, 4500.0, 6300.0, "useful", 3e18))
    second.add(SlotSpan("slot", 2.0, 6300.0, 8100.0, "node died", 1e18))
    second.absences.append(NodeOutage("a", 12600.0, 99999.0, "node died"))
    second.give_up("y")
    second.stalls = 3
    first.close(7200.0)
    second.close(14400.0)
    given, on = made(), profile(device_hour_price=2.0, checkpoint_seconds=60.0)
    conditions = Conditions(0.25, 0.5, 300.0, 900.0, 60.0, 7)
    launches = (SimulatedLaunch((first,)), SimulatedLaunch((second,)))
    found = SimulatedLaunches(given, on, 2, 4.0, conditions, launches, 5400.0, ({"ended": "x"},)).summary()
    low, high = found["makespan_hours"].pop("low"), found["makespan_hours"].pop("high")
    assert (low, high) == (pytest.approx(2.1), pytest.approx(3.9)), "the quantiles .05 and .95 of two"
    assert found == {
        "profile": "rack", "nodes": 2, "devices": 4.0, "launches": 2, "seed": 7,
        "failures_per_hour": 0.5, "preemptions_per_hour": 1.0, "away_seconds": 300.0, "startup_seconds": 900.0,
        "checkpoint_seconds": 60.0, "makespan_hours": {"mean": 3.0}, "least_hours": 1.5, "device_hours": 12.0,
        "useful_device_hours": 2.0, "wasted_device_hours": {"failed": 0.5, "node died": 0.5},
        "starting_device_hours": 0.5, "away_device_hours": 0.75, "idle_device_hours": 7.75,
        "idle_share": 7.75 / 12, "useful_flops": 6e18, "wasted_flops": {"failed": 1.5e18, "node died": 5e17},
        "interruptions": 0.5, "ended": 1.0, "given_up": 0.5, "stalls": 1.5, "cost": 2.0 * 11.25, "budget": None,
        "searches": [{"ended": "x"}],
    }  # fmt: skip
