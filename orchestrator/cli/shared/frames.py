"""Print or write rows: as an aligned table that fits the terminal, or in a format for programs."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.streams import write_data
from sweeplaw.trials.errors import InputError, unsupported_extension
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    import polars as pl

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Ndjson = Annotated[bool, typer.Option("--ndjson", help="Print one JSON object per line.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular with the rules of booktabs.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="Write to FILE, as .parquet, .arrow, .csv, .json, .ndjson or .tex by its suffix."
    ),
]
FORMATS = ("table", "csv", "json", "ndjson", "parquet", "arrow", "tex")
TIMES = "%Y-%m-%dT%H:%M:%S%.6fZ"  # ISO 8601 in UTC, as all JSON has it
TEXT_WIDTH = 40
GAP = 2
WRITTEN_OUT = 1e15  # whole floats below this are printed with all digits, for token counts


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A format, and the file to write; None for stdout."""

    name: str
    file: Path | None = None


def output_format(*, json: bool, csv: bool, ndjson: bool, latex: bool, out: Path | None) -> OutputFormat:
    """Return the format that the options select. Raise InputError if they conflict, or for an unknown suffix."""
    asked = [name for name, flag in (("json", json), ("csv", csv), ("ndjson", ndjson), ("tex", latex)) if flag]
    if len(asked) > 1 or (asked and out):
        raise InputError("give only one of --json, --csv, --ndjson, --latex and --out")
    if out is None:
        return OutputFormat(asked[0] if asked else "table")
    suffix = out.suffix[1:].lower()
    name = {"pq": "parquet", "jsonl": "ndjson", "ipc": "arrow"}.get(suffix, suffix)
    if name not in FORMATS[1:]:
        raise InputError(f"--out {unsupported_extension(str(out), [f'.{known}' for known in FORMATS[1:]])}")
    return OutputFormat(name, out)


def refuse_inside(out: Path | None, store: str) -> None:
    """Raise InputError if the output file lies in the store: only launches write there."""
    if out is not None and out.resolve().is_relative_to(Path(store).resolve()):
        raise InputError(f"--out {out} lies inside {store}, which only launches may write to")


def print_table(frame: pl.DataFrame) -> None:
    """Print ``frame`` as an aligned table."""
    emit(frame, OutputFormat("table"))


def emit(frame: pl.DataFrame, form: OutputFormat) -> None:
    """Print or write ``frame`` in this format. Raise OSError, and InputError if the format has no form for a value."""
    import polars as pl

    try:
        _emit(frame, form)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"the rows cannot be written as {form.name}: {reason}") from None


def _emit(frame: pl.DataFrame, form: OutputFormat) -> None:
    if form.name == "table":
        sys.stdout.write(aligned(frame, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    elif form.file is None:
        write_data(_text(frame, form.name))
    else:
        from sweeplaw.analysis.tables.files.output_file import write_file

        write_file(form.file, lambda path: _write(frame, form.name, path))


def _write(frame: pl.DataFrame, name: str, path: str) -> None:
    if name == "parquet":
        frame.write_parquet(path)
    elif name == "arrow":
        frame.write_ipc(path)
    else:
        Path(path).write_text(_text(frame, name), encoding="utf-8")


def _text(frame: pl.DataFrame, name: str) -> str:
    if name == "csv":
        return frame.write_csv()
    if name == "tex":
        from sweeplaw.analysis.tables.files.latex import latex_table

        rows = [[cell(value) for value in row] for row in frame.rows()]
        return latex_table(frame.columns, rows, words=[not dtype.is_numeric() for dtype in frame.dtypes])
    lines = _json_ready(frame).write_ndjson()
    return lines if name == "ndjson" else _json_list(lines.splitlines())


def _json_list(lines: Sequence[str]) -> str:
    """Return a JSON list of these JSON objects."""
    return "[\n" + ",\n".join(f"  {line}" for line in lines) + "\n]\n" if lines else "[]\n"


def _json_ready(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with NaN and infinity, which have no JSON form, as null, and times as ISO 8601."""
    import polars as pl
    from polars import selectors

    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in frame.select(selectors.float()).columns]
    zoned = selectors.datetime(time_zone="*")
    frame = frame.with_columns(zoned.dt.convert_time_zone("UTC")).with_columns(selectors.datetime().dt.strftime(TIMES))
    return frame.with_columns(finite)


def aligned(frame: pl.DataFrame, width: int | None) -> str:
    """Return rows under their headings, numbers right-aligned; columns that exceed ``width`` are named below."""
    columns = [[cell(value) for value in frame[name].to_list()] for name in frame.columns]
    widths = [max(map(len, [name, *cells])) for name, cells in zip(frame.columns, columns, strict=True)]
    fitting = _fitting(widths, width)
    rows = [frame.columns[:fitting], *zip(*columns[:fitting], strict=True)]
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    lines = [_line(row, widths, numeric) for row in rows]
    if fitting < len(widths):
        more = frame.columns[fitting:]
        lines.append(f"({counted(len(more), 'more column')}: {', '.join(more)})")
    if not frame.height:
        lines.append("(no rows)")
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=False)  # `cells` are those that fit
    )
    return (" " * GAP).join(padded).rstrip()


def _fitting(widths: Sequence[int], width: int | None) -> int:
    """Return the number of columns that fit ``width``, at least one."""
    if width is None:
        return len(widths)
    used, count = 0, 0
    for size in widths:
        used += size + (GAP if count else 0)
        if count and used > width:
            break
        count += 1
    return count


def cell(value: Any) -> str:
    """Return a value as a cell of a table: one line, a long text cut, a null as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < WRITTEN_OUT else f"{value:.6g}"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = " ".join(str(value).split())
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"
