"""Queries by SQL and by name agree, write nothing, and report their errors without Polars' wording."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query, scientific_axes
from sweeplaw.analysis.tables.sql.expressions import first_line, unknown_columns, unquoted
from sweeplaw.analysis.tables.sql.sql_text import require_query
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared import frames
from sweeplaw.trials.errors import InputError


@pytest.fixture
def filled(store, record, points):
    """Sixty trials, five of which diverged with the lowest losses, and a trial that failed and was repeated."""
    with store.writer("one") as writer:
        for seed in range(60):
            state, loss = ("diverged", 0.1) if seed % 12 == 5 else ("completed", 2.0 + ((seed * 7) % 60) / 100)
            writer.write([record(seed, state=state, loss=loss)], points(record(seed)))
        writer.write([record(99, state="failed", loss=None)])
        writer.write([record(99, attempt=2)])
    return store


def load(store):
    return tables.load(store.location.uri, states=None)


def test_best_is_the_completed_setting_of_least_mean_loss_over_seeds_in_each_cell(filled):
    found = run_query(load(filled), Query(best_per=("N", "D"))).frame
    completed = tables.load(filled.location.uri).trials.collect()
    for row in found.iter_rows(named=True):
        cell = completed.filter(
            (pl.col("params_non_embedding") == row["params_non_embedding"]) & (pl.col("tokens") == row["tokens"])
        )
        means = {lr: part["val_loss"].to_numpy().mean() for (lr,), part in cell.group_by("lr")}
        runs = cell.filter(pl.col("lr") == row["lr"])
        assert row["val_loss"] == pytest.approx(min(means.values()), rel=1e-12)
        assert means[row["lr"]] == pytest.approx(row["val_loss"], rel=1e-12)
        assert (row["seeds"], row["seed_std"]) == (runs.height, runs["val_loss"].std())
        assert (row["seed"], row["trial_id"]) == (
            (runs["seed"][0], runs["trial_id"][0]) if runs.height == 1 else (None, None)
        )
    assert found.height == completed.select("params_non_embedding", "tokens").n_unique() == 20


def test_sql_over_best_equals_the_query_by_name(filled):
    by_sql = run_query(load(filled), Query(sql="SELECT * FROM best ORDER BY trial_id", best_per=("N",))).frame
    by_name = run_query(load(filled), Query(best_per=("N",), sort=("trial_id",))).frame
    assert by_sql.equals(by_name)


def test_the_cells_of_best_are_the_scientific_axes_of_the_newest_launch(filled):
    assert scientific_axes(load(filled)) == ("params_non_embedding", "tokens")
    filled.add_launch("one", {"scientific": ["seed", "lr"]})
    assert scientific_axes(load(filled)) == ("seed", "lr")


def test_aliases_stand_for_columns_and_are_noted(filled):
    result = run_query(load(filled), Query(sql="SELECT max(6 * N * D) AS c FROM trials WHERE C > 0"))
    assert set(result.notes) >= {"N = params_non_embedding", "D = tokens", "C = flops"}
    assert result.frame["c"].to_list() == [6.0 * 400 * 5000]


def test_products_of_counts_do_not_wrap_at_two_to_the_63rd(store, record):
    row = record(1).row() | {"params_non_embedding": 10**11, "tokens": 10**13}
    with store.writer("one") as writer:
        writer.write_rows([row])
    assert run_query(load(store), Query(sql="SELECT 6 * N * D AS c FROM trials")).frame["c"].to_list() == [6e24]
    assert run_query(load(store), Query(where="6 * params_non_embedding * tokens > 1e24")).frame.height == 1


def test_curves_join_trials(filled):
    sql = "SELECT t.trial_id, count(*) AS n FROM trials t JOIN curves c ON t.trial_id = c.trial_id GROUP BY t.trial_id"
    assert set(run_query(load(filled), Query(sql=sql)).frame["n"].to_list()) == {3}


@pytest.mark.parametrize("limit", [2**32, 2**63, 10**30])
def test_a_limit_of_any_size_is_accepted(filled, limit):
    every = run_query(load(filled), Query(columns=("trial_id",))).frame
    assert run_query(load(filled), Query(columns=("trial_id",), limit=limit)).frame.equals(every)
    assert run_query(load(filled), Query(sql="SELECT trial_id FROM trials", limit=limit)).frame.height == every.height


def test_best_in_sql_is_per_n_and_d_of_a_table_that_names_them_so(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("N,D,val_loss\n1,2,3.0\n1,2,2.5\n")
    found = run_query(tables.load(path), Query(sql="SELECT * FROM best"))
    assert found.frame.select("N", "D", "val_loss").rows() == [(1, 2, 2.75)]


def test_where_columns_sort_and_limit(filled):
    query = Query(where="seed < 10 AND state = 'completed'", columns=("N", "seed"), sort=("-seed",), limit=3)
    frame = run_query(load(filled), query).frame
    assert frame.columns == ["N", "seed"]
    assert frame["seed"].to_list() == [9, 8, 7]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT val_los FROM trials", "no column 'val_los'; did you mean 'val_loss'"),
        ("SELECT t.zeta FROM trials t", "no column 'zeta'"),
        ("SELECT seed FROM trial", "no table 'trial'; did you mean 'trials'"),
        ("SELECT", "query: "),
        ("DROP TABLE trials", "only SELECT queries"),
        ("CREATE TABLE x AS SELECT 1", "only SELECT queries"),
        ("DELETE FROM trials", "only SELECT queries"),
        ("INSERT INTO trials VALUES (1)", "only SELECT queries"),
        ("WITH x AS (SELECT 1) DELETE FROM trials", "query: "),
        ("SELECT 1; DROP TABLE trials", "query: "),
        ("SELECT * FROM read_csv('/etc/passwd')", "opens files"),
        ("SELECT * FROM READ_PARQUET /* */ ('x')", "opens files"),
        ("SELECT * FROM \"read_csv\"('/etc/passwd')", "opens files"),
        ("WITH x AS (SELECT * FROM read_ndjson('x')) SELECT * FROM x", "opens files"),
        ("SELECT E'\\'', x FROM read_csv('f') --'", "opens files"),
        ("SELECT E'\\'', x FROM trials --'", "before its quote"),
    ],
)
def test_sql_that_is_not_a_query_of_the_tables_is_rejected_in_one_message(filled, sql, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        run_query(load(filled), Query(sql=sql))


@pytest.mark.heavy
@given(st.text(alphabet="abcxyz(),.'\"-/* \n`read_csvEe\\", max_size=40))
def test_the_sql_check_raises_nothing_but_input_errors(text):
    with contextlib.suppress(InputError):
        require_query("SELECT " + text)


@pytest.mark.heavy
def test_a_query_changes_no_file_of_the_store(filled):
    def files():
        return {path: path.stat().st_mtime_ns for path in Path(filled.location.root).rglob("*")}

    before = files()
    run_query(load(filled), Query(sql="SELECT * FROM best"))
    CliRunner().invoke(app, ["query", filled.location.uri, "--json"])
    assert files() == before


def run(*arguments):
    return CliRunner().invoke(app, ["query", *map(str, arguments)])


@pytest.mark.heavy
def test_json_is_a_list_of_row_objects_with_null_for_nan(filled, store, record):
    with store.writer("two") as writer:
        writer.write([record(200, loss=float("nan"))])
    rows = json.loads(run(filled.location.uri, "--json", "--sort", "seed").stdout)
    assert [row["seed"] for row in rows] == [*range(60), 99, 200]
    assert rows[-1]["val_loss"] is None
    lines = run(filled.location.uri, "--ndjson", "--sort", "seed").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows


@pytest.mark.heavy
def test_decimal_literals_in_sql_are_numbers_in_json(filled):
    result = run(filled.location.uri, "SELECT 0.1 AS a, 1.5 * seed AS b FROM trials ORDER BY seed LIMIT 1", "--json")
    assert json.loads(result.stdout) == [{"a": 0.1, "b": 0.0}]


@pytest.mark.heavy
def test_output_files_contain_the_same_rows(filled, tmp_path):
    sql = "SELECT seed, val_loss, state FROM trials ORDER BY seed"
    expected = run_query(load(filled), Query(sql=sql)).frame
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "parquet": pl.read_parquet,
        "arrow": pl.read_ipc,
        "csv": pl.read_csv,
        "json": pl.read_json,
        "ndjson": pl.read_ndjson,
    }
    for form, read in readers.items():
        file = tmp_path / f"out.{form}"
        assert run(filled.location.uri, sql, "--out", file).exit_code == 0
        assert read(file).equals(expected)


@pytest.mark.heavy
def test_output_into_the_store_is_rejected(filled):
    with pytest.raises(InputError, match="inside"):
        CliRunner().invoke(
            app, ["query", filled.location.uri, "--out", f"{filled.location.uri}/x.csv"], catch_exceptions=False
        )


def test_a_table_lists_the_columns_that_do_not_fit(filled):
    frame = run_query(load(filled), Query(limit=2)).frame
    text = frames.aligned(frame, 80)
    assert all(len(line) <= 80 for line in text.splitlines()[:3])
    assert "more columns: " in text
    assert "more columns" not in frames.aligned(frame, None)


def table(uri, *options):
    """Return the headings and the notes of the printed table."""
    result = run(uri, *options)
    return result.stdout.splitlines()[0].split(), result.stderr


@pytest.mark.heavy
def test_a_table_begins_with_the_columns_of_the_query_then_the_loss_and_the_knobs(filled):
    headings, _ = table(filled.location.uri, "--best-per", "D,N")
    assert headings[:4] == ["trial_id", "tokens", "params_non_embedding", "val_loss"]
    assert headings.index("lr") < headings.index("seed") < headings.index("ended_at")
    headings, _ = table(filled.location.uri, "--where", "train_loss > 0 AND N > 1", "--sort", "-seed")
    assert headings[:4] == ["trial_id", "seed", "train_loss", "params_non_embedding"]


@pytest.mark.heavy
def test_constant_columns_are_noted_once_unless_the_query_mentions_them(filled):
    headings, notes = table(filled.location.uri, "--where", "seed IN (1, 2)")
    assert "state" not in headings
    assert "in every row: state = completed" in notes
    headings, notes = table(filled.location.uri, "--where", "seed IN (1, 2) AND state = 'completed'")
    assert "state" in headings
    assert "state = completed" not in notes
    every = tables.load(filled.location.uri).trials.collect_schema().names()
    headings, notes = table(filled.location.uri, "--where", "state = 'diverged'", "--sort", "seed")
    words = notes.replace(",", " ").split()
    assert {name for name in every if name not in headings and name not in words} <= {"spec", "versions"}
    assert "val_loss = 0.1" in notes


@pytest.mark.heavy
def test_other_formats_keep_every_column_in_order(filled):
    names = tables.load(filled.location.uri).trials.collect_schema().names()
    assert run(filled.location.uri, "--csv", "--limit", "2").stdout.splitlines()[0].split(",") == names


def test_all_unknown_columns_are_reported_at_once(filled):
    with pytest.raises(InputError) as caught:
        run_query(load(filled), Query(columns=("nope", "N"), sort=("-sed",), best_per=("Q",)))
    message = str(caught.value)
    assert all(words in message for words in ("no column 'nope'", "'sed'; did you mean 'seed'", "no column 'Q'"))
    assert message.count("columns: ") == 1


def test_a_column_of_another_table_is_reported_with_its_table(filled):
    with pytest.raises(InputError, match="no column 'step' in the table that the query reads; curves has it"):
        run_query(load(filled), Query(sql="SELECT step FROM trials"))


@pytest.mark.heavy
def test_a_damaged_file_is_reported_and_the_rest_is_used_with_exit_code_3(filled):
    (Path(filled.location.root) / "trials" / "broken.parquet").write_bytes(b"PAR1")
    result = run(filled.location.uri, "SELECT count(*) AS n FROM trials", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == [{"n": 61}]
    assert "trials/broken.parquet cannot be read" in result.stderr


@pytest.mark.heavy
def test_damage_inside_a_part_is_reported_and_the_rest_is_used(filled, record, points):
    with filled.writer("two") as writer:
        writer.write([record(seed) for seed in range(300, 400)])
    (name,) = [name for name in filled.location.names("trials", ".parquet") if name.startswith("two-")]
    path = Path(filled.location.path(f"trials/{name}.parquet"))
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 3] = bytes(len(data) // 3 - 4)
    path.write_bytes(bytes(data))
    result = run(filled.location.uri, "SELECT trial_id, workload, seed FROM trials", "--json")
    assert result.exit_code == 3
    assert len(json.loads(result.stdout)) == 61
    assert f"trials/{name}.parquet is damaged inside" in result.stderr
    assert len(filled.finished()) == 61
    assert any(name in problem for problem in filled.problems)


@pytest.mark.heavy
def test_invalid_input_on_the_command_line_is_one_message_and_exit_code_2(filled):
    command = [sys.executable, "-m", "sweeplaw", "query", filled.location.uri, "SELECT nope FROM trials"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 2
    assert "no column 'nope'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"x,y,x\n1,2,3\n", "column 'x' occurs 2 times"),
        ("a.csv", b"x,y\n1,2\n3\n", r"row 2 \(line 3\) has 1 columns, the header has 2"),
        ("a.csv", "x\n1\né\n".encode("latin-1"), "near line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", b"", "no header"),
        ("a.parquet", b"PAR1junk", "cannot be read"),
        ("a.ndjson", b'{"x": 1}\n\n{broken\n', "line 3, column 2: "),
        ("a.ndjson", b'{"x": 1}\n[1]\n', "line 2: expected an object, not list"),
        ("a.ndjson", b'{"x": NaN}\n{"x": "\xe9"}\n', "line 2: byte 0xe9 is not UTF-8"),
        ("a.ndjson", b"", "no data"),
        ("a.xlsx", b"", "are not read"),
    ],
)
def test_a_malformed_file_is_rejected_with_the_location(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        tables.load(tmp_path / name)


def test_nan_in_csv_is_a_number_in_any_spelling(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z\n1.5,nan,a\nnan,NaN,nan\n-inf,,2\n")
    frame = tables.load(tmp_path / "a.csv").trials.collect()
    assert frame.dtypes == [pl.Float64, pl.Float64, pl.String]
    assert frame["x"].is_nan().to_list() == [False, True, False]
    assert frame["y"].null_count() == 1
    assert frame["z"].to_list() == ["a", "nan", "2"]


def test_ndjson_is_read_to_its_last_line_and_accepts_nan(tmp_path):
    (tmp_path / "late.ndjson").write_text('{"a": 1}\n' * 20_000 + '{"a": 1.5, "b": 2}\n')
    late = tables.load(tmp_path / "late.ndjson").trials.collect()
    assert (late["a"][-1], late["b"][-1]) == (1.5, 2)
    rows = [{"a": float("nan"), "c": {"d": 1}}, {"a": float("-inf")}, {"a": 3.0, "b": "x"}]
    (tmp_path / "nan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    odd = tables.load(tmp_path / "nan.jsonl").trials.collect()
    assert odd["a"].is_nan().to_list() == [True, False, False]
    assert odd["a"][1:].to_list() == [float("-inf"), 3.0]
    assert odd["b"].to_list() == [None, None, "x"]


def test_rows_left_out_by_a_filter_are_counted(filled):
    loaded = tables.load(filled.location.uri, where="seed < 30")
    assert loaded.dropped == {
        "earlier attempts or versions, replaced by later ones": 1,
        "state diverged": 5,
        "not where seed < 30": 29,
    }
    assert loaded.trials.collect().height == 27


@pytest.mark.parametrize(("sort", "expected"), [("y", [1.0, 2.0, None]), ("-y", [2.0, 1.0, None])])
def test_rows_without_a_value_come_last_in_both_directions(tmp_path, sort, expected):
    (tmp_path / "t.csv").write_text("x,y\n1,2.0\n2,\n3,1.0\n")
    frame = run_query(tables.load(tmp_path / "t.csv"), Query(sort=(sort,))).frame
    assert frame["y"].to_list() == expected
    assert frame.columns == ["x", "y"]
    assert run_query(tables.load(tmp_path / "t.csv"), Query(columns=("y",), sort=(sort,))).frame.columns == ["y"]


@pytest.mark.parametrize("query", [{"where": "model.width = 4"}, {"sql": "SELECT model.width FROM trials"}])
def test_a_column_with_a_dot_needs_quotes_and_the_message_says_so(tmp_path, query):
    pl.DataFrame({"model.width": [4], "val_loss": [2.0]}).write_csv(tmp_path / "runs.csv")
    loaded = tables.load(str(tmp_path / "runs.csv"))
    with pytest.raises(InputError, match=r'needs double quotes: "model\.width"') as caught:
        run_query(loaded, Query(**query))
    assert "did you mean" not in str(caught.value)
    assert run_query(loaded, Query(where='"model.width" = 4')).frame.height == 1


def test_a_space_in_a_name_is_found_but_not_in_a_text_or_in_quotes():
    assert unquoted("my col = 2", ["my col", "a"]) is not None
    assert unquoted("a = 'my col' AND \"my col\" > 1", ["my col", "a"]) is None


def test_an_unknown_column_lists_at_most_ten_of_many():
    many = [f"column{number}" for number in range(40)]
    (fault,) = unknown_columns(["colum7"], many)
    listed = fault.split("(columns: ")[1]
    assert listed.count("column") == 10 + 1
    assert "column7," in listed
    assert "and 30 more; `sweeplaw columns`" in listed


def test_an_error_of_the_engine_shows_the_word_and_not_the_type_of_the_parser():
    leak = 'sql parser error: No infix parser for token Word(Word { value: "foo", quote_style: None, keyword: NO })'
    assert first_line(ValueError(leak)) == "sql parser error: the query cannot be read at 'foo'"
