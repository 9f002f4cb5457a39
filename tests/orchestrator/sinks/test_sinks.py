"""Sinks receive durable rows, and no failure of a sink affects a sweep."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule import inline
from sweeplaw.orchestrator.sinks import Sink, SinkTarget, by_trial, targets
from sweeplaw.orchestrator.sinks.by_trial import TrialAssembler
from sweeplaw.orchestrator.sinks.feed import Feed, open_feeds
from sweeplaw.orchestrator.sinks.mlflow import MLflow
from sweeplaw.orchestrator.sinks.wandb import WandB
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.surrogate import loss
from tests.conftest import EPOCH

HEAD = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000, 2000]\ntokens = [100000]\n'
SWEEP = HEAD + "[nuisance]\nlr = [0.1, 0.2]\n"


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch):
    """The launch writes each row by itself, so that a sink's faults meet rows that the tests can count."""
    monkeypatch.setattr(inline, "STEP_ROWS", 1)


class MemorySink:
    """A sink that stores its rows; ``fault`` is called with the number of each call."""

    def __init__(self, fault: Callable[[int], None] = lambda call: None) -> None:
        self.rows: list[Row] = []
        self.calls, self.closed, self._fault = 0, 0, fault

    def write(self, rows: Sequence[Row]) -> None:
        self.calls += 1
        self._fault(self.calls)
        self.rows += rows

    def close(self) -> None:
        self.closed += 1


def run(folder: Path, *observers: Any, text: str = SWEEP) -> Launched:
    return launch(plan(parse(text)), Store.open(folder, create=True), profile.load("inline"), *observers)


def run_with_sink(folder: Path, opener: Callable[[], Sink], **options: Any) -> tuple[Feed, list[str]]:
    warnings: list[str] = []
    feed = Feed("kept:here", opener, warnings.append, **options)
    done = run(folder, feed)
    assert done.states == {"completed": 4}, "a sink affected the sweep"
    return feed, warnings


@pytest.mark.heavy
def test_a_sink_receives_every_row_once_in_order(tmp_path):
    sink = MemorySink()
    feed, warnings = run_with_sink(tmp_path, lambda: sink)
    delivered = feed.close()
    tables = load(tmp_path)
    assert (delivered.dropped, warnings, sink.closed) == (0, [], 1)
    records = [row for row in sink.rows if isinstance(row, TrialRecord)]
    assert sorted(record.spec.trial_id for record in records) == sorted(tables.trials.collect()["trial_id"])
    points = [(row.trial_id, row.step) for row in sink.rows if isinstance(row, CurvePoint)]
    assert sorted(points) == sorted(tables.curves.select("trial_id", "step").collect().iter_rows())


def broken(call: int) -> None:
    raise ConnectionError("no route\nto host")


def exiting(call: int) -> None:
    sys.exit("a library that ends the process")


@pytest.mark.parametrize(("fault", "words"), [(broken, "ConnectionError: no route"), (exiting, "SystemExit")])
def test_a_broken_sink_is_reported_once_and_its_lost_rows_are_counted(tmp_path, fault, words):
    feed, warnings = run_with_sink(tmp_path, lambda: MemorySink(fault))
    delivered = feed.close()
    assert len(warnings) == 1
    assert words in warnings[0]
    assert (delivered.sent, delivered.dropped) == (0, 4 * 5)
    assert "20 of 20 rows" in delivered.sentence()


@pytest.mark.heavy
def test_a_sink_continues_after_a_transient_failure(tmp_path):
    sink = MemorySink(lambda call: broken(call) if call == 3 else None)
    feed, warnings = run_with_sink(tmp_path, lambda: sink)
    delivered = feed.close()
    assert (delivered.dropped, len(warnings)) == (1, 1)
    assert len(sink.rows) == delivered.sent == 19


def test_a_missing_package_is_one_warning_with_the_install_command(tmp_path):
    def missing() -> Sink:
        raise ModuleNotFoundError("No module named 'kept'")

    feed, warnings = run_with_sink(tmp_path, missing)
    assert feed.close().dropped == 20
    assert len(warnings) == 1
    assert "pip install 'sweeplaw[kept]'" in warnings[0]


@pytest.mark.heavy
def test_a_hanging_sink_delays_neither_the_sweep_nor_its_end(tmp_path):
    released = threading.Event()

    def hang(call: int) -> None:
        released.wait(600)

    started = time.monotonic()
    feed, warnings = run_with_sink(tmp_path, lambda: MemorySink(hang), capacity=3)
    delivered = feed.close(0.2)
    released.set()
    assert time.monotonic() - started < 60
    assert warnings == ["kept:here: it is too slow: rows are dropped; the sweep continues without it"]
    assert (delivered.sent, delivered.dropped) == (0, 20)


def test_undelivered_rows_are_reported_at_the_end(tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(SinkTarget, "opener", lambda self, sweep: lambda: MemorySink(broken))
    with open_feeds([SinkTarget("wandb", "p")], "t", warnings.append) as feeds:
        run(tmp_path, *feeds)
    assert len(warnings) == 2
    assert warnings[1].startswith("wandb:p: 20 of 20 rows were not delivered (ConnectionError")


def test_targets_are_parsed_and_all_faults_reported_together():
    named = targets(["tensorboard:runs, wandb:team/project", "mlflow:sqlite:///a.db", "tensorboard:runs"])
    assert [target.name for target in named] == ["tensorboard:runs", "wandb:team/project", "mlflow:sqlite:///a.db"]
    with pytest.raises(InputError) as caught:
        targets(["tensorbord:x,wandb:,mlflow:https://me:secret@host"])
    message = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 3
    assert "did you mean 'tensorboard'?" in message
    assert "secret" not in message
    with pytest.raises(InputError, match="did you mean 'mlflow'"):
        parse('log_to = "mflow:x"\n' + SWEEP)
    assert parse('log_to = ["tensorboard:runs"]\n' + SWEEP).log_to == (SinkTarget("tensorboard", "runs"),)
    for address, words in (("http://a:b@host/x", "carries no credentials"), ("http://[", "is no address")):
        with pytest.raises(InputError, match=words):
            parse(f'log_to = "mlflow:{address}"\n' + SWEEP)


def record(seed: int, attempt: int = 1, state: Any = "completed") -> TrialRecord:
    spec = TrialSpec("surrogate", {"seed": seed})
    outcome = Outcome(spec.trial_id, state, None, 10, None, None, 1.5, {"val_loss": 2.0})
    return TrialRecord(spec, Cost(), outcome, "t", attempt, "pack", "one", Provenance("host", "cpu", "{}", None))


def test_a_trial_is_assembled_with_the_points_of_its_own_attempt():
    assembler, trial = TrialAssembler(), record(1).spec.trial_id
    rows: list[Row] = [CurvePoint(trial, 1), CurvePoint(trial, 1, attempt=2), CurvePoint("other", 5)]
    assert list(assembler.add(rows)) == []
    ((found, points),) = assembler.add([record(1, attempt=2)])
    assert (found.attempt, [point.attempt for point in points]) == (2, [2])


def final_losses(folder: Path) -> dict[str, float]:
    return dict(load(folder).trials.select("trial_id", "val_loss").collect().iter_rows())


@pytest.mark.heavy
def test_tensorboard_files_hold_curves_settings_and_results(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard, which reads the files, is not installed",
    )
    warnings: list[str] = []
    with open_feeds(targets([f"tensorboard:{tmp_path / 'tb'}"]), "t", warnings.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert warnings == []
    expected = final_losses(tmp_path / "s")
    curves = load(tmp_path / "s").curves.collect()
    assert {folder.name for folder in (tmp_path / "tb" / "t").iterdir()} == set(expected)
    for trial, value in expected.items():
        events = reader.EventAccumulator(str(tmp_path / "tb" / "t" / trial)).Reload()
        (last,) = events.Scalars("final/val_loss")
        assert last.value == pytest.approx(value, rel=1e-6), "float32 in the event file"
        assert last.step == 13
        seen = {(event.step, round(event.value, 4)) for event in events.Scalars("val_loss")}
        own = curves.filter(trial_id=trial).select("step", "val_loss").iter_rows()
        assert seen == {(step, round(loss, 4)) for step, loss in own}
        assert any("hparams" in name for name in events.summary_metadata)


def failed_trial() -> tuple[TrialRecord, list[CurvePoint]]:
    """A trial that failed after two points, which arrived in the other order."""
    made, second = record(1, attempt=2, state="failed"), dt.timedelta(seconds=1.5)
    outcome = replace(made.outcome, message="x" * 600, last_step=20, started_at=EPOCH, ended_at=EPOCH + second)
    points = [CurvePoint(made.spec.trial_id, step, attempt=2, val_loss=value) for step, value in ((20, 2.0), (10, 3.0))]
    return replace(made, outcome=outcome), points


def test_a_failed_trial_in_mlflow_without_mlflow(monkeypatch):
    client, (trial, points) = MagicMock(), failed_trial()
    client.get_experiment_by_name.return_value.experiment_id = "7"
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda tracking_uri: client))
    monkeypatch.setitem(sys.modules, "mlflow.entities", SimpleNamespace(Metric=lambda *it: it, Param=lambda *it: it))
    MLflow("sqlite:///a.db", "t").write([*points, trial])
    run, milliseconds = client.create_run.return_value.info.run_id, 1_767_225_600_000
    tags = {"trial_id": trial.spec.trial_id, "state": "failed", "attempt": "2", "message": "x" * 500}
    client.create_run.assert_called_once_with("7", milliseconds, tags, run_name=trial.spec.trial_id)
    metrics, params = (done.kwargs for done in client.log_batch.call_args_list)
    at = milliseconds + 1500
    last = [("val_loss", 2.0, at, 20), ("train_seconds", 1.5, at, 20)]
    assert metrics == {"metrics": [("val_loss", 2.0, at, 20), ("val_loss", 3.0, at, 10), *last]}
    assert params == {"params": [("seed", "1")]}
    client.set_terminated.assert_called_once_with(run, "FAILED", at)


def test_a_failed_trial_in_wandb_without_wandb(monkeypatch):
    wandb, (trial, points) = MagicMock(), failed_trial()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    WandB("team/project", "t").write([*points, trial])
    quiet = {"silent": True, "console": "off", "save_code": False, "disable_git": True}
    wandb.Settings.assert_called_once_with(**quiet, x_disable_stats=True, x_disable_meta=True)
    made, run = wandb.init.call_args.kwargs, wandb.init.return_value
    place = {"entity": "team", "project": "project", "group": "t", "job_type": "surrogate"}
    assert made == made | place | {"name": trial.spec.trial_id, "config": {"seed": 1}}
    assert run.log.call_args_list == [call({"val_loss": 3.0}, step=10), call({"val_loss": 2.0}, step=20)]
    run.finish.assert_called_once_with(exit_code=1)


@pytest.mark.filterwarnings("default")  # its dependencies emit warnings
def test_mlflow_runs_hold_curves_settings_and_results(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (pip install 'sweeplaw[mlflow]')")
    pytest.importorskip("sqlalchemy", reason="mlflow needs sqlalchemy for a local store")
    place, warnings = f"sqlite:///{tmp_path / 'm.db'}", list[str]()
    with open_feeds(targets([f"mlflow:{place}"]), "t", warnings.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert warnings == []
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
def test_wandb_writes_one_offline_run_per_trial(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed (pip install 'sweeplaw[wandb]')")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    warnings: list[str] = []
    with open_feeds(targets(["wandb:project"]), "t", warnings.append) as feeds:
        run(tmp_path / "s", *feeds)
    assert warnings == []
    runs = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(runs) == 4
    expected = final_losses(tmp_path / "s")
    assert all(any(trial.encode() in path.read_bytes() for path in runs) for trial in expected)


def test_the_points_of_trials_that_never_end_are_dropped_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_trial, "OPEN_TRIALS", 2)
    assembler, ended = TrialAssembler(), [record(number) for number in (1, 2, 3)]
    assert list(assembler.add([CurvePoint(one.spec.trial_id, 1) for one in ended])) == []
    assert [len(points) for _, points in assembler.add(ended)] == [0, 1, 1]
