"""Atomic and durable writes to a store, on a file system or an object store.

On a file system: `trials.store_format.atomic_file`. On an object store: one PUT, visible when it is complete.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeplaw.trials.store_format import checksum, confined
from sweeplaw.trials.store_format.atomic_file import write_atomically
from sweeplaw.trials.store_format.checksum import NAME_KEY
from sweeplaw.trials.store_format.location import Location

ROW_GROUP = 65_536  # rows; merged parts are sorted by id, so reading one trial reads one row group per part
_SAMPLE = 10_000  # adjacent rows that show whether values repeat: the points of one trial are adjacent


def publish(location: Location, name: str, data: bytes) -> None:
    """Replace the file ``name`` by ``data``. Raise OSError; the file is then unchanged."""
    if location.local:
        write_atomically(location.writable(name), lambda path: _write_bytes(path, data))
        return
    with location.filesystem.open_output_stream(location.path(name)) as stream:
        stream.write(data)


def publish_json(location: Location, name: str, content: Mapping[str, Any]) -> None:
    """Replace the file ``name`` by this JSON object, with its name and its checksum. Raise OSError."""
    stamped = {**content, NAME_KEY: name, checksum.KEY: checksum.ZEROS}
    written = json.dumps(stamped, indent=1, ensure_ascii=False, default=str) + "\n"
    publish(location, name, checksum.stamped_json(written.encode("utf-8", "replace")))


def publish_table(location: Location, name: str, table: pa.Table) -> None:
    """Replace the Parquet file ``name`` by ``table``, with its name and its checksum. Raise OSError."""
    if location.local:
        write_atomically(location.writable(name), lambda path: _write_stamped(table, path, name))
        return
    written = io.BytesIO()
    _write_table(table, written, name)
    checksum.stamp_parquet(written)
    with location.filesystem.open_output_stream(location.path(name)) as stream:
        stream.write(written.getbuffer())


def remove(location: Location, name: str) -> None:
    """Delete ``name`` if it exists. A symbolic link itself is removed, not its target. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        if location.local:
            confined.remove(location.root, name)
        else:
            location.filesystem.delete_file(location.path(name))


def move(location: Location, name: str, target: str) -> None:
    """Rename the file ``name`` to ``target``. Raise OSError."""
    if location.local:
        os.makedirs(os.path.dirname(location.writable(target)), exist_ok=True)
        confined.move(location.root, name, target)
    else:
        location.filesystem.move(location.path(name), location.path(target))


def _write_bytes(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


def _write_stamped(table: pa.Table, path: str, name: str) -> None:
    _write_table(table, path, name)
    with open(path, "r+b") as file:
        checksum.stamp_parquet(file)


def _write_table(table: pa.Table, target: Any, name: str) -> None:
    """Write values that repeat with a dictionary and zstd; ids and measured numbers with neither (incompressible).

    Measured on 2 million trials: with a dictionary and zstd for all 92 MB, with this 101 MB, and the best trials of 400
    cells, group means and a trial by id are read in half the time or less. Page checksums show which page is
    damaged, the checksum of the file that any byte is.
    """
    distinct = {name for name in table.column_names if _mostly_distinct(table[name].slice(0, _SAMPLE))}
    raw = {name for name in distinct if pa.types.is_floating(table.schema.field(name).type)}
    with pq.ParquetWriter(
        target,
        table.schema,
        use_dictionary=[name for name in table.column_names if name not in distinct],
        compression={
            name: "none" if name in raw else "lz4" if name == "trial_id" else "zstd" for name in table.column_names
        },
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({NAME_KEY: name, checksum.KEY: checksum.ZEROS})


def _mostly_distinct(values: pa.ChunkedArray) -> bool:
    known = len(values) - values.null_count
    return known > 0 and bool(pc.count_distinct(values).as_py() > known / 2)
