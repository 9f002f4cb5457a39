"""Imports: every row is added once or rejected with a reason, and can be queried like our own."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from tests.paths import SHARED


def load(store, **options):
    return tables.load(store, states=None, **options).trials.collect()


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("preset", "file", "rows", "added"),
    [
        ("step-law", "step_law_dense.csv", 1911, 1911),
        ("isoflop", "isoflops.csv", 390, 390),
        ("chinchilla", "chinchilla_figure4.csv", 245, 245),
        ("data-constrained", "data_constrained_182.csv", 182, 182),
        ("infinite-compute", "infinite_compute_losses.csv", 125, 113),
    ],
)
@pytest.mark.heavy
def test_a_published_data_set_is_imported_completely_and_only_once(tmp_path, preset, file, rows, added):
    if not (SHARED / file).is_file():
        pytest.skip(f"{SHARED / file} is not here")
    store = str(tmp_path / "store")
    first = import_from(str(SHARED / file), store, preset=preset)
    assert (first.rows, first.added, len(first.rejected)) == (rows, added, rows - added)
    again = import_from(str(SHARED / file), store, preset=preset)
    assert (again.added, again.present) == (0, added)
    frame = load(store)
    assert frame.height == added
    assert frame.select(pl.col("params_non_embedding", "val_loss").is_null().any()).row(0) == (False, False)
    assert set(frame["launch_id"]) == {None}


def test_imported_rows_equal_those_of_their_file(tmp_path):
    file = SHARED / "chinchilla_figure4.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    import_from(str(file), str(tmp_path / "store"), preset="chinchilla")
    theirs = pl.read_csv(file).sort("loss")
    ours = load(tmp_path / "store").sort("val_loss")
    assert ours["val_loss"].to_list() == theirs["loss"].to_list()
    ratio = ours["tokens"] * 6.0 * ours["params_non_embedding"] / theirs["Training FLOP"]
    assert ((ratio - 1).abs() < 1e-8).all()
    answer = run_query(tables.load(tmp_path / "store"), Query(sql="SELECT min(C / (6 * N * D)) AS low FROM trials"))
    assert answer.frame["low"].item() == pytest.approx(1, abs=1e-8)


def test_a_store_of_imported_rows_has_a_status_and_nothing_to_relaunch(tmp_path):
    file = write(tmp_path / "runs.csv", "lr,val_loss\n0.1,2.0\n0.2,2.1\n")
    import_from(file, str(tmp_path / "store"), pairs=["lr=lr", "val_loss=val_loss"])
    found = progress(Store.open(tmp_path / "store"))
    assert (found.imported, found.relaunch, found.states) == (2, {}, {"completed": 2})


def test_columns_expressions_units_and_suffixes_are_mapped(tmp_path):
    file = write(
        tmp_path / "runs.csv",
        "size,FLOP budget,final,lr\n150M,9e17,3.1,0.001\n300,1.8e18,3.0,0.002\n1.5B,9e18,2.5,0.003\n",
    )
    pairs = ["N=size", 'D="FLOP budget" / (6 * 1.5e8)', "C=FLOP budget", "val_loss=final"]
    done = import_from(file, str(tmp_path / "store"), pairs=pairs)
    assert (done.added, done.rejected) == (3, [])
    frame = load(tmp_path / "store").sort("val_loss", descending=True)
    assert frame["params_non_embedding"].to_list() == [150_000_000, 300, 1_500_000_000]
    assert frame["tokens"].to_list() == [10**9, 2 * 10**9, 10**10]
    assert frame["lr"].to_list() == [0.001, 0.002, 0.003]


def test_our_names_in_an_expression_are_replaced_by_their_mapping(tmp_path):
    file = write(tmp_path / "runs.csv", "size m,flop,loss\n100,6e17,3.1\n200,2.4e18,3.0\n")
    pairs = ["D=flop / (6 * N)", 'N="size m" * 1e6', "epochs=D / 1e9", "val_loss=loss"]
    done = import_from(file, str(tmp_path / "store"), pairs=pairs)
    assert done.used["tokens"] == 'flop / (6 * ("size m" * 1e6))'
    frame = load(tmp_path / "store").sort("tokens")
    assert frame["tokens"].to_list() == [10**9, 2 * 10**9]
    assert frame["epochs"].to_list() == [1.0, 2.0]


def test_a_source_column_takes_precedence_over_our_name(tmp_path):
    file = write(tmp_path / "runs.csv", "N,flop,loss\n10,6e3,3.1\n")
    import_from(file, str(tmp_path / "store"), pairs=["params_non_embedding=flop", "D=flop / (6 * N)", "val_loss=loss"])
    assert load(tmp_path / "store")["tokens"].to_list() == [100]


def test_a_cell_that_is_not_a_number_rejects_its_row_in_formulas_too(tmp_path):
    file = write(tmp_path / "runs.csv", "size,loss,kind\n100,3.1,a\n2k,3.0,b\nx,2.9,a\n,2.8,b\n")
    pairs = ["N=size * 1e6", "D=20 * N", "lr=CASE WHEN kind = 'a' THEN 0.1 ELSE 0.2 END", "val_loss=loss"]
    done = import_from(file, str(tmp_path / "store"), pairs=pairs)
    assert done.rejected == [(3, "size = 'x' is not a number")]
    frame = load(tmp_path / "store").sort("val_loss", descending=True)
    assert frame["params_non_embedding"].to_list() == [10**8, 2 * 10**9, None]
    assert frame["tokens"].to_list() == [2 * 10**9, 4 * 10**10, None]
    assert frame["lr"].to_list() == [0.1, 0.2, 0.2]


def test_a_condition_excludes_and_counts_rows_and_rejects_those_it_cannot_evaluate(tmp_path):
    file = write(tmp_path / "runs.csv", "size,loss\n100,3.1\n200,3.0\nx,2.9\n300,2.8\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["N=size * 1e6", "val_loss=loss"], where="size > 150")
    assert (done.rows, done.left_out, done.added) == (3, 1, 2)
    assert done.rejected == [(3, "size = 'x' is not a number")]
    done = import_from(file, str(tmp_path / "other"), pairs=["N=size * 1e6", "val_loss=loss"], where="size = 200")
    assert (done.left_out, done.added, len(done.rejected)) == (2, 1, 1)


def test_numbers_written_as_text_can_be_compared_as_text(tmp_path):
    file = str(tmp_path / "runs.parquet")
    pl.DataFrame({"run": ["001", "002"], "loss": [3.0, 2.0]}).write_parquet(file)
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=loss"], where="run <> '001'")
    assert (done.added, done.left_out) == (1, 1)


def test_counts_that_would_round_to_zero_are_rejected(tmp_path):
    file = write(tmp_path / "runs.csv", "params_b,loss\n0.3,3.1\n-0.3,3.1\n1.5,3.0\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["N=params_b", "val_loss=loss"])
    assert done.rejected == [
        (1, "params_non_embedding = 0.3 is less than one (is a unit missing?)"),
        (2, "params_non_embedding = -0.3 is negative"),
        (3, "params_non_embedding = 1.5 is not a whole number (a formula such as ROUND(COLUMN) may round)"),
    ]


def test_a_mapping_in_a_toml_file_is_equivalent_to_the_command_line(tmp_path):
    file = write(tmp_path / "runs.csv", "m,t,l,note\n1,2,3.5,x\n4,5,2.5,y\n")
    toml = tmp_path / "map.toml"
    toml.write_text(
        'source = "a study"\nrun = "note"\nwhere = "l < 3"\nkeep = []\n'
        '[columns]\nN = "m * 1e6"\ntokens = "t * 1e9"\nval_loss = "l"\n'
    )
    import_from(file, str(tmp_path / "store"), mapping=toml)
    row = load(tmp_path / "store").row(0, named=True)
    assert (row["params_non_embedding"], row["tokens"], row["val_loss"]) == (4_000_000, 5 * 10**9, 2.5)
    assert row["source"] == "a study: runs.csv"


def test_every_rejected_row_is_reported_with_its_reason_and_written_to_a_file(tmp_path):
    rows = ["2.5,100", "nan,100", "inf,100", "2.4,-5", ",100", "abc,100"]
    file = write(tmp_path / "runs.csv", "val_loss,tokens\n" + "\n".join(rows) + "\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=val_loss"])
    assert done.added == 3
    reasons = dict(done.rejected)
    assert [*reasons] == [4, 5, 6]
    assert "tokens = -5 is negative" in reasons[4]
    assert "val_loss is missing" in reasons[5]
    assert "val_loss = 'abc' is not a number" in reasons[6]
    kept = [json.loads(line) for line in (tmp_path / "store" / done.rejects).read_text().splitlines()]
    assert [row["row"] for row in kept] == [4, 5, 6]


def test_a_loss_that_is_not_finite_is_a_diverged_run(tmp_path):
    rows = ["2.5,finished", "nan,finished", "-inf,", "inf,failed", "NaN,FINISHED"]
    file = write(tmp_path / "runs.csv", "val_loss,state,n\n" + "".join(f"{row},{n}\n" for n, row in enumerate(rows)))
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=val_loss"])
    assert (done.added, done.rejected) == (5, [])
    found = load(tmp_path / "store").sort("n").select("state", "val_loss", "message").rows()
    assert found == [
        ("completed", 2.5, None),
        ("diverged", None, "val_loss is NaN"),
        ("diverged", None, "val_loss is -inf"),
        ("failed", None, None),
        ("diverged", None, "val_loss is NaN"),
    ]


def test_a_known_run_with_different_content_is_rejected(tmp_path):
    first = write(tmp_path / "a.csv", "id,val_loss\nr1,2.5\nr2,2.6\n")
    later = write(tmp_path / "b.csv", "id,val_loss\nr1,2.5\nr2,1.0\nr3,2.2\n")
    store = str(tmp_path / "store")
    options: dict[str, Any] = {"run": ("id",), "source": "a.csv b.csv", "pairs": ["val_loss=val_loss"]}
    assert import_from(first, store, **options).added == 2
    done = import_from(later, store, **options)
    assert (done.added, done.present) == (1, 1)
    assert done.rejected == [(2, "the run already exists with different content: val_loss was 2.6, is 1.0")]


@pytest.mark.heavy
def test_new_and_known_rows_are_the_same_for_any_chunk_size(tmp_path, monkeypatch):
    first = write(tmp_path / "a.csv", "id,val_loss\n" + "".join(f"r{n},{n}.5\n" for n in range(20)))
    rows = [
        *((f"r{n}", f"{n}.5") for n in range(10, 30)),
        ("r12", "0.0"),
        ("r25", "25.5"),
        ("r26", "1.0"),
        ("x", ""),
    ]
    later = write(tmp_path / "b.csv", "id,val_loss\n" + "".join(f"{run},{loss}\n" for run, loss in rows))
    options: dict[str, Any] = {"run": ("id",), "source": "a.csv b.csv", "pairs": ["val_loss=val_loss"]}
    found = []
    for size in (10_000, 3):
        monkeypatch.setattr("sweeplaw.orchestrator.importing.rows._CHUNK", size)
        monkeypatch.setattr("sweeplaw.orchestrator.importing.comparison._COMPARED", size + 1)
        monkeypatch.setattr("sweeplaw.orchestrator.importing.comparison.BATCH", size + 2)
        store = str(tmp_path / f"store{size}")
        calls: list[tuple[int, int]] = []
        import_from(first, store, **options)
        done = import_from(later, store, **options, progress=lambda *call, calls=calls: calls.append(call))
        assert (done.added, done.present, done.repeated, done.merged) == (10, 9, 1, 2)
        clash = "the run already exists with different content: val_loss"
        assert done.rejected == [
            (21, f"{clash} was 12.5, is 0.0"),
            (24, "val_loss is missing"),
        ]
        found.append(load(store).sort("id").drop("launch_id"))
    assert found[0].equals(found[1])
    assert found[0].height == 30
    assert calls == sorted(calls)
    assert 12 <= calls[-1][0] <= calls[-1][1] == 24 - done.merged


def test_a_dry_run_writes_nothing(tmp_path):
    file = write(tmp_path / "runs.csv", "val_loss\n2.5\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=val_loss"], dry=True)
    assert done.added == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["val_loss=losss"], "did you mean 'loss'"),
        (["val_loss"], "is not OURS=THEIRS"),
        (["spec=loss"], "column spec is filled by the import itself"),
        (["tokens=loss * "], "tokens: "),
        ([], "no column is mapped to the loss"),
        (["val_loss=loss", "N=D / 2", "D=N / 2"], "no column 'D'.*no column 'N'"),
        (["val_loss=loss", "N=note / 2"], "params_non_embedding: 'note / 2': division with"),
    ],
)
def test_an_invalid_mapping_is_refused_in_one_message(tmp_path, pairs, words):
    file = write(tmp_path / "runs.csv", "loss,lr,note\n2.5,0.1,a\n")
    with pytest.raises(InputError, match=f"(?s){words}"):
        import_from(file, str(tmp_path / "store"), pairs=pairs)
    assert not (tmp_path / "store").exists()


def test_a_file_that_matches_a_preset_names_it_in_the_error(tmp_path):
    file = write(tmp_path / "runs.csv", "Model Size,Training FLOP,loss\n1e9,1e20,2.5\n")
    with pytest.raises(InputError, match="--preset chinchilla"):
        import_from(file, str(tmp_path / "store"))


@pytest.mark.heavy
def test_weights_and_biases_exports_are_imported(tmp_path):
    table = write(
        tmp_path / "export.csv",
        '"Name","State","Created","Runtime","lr","eval/loss","tokens"\n'
        '"run-1","finished","2026-01-02T03:04:05.000Z","120","0.001","2.5","1000"\n'
        '"run-2","crashed","2026-01-02T03:04:05.000Z","10","0.1","",""\n'
        '"run-3","running","2026-01-02T03:04:05.000Z","10","0.1","3",""\n',
    )
    done = import_from(table, str(tmp_path / "store"), preset="wandb")
    assert done.used["val_loss"] == "eval/loss"
    assert (done.added, done.rejected) == (2, [(3, "state = 'running' is not a result yet")])
    rows = {row["their_run"] if "their_run" in row else row["run"]: row for row in load(tmp_path / "store").to_dicts()}
    assert rows["run-1"]["state"] == "completed"
    assert rows["run-1"]["train_seconds"] == 120.0
    assert rows["run-2"]["state"] == "failed"
    api = write(
        tmp_path / "api.csv",
        "name,summary,config\nr,\"{'val_loss': 2.25, '_step': 10}\",\"{'lr': 0.01, 'model': {'depth': 4}}\"\n",
    )
    import_from(api, str(tmp_path / "other"), preset="wandb")
    row = load(tmp_path / "other").row(0, named=True)
    assert (row["val_loss"], row["lr"], row["model.depth"]) == (2.25, 0.01, 4)


def test_mlflow_search_results_are_imported(tmp_path):
    file = write(
        tmp_path / "runs.csv",
        "run_id,experiment_id,status,start_time,end_time,metrics.val_loss,params.lr,params.depth,tags.mlflow.user\n"
        "aa,1,FINISHED,2026-01-02 03:04:05+00:00,2026-01-02 04:04:05+00:00,2.5,0.001,4,me\n"
        "bb,1,FAILED,2026-01-02 03:04:05+00:00,,,0.01,8,me\n",
    )
    done = import_from(file, str(tmp_path / "store"), preset="mlflow")
    assert done.added == 2
    frame = load(tmp_path / "store").sort("state")
    assert frame["state"].to_list() == ["completed", "failed"]
    assert frame["depth"].to_list() == [4, 8]
    assert frame["ended_at"][0].hour == 4


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_optuna_studies_are_imported(tmp_path):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for step in range(3):
            trial.report(3.0 - step * 0.1, step)
        if trial.number == 3:
            raise optuna.TrialPruned
        return 2.0 + lr

    optuna.create_study(study_name="a", storage=url).optimize(objective, n_trials=5)
    done = import_from(url, str(tmp_path / "store"), preset="optuna")
    assert (done.added, done.curve_points) == (5, 15)
    frame = load(tmp_path / "store").sort("number")
    assert frame["state"].to_list() == ["completed"] * 3 + ["stopped", "completed"]
    assert (
        frame.filter(pl.col("state") == "completed").select(pl.col("val_loss") - pl.col("lr") - 2).to_series().abs()
        < 1e-12
    ).all()
    assert tables.load(tmp_path / "store").curves.collect().height == 15
    assert import_from(url, str(tmp_path / "store"), preset="optuna").added == 0


def test_ray_tune_folders_are_read_from_json_alone(tmp_path):
    for number, lines in enumerate([[3.0, 2.5], [3.0]]):
        folder = tmp_path / "experiment" / f"trial_{number}"
        folder.mkdir(parents=True)
        results = [
            {
                "val_loss": loss,
                "training_iteration": step,
                "trial_id": f"t{number}",
                "done": step == 2,
                "config": {"lr": 0.1},
            }
            for step, loss in enumerate(lines, start=1)
        ]
        (folder / "result.json").write_text("\n".join(map(json.dumps, results)) + "\n")
        (folder / "params.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    (tmp_path / "experiment" / "trial_1" / "error.txt").write_text("Traceback\nValueError: boom\n")
    done = import_from(str(tmp_path / "experiment"), str(tmp_path / "store"), preset="ray")
    assert (done.added, done.curve_points) == (2, 3)
    frame = load(tmp_path / "store").sort("state")
    assert frame["state"].to_list() == ["completed", "failed"]
    assert frame["message"].to_list() == [None, "ValueError: boom"]
    assert frame["lr"].to_list() == [0.1, 0.1]
    assert tables.load(tmp_path / "store").curves.collect()["step"].to_list() == [1, 2, 1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(losses=st.lists(st.floats(0.01, 20), min_size=1, max_size=20), again=st.integers(1, 3))
@pytest.mark.heavy
def test_importing_a_file_repeatedly_adds_its_rows_once(tmp_path_factory, losses, again):
    folder = tmp_path_factory.mktemp("any")
    pl.DataFrame({"val_loss": losses, "lr": 0.1}).write_parquet(folder / "runs.parquet")
    for _ in range(again):
        import_from(str(folder / "runs.parquet"), str(folder / "store"), pairs=["val_loss=val_loss"])
    assert sorted(load(folder / "store")["val_loss"].to_list()) == sorted(set(losses))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("separator", "end"), [(",", "\n"), (";", "\r\n"), ("\t", "\n"), (";", "\r")])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding, separator, end):
    lines = [["size é", "loss", "note"], ["1000", "2.5", "a"], ["2000", "2.25", "b"]]
    text = end.join(separator.join(line) for line in lines)
    start = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "runs.csv").write_bytes((start + text).encode(encoding))
    done = import_from(str(tmp_path / "runs.csv"), str(tmp_path / "store"), pairs=['N="size é"', "val_loss=loss"])
    assert done.added == 2
    assert load(tmp_path / "store").sort("val_loss").select("val_loss", "params_non_embedding", "note").rows() == [
        (2.25, 2000, "b"),
        (2.5, 1000, "a"),
    ]


def test_a_decimal_comma_is_read_where_semicolons_separate(tmp_path):
    file = write(tmp_path / "runs.csv", "params;loss;note\n1000;2,5;1,2,3\n1500;1e0;x\n2000;-0,25e1;\n")
    import_from(file, str(tmp_path / "store"), pairs=["N=params", "val_loss=loss"])
    assert load(tmp_path / "store").sort("params_non_embedding").select("val_loss", "note").rows() == [
        (2.5, "1,2,3"),
        (1.0, "x"),
        (-2.5, None),
    ]


def test_an_import_without_n_or_d_warns(tmp_path):
    file = write(tmp_path / "runs.csv", "loss,size,empty\n2.5,10,\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=loss", "D=empty"])
    assert done.warnings == (
        "no column is mapped to N (params_non_embedding), which laws need: --map N=params",
        "D (tokens = empty) is empty in every row",
    )
    assert import_from(file, str(tmp_path / "other"), pairs=["val_loss=loss", "N=size", "D=size"]).warnings == ()


def test_one_text_value_that_makes_a_metric_text_is_named_with_a_mapping_that_casts(tmp_path):
    rows = "".join(f"{number}.5,10,0.{number}\n" for number in range(1, 9))
    clean = write(tmp_path / "a.csv", f"loss,size,val acc\n{rows}")
    store, pairs = str(tmp_path / "store"), ["val_loss=loss", "N=size", "D=size"]
    assert import_from(clean, store, pairs=pairs).warnings == ()
    odd = write(tmp_path / "b.csv", f"loss,size,val acc\n{rows}9.5,10,n/a\n9.75,10,?\n")
    (warning,) = import_from(odd, store, pairs=pairs, dry=True).warnings
    assert warning.startswith(
        "val acc is numbers in the store but becomes text everywhere: 2 of 10 values are no numbers"
    )
    assert "row 9 holds 'n/a', row 10 holds '?'" in warning
    cast = warning.split("'")[-2]
    assert cast == 'val acc=TRY_CAST("val acc" AS DOUBLE)'
    done = import_from(odd, store, pairs=[*pairs, cast])
    assert (done.warnings, done.added) == ((), 2)
    assert load(store)["val acc"].dtype == pl.Float64


def test_values_of_every_type_are_kept_or_rejected_with_their_row_and_column(tmp_path):
    ok = pl.DataFrame({"loss": [2.5, 2.25], "blob": [b"\xff\x00", b"text"], "many": [[1, 2], None]})
    ok = ok.with_columns(
        pl.Series("far", [2**62, 0]).cast(pl.Datetime("us")), pl.Series("tokens", [2**64 - 1, 5], pl.UInt64)
    )
    ok.write_parquet(tmp_path / "runs.parquet")
    done = import_from(str(tmp_path / "runs.parquet"), str(tmp_path / "store"), pairs=["val_loss=loss"])
    assert done.rejected == [(1, "tokens = 1.8446744073709552e+19 is 2^63 or more")]
    row = load(tmp_path / "store").row(0, named=True)
    assert (row["blob"], row["far"], row["tokens"]) == ("text", "1970-01-01T00:00:00", 5)
    lines = [
        '{"loss": 2.5, "a": {"x": 1}}',
        '{"loss": NaN, "a": 5, "b": "\\ud800"}',
        '{"loss": 2, "c": 18446744073709551616}',
    ]
    file = write(tmp_path / "runs.ndjson", "\n".join(lines))
    assert import_from(file, str(tmp_path / "other"), pairs=["val_loss=loss"]).added == 3
    found = load(tmp_path / "other").sort("val_loss", nulls_last=True).select("val_loss", "a.x", "a", "b", "c").rows()
    assert found == [(2.0, None, None, None, 2.0**64), (2.5, 1, None, None, None), (None, None, 5, "?", None)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "has no header"),
        ("a.csv", "loss,lr\n", "has no rows"),
        ("a.csv", "loss,loss\n1,2\n", "'loss' occurs 2 times"),
        ("a.ndjson", "", "has no rows"),
        ("a.ndjson", '{"loss": 1, "loss": 2}', "line 1: key 'loss' occurs twice"),
        ("a.ndjson", '{"loss": 1}\n{"a": {"b": 1}, "a.b": 2}', "line 2: 'a.b' occurs twice"),
        ("a.ndjson", '{"loss": 1}\n' + "[" * 5000, "line 2: nested too deeply"),
        ("a.parquet", "PAR1 and more text", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_name_and_line(tmp_path, name, content, words):
    with pytest.raises(InputError, match=f"(?s){name}.*{words}"):
        import_from(write(tmp_path / name, content), str(tmp_path / "store"), pairs=["val_loss=loss"])


def test_pages_that_disagree_with_their_checksum_are_refused(tmp_path):
    path = tmp_path / "runs.parquet"
    pl.DataFrame({"loss": [n / 1000 for n in range(2000)]}).write_parquet(path, compression="uncompressed")
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"runs\.parquet cannot be read.*(CRC|checksum)"):
        import_from(str(path), str(tmp_path / "store"), pairs=["val_loss=loss"])


AMOUNTS = "id,N,D,width,tok,loss\na,10,20,1000000,5000000,3.1\nb,30,40,2000000,5000000,2.5\n"
WIDTHS = ("params_non_embedding=width", "tokens=tok", "val_loss=loss")
SHOWN = "SELECT N, D, their_N, params_non_embedding FROM trials ORDER BY id"


def test_a_column_named_as_one_of_ours_is_kept_under_another_name(tmp_path):
    store = str(tmp_path / "store")
    done = import_from(write(tmp_path / "a.csv", AMOUNTS), store, pairs=WIDTHS, run=("id",))
    assert "column N is kept as their_N: N stands for params_non_embedding, which is width" in done.warnings
    frame = run_query(tables.load(store), Query(sql=SHOWN)).frame
    assert frame.rows() == [(1_000_000, 5_000_000, 10, 1_000_000), (2_000_000, 5_000_000, 30, 2_000_000)]
    taken = write(tmp_path / "b.csv", "their_N,N,width,loss\n1,2,3,4.0\n")
    import_from(taken, str(tmp_path / "other"), pairs=("N=width", "val_loss=loss"))
    assert load(tmp_path / "other").select("params_non_embedding", "their_N", "their_their_N").rows() == [(3, 1, 2)]


@pytest.mark.heavy
def test_such_a_column_in_a_store_of_an_earlier_version_hides_nothing(tmp_path, monkeypatch):
    store, file = str(tmp_path / "store"), write(tmp_path / "a.csv", AMOUNTS)
    with monkeypatch.context() as earlier:
        earlier.setattr("sweeplaw.orchestrator.importing.mapping.ALIASES", {})
        import_from(file, store, pairs=WIDTHS, run=("id",))
    assert load(store, where="N = 2e6 AND their_N = 30")["id"].to_list() == ["b"]
    assert import_from(file, store, pairs=WIDTHS, run=("id",)).present == 2
    right = import_from(file, store, pairs=("N=N", "D=D", "val_loss=loss"), run=("id",), update=True)
    assert right.updated == 2
    assert run_query(tables.load(store), Query(sql=SHOWN)).frame.rows() == [(10, 20, None, 10), (30, 40, None, 30)]
    assert load(store, where="N = 30")["id"].to_list() == ["b"]


def test_a_column_named_as_one_of_ours_keeps_its_name_where_ours_is_unknown(tmp_path):
    import_from(write(tmp_path / "a.csv", AMOUNTS), str(tmp_path / "store"), pairs=("val_loss=loss",), run=("id",))
    assert load(tmp_path / "store").select("N", "params_non_embedding").rows() == [(10, None), (30, None)]


@pytest.mark.heavy
def test_a_store_has_the_law_of_the_file_it_was_imported_from(tmp_path):
    rows = [
        (n, d, lr, batch, seed, 1.7 + 400 / n**0.34 + 410 / d**0.28 + 0.01 * (lr + batch) + 0.001 * (seed - lr * batch))
        for n in (1e7, 3e7, 1e8) for d in (1e9, 4e9, 1.6e10) for lr in (1, 2) for batch in (1, 2, 3) for seed in (0, 1)
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "seed", "loss"], orient="row")
    table.write_csv(tmp_path / "runs.csv")
    mapped = ("N=N", "D=D", "val_loss=loss", "seed=seed")
    for name, keep in (("all", None), ("named", ("lr", "batch_tokens"))):
        import_from(str(tmp_path / "runs.csv"), str(tmp_path / name), pairs=mapped, keep=keep)
    expected = fit(str(tmp_path / "runs.csv"), x={"N": "N", "D": "D"}, y="loss")
    for name in ("all", "named"):
        found = fit(str(tmp_path / name))
        assert found.rows_used == expected.rows_used == 18  # both seeds of the best setting of each point
        assert found.params == pytest.approx(expected.params, rel=1e-9)
