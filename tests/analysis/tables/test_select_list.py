"""Columns of an SQL answer have the names that databases give them."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.sql.select_list import renamed
from sweeplaw.analysis.tables.tables import load

TABLE = pl.DataFrame({"N": [1.0, 2.0, 3.0], "lr": [0.1, 0.2, 0.1], "val loss": [3.0, 2.0, 1.0]})


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT max(N), min(N) FROM trials", ["max(N)", "min(N)"]),
        ('SELECT lr, AVG("val loss") FROM trials GROUP BY lr ORDER BY lr', ["lr", 'avg("val loss")']),
        ("SELECT count(*) FROM trials -- all of them", ["count(*)"]),
        ("SELECT lr, max(N)\nFROM trials GROUP BY lr ORDER BY max(N) LIMIT 1", ["lr", "max(N)"]),
        ("WITH a AS (SELECT max(N) AS x FROM trials) SELECT sum(x) FROM a", ["sum(x)"]),
        ("SELECT DISTINCT (lr) FROM trials", ["lr"]),
        ("SELECT max(N) AS m FROM trials", ["m"]),
        ("SELECT max(N) m FROM trials", ["m"]),
        ("SELECT * FROM trials", ["N", "lr", "val loss"]),
        ("SELECT max(N) FROM trials UNION ALL SELECT min(N) FROM trials", ["max(N)"]),
    ],
)
def test_a_function_call_without_as_is_named_by_its_text(tmp_path, sql, names):
    TABLE.write_csv(tmp_path / "t.csv")
    assert run_query(load(tmp_path / "t.csv"), Query(sql=sql)).frame.columns == names


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("random()", "random()"),
        ("N", None),
        ('"max"(N)', None),
        ("max(N) + min(N)", None),
        ("max (N, [1])", "max (N, [1])"),
    ],
)
def test_only_a_name_with_one_pair_of_parentheses_is_a_call(item, name):
    assert renamed(f"SELECT {item} FROM trials", ["answer"]) == ({"answer": name} if name else {})


def test_names_that_would_repeat_stay_as_they_are():
    assert renamed("SELECT max(N), max(N) FROM trials", ["N", "N:1"]) == {}
