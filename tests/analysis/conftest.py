"""The shared reference tables as fixtures. Tests that need them are skipped if they are absent."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from tests.paths import SHARED


def _table(name: str) -> pl.DataFrame:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside this checkout")
    return pl.read_csv(path)


@pytest.fixture
def isoflops() -> Callable[[str], pl.DataFrame]:
    """A function from an experiment's name to all rows of its isoFLOP set, without outlier filter."""
    return lambda experiment: _table("isoflops.csv").filter(pl.col("experiment") == experiment)


@pytest.fixture
def chinchilla_figure() -> pl.DataFrame:
    """The 240 rows of the replication: D = FLOP/(6N), the five highest losses dropped."""
    rows = _table("chinchilla_figure4.csv").sort("loss")[:240]
    tokens = (pl.col("Training FLOP") / (6 * pl.col("Model Size"))).alias("D")
    return rows.select(pl.col("Model Size").alias("N"), tokens, "loss")


@pytest.fixture
def repeated_data() -> pl.DataFrame:
    """The 182 data-constrained runs: N, D, U in parameters and tokens."""
    columns = {"N": "params_B", "D": "tokens_B", "U": "unique_B"}
    rows = _table("data_constrained_182.csv")
    return rows.select(*((pl.col(column) * 1e9).alias(name) for name, column in columns.items()), "loss")
