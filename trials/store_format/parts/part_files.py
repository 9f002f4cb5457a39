"""The Parquet files of a part: whether each is the one that was written, and the content of its footer.

A file is verified by its checksum (`store_format.parts.verification`), its number of rows, which the sealed/ file of
its part repeats, and its name, which it carries inside unless an older version wrote it: a sound file in the place of
another one is damage, too.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Container, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.errors import shown
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS, Column
from sweeplaw.trials.store_format.checksum import NAME_KEY
from sweeplaw.trials.store_format.columns import ARROW, POLARS, is_large
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.verification import Verifier

Footer = tuple[pa.Schema, int, frozenset[str]]  # schema, rows, columns with large integers
DECLARED: Mapping[str, tuple[Column, ...]] = {"trials": TRIAL_COLUMNS, "curves": CURVE_COLUMNS}
# Columns without which a part is damaged; others may be missing (an older store) and are null.
_NEEDED = {"trials": ("trial_id", "state"), "curves": ("trial_id", "step")}


class MisplacedFileError(ValueError):
    """A sound file is in the place of another one: by the name that it carries, or by its number of rows."""


def opened(location: Location, checked: Verifier, folder: str, part: str, rows: int | None) -> Footer:
    """Return the footer of a file of this part, which has ``rows`` rows (None: they were not counted).

    Raise MisplacedFileError, ValueError if the type of a column differs from its declaration, and as `Verifier.verify`.
    """
    path = f"{folder}/{part}.parquet"
    checked.verify(path)
    name, footer = _footer(location, location.readable(path), "curves" if folder == "curves" else "trials")
    if name not in (None, path):
        raise MisplacedFileError(f"it was written as {shown(name)}")
    if rows not in (None, footer[1]):
        raise MisplacedFileError(f"it has {footer[1]} rows, and sealed/{part}.json counts {rows}: it is another file")
    return footer


def _footer(location: Location, path: str, table_name: str) -> tuple[str | None, Footer]:
    """Return the name that the Parquet file at ``path`` carries, if any, and its footer.

    Cached for local files: a part is immutable. The key includes inode, size and time of change, so a file that was
    replaced or damaged is read again. Raise ValueError if the type of a column differs from its declaration.
    """
    if location.local:
        status = os.stat(path)
        return _local_footer(path, table_name, status.st_ino, status.st_size, status.st_ctime_ns)
    return _read_footer(path, table_name, location.filesystem)


@functools.lru_cache(maxsize=4096)
def _local_footer(path: str, table_name: str, inode: int, size: int, changed_ns: int) -> tuple[str | None, Footer]:
    return _read_footer(path, table_name, None)


def _read_footer(path: str, table_name: str, filesystem: Any) -> tuple[str | None, Footer]:
    footer = pq.read_metadata(path, filesystem=filesystem)
    schema = footer.schema.to_arrow_schema()
    _check_types(schema, table_name)
    name = (footer.metadata or {}).get(NAME_KEY.encode())
    large = _large(footer, schema, {column.name for column in DECLARED[table_name]})
    return name and name.decode("utf-8", "replace"), (schema, footer.num_rows, large)


def _large(footer: pq.FileMetaData, schema: pa.Schema, declared: Container[str]) -> frozenset[str]:
    """Return the columns that are not ``declared`` and hold integers beyond 2^53, by the statistics of their pages."""
    whole = [number for number, field in enumerate(schema) if field.type == pa.int64() and field.name not in declared]
    found = set[str]()
    for group in range(footer.num_row_groups if whole else 0):
        for number in whole:
            bounds = footer.row_group(group).column(number).statistics
            if bounds is not None and bounds.has_min_max and (is_large(bounds.min) or is_large(bounds.max)):
                found.add(schema.names[number])
    return frozenset(found)


def _check_types(schema: pa.Schema, name: str) -> None:
    """Raise ValueError if a declared column has another type than declared."""
    held = dict(zip(schema.names, schema.types, strict=True))
    missing = [column for column in _NEEDED[name] if column not in held]
    wrong = [
        f"{column.name} is {held[column.name]}, not {ARROW[column.type]}"
        for column in DECLARED[name]
        if held.get(column.name, ARROW[column.type]) != ARROW[column.type]
    ]
    wrong += [f"{name} is {kind}, which no column of a store is" for name, kind in held.items() if kind not in POLARS]
    if missing or wrong:
        raise ValueError("; ".join([*(f"it has no column {column}" for column in missing), *wrong]))
