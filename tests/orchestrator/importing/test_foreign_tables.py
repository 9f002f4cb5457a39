"""Tables of any content, as files of any kind, are imported or refused in a message: never a traceback, nothing lost.

SWEEPLAW_FUZZ multiplies the number of random tables.
"""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.trials.errors import InputError

ROUNDS = int(os.environ.get("SWEEPLAW_FUZZ", "1"))
Random = random.Random
Cell = Callable[[Random], Any]

_FLOATS = [0.0, -1.0, 2.5, 1e300, -1e-300, float("nan"), float("inf"), -float("inf")]
_TEXTS = [
    "",
    "a",
    "1",
    "1.5",
    "150M",
    "nan",
    "true",
    "é",
    "\0",
    "x" * 300,
    "2026-01-02",
    "99999-01-01",
    "ok\nno",
    '"',
    ",",
]
_KINDS: list[tuple[pa.DataType, Cell]] = [
    (pa.float64(), lambda r: r.choice(_FLOATS)),
    (pa.float16(), lambda r: None),
    (pa.int64(), lambda r: r.choice([0, 1, -1, 2**63 - 1, -(2**63)])),
    (pa.uint64(), lambda r: r.choice([0, 2**64 - 1])),
    (pa.bool_(), lambda r: r.random() < 0.5),
    (pa.string(), lambda r: r.choice(_TEXTS)),
    (pa.binary(), lambda r: r.choice([b"", b"\xff\x00", b"text"])),
    (pa.time64("us"), lambda r: dt.time(r.randrange(24), 5)),
    (pa.duration("us"), lambda r: dt.timedelta(seconds=r.randrange(-(10**6), 10**6))),
    (pa.date32(), lambda r: r.choice([dt.date(1, 1, 1), dt.date(9999, 12, 31)])),
    (pa.int32(), lambda r: r.choice([0, 2**31 - 1, -(2**31)])),  # cast to date32 below
    (pa.timestamp("ms", tz="UTC"), lambda r: r.choice([0, 2**50, -(2**50), 2**62])),
    (pa.timestamp("us"), lambda r: r.choice([0, 2**62, -(2**62)])),
    (pa.timestamp("ns", tz="Europe/Berlin"), lambda r: r.choice([0, 2**62])),
    (pa.decimal128(38, 3), lambda r: decimal.Decimal(r.choice(["1.5", "-2", "9" * 30]))),
    (pa.decimal256(70, 3), lambda r: decimal.Decimal(r.choice(["1.5", "9" * 60]))),
    (pa.list_(pa.int64()), lambda r: [1] * r.randrange(3)),
    (pa.list_(pa.binary()), lambda r: [b"\xff"]),
    (pa.list_(pa.struct([("t", pa.timestamp("us"))])), lambda r: [{"t": r.choice([0, 2**62])}]),
    (pa.struct([("x", pa.int64()), ("y", pa.list_(pa.float64()))]), lambda r: {"x": 1, "y": [r.choice(_FLOATS)]}),
    (pa.map_(pa.string(), pa.int64()), lambda r: [("k", 1)]),
    (pa.null(), lambda r: None),
    (pa.dictionary(pa.int8(), pa.string()), lambda r: r.choice(_TEXTS)),
]
_NAMES = ["state", "started_at", "tokens", "lr", "a b", "a.b", "a", "", "row", "reason", "trial_id", "spec"]
_NAMES += ["x.x", "val_loss", "message", "\0row", "attempt", "launch_id", "'", '"', "é", "train_seconds", "epochs", "D"]
_RULES = ["N={}", "D={} * 2", "epochs={}", "lr={}", "note={}", "started_at={}", "x={} || 'a'", "y={} > 1", "state={}"]


def random_names(r: Random) -> list[str]:
    return ["loss", *r.sample(_NAMES, r.randrange(1, 6))]


def random_mapping(r: Random) -> list[str]:
    """Return a mapping of some of the columns, which a file may not have."""
    theirs = ["loss", *(f'"{name}"' for name in _NAMES if name not in ('"', "\0row"))]
    return ["val_loss=loss", *(rule.format(r.choice(theirs)) for rule in r.sample(_RULES, r.choice([0, 0, 0, 1, 2])))]


def random_table(r: Random) -> pa.Table:
    height, names, columns = r.choice([0, 1, 3, 3, 4, 4]), random_names(r), []
    for name in names:
        kind, cell = _KINDS[0] if name == "loss" and r.random() < 0.8 else r.choice(_KINDS)
        column = pa.array([None if r.random() < 0.1 else cell(r) for _ in range(height)], kind)
        columns.append(column.cast(pa.date32()) if kind == pa.int32() else column)
    return pa.table(columns, names=names)


def as_parquet(path: Path, r: Random) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(random_table(r), path, write_page_checksum=r.random() < 0.5)
    data = bytearray(path.read_bytes())
    for _ in range(r.choice([0, 0, 0, 0, 0, 1, 20])):  # damage
        data[r.randrange(len(data))] = r.randrange(256)
    path.write_bytes(data)
    return path


_JSON = [
    *("1", "1.5", "NaN", "-Infinity", "1e999", "18446744073709551616", "9" * 400, "null", "true", '"text"'),
    *(
        '"\\ud800"',
        '"\\u0000"',
        "[]",
        "[1, {}]",
        "{}",
        '{"x": 1}',
        '{"x": {"y": [2]}}',
        '{"x": ' * 300 + "1" + "}" * 300,
    ),
    *("9" * 5000, "[" * 3000 + "]" * 3000, '{"x": 1, "x": 2}', "01", "tru"),
]


def as_ndjson(path: Path, r: Random) -> Path:
    names, odd = [*random_names(r), *["\ud800"] * (r.random() < 0.2)], r.random() < 0.2

    def line() -> str:
        values = r.choices(_JSON if odd else _JSON[:-5], k=len(names))
        pairs = [f"{json.dumps(name)}: {value}" for name, value in zip(names, values, strict=True)]
        return r.choice(["", "[]", "1", "{"]) if odd and r.random() < 0.3 else f"{{{', '.join(pairs)}}}"

    path = path.with_suffix(r.choice([".ndjson", ".jsonl"]))
    encoding = r.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    path.write_bytes("\n".join(line() for _ in range(r.randrange(0, 5))).encode(encoding, "surrogatepass"))
    return path


def as_csv(path: Path, r: Random) -> Path:
    names, separator, odd = random_names(r), r.choice(",;\t"), r.random() < 0.1
    cells = [*_TEXTS, "1,5", "1e999", "-0", "0x10", "1_0", "2026-01-02T03:04:05Z", "None", "9" * 30]
    rows = [[r.choice(cells) for _ in names] for _ in range(r.choice([0, 1, 3, 3, 4, 4]))]
    with io.StringIO() as out:
        csv.writer(out, delimiter=separator, lineterminator=r.choice(["\n", "\r\n", "\r"])).writerows([names, *rows])
        text = out.getvalue()
    path = path.with_suffix(r.choice([".csv", ".csv", ".tsv"]))
    encoding = r.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1" if odd else "utf-8"])
    data = bytearray(text.encode(encoding, "replace"))
    if data and odd:
        data[r.randrange(len(data))] = r.randrange(256)
    path.write_bytes(data)
    return path


@pytest.mark.heavy
@pytest.mark.parametrize("write", [as_parquet, as_ndjson, as_csv])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_any_table_is_imported_or_refused_in_a_message(tmp_path, write, seed):
    r = Random(f"{write.__name__}{seed}")
    for number in range(60):
        file = str(write(tmp_path / f"table{number}", r))
        pairs = random_mapping(r)
        run = ("lr",) if r.random() < 0.1 else ()
        store = str(tmp_path / f"store{number}")
        before = Path(file).read_bytes()
        try:
            done = import_from(file, store, pairs=pairs, run=run, where="loss > 0" if r.random() < 0.1 else None)
        except InputError:
            continue
        finally:
            assert Path(file).read_bytes() == before
        assert done.added + done.repeated + len(done.rejected) == done.rows - done.merged, (
            write.__name__,
            seed,
            number,
        )
        assert tables.load(store, states=None).trials.collect().height == done.added
        kept = Path(store, done.rejects).read_text().splitlines() if done.rejects else []
        assert [json.loads(line)["row"] for line in kept] == [row for row, _ in done.rejected]
        again = import_from(file, store, pairs=pairs, run=run, where=None)
        assert again.added <= done.left_out, (write.__name__, seed, number)
