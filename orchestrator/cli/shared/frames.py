"""Printing rows: an aligned table that fits the terminal, or a form another program reads."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    import polars as pl

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Ndjson = Annotated[bool, typer.Option("--ndjson", help="Print one JSON object a line.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write to FILE: .parquet, .arrow, .csv, .json or .ndjson by its name."),
]
FORMS = ("table", "csv", "json", "ndjson", "parquet", "arrow")
TEXT_WIDTH = 40
GAP = 2
WHOLE = 1e15  # below it a whole float is written out: a token count is read by its digits


@dataclass(frozen=True, slots=True)
class Form:
    """How to give an answer: which form, and to a file or (None) to standard output."""

    name: str
    file: Path | None = None


def chosen(*, json: bool, csv: bool, ndjson: bool, out: Path | None) -> Form:
    """The form the options ask for. Raises InputError for a contradiction or a file name of no known form."""
    asked = [name for name, flag in (("json", json), ("csv", csv), ("ndjson", ndjson)) if flag]
    if len(asked) > 1 or (asked and out):
        raise InputError("give one of --json, --csv, --ndjson and --out")
    if out is None:
        return Form(asked[0] if asked else "table")
    name = {"pq": "parquet", "jsonl": "ndjson", "ipc": "arrow"}.get(out.suffix[1:].lower(), out.suffix[1:].lower())
    if name not in FORMS[1:]:
        raise InputError(f"--out {out}: the name ends in none of {', '.join('.' + form for form in FORMS[1:])}")
    return Form(name, out)


def emit(frame: pl.DataFrame, form: Form) -> None:
    """Give ``frame`` in ``form``. Raises OSError."""
    if form.name == "table":
        sys.stdout.write(aligned(frame, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    elif form.file is None:
        sys.stdout.write(_text(frame, form.name))
    elif form.name == "parquet":
        frame.write_parquet(form.file)
    elif form.name == "arrow":
        frame.write_ipc(form.file)
    else:
        form.file.write_text(_text(frame, form.name), encoding="utf-8")


def _text(frame: pl.DataFrame, form: str) -> str:
    if form == "csv":
        return frame.write_csv()
    return _plain(frame).write_ndjson() if form == "ndjson" else _rows(frame)


def _rows(frame: pl.DataFrame) -> str:
    """A JSON list with an object a row."""
    lines = _plain(frame).write_ndjson().splitlines()
    return "[\n" + ",\n".join(f"  {line}" for line in lines) + "\n]\n" if lines else "[]\n"


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """NaN and infinity have no JSON form and become null; times become ISO 8601."""
    import polars as pl
    from polars import selectors

    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in frame.select(selectors.float()).columns]
    times = [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for name in frame.select(selectors.datetime()).columns]
    return frame.with_columns([*finite, *times])


def aligned(frame: pl.DataFrame, width: int | None) -> str:
    """Rows under their headings, numbers to the right. With a ``width``, columns that do not fit are named below."""
    columns = [_cells(frame[name]) for name in frame.columns]
    widths = [max(map(len, [name, *cells])) for name, cells in zip(frame.columns, columns, strict=True)]
    fitting = _fitting(widths, width)
    right = [frame.dtypes[index].is_numeric() for index in range(fitting)]
    lines = [
        (" " * GAP)
        .join(
            cell.rjust(size) if to_right else cell.ljust(size)
            for cell, size, to_right in zip(row, widths, right, strict=False)
        )
        .rstrip()
        for row in [frame.columns[:fitting], *zip(*columns[:fitting], strict=True)]
    ]
    if fitting < len(widths):
        more = frame.columns[fitting:]
        lines.append(f"({counted(len(more), 'more column')}: {', '.join(more)})")
    if not frame.height:
        lines.append("(no rows)")
    return "\n".join(lines) + "\n"


def _fitting(widths: Sequence[int], width: int | None) -> int:
    if width is None:
        return len(widths)
    used, count = 0, 0
    for size in widths:
        used += size + (GAP if count else 0)
        if count and used > width:
            break
        count += 1
    return count


def _cells(series: pl.Series) -> list[str]:
    return [_cell(value) for value in series.to_list()]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < WHOLE else f"{value:.6g}"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = " ".join(str(value).split())
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"
