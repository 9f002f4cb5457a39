"""The time of a plan: measured steps, completed trials of a store, or assumed rates, always with the basis."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.clusters.profile import hardware
from sweeplaw.clusters.profile.profile import Profile, load
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.estimate import estimate
from sweeplaw.orchestrator.plan.pace import Pace, assumed, best_known, measured, recorded
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse, read
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.orchestrator.worker.provenance import device_name
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import Outcome, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from tests.paths import ROOT

DEMO = ROOT / "orchestrator" / "sweeps" / "demo.toml"
SURROGATE = ROOT / "orchestrator" / "sweeps" / "surrogate.toml"
LARGE = """
name = "large"
[scientific]
params_non_embedding = [{params}]
unique_tokens = [1_000_000_000]
[fixed]
corpus = "tokens:somewhere.bin?vocab=50304"
"""


def smallest(made: Plan, count: int) -> Plan:
    """The cheapest trials of a plan."""
    groups = sorted(made.groups, key=lambda group: group.cost.flops or 0)[:count]
    return made.only({group.ids[0] for group in groups})


@pytest.mark.heavy
def test_the_time_of_the_demo_is_within_a_factor_of_what_its_trials_take(tmp_path: Path) -> None:
    made, profile = plan(read(DEMO)), load("inline")
    few = smallest(made, 2)
    before = measured(made, profile)
    done = launch(few, Store.open(tmp_path / "store", create=True), profile)
    after = measured(made, profile)
    assert before is not None
    assert after is not None
    assert done.states == {"completed": 2}
    low, high = sorted(3600 * estimate(few, profile, pace)["device_hours"] for pace in (before, after))
    assert low / 2.5 < done.usage.useful < high * 2.5  # of the machine's load before and after
    assert before.basis.startswith("measured now on this machine: ")

    # What these trials took is what the store says of them, exactly.
    found = best_known(made, profile, Store.open(tmp_path / "store"), measure=True)
    assert found.basis == f"from 2 completed trials of the store on {device_name('cpu')}"
    assert 3600 * estimate(few, profile, found)["device_hours"] == pytest.approx(done.usage.useful)


def completed(
    record: Callable[..., TrialRecord], seconds: float, *, device: str, attempt: int = 1, seed: int = 0
) -> TrialRecord:
    made = record(seed, attempt=attempt)
    outcome: Outcome = replace(made.outcome, train_seconds=seconds)
    provenance = replace(made.provenance, device=device)
    return replace(made, outcome=outcome, provenance=provenance, cost=Cost(flops=1e15, params=10**9))


@pytest.mark.heavy
def test_completed_trials_on_the_same_device_set_the_pace(store: Store, record: Callable[..., TrialRecord]) -> None:
    with Writer(store.location, "one") as writer:
        writer.write(
            [
                completed(record, 10.0, device="NVIDIA H100 80GB HBM3"),
                completed(record, 30.0, device="NVIDIA H100 80GB HBM3", seed=1),
                completed(record, 99.0, device="NVIDIA A100-SXM4-80GB", seed=2),
                completed(record, 99.0, device="NVIDIA H100 80GB HBM3", seed=3, attempt=2),  # may have resumed
                completed(record, 5.0, device=device_name("cpu"), seed=4),
            ],
            [],
        )
    workload = plan(read(SURROGATE)).sweep.workload
    gpu = Profile(kind="ray", address="auto", hardware="h100-sxm", gpus_per_trial=1.0)
    rated = hardware.get("h100-sxm").seconds(1e15, params=10**9)
    found = recorded(store, workload, gpu)
    assert found is not None
    assert found.basis == "from 2 completed trials of the store on NVIDIA H100 80GB HBM3"
    assert found.factor == pytest.approx(20.0 / rated)
    here = recorded(store, workload, load("local"))
    assert here is not None
    assert here.factor == pytest.approx(5.0 / hardware.get("cpu-core").seconds(1e15, params=10**9))
    assert recorded(store, workload, gpu.model_copy(update={"hardware": "h200"})) is None
    assert recorded(store, plan(read(DEMO)).sweep.workload, gpu) is None


@pytest.mark.heavy
def test_the_specs_of_a_store_are_not_read_but_those_of_the_latest_trials(
    store: Store, record: Callable[..., TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = plan(read(DEMO)).sweep.workload
    shape = {"width": 16, "depth": 2, "heads": 2, "ffn": 48}
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    rows = []
    for hour, schedule in enumerate(["cosine", "constant", "cosine", "cosine", "constant", "cosine"]):
        one = completed(record, 10.0 + hour, device="NVIDIA H100 80GB HBM3", seed=hour)
        spec = TrialSpec.of(workload.name, workload.knobs, {**shape, "seed": hour, "schedule": schedule})
        ended = replace(one.outcome, trial_id=spec.trial_id, ended_at=start + dt.timedelta(hours=hour))
        rows.append(replace(one, spec=spec, outcome=ended))
    with Writer(store.location, "one") as writer:
        writer.write(rows, [])
    asked: list[str] = []
    real = store.outcomes

    def outcomes(columns: Sequence[str] = ()) -> pl.DataFrame:
        asked.extend(columns)
        return real(columns)

    monkeypatch.setattr(store, "outcomes", outcomes)
    monkeypatch.setattr("sweeplaw.orchestrator.plan.pace.LATEST", 3)
    found = recorded(store, workload, Profile(kind="ray", address="auto", hardware="h100-sxm", gpus_per_trial=1.0))
    assert "flops" in asked
    assert "spec" not in asked
    assert found is not None
    assert found.basis.startswith("from 2 completed trials")  # of 3, 4 and 5: another may have done the trunk of 4
    rated = hardware.get("h100-sxm").seconds(1e15, params=10**9)
    assert found.factor == pytest.approx((13.0 + 15.0) / (2 * rated))


def test_processes_that_shared_a_trial_are_counted(store: Store, record: Callable[..., TrialRecord]) -> None:
    """A trial of eight processes took an eighth of the seconds of one device."""
    made = plan(parse(LARGE.format(params=20_000_000_000)))
    gpu = Profile(kind="ray", address="auto", hardware="h100-sxm", gpus_per_trial=1.0, nodes=1)
    group = made.groups[0]
    one = hardware.get("h100-sxm").seconds(group.cost.flops or 0, params=group.cost.params)
    row = completed(record, one / 8, device="NVIDIA H100 80GB HBM3")
    row = replace(row, spec=group.spec(0), cost=group.cost)
    row = replace(row, outcome=replace(row.outcome, trial_id=row.spec.trial_id))
    with Writer(store.location, "one") as writer:
        writer.write([row], [])
    found = recorded(store, made.sweep.workload, gpu)
    assert found is not None
    assert estimate(made, gpu)["points"][0]["resources"] == "8 GPUs"
    assert found.factor == pytest.approx(1.0)


@pytest.mark.parametrize(("params", "share"), [("1_000_000_000", "40 %"), ("1_000_000, 1_000_000_000", "13 to 40 %")])
def test_what_is_assumed_of_an_accelerator_is_said(params: str, share: str) -> None:
    made = plan(parse(LARGE.format(params=params)))
    gpu = Profile(kind="ray", address="auto", hardware="h100-sxm", gpus_per_trial=1.0)
    found = best_known(made, gpu, measure=True)
    assert found == Pace(1.0, f"assumed: {share} of the peak of h100-sxm, 990T FLOP/s in bf16")
    assert estimate(made, gpu)["time_basis"] == found.basis


def test_a_trial_too_large_to_time_is_not_trained() -> None:
    made = plan(parse(LARGE.format(params=1_000_000_000)))
    assert measured(made, load("inline")) is None
    assert best_known(made, load("inline"), measure=True) == assumed(made, load("inline"))


def test_a_step_that_cannot_be_timed_leaves_the_assumed_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ImportError("no torch here")

    monkeypatch.setattr("sweeplaw.orchestrator.plan.pace.measured", broken)
    made = plan(read(DEMO))
    found = best_known(made, load("inline"), measure=True)
    assert found.factor == 1.0
    assert found.basis.startswith("assumed: ")
    assert found.basis.endswith("(no step could be measured: ImportError: no torch here)")


@pytest.mark.heavy
def test_a_time_has_a_basis_in_text_and_json_and_no_time_has_none(tmp_path: Path) -> None:
    def shown(*words: str) -> str:
        return CliRunner().invoke(app, ["plan", *words], catch_exceptions=False).stdout

    assert "basis of the time: assumed: " in shown(str(DEMO), "--no-measure")
    assert json.loads(shown(str(DEMO), "--no-measure", "--json"))["time_basis"].startswith("assumed: ")
    unknown = tmp_path / "unknown.toml"
    unknown.write_text(
        'name = "u"\n[workload]\nkind = "command"\nargv = ["true", "{lr}"]\n[scientific]\nlr = [1e-3, 1e-2]\n'
    )
    assert "basis" not in shown(str(unknown))
    assert json.loads(shown(str(unknown), "--json"))["time_basis"] is None


def test_every_hardware_but_the_core_is_called_by_one_model() -> None:
    models = {
        "t4": "Tesla T4", "v100-16": "Tesla V100-SXM2-16GB", "v100-32": "Tesla V100-SXM2-32GB", "a10g": "NVIDIA A10G",
        "a100-40": "NVIDIA A100-PCIE-40GB", "a100-80": "NVIDIA A100 80GB PCIe", "rtx3090": "NVIDIA GeForce RTX 3090",
        "rtx4090": "NVIDIA GeForce RTX 4090", "l4": "NVIDIA L4", "l40s": "NVIDIA L40S",
        "h100-pcie": "NVIDIA H100 PCIe", "h100-sxm": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200",
        "b200": "NVIDIA B200", "mi250x-gcd": "AMD Instinct MI250X", "mi300x": "AMD Instinct MI300X",
    }  # fmt: skip
    assert set(models) == set(hardware.known()) - {"cpu-core"}
    for model in [*models.values(), "AMD EPYC 9654"]:
        assert [name for name in hardware.known() if hardware.get(name).is_called(model)] == [
            name for name, called in (models | {"cpu-core": "AMD EPYC 9654"}).items() if called == model
        ]


def test_a_surrogate_has_no_time_of_its_own_here_and_that_of_its_flops_on_a_cluster() -> None:
    made = plan(read(SURROGATE))
    for name in ("inline", "local"):
        cost = estimate(made, load(name), best_known(made, load(name), measure=True))
        assert cost["device_hours"] is cost["hours"] is cost["points"][0]["device_hours"] is None
        assert cost["time_basis"].startswith("none: a surrogate trial trains nothing")
    gpu = Profile(kind="ray", address="auto", hardware="h100-sxm", gpus_per_trial=1.0)
    assert estimate(made, gpu, best_known(made, gpu))["device_hours"] > 1000
