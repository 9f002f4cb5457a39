"""Arithmetic of users' SQL is in floats wherever it stands; what is not computed keeps its type."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest

from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.runs import prepare
from sweeplaw.analysis.tables.sql.expressions import condition, parse
from sweeplaw.analysis.tables.sql.float_arithmetic import in_floats
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError

N, D, LARGE = 70_000_000_000, 15_000_000_000_000, 2**62 + 1
FRAME = pl.DataFrame(
    {
        "n": [N, 5], "d": [D, 7], "id": [LARGE, LARGE + 1], "least": [-(2**63), 0],
        "loss": [2.0, 3.0], "state": ["done", "lost"],
        "ok": [True, False], "at": [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 3)],
    }
).with_columns(pl.Series("small", [100, 120], dtype=pl.Int8), pl.Series("whole", [1, 5], dtype=pl.UInt32))  # fmt: skip


def answer(sql: str) -> pl.DataFrame:
    return run_query(Tables(FRAME.lazy(), pl.LazyFrame(), {}, "table"), Query(sql=sql)).frame


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("6 * n * d", 6.0 * N * D),
        ("n * d + n", float(N) * D + N),
        ("loss + n * d", 2 + float(N) * D),
        ('6 * "n" * trials.d', 6.0 * N * D),
        ("(n * d) / n", float(D)),
        ("n::BIGINT * d", float(N) * D),
        ("CASE WHEN n > 5 THEN n ELSE d END * d", float(N) * D),
        ("n * -d", -float(N) * D),
        ("n /* a */ * -- b\n d", float(N) * D),
        ("5000000000 * 5000000000", 2.5e19),
        ("id + id", 2.0 * LARGE),
        ("-small - small", -200.0),
        ("small * small", 1e4),
        ("whole - 2", -1.0),
        ("-whole", -1.0),
        ("-(whole)", -1.0),
        ("-least - 1", 2.0**63 - 1),
        ("POWER(n, 3)", float(N) ** 3),
        ("POWER(10, 18)", 1e18),
        ("pow(2, -1)", 0.5),
        ("POW(POW(n, 2), 2)", float(N) ** 4),
        ("0.5 * n * d * n", 0.5 * N * D * N),
        ("n % 4", 0.0),
        ("5 / 2", 2.5),
        ("SUM(id)", 2.0**63),
        ("SUM(small * 2)", 440.0),
        ("SUM(CASE WHEN ok THEN id ELSE id END)", 2.0**63),
        ("SUM(n * d) / SUM(n)", (float(N) * D + 35) / (N + 5)),
        ("SUM(SUM(id)) OVER ()", 2.0**63),
        ("COUNT(*) - 5", -3.0),
        ("LENGTH(state) - 9", -5.0),
        ("MAX(n) * MAX(d)", float(N) * D),
    ],
)
def test_integers_do_not_wrap(item, value):
    assert math.isclose(answer(f"SELECT {item} AS x FROM trials")["x"][0], value, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("id", LARGE),
        ("MAX(id)", LARGE + 1),
        ("COUNT(*)", 2),
        ("SUM(n > 5)", 1),
        ("SUM(ok)", 1),
        ("SUM(CASE WHEN n > 5 THEN 1 ELSE 0 END)", 1),
        ("CASE WHEN ok THEN id ELSE n END", LARGE),
        ("at - at", dt.timedelta(0)),
        ("MAX(at) - MIN(at)", dt.timedelta(days=2)),
        ("at + INTERVAL '1 day'", dt.datetime(2020, 1, 2)),
        ("state + '!'", "done!"),
        ("state + trials.state", "donedone"),
    ],
)
def test_what_is_not_a_number_that_is_computed_keeps_its_type(item, value):
    found = answer(f"SELECT {item} AS x FROM trials")["x"][0]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("rest", "count"),
    [
        ("WHERE 6 * n * d > 1e24", 1),
        (f"WHERE id = {LARGE + 1}", 1),
        (f"WHERE id > {LARGE}", 1),
        ("WHERE n BETWEEN whole - 2 AND whole + 2", 1),
        ("ORDER BY n * d LIMIT 1", 1),
        ("WHERE n IN (whole - 6, 5)", 1),
    ],
)
def test_conditions_and_orders_are_in_floats_and_whole_literals_exact(rest, count):
    found = answer(f"SELECT * FROM trials {rest}")
    assert found.height == count
    assert found.schema == FRAME.schema
    assert "LIMIT" not in rest or found["n"].to_list() == [5]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.n FROM trials a JOIN trials b ON a.n = b.n + 1 - 1",
        "SELECT a.n FROM trials a LEFT JOIN trials b ON (a.state = b.state AND a.n + 1 = b.n + 1) WHERE a.n * 1 > 0",
        "SELECT a.n FROM trials a JOIN trials b ON a.n = b.n * 1 LEFT JOIN trials c ON c.n = a.n",
        "WITH z AS (SELECT n, at AS t FROM trials) SELECT n, t - t AS x, n * n AS y FROM z",
        "SELECT n FROM (SELECT n, n * d AS c FROM trials) AS z WHERE c > 0",
        "SELECT n FROM trials UNION ALL SELECT n * 2 FROM trials WHERE n < 0",
        "SELECT *, n * 2 AS twice FROM trials",
        "SELECT trials.* FROM trials",
        "SELECT * EXCLUDE (d) FROM trials",
    ],
)
def test_joins_and_subqueries_with_arithmetic_are_answered(sql):
    assert sorted(answer(sql)["n"].to_list()) == [5, N]


def test_the_expressions_of_fits_and_derived_columns_are_in_floats():
    assert FRAME.select(parse("6 * n * d", FRAME.schema)).to_series().to_list() == [6.0 * N * D, 210.0]
    assert FRAME.filter(condition("6 * n * d > 1e24", FRAME.schema)).height == 1
    derived, _ = prepare(FRAME, ["c"], "loss", {"c": "6 * n * d"})
    assert derived["c"].to_list() == [6.0 * N * D, 210.0]


def test_a_table_without_arithmetic_is_read_as_it_is_written():
    for sql in ("SELECT * FROM trials", "SELECT t.*, COUNT(*) FROM t WHERE a > -1 AND b IN (-1, +2)", "SELECT 'a*b'"):
        assert in_floats(sql, {}) == sql


def test_a_chain_becomes_one_of_floats_with_one_more_word_and_a_deep_one_is_refused():
    assert in_floats("a + b + c - d", {}) == "a * 1e0 + b + c - d"
    assert in_floats("a + b * c * d", {}) == "a * 1e0 + b * 1e0 * c * d"
    with pytest.raises(InputError, match="nested too deeply"):
        in_floats("a + b * (" * 400 + "1" + ")" * 400, {})
    many = "SELECT " + ", ".join(["SUM(a IN (" + ", ".join(["1"] * 2000) + ")) + 1"] * 4)
    assert in_floats(many, {}).count("1e0") == 4
