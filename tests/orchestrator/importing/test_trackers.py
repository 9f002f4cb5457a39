"""Folders, databases and exports of trackers are read as they are, and a fit of them works at once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.trials.errors import InputError


def load(store):
    return tables.load(store, states=None).trials.collect()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def mlflow_run(folder: Path, run_id: str, status: int, loss: str, **params: object) -> None:
    write(
        folder / "meta.yaml",
        f"artifact_uri: file:///x\nend_time: 1795890819525\nexperiment_id: '636700034215746342'\n"
        f"lifecycle_stage: active\nrun_id: {run_id}\nrun_name: some-name\n"
        f"start_time: 1795890819487\nstatus: {status}\n",
    )
    for name, value in params.items():
        write(folder / "params" / name, str(value))
    write(folder / "tags" / "mlflow.user", "me")
    write(folder / "tags" / "team", "x")
    write(folder / "metrics" / "val_loss", f"1795890819408 4.0 0\n1795890819415 {loss} 10\n")
    write(folder / "metrics" / "train" / "loss", "1795890819408 4.5 0\n")


def test_a_folder_of_mlflow_is_read_without_mlflow(tmp_path):
    experiment = tmp_path / "mlruns" / "636700034215746342"
    write(experiment / "meta.yaml", "experiment_id: '636700034215746342'\nlifecycle_stage: active\nname: scaling\n")
    mlflow_run(experiment / "aa", "aa", 3, "2.5", params=1000, tokens=50000, lr=0.001, optimizer="adamw")
    mlflow_run(experiment / "bb", "bb", 3, "nan", params=2000, tokens=50000, lr=0.001, optimizer="adamw")
    mlflow_run(experiment / "cc", "cc", 4, "2.25", params=2000, tokens=50000, lr=0.001, optimizer="adamw")
    mlflow_run(experiment / "dd", "dd", 1, "2.25", params=2000, tokens=50000, lr=0.001, optimizer="adamw")
    store = str(tmp_path / "store")
    done = import_from(str(tmp_path / "mlruns"), store, preset="mlflow")
    assert (done.added, done.curve_points, len(done.rejected)) == (3, 6, 1)
    assert "which may count embeddings" in done.warnings[0]
    row = load(store).filter(run_id="aa").row(0, named=True)
    assert (row["val_loss"], row["params_non_embedding"], row["params"], row["tokens"]) == (2.5, 1000, 1000, 50000)
    assert (row["train/loss"], row["optimizer"], row["team"], row["name"]) == (4.5, "adamw", "x", "some-name")
    assert row["started_at"].year == 2026
    assert row["last_step"] == 10
    assert dict(load(store).select("run_id", "state").rows()) == {"aa": "completed", "bb": "diverged", "cc": "failed"}
    export = write(tmp_path / "runs.csv", "run_id,status,metrics.val_loss,params.lr\naa,FINISHED,2.5,0.001\n")
    assert import_from(export, store, preset="mlflow").present == 1
    (experiment / "aa" / "metrics" / "val_loss").write_text("torn")
    with pytest.raises(InputError, match="636700034215746342/aa: ValueError"):
        import_from(str(tmp_path / "mlruns"), store, preset="mlflow")


def test_a_database_of_mlflow_is_read_without_mlflow(tmp_path):
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.executescript(
            """
            CREATE TABLE runs (run_uuid, name, experiment_id, status, start_time, end_time, lifecycle_stage);
            CREATE TABLE params (key, value, run_uuid);
            CREATE TABLE tags (key, value, run_uuid);
            CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);
            CREATE TABLE latest_metrics (key, value, timestamp, run_uuid, step, is_nan);
            INSERT INTO runs VALUES ('aa', 'n', 1, 'FINISHED', 1795890819487, 1795890819525, 'active');
            INSERT INTO runs VALUES ('bb', 'n', 1, 'FINISHED', 1795890819487, 1795890819525, 'deleted');
            INSERT INTO runs VALUES ('cc', 'n', 1, 'FINISHED', 1795890819487, 1795890819525, 'active');
            INSERT INTO params VALUES ('lr', '0.5', 'aa');
            INSERT INTO tags VALUES ('mlflow.user', 'me', 'aa');
            INSERT INTO metrics VALUES ('val_loss', 3.0, 1, 'aa', 0, 0), ('val_loss', 2.5, 2, 'aa', 10, 0);
            INSERT INTO metrics VALUES ('val_loss', 0.0, 1, 'cc', 0, 1);
            """
        )
    database.close()
    with pytest.raises(InputError, match="looks like --preset mlflow"):
        import_from(str(path), str(tmp_path / "store"))
    assert import_from(str(path), str(tmp_path / "store"), preset="mlflow").curve_points == 3
    rows = load(tmp_path / "store").sort("run_id").select("run_id", "state", "val_loss", "lr").rows()
    assert rows == [("aa", "completed", 2.5, 0.5), ("cc", "diverged", None, None)]


def ray_trial(folder: Path, trial_id: str, *losses: float) -> None:
    results = [
        {"val_loss": loss, "training_iteration": step, "trial_id": trial_id, "done": False}
        | {"params": 1000 * step, "tokens": 500, "config": {"lr": 0.1}, "nested": {"acc": [1, 2]}}
        for step, loss in enumerate(losses, start=1)
    ]
    write(folder / f"trial_{trial_id}" / "result.json", "\n".join(map(json.dumps, results)) + "\n")


def ray_state(folder: Path, states: dict[str, str], name: str = "experiment_state-2026-01-02.json") -> None:
    trials = [[json.dumps({"trial_id": trial, "status": status}), "{}"] for trial, status in states.items()]
    write(folder / name, json.dumps({"trial_data": trials}))


def test_a_trial_of_ray_is_completed_if_its_experiment_says_so(tmp_path):
    folder = tmp_path / "experiment"
    for trial in ("1_00", "1_01", "1_02", "1_03"):
        ray_trial(folder, trial, 3.0, 2.0 + int(trial[-1]))
    ray_state(folder, dict.fromkeys(("1_00", "1_01", "1_02"), "RUNNING"))
    ray_state(folder, {"1_00": "TERMINATED", "1_01": "ERROR", "1_02": "RUNNING"}, "experiment_state-2026-01-03.json")
    with pytest.raises(InputError, match="looks like --preset ray"):
        import_from(str(folder), str(tmp_path / "store"))
    done = import_from(str(folder), str(tmp_path / "store"), preset="ray")
    assert (done.added, done.curve_points, len(done.rejected)) == (3, 6, 1)
    found = load(tmp_path / "store").sort("val_loss").select("state", "params_non_embedding", "tokens", "nested/acc")
    assert found.rows() == [(state, 2000, 500, "[1, 2]") for state in ("completed", "failed", "stopped")]


@pytest.mark.heavy
def test_a_run_of_ray_is_one_run_whichever_folder_is_read(tmp_path):
    for experiment in ("first", "second"):  # an id is unique within its experiment alone
        for trial in ("1_00", "1_01"):
            ray_trial(tmp_path / "all" / experiment, trial, 3.0, 2.5)
    ray_state(tmp_path / "all" / "first", {"1_00": "TERMINATED", "1_01": "TERMINATED"})
    ray_state(tmp_path / "all" / "second", {"1_00": "ERROR", "1_01": "TERMINATED"})
    counts = [
        (done.added, done.present, done.curve_points, len(done.rejected))
        for folder in ("first", "first/trial_1_00", "second", ".", "first")
        for done in [import_from(str(tmp_path / "all" / folder), str(tmp_path / "store"), preset="ray")]
    ]
    assert counts == [(2, 0, 4, 0), (0, 1, 0, 0), (2, 0, 4, 0), (0, 4, 0, 0), (0, 2, 0, 0)]
    found = load(tmp_path / "store").sort("tune_experiment", "their_trial_id")["state"].to_list()
    assert found == ["completed", "completed", "failed", "completed"]


def test_torn_files_of_ray_are_named(tmp_path):
    folder = tmp_path / "experiment"
    ray_trial(folder, "1_00", 3.0)
    with (folder / "trial_1_00" / "result.json").open("a") as file:
        file.write('{"val_loss": 2\n')
    write(folder / "experiment_state-1.json", '{"trial_data": [["{", "{}"]]}')
    with pytest.raises(InputError) as raised:
        import_from(str(folder), str(tmp_path / "store"), preset="ray")
    assert "experiment_state-1.json cannot be read" in str(raised.value)
    assert "trial_1_00/result.json: line 2" in str(raised.value)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_a_fit_of_an_optuna_file_works_at_once(tmp_path):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial):
        size, data = trial.suggest_int("n_params", 10**5, 10**8, log=True), trial.suggest_int("tokens", 10**6, 10**9)
        return 1.5 + 100 / size**0.3 + 300 / data**0.3

    path = tmp_path / "study.db"
    optuna.create_study(study_name="a", storage=f"sqlite:///{path}").optimize(objective, n_trials=25)
    with pytest.raises(InputError, match="looks like --preset optuna"):
        import_from(str(path), str(tmp_path / "store"))
    assert import_from(str(path), str(tmp_path / "store"), preset="optuna").added == 25
    assert fit(str(tmp_path / "store"), "additive").params["E"] == pytest.approx(1.5, abs=0.05)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"study\.db|Optuna storage"):
        import_from(str(path), str(tmp_path / "store"), preset="optuna")


def test_a_chart_of_weights_and_biases_has_a_column_per_run(tmp_path):
    text = (
        '"Step","sun-1 - val/loss","sun-1 - val/loss__MIN","sun-1 - val/loss__MAX","a - b - val/loss","sun-1 - _step"\n'
        "0,3,3,3,4,0\n10,2.5,2.5,2.5,,10\n20,,,,3.5,\n"
    )
    done = import_from(write(tmp_path / "chart.csv", text), str(tmp_path / "store"), preset="wandb")
    assert (done.added, done.curve_points) == (2, 4)
    found = load(tmp_path / "store").sort("val_loss").select("run", "val_loss", "last_step").rows()
    assert found == [("sun-1", 2.5, 10), ("a - b", 3.5, 20)]
    curves = tables.load(tmp_path / "store").curves.collect().sort("step", "val_loss")
    assert curves.select("step", "val_loss").rows() == [(0, 3.0), (0, 4.0), (10, 2.5), (20, 3.5)]


def test_prefixes_of_trackers_are_removed_unless_the_name_is_taken(tmp_path):
    text = "id,config.params,config.lr,summary.val_loss,summary.lr,state\nr1,1000,0.5,2.5,0.25,finished\n"
    import_from(write(tmp_path / "w.csv", text), str(tmp_path / "store"), preset="wandb")
    row = load(tmp_path / "store").row(0, named=True)
    assert (row["val_loss"], row["params"], row["lr"], row["summary.lr"]) == (2.5, 1000, 0.5, 0.25)
    frame = pl.DataFrame(
        {"run_id": ["aa"], "status": ["FINISHED"], "metrics.val_loss": [2.5], "params.params": ["1000"]}
    )
    frame.write_parquet(tmp_path / "m.parquet")
    import_from(str(tmp_path / "m.parquet"), str(tmp_path / "other"), preset="mlflow")
    assert load(tmp_path / "other").row(0, named=True)["params_non_embedding"] == 1000


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("model.params", "data.tokens"), {"params": 1000, "params_non_embedding": 1000, "tokens": 50}),
        (("model.num_params", "data.num_tokens"), {"params": 1000, "tokens": 50}),
        (("model/num_parameters", "train/num_input_tokens_seen"), {"params": 1000, "tokens": 50}),  # of Hugging Face
        (("parameter_count", "throughput/total_tokens"), {"params": 1000, "tokens": 50}),  # of Levanter
        (("model_n_params", "dataset_n_tokens"), {"params": 1000, "tokens": 50}),
        (("model.num_params_non_embedding", "training.tokens"), {"params_non_embedding": 1000, "tokens": 50}),
    ],
)
@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_sizes_are_found_in_flattened_configurations(tmp_path, tracker, names, found):
    run, state = ("ID", "State") if tracker == "wandb" else ("run_id", "status")
    heading = ",".join([run, state, "val_loss", *names])
    path = write(tmp_path / "r.csv", f"{heading}\na,FINISHED,2.5,1000,50\nb,FINISHED,2.25,2000,50\n")
    import_from(path, str(tmp_path / "store"), preset=tracker)
    row = load(tmp_path / "store").sort("val_loss", descending=True).row(0, named=True)
    assert {name: row[name] for name in found} == found


def test_a_model_beside_its_parameters_is_no_quotient(tmp_path):
    path = write(tmp_path / "r.csv", "ID,State,loss,model,params,data,tokens\na,finished,2.5,7,1000,3,50\n")
    import_from(path, str(tmp_path / "store"), preset="wandb")
    row = load(tmp_path / "store").row(0, named=True)
    assert (row["params"], row["tokens"], row["model"], row["data"]) == (1000, 50, 7, 3)
