"""Tables of foreign origin, made from a seed: a grid of runs whose columns, types, rows, names or bytes are wrong."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

FORMATS = (".csv", ".tsv", ".ndjson", ".parquet")
OURS = (
    "state", "trial_id", "attempt", "seed", "spec", "launch_id", "started_at", "workload", "unique_tokens", "message",
    "flops", "steps", "optimizer", "params", "source", "sweep", "train_seconds", "train_loss", "N", "D", "C", "pack_id",
)  # fmt: skip
NAMES = (
    "",
    " ",
    "$x",
    "$\\frac{",
    'a"b',
    "select",
    "a,b",
    "per cent %",
    "x\ny",
    "_cell",
    "_rows",
    "literal",
    "\u00e9",
    "a" * 300,
)

Values = Callable[[random.Random, int], pl.Series]


def _repeated(*values: Any, dtype: Any = None) -> Values:
    return lambda draw, rows: pl.Series([draw.choice(values) for _ in range(rows)], dtype=dtype, strict=False)


COLUMNS: Sequence[Values] = (
    _repeated(None),
    _repeated(None, dtype=pl.String),
    _repeated(None, 1.5),
    _repeated(1.0),
    _repeated(0.0),
    _repeated(1e-300, 1e300),
    _repeated(-1.0, 2.0),
    _repeated(math.nan, math.inf, -math.inf, 2.0),
    _repeated(math.nan),
    _repeated(True, False),
    _repeated("", " "),
    _repeated("completed", "failed", None),
    _repeated("completed", "$\\frac{", "a$b$c", "<b>&"),
    _repeated("1.5", "2", "n/a"),
    _repeated("1.5", "2e3"),
    _repeated("x" * 500, "\x00\x1b[31m"),
    _repeated(1, 2, 3, dtype=pl.Int8),
    _repeated(2**63 - 1, -(2**63), dtype=pl.Int64),
    _repeated(2**64 - 1, 1, dtype=pl.UInt64),
    _repeated(1.5, 2.5, dtype=pl.Float32),
    _repeated(Decimal("1.25"), Decimal("2.50")),
    _repeated(dt.date(2024, 1, 1), dt.date(9999, 12, 31)),
    _repeated(0, 2**31 - 1, -(2**31), dtype=pl.Int32),
    _repeated(dt.time(12, 30), dt.time(0)),
    _repeated(dt.timedelta(days=1), dt.timedelta(0)),
    _repeated(dt.datetime(2024, 1, 1), dt.datetime(1, 1, 1)),
    lambda draw, rows: pl.Series([2**62] * rows).cast(pl.Datetime("us")),
    lambda draw, rows: pl.Series([-(2**62), 0] * rows)[:rows].cast(pl.Datetime("ms", "UTC")),
    lambda draw, rows: pl.Series([2**31 - 1] * rows, dtype=pl.Int32).cast(pl.Date),
    _repeated("a", "b", dtype=pl.Categorical),
    _repeated("a", "b", dtype=pl.Enum(["a", "b"])),
    _repeated(b"\xff\x00", b"abc"),
    _repeated([1, 2], [], None),
    _repeated({"a": 1}, {"a": 2}),
    _repeated([{"a": [1]}]),
)


def grid() -> pl.DataFrame:
    """Return runs of 3 x 3 points (N, D) with 3 x 3 settings of two knobs each."""
    rows = []
    points = product((1e6, 1e7, 1e8), (1e8, 1e9, 1e10), (1e-4, 1e-3, 1e-2), (2**15, 2**16, 2**17))
    for number, (n, d, lr, batch) in enumerate(points):
        bowl = math.log(lr / 1e-3) ** 2 + math.log(batch / 2**16) ** 2
        loss = 1.8 + 400 / n**0.34 + 900 / d**0.3 + 0.01 * bowl
        rows.append((f"t{number}", int(n), int(d), lr, batch, loss))
    names = ["trial_id", "params_non_embedding", "tokens", "lr", "batch_tokens", "val_loss"]
    return pl.DataFrame(rows, schema=names, orient="row")


def spoiled(draw: random.Random) -> pl.DataFrame:
    """Return the grid with one to three faults."""
    frame = grid()
    for _ in range(draw.randint(1, 3)):
        frame = draw.choice((_column, _column, _column, _cells, _rows, _name))(draw, frame)
    return frame


def _column(draw: random.Random, frame: pl.DataFrame) -> pl.DataFrame:
    name = draw.choice([*frame.columns, *OURS])
    return frame.with_columns(draw.choice(COLUMNS)(draw, frame.height).alias(name))


def _cells(draw: random.Random, frame: pl.DataFrame) -> pl.DataFrame:
    """Spoil a few values of a column, which may make it text."""
    name = draw.choice(frame.columns)
    value = draw.choice(
        [None, "", "n/a", "nan", "1e999", "-1", "0", "$x$", "1,5", "\u2212 1", "99999999999999999999999"]
    )
    column = frame[name].cast(pl.String, strict=False) if _castable(frame[name]) else frame[name]
    if column.dtype != pl.String:
        return frame
    odd = [draw.random() < 0.1 for _ in range(frame.height)]
    return frame.with_columns(
        pl.when(pl.Series(odd, dtype=pl.Boolean)).then(pl.lit(value)).otherwise(column).alias(name)
    )


def _castable(column: pl.Series) -> bool:
    """Return whether Polars turns the column into text; dates that no calendar has would end it in a panic."""
    return not column.dtype.is_nested() and column.dtype not in (pl.Binary, pl.Object, pl.Date, pl.Datetime)


def _rows(draw: random.Random, frame: pl.DataFrame) -> pl.DataFrame:
    return draw.choice((
        lambda: frame.head(0), lambda: frame.head(1), lambda: frame.head(2), lambda: frame.head(10),
        lambda: pl.concat([frame, frame]), lambda: frame.reverse(), lambda: frame.gather_every(9),
    ))()  # fmt: skip


def _name(draw: random.Random, frame: pl.DataFrame) -> pl.DataFrame:
    name = draw.choice(frame.columns)
    new = draw.choice([*NAMES, *OURS])
    if draw.random() < 0.2:
        return frame.drop(name)
    return frame if new in frame.columns else frame.rename({name: new})


def write(draw: random.Random, frame: pl.DataFrame, folder: Path) -> Path:
    """Write ``frame`` in a format that takes its types, now and then with bytes that are wrong."""
    path = folder / f"runs{draw.choice(FORMATS)}"
    try:
        if path.suffix == ".parquet":
            frame.write_parquet(path)
        elif path.suffix == ".ndjson":
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in frame.to_dicts()))
        else:
            frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError, ValueError):
        path = folder / "runs.parquet"
        frame.write_parquet(path)
    if draw.random() < 0.1:
        path.write_bytes(_damaged(draw, path.read_bytes()))
    return path


def _damaged(draw: random.Random, content: bytes) -> bytes:
    where = draw.randrange(len(content) + 1)
    return draw.choice((
        b"", b"\n", b"\x00", content[:where], content[:where] + b"\xff" + content[where:], b"\xef\xbb\xbf" + content,
        content + content, content + b'{"val_loss": "\\ud800"}\n',
        content + b'{"val_loss": NaN, "\\udfff": 18446744073709551616}\n',
        content.replace(b"lr", b"val_loss", 1), content + b"," * 40,
    ))  # fmt: skip
