"""SQL reads only its tables and cannot overflow the stack: hostile texts are refused before Polars parses them."""

from __future__ import annotations

import contextlib
import os
import random
import socket

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.sql.expressions import condition
from sweeplaw.analysis.tables.sql.sql_text import MAX_WORDS, deepest, require_expression, require_query, tokens
from sweeplaw.trials.errors import InputError

CANARY = "CANARY-7f3a"


@pytest.fixture
def source(tmp_path):
    """A file of runs, and beside it a secret one whose path begins like it in every format."""
    frame = pl.DataFrame({"canary": [CANARY]})
    secret = tmp_path / "runs.csv-secret"
    secret.mkdir()
    frame.write_csv(secret / "s.csv")
    frame.write_parquet(secret / "s.parquet")
    frame.write_ndjson(secret / "s.json")
    frame.write_ipc(secret / "s.ipc")
    file = tmp_path / "runs.csv"
    file.write_text("trial_id,val_loss,acc\na,2.5,0.5\nb,2.0,n/a\nc,3.0,0.25\n")
    return str(file)


def ask(source, sql):
    return run_query(tables.load(source), Query(sql=sql)).frame


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT $$'$$ AS z, * FROM read_csv('{secret}') -- '",
        "SELECT $a$'$a$ AS z, * FROM read_csv('{secret}') -- '",
        "SELECT /* /* */ ' */ 1, * FROM read_csv('{secret}') -- '",
        "SELECT E'\\' AS z, * FROM read_csv(''{secret}'') --'",
        "SELECT q'[']' AS z, * FROM read_csv('{secret}') -- '",
        "SELECT * FROM 'read_csv'('{secret}')",
        "SELECT * FROM `read_csv`('{secret}')",
        "SELECT * FROM \"READ_CSV\" ('{secret}')",
        "SELECT * FROM read_csv\u00a0('{secret}')",
        "SELECT * FROM read_csv --\n('{secret}')",
        "SELECT * FROM read_csv/**/('{secret}')",
        "SELECT (SELECT canary FROM read_csv('{secret}'))",
        "FROM read_csv('{secret}')",
        "SELECT * FROM trials, read_csv('{secret}')",
        "SELECT * FROM trials WHERE trial_id IN (SELECT canary FROM read_csv('{secret}'))",
        "EXPLAIN SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        'SELECT * FROM "{secret}"',
        "SELECT * FROM read_csv('{base}/../runs.csv-secret/s.csv')",
        "SELECT * FROM read_csv(['{secret}', '{secret}'])",
    ],
)
def test_a_query_reads_no_other_file(source, sql):
    with pytest.raises(InputError) as refused:
        ask(source, sql.replace("{secret}", f"{source}-secret/s.csv").replace("{base}", source))
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["trial_id IN (SELECT canary FROM read_csv('x'))", "(select 1) = 1", "a = $$x$$", "acc = E'x'", "N'a' = acc"],
)
def test_an_expression_of_columns_has_no_query_and_no_other_quotes(text):
    with pytest.raises(InputError, match=r"accepted|opens files"):
        condition(text, pl.Schema({"trial_id": pl.String, "acc": pl.String, "a": pl.String}))


@pytest.mark.parametrize("text", ["LPAD(a, 10000000000000, 'x') = a", '"rpad" (a, b, c) = a', "`LPad`/**/(a, 9) = a"])
def test_an_expression_of_columns_makes_no_text_of_any_length(text):
    """Unlike a query, it is evaluated without limits on time and memory."""
    with pytest.raises(InputError, match="PAD is not accepted in an expression of columns"):
        condition(text, pl.Schema(dict.fromkeys("abc", pl.String)))


NESTED = "REPLACE(REPLACE(REPLACE(a, 'x', '{x}'), 'x', '{x}'), 'x', '{x}') = b".replace("{x}", 100 * "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GENERATE_SERIES(1, 1000000000000) IS NULL", "GENERATE_SERIES is not accepted"),
        ("a IN (range(1, 1000000000000))", "RANGE is not accepted"),
        ("CONCAT(ARRAY_TO_STRING(ARRAY_AGG(a), ''), a) = b", "ARRAY_AGG is not accepted"),
        ("STRING_AGG(a, ',') || a = b", "STRING_AGG is not accepted"),
        ("COLUMNS('.*') IS NULL", "COLUMNS is not accepted"),
        (NESTED, "more than 1000 times as long"),
        (f"REPLACE(a, '', '{1001 * 'x'}') = b", "more than 1000 times as long"),
        (f"REGEXP_REPLACE(REGEXP_REPLACE(a, '.', '{40 * '$0'}'), '.', '{40 * '$0'}') = b", "more than 1000 times"),
        (f"CONCAT({', '.join(1001 * ['a'])}) = b", "more than 1000 times as long"),
        (f"CONCAT({', '.join(40 * ['a'])}) || REPLACE(b, 'x', '{40 * 'x'}') = c", "more than 1000 times as long"),
        ("REPLACE(a, 'x', b) = c", "as texts in single quotes"),
    ],
)
def test_no_value_of_an_expression_is_much_larger_than_the_columns(text, words):
    """Unlike a query, it is evaluated without limits on time and memory."""
    with pytest.raises(InputError, match=words):
        condition(text, pl.Schema(dict.fromkeys("abc", pl.String)))


def test_texts_are_joined_and_replaced_within_that_limit():
    table = pl.DataFrame({"a": ["1.5M", "2,5 K"], "range": ["x", "y"]})
    millions = condition("REPLACE(REPLACE(a, 'M', '000000'), ',', '.') = '1.5000000'", table.schema)
    digits = condition(
        "REGEXP_REPLACE(a, '[^0-9]', '') || '' = '15M' AND CONCAT(a, '-', range) = '1.5M-x'", table.schema
    )
    assert table.select(millions.alias("m"), digits.alias("d")).to_dict(as_series=False) == {
        "m": [True, False], "d": [True, False],
    }  # fmt: skip


def test_a_column_may_have_the_name_of_a_function_or_keyword():
    assert condition('"select" = "lpad"', pl.Schema({"select": pl.String, "lpad": pl.String})) is not None


PIECES = (
    "SELECT", "*", "FROM", "FROM", "JOIN", "WITH x AS (", ")", "(", ",", "trials", "x", "read_csv", "READ_PARQUET",
    "'read_json'", '"read_ipc"', "`read_csv`", "read_ndjson", "('{file}')", "('{file}')", "('{url}')", "$$", "$t$", "'",
    '"', "`", "E'", "U&'", "--", "\n", "/*", "*/", " ", "\\", "''", "UNION ALL", "AS z", "EXPLAIN", "TABLE", "LATERAL",
    "1", ";", "\u00a0", "\t",
)  # fmt: skip


@pytest.mark.heavy
def test_random_statements_of_hostile_pieces_never_open_a_file_or_a_socket(source):
    loaded = tables.load(source)
    files = [f"{source}-secret/s.{kind}" for kind in ("csv", "parquet", "json", "ipc")]
    draw = random.Random(0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/s.csv"
        for _ in range(1500 * int(os.environ.get("SWEEPLAW_FUZZ", "1"))):
            pieces = [draw.choice(PIECES) for _ in range(draw.randint(1, 12))]
            sql = draw.choice(["", " "]).join(["SELECT * FROM " if draw.random() < 0.5 else "SELECT ", *pieces])
            sql = sql.replace("{file}", draw.choice(files)).replace("{url}", url)
            with contextlib.suppress(InputError):
                assert CANARY not in str(run_query(loaded, Query(sql=sql, limit=3)).frame.to_dict(as_series=False)), sql
        with pytest.raises(BlockingIOError):
            server.accept()


CHAINS = {
    "terms": lambda n: "SELECT 1" + "+1" * n,
    "terms of calls": lambda n: "SELECT 1" + "+abs(1,1)" * n,
    "conditions": lambda n: "SELECT * FROM trials WHERE val_loss > 0" + " AND val_loss > 0" * n,
    "texts": lambda n: "SELECT 'x'" + "||'x'" * n,
    "casts": lambda n: "SELECT val_loss" + "::INT" * n + " FROM trials",
    "cases": lambda n: "SELECT CASE " + "WHEN val_loss = 1 THEN 1 " * n + "END FROM trials",
    "unions": lambda n: "SELECT 1" + " UNION ALL SELECT 1" * n,
    "joins": lambda n: "SELECT 1 FROM trials" + "".join(f" CROSS JOIN trials t{i}" for i in range(n)),
    "common tables": lambda n: (
        "WITH c0 AS (SELECT 1)"
        + "".join(f", c{i + 1} AS (SELECT * FROM c{i})" for i in range(n))
        + f" SELECT * FROM c{n}"
    ),
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "lists": lambda n: "SELECT " + "[" * n + "1" + "]" * n,
    "calls": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "signs": lambda n: "SELECT " + "- " * n + "1",
}


@pytest.mark.heavy
@pytest.mark.parametrize("count", [2000, 20000])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_statement_that_would_overflow_the_stack_is_refused(source, chain, count):
    with pytest.raises(InputError, match=r"nested too deeply|at most"):
        ask(source, CHAINS[chain](count))


@pytest.mark.heavy
def test_a_list_of_thousands_of_ids_is_accepted(source):
    ids = ", ".join(f"'{number:012d}'" for number in range(5000))
    assert ask(source, f"SELECT count(*) AS n FROM trials WHERE trial_id IN ('a', {ids})")["n"].to_list() == [1]


def test_the_depth_is_that_of_one_item_and_its_deepest_part():
    def depth(sql):
        return deepest(list(tokens(sql)))

    assert [depth(sql) for sql in ("a", "a + b", "a, b + c, d", "a + (b, c * d)")] == [1, 3, 3, 6]
    assert depth("(" * 9) == depth(")" * 9) - 9 == 0
    assert depth("1" + "+f(1, 1)" * 400) > MAX_WORDS


@pytest.mark.parametrize(
    "sql", ["SELECT 1 WHERE 'it''s' = '/* $ '", 'SELECT "a$b", `c` /* $ */ -- E\'\n', "SELECT N AS é1"]
)
def test_ordinary_quotes_comments_and_names_are_accepted(sql):
    require_query(sql)
    assert "".join(text for _, text in tokens(sql)) == sql


def test_a_text_among_numbers_is_named_with_its_trial_and_the_cast(source):
    with pytest.raises(
        InputError, match=r"acc is text in 1 row of 3, such as 'n/a' in trial b: TRY_CAST\(acc AS DOUBLE\)"
    ):
        ask(source, "SELECT AVG(acc) AS m FROM trials")
    assert ask(source, "SELECT AVG(TRY_CAST(acc AS DOUBLE)) AS m FROM trials")["m"].to_list() == [0.375]
    with pytest.raises(InputError, match=r"operation not supported for dtype `str`; text: trial_id$"):
        ask(source, "SELECT AVG(trial_id) AS m FROM trials")


@pytest.mark.parametrize("text", ["acc > 0.3", "acc>=-3", "0.3 < acc", "0.5 <> acc", 'val_loss > 2 AND "acc" = 1'])
def test_a_text_column_is_not_compared_with_a_number(source, text):
    with pytest.raises(InputError, match=r"acc is text and compared with a number; TRY_CAST\(acc AS DOUBLE\)"):
        tables.load(source, where=text)
    with pytest.raises(InputError, match="acc is text and compared with a number"):
        ask(source, f"SELECT * FROM trials WHERE {text}")


@pytest.mark.parametrize("text", ["acc > '0.3'", "TRY_CAST(acc AS DOUBLE) > 0.3", "acc > trial_id", "length(acc) > 1"])
def test_other_comparisons_of_text_are_accepted(source, text):
    ask(source, f"SELECT * FROM trials WHERE {text}")
    cast = "SELECT trial_id FROM (SELECT trial_id, TRY_CAST(acc AS DOUBLE) AS acc FROM trials) WHERE acc > 0.3"
    assert ask(source, cast)["trial_id"].to_list() == ["a"]


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_is_neither_a_query_nor_an_expression(text):
    for check in (require_query, require_expression):
        with pytest.raises(InputError, match="an empty expression"):
            check(text)
