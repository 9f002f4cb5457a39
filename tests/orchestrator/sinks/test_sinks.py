"""Records go to TensorBoard, MLflow and W&B as they become durable, and no sink can hurt a sweep."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.sinks import Sink, Target, targets
from sweeplaw.orchestrator.sinks.by_trial import Gather
from sweeplaw.orchestrator.sinks.feed import Feed, feeding
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.surrogate import loss

HEAD = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000, 2000]\ntokens = [100000]\n'
SWEEP = HEAD + "[nuisance]\nlr = [0.1, 0.2]\n"


class Kept:
    """A sink that keeps what it is given, or does what a test plants."""

    def __init__(self, plant: Callable[[int], None] = lambda call: None) -> None:
        self.rows: list[Row] = []
        self.calls, self.closed, self._plant = 0, 0, plant

    def write(self, rows: Sequence[Row]) -> None:
        self.calls += 1
        self._plant(self.calls)
        self.rows += rows

    def close(self) -> None:
        self.closed += 1


def run(folder: Path, *watchers: Any, text: str = SWEEP) -> Launched:
    return launch(plan(parse(text)), Store.open(folder, create=True), profile.load("inline"), *watchers)


def fed(folder: Path, opener: Callable[[], Sink], **options: Any) -> tuple[Feed, list[str]]:
    told: list[str] = []
    feed = Feed("kept:here", opener, told.append, **options)
    done = run(folder, feed)
    assert done.states == {"completed": 4}, "a sink changed how the sweep went"
    return feed, told


def test_a_sink_gets_every_row_once_in_order(tmp_path):
    sink = Kept()
    feed, told = fed(tmp_path, lambda: sink)
    delivered = feed.close()
    tables = load(tmp_path)
    assert (delivered.dropped, told, sink.closed) == (0, [], 1)
    records = [row for row in sink.rows if isinstance(row, TrialRecord)]
    assert sorted(record.spec.trial_id for record in records) == sorted(tables.trials.collect()["trial_id"])
    points = [(row.trial_id, row.step) for row in sink.rows if isinstance(row, CurvePoint)]
    assert sorted(points) == sorted(tables.curves.select("trial_id", "step").collect().iter_rows())


def broken(call: int) -> None:
    raise ConnectionError("no route\nto host")


def leaving(call: int) -> None:
    sys.exit("a library that ends the process")


@pytest.mark.parametrize(("plant", "words"), [(broken, "ConnectionError: no route"), (leaving, "SystemExit")])
def test_a_broken_sink_is_told_of_once_and_its_losses_are_counted(tmp_path, plant, words):
    feed, told = fed(tmp_path, lambda: Kept(plant))
    delivered = feed.close()
    assert len(told) == 1
    assert words in told[0]
    assert (delivered.sent, delivered.dropped) == (0, 4 * 5)
    assert "20 of 20 rows" in delivered.sentence()


def test_a_sink_that_fails_for_a_moment_goes_on(tmp_path):
    sink = Kept(lambda call: broken(call) if call == 3 else None)
    feed, told = fed(tmp_path, lambda: sink)
    delivered = feed.close()
    assert (delivered.dropped, len(told)) == (1, 1)
    assert len(sink.rows) == delivered.sent == 19


def test_a_missing_package_is_one_warning_that_says_what_to_install(tmp_path):
    def missing() -> Sink:
        raise ModuleNotFoundError("No module named 'kept'")

    feed, told = fed(tmp_path, missing)
    assert feed.close().dropped == 20
    assert len(told) == 1
    assert "pip install 'sweeplaw[kept]'" in told[0]


def test_a_sink_that_hangs_holds_up_neither_the_sweep_nor_its_end(tmp_path):
    forever = threading.Event()
    began = time.monotonic()
    feed, told = fed(tmp_path, lambda: Kept(lambda call: forever.wait(600) and None), capacity=3)
    delivered = feed.close(0.2)
    forever.set()
    assert time.monotonic() - began < 60
    assert told == ["kept:here: it is too slow: rows are dropped; the sweep goes on without it"]
    assert (delivered.sent, delivered.dropped) == (0, 20)


def test_at_the_end_what_did_not_get_through_is_told(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(Target, "opener", lambda self, sweep: lambda: Kept(broken))
    with feeding([Target("wandb", "p")], "t", told.append) as feeds:
        run(tmp_path, *feeds)
    assert len(told) == 2
    assert told[1].startswith("wandb:p: 20 of 20 rows did not get there (ConnectionError")


def test_targets_are_named_with_every_fault_at_once():
    named = targets(["tensorboard:runs, wandb:team/project", "mlflow:sqlite:///a.db", "tensorboard:runs"])
    assert [target.name for target in named] == ["tensorboard:runs", "wandb:team/project", "mlflow:sqlite:///a.db"]
    with pytest.raises(InputError) as caught:
        targets(["tensorbord:x,wandb:,mlflow:https://me:secret@host"])
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 3
    assert "did you mean 'tensorboard'?" in told
    assert "secret" not in told
    with pytest.raises(InputError, match="did you mean 'mlflow'"):
        parse('log_to = "mflow:x"\n' + SWEEP)
    assert parse('log_to = ["tensorboard:runs"]\n' + SWEEP).log_to == (Target("tensorboard", "runs"),)


def record(seed: int, attempt: int = 1, state: Any = "completed") -> TrialRecord:
    spec = TrialSpec("surrogate", {"seed": seed})
    outcome = Outcome(spec.trial_id, state, None, 10, None, None, 1.5, {"val_loss": 2.0})
    return TrialRecord(spec, Cost(), outcome, "t", attempt, "pack", "one", Provenance("host", "cpu", "{}", None))


def test_a_trial_is_gathered_with_the_points_of_its_own_attempt():
    gather, trial = Gather(), record(1).spec.trial_id
    rows: list[Row] = [CurvePoint(trial, 1), CurvePoint(trial, 1, attempt=2), CurvePoint("other", 5)]
    assert list(gather.add(rows)) == []
    ((found, points),) = gather.add([record(1, attempt=2)])
    assert (found.attempt, [point.attempt for point in points]) == (2, [2])


def final_losses(folder: Path) -> dict[str, float]:
    return dict(load(folder).trials.select("trial_id", "val_loss").collect().iter_rows())


def test_tensorboard_reads_back_the_curves_settings_and_results(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard, which reads the files, is absent"
    )
    told: list[str] = []
    with feeding(targets([f"tensorboard:{tmp_path / 'tb'}"]), "t", told.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert told == []
    expected = final_losses(tmp_path / "s")
    curves = load(tmp_path / "s").curves.collect()
    assert {folder.name for folder in (tmp_path / "tb" / "t").iterdir()} == set(expected)
    for trial, value in expected.items():
        events = reader.EventAccumulator(str(tmp_path / "tb" / "t" / trial)).Reload()
        (last,) = events.Scalars("final/val_loss")
        assert last.value == pytest.approx(value, rel=1e-6), "float32 in the event file"
        seen = {(event.step, round(event.value, 4)) for event in events.Scalars("val_loss")}
        own = curves.filter(trial_id=trial).select("step", "val_loss").iter_rows()
        assert seen == {(step, round(loss, 4)) for step, loss in own}
        assert any("hparams" in name for name in events.summary_metadata)


@pytest.mark.filterwarnings("default")  # its own packages warn of each other
def test_mlflow_reads_back_the_curves_settings_and_results(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (pip install 'sweeplaw[mlflow]')")
    pytest.importorskip("sqlalchemy", reason="mlflow keeps a local store by sqlalchemy")
    place, told = f"sqlite:///{tmp_path / 'm.db'}", list[str]()
    with feeding(targets([f"mlflow:{place}"]), "t", told.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert told == []
    client = mlflow.MlflowClient(tracking_uri=place)
    runs = client.search_runs([client.get_experiment_by_name("t").experiment_id])
    expected = final_losses(tmp_path / "s")
    assert {run.data.tags["trial_id"] for run in runs} == set(expected)
    for found in runs:
        assert found.data.metrics["val_loss"] == pytest.approx(expected[found.data.tags["trial_id"]])
        knobs = {name: float(found.data.params[name]) for name in ("params", "tokens", "lr", "weight_decay")}
        surface = loss(**knobs, batch_sequences=float(found.data.params["batch_sequences"]))
        assert found.data.metrics["noiseless_loss"] == pytest.approx(surface)
        assert [metric.step for metric in client.get_metric_history(found.info.run_id, "val_loss")] == [4, 7, 10, 13]
        assert found.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_writes_a_run_a_trial_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed (pip install 'sweeplaw[wandb]')")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    told: list[str] = []
    with feeding(targets(["wandb:project"]), "t", told.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert told == []
    runs = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(runs) == 4
    expected = final_losses(tmp_path / "s")
    assert all(any(trial.encode() in path.read_bytes() for path in runs) for trial in expected)
