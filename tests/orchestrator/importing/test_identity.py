"""The identity of an imported run is what its source says about it; a wrong import can be updated or removed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.identity import identity
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.launch.exclusion import exclude_where, restore_where
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

CSV = "params,loss,opt.lr,seed\n1000,2.0,0.1,1\n2000,1.5,0.1,2\n1000,0.5,0.2,3\n"
PLAIN = ["N=params", "lr=opt.lr", "val_loss=loss"]


def load(store):
    return tables.load(store, states=None).trials.collect().sort("val_loss")


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "runs.csv", CSV)


@pytest.mark.parametrize(
    "pairs",
    [
        ["N=params", 'lr="opt.lr"', "val_loss=loss"],
        ["N=params*1", "lr=opt.lr", "val_loss=loss"],
        ["params_non_embedding=params / 1", 'lr="opt.lr" * 1', 'val_loss="loss"'],
        [*PLAIN, "extra=seed + 1"],
    ],
)
def test_the_spelling_of_a_mapping_does_not_matter(tmp_path, file, pairs):
    store = str(tmp_path / "store")
    assert import_from(file, store, pairs=PLAIN).added == 3
    again = import_from(file, store, pairs=pairs)
    assert (again.added, again.present, again.rejected) == (0, 3, [])
    assert load(store)["lr"].to_list() == [0.2, 0.1, 0.1]


def test_a_quoted_column_is_kept_once_as_an_unquoted_one_is(tmp_path, file):
    pairs = ['N="params"', 'lr = "opt.lr" ', "val_loss=`loss`"]
    import_from(file, str(tmp_path / "quoted"), pairs=pairs)
    import_from(file, str(tmp_path / "plain"), pairs=PLAIN)
    assert load(str(tmp_path / "quoted")).columns == load(str(tmp_path / "plain")).columns


@pytest.mark.heavy
def test_numbers_are_one_value_in_any_kind_of_file(tmp_path, file):
    store = str(tmp_path / "store")
    import_from(file, store, pairs=PLAIN)
    frame = pl.read_csv(file)
    frame.write_ndjson(tmp_path / "runs.ndjson")
    frame.with_columns(pl.col("params", "seed").cast(pl.Float64)).write_parquet(tmp_path / "runs.parquet")
    write(tmp_path / "longer.csv", CSV + "1.5e3,1.25,some text,4.5\n")  # now columns of floats and of text
    for other in ("runs.ndjson", "runs.parquet"):
        assert import_from(str(tmp_path / other), store, pairs=PLAIN).present == 3
    longer = import_from(str(tmp_path / "longer.csv"), store, pairs=["N=params", "val_loss=loss"])
    assert (longer.added, longer.present) == (1, 3)


def test_ids_of_runs_are_not_numbers(tmp_path):
    runs = ["1e3", "1000", "1_000", "1000.0", "12e456", "34e456", "007", "7"]
    text = "id,val_loss\n" + "".join(f"{run},{number}.5\n" for number, run in enumerate([*runs, "x"]))
    done = import_from(
        write(tmp_path / "a.csv", text), str(tmp_path / "store"), run=("id",), pairs=["val_loss=val_loss"]
    )
    assert (done.added, done.rejected) == (9, [])


def test_a_cell_counts_by_its_value():
    def of(value):
        return identity({"a": value}, (), None, "file").trial_id

    assert len({of(value) for value in (1, 1.0, "1", "1.0", " 1 ", "1e0", "+1")}) == 1
    assert len({of(value) for value in (True, "true", "True")}) == 1
    assert len({of(value) for value in (0.1, "0.1", "1e-1", ".1")}) == 1
    different = (
        1,
        2,
        0.1,
        True,
        "a",
        "A",
        "1_0",
        "1e999",
        "2e999",
        2**60,
        2**60 + 1,
        str(2**61),
        dt.date(2026, 1, 1),
        "",
    )
    assert len({of(value) for value in different}) == len(different)
    assert identity({"a": 1, "b": None}, (), None, "file") == identity({"a": 1}, (), None, "other")
    assert of(dt.date(2026, 1, 1)) == of("2026-01-01")


@pytest.mark.parametrize("last", [2**53 - 1, 1 - 2**53])
def test_a_float_is_a_whole_number_as_far_as_floats_hold_every_one(last):
    """Beyond, 2^53 may have been 2^53 + 1: it is another value than the whole number."""

    def of(value):
        return identity({"a": value}, (), None, "file")

    further = last + (1 if last > 0 else -1)
    assert of(float(last)) == of(last) == of(str(last)) == of(f"{last}.0")
    assert of(float(further)) == of(f"{further}.0") != of(further)
    digits = "-" * (last < 0) + "9" * 18
    assert of(digits) == of(int(digits)), "all 18 digits of a text count"
    assert of(digits) != of(str(int(digits) - 1))
    assert of(f"{digits}0") == of(float(f"{digits}0")), "longer ones are floats, as in a column of floats"


def test_a_run_of_several_columns_is_its_values_in_order_with_an_empty_text_for_none():
    def of(tracker, **values):
        return identity(values, ("project", "run"), tracker, "a.csv").canonical()

    known = json.loads(of(None, project="p", run=7.0, lr=1))
    assert known == {"workload": "imported", "knobs": {"source": "a.csv", "run": "p/7"}}
    assert json.loads(of("wandb", project=None, run="r", lr=2))["knobs"] == {"tracker": "wandb", "run": "/r"}
    assert json.loads(of("wandb", project=True, run=dt.date(2026, 1, 2)))["knobs"]["run"] == "true/2026-01-02"


@pytest.mark.heavy
def test_a_run_of_a_tracker_is_the_same_in_every_export(tmp_path):
    text = "ID,Name,State,val_loss,params,tokens\nab12,run-1,finished,2.5,1000,10\n"
    names = "Name,State,val_loss\nrun-1,finished,{}\n"
    store = str(tmp_path / "store")
    assert import_from(write(tmp_path / "may.csv", text), store, preset="wandb").added == 1
    assert import_from(write(tmp_path / "june.csv", text), store, preset="wandb").present == 1
    for month, loss in (("july", 2.25), ("august", 2.75)):  # without an id a name may recur in another project
        assert import_from(write(tmp_path / f"{month}.csv", names.format(loss)), store, preset="wandb").added == 1
    assert load(store).height == 3


def old_row(content, **more):
    """Return a row as version 0.1 wrote it: its id is the hash of what it was mapped to."""
    spec = json.dumps({"workload": "imported", "knobs": content}, sort_keys=True, separators=(",", ":"))
    trial_id = hashlib.sha256(spec.encode()).hexdigest()[:20]
    fixed = {"workload": "imported", "sweep": "old", "source": "old", "attempt": 1, "state": "completed"}
    return {**fixed, **more, "trial_id": trial_id, "spec": spec}


@pytest.mark.heavy
def test_runs_imported_by_version_0_1_are_recognised(tmp_path):
    file = write(tmp_path / "runs.csv", CSV)
    export = write(tmp_path / "e.csv", "run_id,status,metrics.val_loss\naa,FINISHED,2.5\n")
    named = write(tmp_path / "n.csv", "N,width,loss\n10,1000,2.5\n")
    store = Store.open(tmp_path / "store", create=True)
    values = [(1000, 2.0, 0.1, 1), (2000, 1.5, 0.1, 2), (1000, 0.5, 0.2, 3)]
    with store.writer("import-old") as writer:
        for size, loss, lr, seed in values:
            known: dict[str, Any] = {"params_non_embedding": size, "val_loss": loss, "lr": lr, "seed": seed}
            writer.write_rows([old_row({**known, "state": "completed"}, **known)], [])
        known = {"val_loss": 2.5, "run_id": "aa"}
        writer.write_rows([old_row({"source": "mlflow: e.csv", "run": "aa"}, **known)], [])
        known = {"val_loss": 2.5, "params_non_embedding": 1000, "N": 10}
        writer.write_rows([old_row({**known, "state": "completed"}, **known)], [])
    before = load(store.location.uri)["trial_id"].to_list()
    again = import_from(file, store.location.uri, pairs=PLAIN)
    assert (again.added, again.present, again.rejected) == (0, 3, [])
    assert import_from(export, store.location.uri, preset="mlflow").present == 1
    assert import_from(named, store.location.uri, pairs=["N=width", "val_loss=loss"]).present == 1
    scaled = import_from(file, store.location.uri, pairs=PLAIN, update=True, run=())
    assert (scaled.added, scaled.updated, scaled.present) == (0, 0, 3)
    assert load(store.location.uri)["trial_id"].to_list() == before


@pytest.mark.heavy
def test_a_wrong_mapping_is_refused_and_can_be_updated(tmp_path, file):
    store = str(tmp_path / "store")
    import_from(file, store, pairs=["N=params * 1e6", "lr=opt.lr", "val_loss=loss"])
    refused = import_from(file, store, pairs=PLAIN)
    assert (refused.added, len(refused.rejected)) == (0, 3)
    assert refused.rejected[0][1].endswith("params_non_embedding was 1000000000, is 1000")
    dry = import_from(file, store, pairs=PLAIN, update=True, dry=True)
    assert (dry.updated, load(store)["params_non_embedding"].max()) == (3, 2 * 10**9)
    done = import_from(file, store, pairs=PLAIN, update=True)
    assert (done.added, done.updated, done.rejected) == (0, 3, [])
    assert load(store)["params_non_embedding"].to_list() == [1000, 2000, 1000]
    assert tables.load(store).dropped == {"earlier attempts or versions, replaced by later ones": 3}
    assert import_from(file, store, pairs=PLAIN, update=True).updated == 0


def test_an_update_takes_the_last_of_the_rows_of_a_run(tmp_path):
    options: dict[str, Any] = {"run": ("id",), "source": "a.csv b.csv", "pairs": ["val_loss=val_loss"]}
    store = str(tmp_path / "store")
    import_from(write(tmp_path / "a.csv", "id,val_loss\nr1,9.0\n"), store, **options)
    rows = "id,val_loss\nr1,2.5\nr1,2.5\nr1,3.5\nr2,1.0\n"
    done = import_from(write(tmp_path / "b.csv", rows), store, update=True, **options)
    assert (done.updated, done.added, done.merged, done.rejected) == (1, 1, 2, [])
    assert load(store)["val_loss"].to_list() == [1.0, 3.5]


@pytest.mark.heavy
def test_values_that_the_store_lacks_are_counted_and_added_on_request(tmp_path):
    options: dict[str, Any] = {"run": ("id",), "source": "a.csv b.csv", "pairs": ["val_loss=val_loss"]}
    store = str(tmp_path / "store")
    import_from(write(tmp_path / "a.csv", "id,val_loss\nr1,9.0\nr2,8.0\n"), store, **options)
    wider = write(tmp_path / "b.csv", "id,val_loss,lr\nr1,9.0,0.5\nr2,8.0,\n")
    done = import_from(wider, store, **options)
    assert (done.present, done.wider, done.rejected) == (2, 1, [])
    assert import_from(wider, store, update=True, **options).updated == 1
    assert load(store)["lr"].to_list() == [None, 0.5]


@pytest.mark.heavy
def test_an_import_is_removed_and_made_again(tmp_path, file):
    store = str(tmp_path / "store")
    other = write(tmp_path / "other.csv", "id,loss\n1,4.0\n")
    import_from(other, store, pairs=["val_loss=loss"])
    import_from(file, store, pairs=["N=loss * 10", "val_loss=opt.lr"])
    assert import_from(file, store, removes=True, dry=True).removed == 3
    assert load(store).height == 4
    assert import_from(file, store, removes=True).removed == 3
    assert load(store)["val_loss"].to_list() == [4.0]
    assert tables.load(store).dropped == {"excluded: import of runs.csv removed": 3}
    done = import_from(file, store, pairs=PLAIN)
    assert (done.added, done.present, done.removed, done.rejected) == (3, 0, 0, [])
    assert load(store)["val_loss"].to_list() == [0.5, 1.5, 2.0, 4.0]
    assert tables.load(store).dropped == {"earlier attempts or versions, replaced by later ones": 3}
    with pytest.raises(InputError, match=r"no imported run of 'nothing'.*sources: other\.csv, runs\.csv"):
        import_from(file, store, removes=True, source="nothing")


@pytest.mark.heavy
def test_an_import_does_not_bring_back_what_a_user_excluded(tmp_path, file):
    store = str(tmp_path / "store")
    import_from(file, store, pairs=PLAIN)
    exclude_where(Store.open(store), "val_loss < 1", "impossible")
    import_from(file, store, removes=True)
    done = import_from(file, store, pairs=PLAIN)
    assert (done.added, done.present) == (2, 1)
    assert load(store)["val_loss"].to_list() == [1.5, 2.0]
    assert len(restore_where(Store.open(store), "val_loss < 1")) == 1
    assert load(store).height == 3


@pytest.mark.heavy
def test_runs_of_one_file_that_are_identified_in_another_way_are_said_to_stand_beside_the_earlier_ones(tmp_path, file):
    store = str(tmp_path / "store")

    def others(path: str = file, **options: Any) -> list[str]:
        done = import_from(path, store, pairs=PLAIN, **options)
        return [sentence for sentence in done.warnings if "other run" in sentence]

    assert others() == others() == []
    write(tmp_path / "runs.csv", CSV + "4000,1.0,0.2,3\n")
    assert others() == [], "a file that grew"
    write(tmp_path / "runs.csv", CSV)
    assert others(run=("loss",), dry=True) == others(run=("loss",)) == [
        "the store has 4 other runs of runs.csv, and no row of the file is one of them: if they are the same runs, "
        "identified in another way (--run), remove the earlier import (--remove) and import again"
    ]  # fmt: skip
    assert load(store).height == 7
    assert others(run=("loss",)) == []
    assert others(run=("seed", "loss"), where="loss > 1", dry=True) == [], "a part of the file"
    import_from(file, store, removes=True)
    assert others(run=("seed", "loss")) == []
