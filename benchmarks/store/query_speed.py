"""Five million trials: the best setting of each cell, group means, one trial by id; against pandas and DuckDB.

    python benchmarks/store/query_speed.py [--rows 5000000] [--store DIR]

The best setting has the least mean loss over its seeds. Each system answers in this process with a warm page cache and
two threads; the best of five counts. For means, pandas reads the file as it is, and then only the columns they need.
DuckDB runs the fastest of the forms that were tried. The last figure is a cold process: `sweeplaw query` from start to
printed answer.
"""

from __future__ import annotations

import argparse
import functools
import os

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.store_format import columns
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.id_index import encoded, name_of

PART_ROWS = 500_000
TIMES = 5
SLOW = 3.0  # seconds; a call that takes longer is made once
LAUNCHES = ["a", "b"]
CELLS = ["params_non_embedding", "tokens"]
KNOBS = ["lr", "weight_decay", "warmup", "optimizer", "depth", "batch_sequences"]  # tuned, as the launches record
KEYS = ["optimizer", "depth", "batch_sequences", "warmup", "weight_decay"]


def fill(location: Location, rows: int) -> None:
    """A compacted store of ``rows`` trials in 400 cells (20 N x 20 D), about 30 columns with values."""
    random = np.random.default_rng(0)
    for launch in LAUNCHES:
        facts = {"workload": "language_model", "scientific": CELLS, "nuisance": KNOBS, "fixed": {}, "derived": {}}
        atomic.publish_json(location, f"launches/{launch}.json", {"launch_id": launch, "sweep": "grid", **facts})
    for part in range(-(-rows // PART_ROWS)):
        count = min(PART_ROWS, rows - part * PART_ROWS)
        table = made(random, count)
        table = columns.conform(table, columns.union([columns.schema(TRIAL_COLUMNS), table.schema]))
        name = f"merged-{part:016x}"
        atomic.publish_table(location, f"trials/{name}.parquet", table.sort_by("trial_id"))
        atomic.publish(location, name_of(name), encoded(table["trial_id"].to_pylist()))
        atomic.publish_json(location, f"merges/{name}.json", {"replaces": [], "rows": count})


def made(random: np.random.Generator, count: int) -> pa.Table:
    size, budget = random.integers(0, 20, count), random.integers(0, 20, count)
    params, tokens = (1e6 * 1.4**size).astype(np.int64), (1e8 * 1.5**budget).astype(np.int64)
    loss = 1.8 + 400 / params**0.34 + 900 / tokens**0.3 + random.exponential(0.1, count)
    digits = random.integers(0, 2**40, (count, 2))
    pick = lambda values: random.choice(np.array(values), count)  # noqa: E731
    return pa.table(
        {
            "trial_id": pa.array([f"{a:010x}{b:010x}" for a, b in digits.tolist()]),
            "workload": pa.array(["language_model"] * count),
            "sweep": pick(["small", "medium", "large"]),
            "state": random.choice(["completed", "diverged", "failed"], count, p=[0.95, 0.04, 0.01]),
            "attempt": np.ones(count, np.int64),
            "params": params + 4_000_000, "params_embedding": np.full(count, 4_000_000), "params_non_embedding": params,
            "tokens": tokens, "unique_tokens": tokens, "epochs": np.ones(count), "steps": tokens // 65_536,
            "batch_sequences": pick([32, 64, 128, 256]), "batch_tokens": pick([32, 64, 128, 256]) * 1024,
            "flops_per_token": 6.0 * params, "flops": 6.0 * params * tokens,
            "val_loss": loss, "train_loss": loss - 0.01,
            "last_step": tokens // 65_536, "train_seconds": random.gamma(2, 30, count),
            "pack_id": pick([f"pack{n}" for n in range(1000)]), "launch_id": pick(LAUNCHES),
            "host": pick(["n1", "n2", "n3"]), "device": pa.array(["cuda"] * count),
            "lr": pick([1e-4, 3e-4, 1e-3, 3e-3]), "weight_decay": pick([0.0, 0.1, 0.3, 1.0]),
            "warmup": pick([0.01, 0.05]), "optimizer": pick(["adamw", "muon"]),
            "depth": pick([4, 8, 16]), "seed": pick([0, 1, 2]),
        }
    )  # fmt: skip


def best_of(call: Callable[[], object], times: int = 3) -> tuple[float, float]:
    """Least wall seconds and least CPU seconds (all threads) of several calls."""
    wall, cpu = [], []
    for _ in range(times):
        start, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        if wall[-1] > SLOW:
            break
    return min(wall), min(cpu)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=5_000_000)
    arguments.add_argument(
        "--store", type=Path, default=None, help="kept there and used again; default: a temporary folder"
    )
    arguments.add_argument("--no-pandas", action="store_true")
    arguments.add_argument("--only-fill", action="store_true", help="make the store and stop")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.store or Path(temporary) / "store"
        if not folder.exists():
            fill(Store.open(folder, create=True).location, given.rows)
        if not given.only_fill:
            measure(folder, pandas=not given.no_pandas)


def measure(folder: Path, *, pandas: bool) -> None:
    files = f"{folder}/trials/*.parquet"
    one = pl.scan_parquet(files).select(pl.col("trial_id").last()).collect().item()
    database = duckdb.connect(config={"threads": 2})
    done = "state = 'completed'"
    cells, knobs, keys = ", ".join(CELLS), ", ".join(KNOBS), ", ".join(KEYS)
    means = f"s AS (SELECT {cells}, {knobs}, avg(val_loss) loss FROM t GROUP BY ALL)"
    rest = [name for name in pl.read_parquet_schema(next(folder.glob("trials/*.parquet"))) if name not in CELLS + KNOBS]
    same = "count({0}) IN (0, count(*)) AND min({0}) IS NOT DISTINCT FROM max({0})"
    alike = ", ".join(f"CASE WHEN {same.format(name)} THEN min({name}) END AS {name}" for name in rest)
    alike += ", avg(val_loss) AS mean_loss, count(*) AS seeds, stddev_samp(val_loss) AS seed_std"
    questions = {
        "best of each of 400 cells": (
            Query(best_per=("N", "D")),
            [f"WITH t AS (SELECT * FROM '{files}' WHERE {done}), {means}, m AS ({least}) "
             f"SELECT {cells}, {knobs}, {alike} FROM t JOIN m USING ({cells}, {knobs}) GROUP BY ALL"
             for least in (f"SELECT unnest(arg_min(s, loss)) FROM s GROUP BY {cells}",
                           f"SELECT * FROM s QUALIFY loss = min(loss) OVER (PARTITION BY {cells})")],
            {"every column, all are in the answer": lambda: best_pandas(files)},
        ),
        "means over 5 keys": (
            Query(sql=f"SELECT {keys}, avg(val_loss) AS loss, count(*) AS n FROM trials GROUP BY {keys}"),
            [f"SELECT {keys}, avg(val_loss) loss, count(*) n FROM '{files}' GROUP BY ALL"],
            {
                "the file as it is": lambda: means_pandas(read(files)),
                "these columns alone": lambda: means_pandas(read(files, columns=[*KEYS, "val_loss"])),
            },
        ),
        "one trial by id": (
            Query(where=f"trial_id = '{one}'"),
            [f"SELECT * FROM '{files}' WHERE trial_id = '{one}'"],
            {"filter pushed down": lambda: read(files, filters=[("trial_id", "==", one)])},
        ),
    }  # fmt: skip
    rows = []
    for name, (question, forms, pandas_forms) in questions.items():
        ours = best_of(functools.partial(_answer, folder, question), TIMES)
        duck = min(best_of(functools.partial(_by_duckdb, database, form), TIMES) for form in forms)
        wins = "we win" if ours[0] < duck[0] else "DuckDB wins"
        print(f"{name}: {ours[0]:.3f} s ({ours[1]:.2f} CPU s); DuckDB {duck[0]:.3f} s ({duck[1]:.2f} CPU s): {wins}")
        row = f"| {name} | {ours[0]:.3f} s | {duck[0]:.3f} s | {ours[0] / duck[0]:.2f}x |"
        for how, form in pandas_forms.items() if pandas else ():
            theirs = best_of(form, TIMES)
            print(f"    pandas, {how}: {theirs[0]:.2f} s ({theirs[1]:.2f} CPU s), {theirs[0] / ours[0]:.1f}x ours")
            row += f" {how}: {theirs[0]:.2f} s, {theirs[0] / ours[0]:.1f}x;"
        rows.append(f"{row.removesuffix(';')} |")
    for name, arguments in {
        "cold process, best of each cell": ["--best-per", "N,D", "--limit", "5"],
        "cold process, one trial by id": ["--where", f"trial_id = '{one}'"],
    }.items():
        command = [sys.executable, "-m", "sweeplaw", "query", str(folder), *arguments]
        wall, _ = best_of(functools.partial(subprocess.run, command, check=True, capture_output=True), TIMES)
        print(f"{name}: {wall:.2f} s")
        rows.append(f"| {name} | {wall:.2f} s | | | |")
    print("\n| | sweeplaw | DuckDB | ours/DuckDB | pandas, and how much longer it takes |\n|---|---|---|---|---|")
    print("\n".join(rows))


def _answer(folder: Path, question: Query) -> object:
    return run_query(tables.load(folder, states=None), question)


def _by_duckdb(database: duckdb.DuckDBPyConnection, form: str) -> object:
    return database.sql(form).to_arrow_table()


def read(files: str, **options: object) -> pd.DataFrame:
    return pd.read_parquet(str(Path(files).parent), **options)


def means_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby(KEYS)["val_loss"].agg(["mean", "size"])


def best_pandas(files: str) -> pd.DataFrame:
    frame = read(files)
    frame = frame[frame["state"] == "completed"]
    means = frame.groupby([*CELLS, *KNOBS], as_index=False)["val_loss"].mean()
    best = means.loc[means.groupby(CELLS)["val_loss"].idxmin(), [*CELLS, *KNOBS]]
    runs = frame.merge(best, on=[*CELLS, *KNOBS]).groupby([*CELLS, *KNOBS])
    loss = runs["val_loss"].agg(["mean", "size", "std"])
    return runs.first().where(runs.nunique(dropna=False) == 1).join(loss)


if __name__ == "__main__":
    main()
