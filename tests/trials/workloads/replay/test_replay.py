"""The workload `replay`: what a trial is told of a recorded table, at what cost, and what is refused."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.exclusions import exclude
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.replay.workload import Replay
from tests.paths import SHARED

INLINE = Profile(kind="inline")
RUNS = pl.DataFrame(
    {
        "N": [100, 100, 100, 200, 200],
        "D": [1000, 1000, 1000, 1000, 1000],
        "rate": [0.1, 0.2, 0.4, 0.2, 0.4],
        "loss": [3.0, 2.5, float("nan"), 2.0, 2.25],
        "hours": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)
AXES: Mapping[str, list[float]] = {"N": [100, 200], "D": [1000], "lr": [0.1]}


def replay(folder: Path, runs: pl.DataFrame = RUNS, axes: Mapping[str, list[Any]] = AXES, **options: Any) -> Replay:
    runs.write_parquet(folder / "runs.parquet")
    given = {"table": "runs.parquet", "loss": "loss", "columns": {"lr": "rate"}, "folder": str(folder), "axes": axes}
    found = registry.load("replay", {**given, **options})
    assert isinstance(found, Replay)
    return found


def spec(workload: Replay, **values: Any) -> TrialSpec:
    return TrialSpec.of("replay", workload.knobs, {"N": 100, "D": 1000, "lr": 0.1, **values})


def events(workload: Replay, folder: Path, **values: Any) -> list[Any]:
    return list(workload.run([spec(workload, **values)], Context("cpu", folder)))


def outcome(workload: Replay, folder: Path, **values: Any) -> Outcome:
    (found,) = [event for event in events(workload, folder, **values) if isinstance(event, Outcome)]
    return found


def test_a_trial_is_told_the_nearest_run_of_its_size_and_which_one_that_was(tmp_path: Path) -> None:
    found = outcome(replay(tmp_path), tmp_path, lr=0.19).metrics
    assert found["val_loss"] == 2.5
    assert found["recorded_row"] == 2
    assert found["recorded_lr"] == 0.2
    assert found["recorded_distance"] == pytest.approx(math.log2(0.2 / 0.19))
    assert found["interpolated"] is False


def test_another_size_is_chosen_only_where_the_wanted_one_is_not_recorded(tmp_path: Path) -> None:
    """A learning rate one octave off is nearer than another N by distance alone."""
    workload = replay(tmp_path)
    assert outcome(workload, tmp_path, N=200, lr=0.11, farthest=2.0).metrics["recorded_row"] == 4
    assert outcome(workload, tmp_path, N=190, lr=0.4).metrics["recorded_row"] == 5


def test_a_trial_too_far_from_every_run_fails_and_says_how_far(tmp_path: Path) -> None:
    found = outcome(replay(tmp_path), tmp_path, lr=0.025)
    assert (found.state, found.message) == (
        "failed",
        "the nearest recorded run is 2.00 octaves away (accepted: farthest = 0.5)",
    )


def test_a_run_without_a_finite_loss_diverged(tmp_path: Path) -> None:
    assert outcome(replay(tmp_path), tmp_path, lr=0.4).state == "diverged"


def test_the_cost_is_6nd_or_a_column_or_a_formula_and_known_before_anything_runs(tmp_path: Path) -> None:
    assert replay(tmp_path).cost(spec(replay(tmp_path))).flops == 6 * 100 * 1000
    assert replay(tmp_path).cost(spec(replay(tmp_path))).params_non_embedding == 100
    by_column, by_formula = replay(tmp_path, cost="hours"), replay(tmp_path, cost="hours * 1e15 * N")
    assert by_column.cost(spec(by_column, lr=0.2)).flops == 2.0
    assert by_formula.cost(spec(by_formula, lr=0.2)).flops == 2e17


def test_seeds_tell_the_runs_at_one_setting_apart(tmp_path: Path) -> None:
    twice = pl.concat([RUNS[:1], RUNS[:1].with_columns(loss=3.25)])
    workload = replay(tmp_path, twice)
    assert [outcome(workload, tmp_path, seed=seed).metrics["val_loss"] for seed in range(3)] == [3.0, 3.25, 3.0]


def test_noise_is_relative_seeded_by_the_trial_and_of_the_given_size(tmp_path: Path) -> None:
    workload = replay(tmp_path)
    losses = [outcome(workload, tmp_path, noise=0.01, seed=seed).metrics["val_loss"] for seed in range(400)]
    assert losses[:3] == [outcome(workload, tmp_path, noise=0.01, seed=seed).metrics["val_loss"] for seed in range(3)]
    relative = np.array(losses, dtype=float) / 3.0 - 1
    assert abs(relative.mean()) < 4 * 0.01 / 20
    assert relative.std() == pytest.approx(0.01, rel=0.15)


def test_a_smooth_reading_follows_a_planted_bowl_between_the_runs_and_is_marked(tmp_path: Path) -> None:
    lr, batch = (grid.ravel() for grid in np.meshgrid(2.0 ** np.arange(-10, -2), 2.0 ** np.arange(3, 10)))

    def bowl(x: Any, y: Any) -> Any:
        return 3.0 + 0.02 * (np.log2(x) + 6.3) ** 2 + 0.01 * (np.log2(y) - 5.6) ** 2

    runs = pl.DataFrame({"N": 100, "D": 1000, "rate": lr, "b": batch, "loss": bowl(lr, batch)})
    workload = replay(tmp_path, runs, {**AXES, "b": [8.0]}, columns={"lr": "rate"})
    found = outcome(workload, tmp_path, lr=0.0125, b=48.0, reading="smooth", farthest=1.0)
    assert found.metrics["val_loss"] == pytest.approx(bowl(0.0125, 48.0), rel=2e-4)
    assert found.metrics["interpolated"] is True


@pytest.mark.parametrize("cell", [[3.0, 2.6, 2.5], "[3.0, 2.6, 2.5]", [[10.0, 3.0], [20.0, 2.6], [30.0, 2.5]]])
def test_a_trial_reports_its_recorded_curve_and_can_pause_on_it(tmp_path: Path, cell: Any) -> None:
    runs = RUNS[:2].with_columns(steps=30, curve=pl.Series([cell, cell]))
    workload = replay(tmp_path, runs, curve="curve")
    *points, last = events(workload, tmp_path, lr=0.2)
    assert [(point.step, point.val_loss) for point in points] == [(10, 3.0), (20, 2.6), (30, 2.5)]
    assert (last.state, last.last_step, workload.resumes) == ("completed", 30, True)
    asked = iter([False, False, True])
    context = replace(Context("cpu", tmp_path), ending=lambda: next(asked))
    paused: list[Any] = list(workload.run([spec(workload, lr=0.2)], context))
    assert [type(event) for event in paused] == [CurvePoint, CurvePoint, Outcome]
    assert (paused[-1].state, paused[-1].last_step) == ("preempted", 20)


def test_a_table_that_changed_after_the_plan_tells_no_trial_anything(tmp_path: Path) -> None:
    planned = spec(replay(tmp_path))
    other = replay(tmp_path, RUNS.with_columns(loss=pl.col("loss") + 1))
    (found,) = other.run([planned], Context("cpu", tmp_path))
    assert isinstance(found, Outcome)
    assert (found.state, found.message) == ("failed", "the table has changed since the trial was planned")


SURROGATE = """
name = "source"
workload = "surrogate"
[scientific]
params = [1e6, 1e7]
tokens = [1e8]
[nuisance]
lr = [0.001, 0.01, 0.1]
[fixed]
noise = 0.01
"""
REPLAYED = """
name = "replayed"
[workload]
kind = "replay"
table = "source"
[scientific]
params = [1e6, 1e7]
tokens = [1e8]
[nuisance]
lr = [0.001, 0.01, 0.1]
"""


@pytest.mark.heavy
def test_a_store_is_replayed_with_its_losses_its_curves_and_its_costs(tmp_path: Path) -> None:
    launch(plan(parse(SURROGATE)), Store.open(tmp_path / "source", create=True), INLINE)
    launch(plan(parse(REPLAYED, folder=tmp_path)), Store.open(tmp_path / "again", create=True), INLINE)
    first, again = tables.load(str(tmp_path / "source")), tables.load(str(tmp_path / "again"))
    columns = ["params", "tokens", "lr", "val_loss", "flops", "steps", "params_non_embedding"]
    order = columns[:3]
    assert again.trials.select(columns).collect().sort(order).equals(first.trials.select(columns).collect().sort(order))
    points = [
        source.curves.select("trial_id", "step", "val_loss").join(
            source.trials.select("trial_id", *order), on="trial_id"
        )
        for source in (first, again)
    ]
    first_points, again_points = (found.drop("trial_id").sort(pl.all()).collect() for found in points)
    assert first_points.height == 24
    assert first_points.equals(again_points)


@pytest.mark.heavy
def test_what_a_store_excludes_or_replaced_is_not_replayed(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "source", create=True)
    launch(plan(parse(SURROGATE)), store, INLINE)
    rows = tables.load(str(tmp_path / "source")).trials.filter(pl.col("lr") == 0.01).collect()
    exclude(store, rows["trial_id"].to_list(), "a test")
    sweep = parse(REPLAYED, folder=tmp_path)
    done = launch(plan(sweep), Store.open(tmp_path / "again", create=True), INLINE)
    assert done.states == {"completed": 4, "failed": 2}


BAD: Mapping[str, tuple[dict[str, Any], str]] = {
    "missing column": ({"loss": "los"}, r"loss: the table has no column 'los'; did you mean 'loss'"),
    "missing knob": ({"columns": {}}, r"knob lr: the table has no column 'lr'"),
    "text loss": ({"runs": RUNS.with_columns(loss=pl.lit("high"))}, r"loss: column 'loss' holds 'high'"),
    **{
        f"knob of {kind}": (
            {"runs": RUNS.with_columns(rate=pl.lit(None, kind))},
            r"knob lr: column 'rate' holds .* \(accepted: numbers, text",
        )
        for kind in (pl.List(pl.Float64), pl.Array(pl.Float64, 1), pl.Binary, pl.Date)
    },
    "no cost": ({"runs": RUNS.drop("D"), "axes": {"N": [1], "lr": [1]}}, r"'6 \* N \* D' reads D, of which the table"),
    "bad cost": ({"cost": "open(N)"}, r"workload.cost: .*open\(\) is not known"),
    "no flops": ({"cost": "0 * N"}, r"row 1: N = 100 gives no positive number of FLOPs"),
    "bad curve": ({"curve": "rate"}, r"curve: row 1: 0.1 \(accepted: a list of losses"),
    **{
        f"curve of {what}": (
            {"curve": "text", "runs": RUNS.with_columns(text=pl.lit(text))},
            r"curve: row 1: .* \(accepted: a list of losses",
        )
        for what, text in (("brackets", "[" * 100_000), ("infinite steps", "[[1e999, 2.0]]"))
    },
    "unset column": ({"columns": {"lr": "rate", "bs": "b"}}, r"workload.columns: bs is set by no axis of the sweep"),
    "size": ({"size": ["M"]}, r"workload.size names M \(accepted: N, D, lr\)"),
    "types": ({"size": "N", "loss": 3}, r"workload.loss: 3 \(accepted: text\)"),
    "no file": ({"table": "no.csv"}, r"workload.table: .*no.csv is neither a store nor a file"),
    "no runs": ({"runs": RUNS.with_columns(loss=pl.lit(None, pl.Float64))}, r"no run is left \(5 left out: no loss\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_refused_with_what_would_be_accepted(tmp_path: Path, name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(InputError, match=message):
        replay(tmp_path, **options)


def test_a_sweep_far_from_every_run_is_refused_before_it_starts(tmp_path: Path) -> None:
    workload = replay(tmp_path)
    with pytest.raises(InputError, match="none of 1 trials is near a recorded run"):
        workload.check([spec(workload, lr=1e-6)])


def test_a_csv_file_and_json_lines_give_what_parquet_gives(tmp_path: Path) -> None:
    wanted = replay(tmp_path).recordings.table
    RUNS.write_csv(tmp_path / "runs.csv")
    lines = [{**row, "loss": None if math.isnan(row["loss"]) else row["loss"]} for row in RUNS.iter_rows(named=True)]
    (tmp_path / "runs.ndjson").write_text("\n".join(map(json.dumps, lines)))
    assert replay(tmp_path, table="runs.csv").recordings.table.digest == wanted.digest
    assert replay(tmp_path, table="runs.ndjson").recordings.table.dropped == {"no loss": 1}


@pytest.mark.parametrize("name", ["semicolons.csv", "tabs.csv", "tabs.tsv", "marked.csv", "utf16.csv", "comma.csv"])
def test_a_table_is_read_as_every_command_reads_it(tmp_path: Path, name: str) -> None:
    """Separators, decimal commas, byte order marks: the same runs, by the same reader."""
    text = RUNS.write_csv()
    plainly = {"semicolons": text.replace(",", ";"), "tabs": text.replace(",", "\t")}
    plainly["comma"] = plainly["semicolons"].replace(".", ",")
    encoding = {"marked": "utf-8-sig", "utf16": "utf-16"}.get(Path(name).stem, "utf-8")
    (tmp_path / name).write_bytes(plainly.get(Path(name).stem, text).encode(encoding))
    assert replay(tmp_path, table=name).recordings.table.digest == replay(tmp_path).recordings.table.digest
    assert tables.load(tmp_path / name).trials.collect().equals(RUNS, null_equal=True)


def test_a_malformed_table_is_refused_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("N,D,rate,loss\n1,2,3,4\n1,2,3\n1,2,3,4,5\n")
    with pytest.raises(InputError) as caught:
        replay(tmp_path, table="bad.csv")
    assert caught.value.where.endswith("bad.csv")
    assert [fault.split(" has")[0] for fault in caught.value.faults] == ["row 2 (line 3)", "row 3 (line 4)"]


@pytest.mark.heavy
@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared reference tables")
def test_the_whole_path_takes_milliseconds_a_trial(tmp_path: Path) -> None:
    text = f"""
    name = "dense"
    [workload]
    kind = "replay"
    table = "{SHARED}/step_law_dense.csv"
    loss = "smooth loss"
    [[zip]]
    role = "scientific"
    N = [214663680, 268304384, 429260800]
    D = [11400000000, 5000000000, 50000000000]
    [nuisance]
    lr = {{ log = [6.9e-4, 1.1e-2], num = 9 }}
    bs = [64, 128, 256, 512]
    """
    sweep, started = parse(text), time.process_time()
    done = launch(plan(sweep), Store.open(tmp_path / "s", create=True), INLINE)
    seconds = time.process_time() - started
    assert done.states["completed"] > 100
    assert seconds / sum(done.states.values()) < 0.02
