"""Several rows of one run are its history; values that would be read as something else are rejected, never rounded."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.trials.errors import InputError

PAIRS = ["N=params", "D=seen", "val_loss=loss"]
LONG = "run,params,seen,step,loss\na,1000,30,3,4.61\na,1000,10,1,5.05\na,1000,40,4,\nb,2000,10,1,5.5\nb,2000,20,2,nan\n"


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.heavy
def test_a_history_is_one_run_with_its_last_values_and_a_curve(tmp_path):
    file, store = write(tmp_path / "long.csv", LONG), str(tmp_path / "store")
    done = import_from(file, store, pairs=PAIRS, run=("run",))
    assert (done.rows, done.added, done.merged, done.rejected, done.curve_points) == (5, 2, 3, [], 5)
    loaded = tables.load(store, states=None)
    runs = loaded.trials.collect().sort("run").select("state", "val_loss", "tokens", "last_step").rows()
    assert runs == [("completed", 4.61, 40, 4), ("diverged", None, 20, 2)]
    points = loaded.curves.collect().sort("step", "tokens", "val_loss").select("step", "tokens", "val_loss").rows()
    assert points == [(1, 10, 5.05), (1, 10, 5.5), (2, 20, None), (3, 30, 4.61), (4, 40, None)]
    again = import_from(file, store, pairs=PAIRS, run=("run",))
    assert (again.added, again.present, again.curve_points) == (0, 2, 0)


def test_a_history_without_steps_is_in_the_order_of_the_file_and_says_so(tmp_path):
    file = write(tmp_path / "long.csv", "run,loss\na,5.0\na,4.5\n")
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=loss"], run=("run",))
    assert (done.added, done.curve_points) == (1, 0)
    assert "by order, without curves (no step column; --map step=COLUMN)" in done.warnings[0]
    assert tables.load(tmp_path / "store").trials.collect()["val_loss"].to_list() == [4.5]


def test_dots_of_thousands_and_a_word_reject_only_their_rows(tmp_path):
    rows = "1.500;3,25\n2.000;3,5\n1.000.000;3,5\n2000;n/a\n2000;4,6057\n3000;4\n"
    file = write(tmp_path / "eu.csv", f"n;loss\n{rows}")
    done = import_from(file, str(tmp_path / "store"), pairs=["N=n", "val_loss=loss"])
    reasons = dict(done.rejected)
    assert [*reasons] == [1, 2, 3, 4]
    assert reasons[2].startswith("params_non_embedding = '2.000' looks like thousands with dots")
    assert reasons[4].startswith("val_loss = 'n/a' is not a number")
    losses = tables.load(tmp_path / "store").trials.collect()["val_loss"].sort().to_list()
    assert losses == [4.0, 4.6057]


def test_a_decimal_comma_between_other_separators_is_named(tmp_path):
    file = write(tmp_path / "runs.csv", 'a,loss\n1,"4,5"\n')
    done = import_from(file, str(tmp_path / "store"), pairs=["val_loss=loss"])
    assert "decimal commas are read where semicolons separate" in done.rejected[0][1]


@pytest.mark.heavy
def test_an_import_of_nothing_but_rejected_rows_exits_with_2(tmp_path):
    file, store = write(tmp_path / "runs.csv", "loss,n\nx,1\n"), str(tmp_path / "store")
    result = CliRunner().invoke(app, ["import", file, store, "--map", "val_loss=loss"])
    assert (result.exit_code, "nothing was imported: 1 row rejected" in result.output) == (2, True)
    write(tmp_path / "runs.csv", "loss,n\n2.5,1\n")
    codes = [CliRunner().invoke(app, ["import", file, store, "--map", "val_loss=loss"]).exit_code for _ in range(2)]
    assert codes == [0, 0]


def test_a_hint_at_a_preset_is_about_the_file(tmp_path):
    file, store = write(tmp_path / "runs.csv", "run,loss\na,2.5\n"), str(tmp_path / "store")
    with pytest.raises(InputError, match="no column is mapped to the loss"):
        import_from(file, store)
    import_from(file, store, pairs=["val_loss=loss"])
    assert import_from(file, store, removes=True).removed == 1


def test_ids_are_not_taken_for_numbers(tmp_path):
    text = "run_id,parentId,loss\n" + "".join(f"{n},{n},{n}.5\n" for n in range(1, 9)) + "a1,b2,9.5\n"
    done = import_from(write(tmp_path / "r.csv", text), str(tmp_path / "store"), pairs=["val_loss=loss"])
    assert not any("mostly numbers" in warning for warning in done.warnings)
