"""Lazy scans of a store's files: parts of several schemas, and journals, as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from sweeplaw.trials.store_format.columns import POLARS, large_integers, schema, union
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.part_files import DECLARED
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, StorePart


def column_types(now: Snapshot, name: str) -> Mapping[str, pa.DataType]:
    """Return every column of the table ``name`` with the widest type in which it occurs."""
    schemas = [schema(DECLARED[name]), *(group[0].schema for group in _by_schema(now.parts(name)))]
    large = set[str]().union(*(part.large for part in now.parts(name)))
    if now.journal_rows(name):  # tables of Arrow import pandas, which takes a third of a second
        young = now.journal_table(name)
        schemas[0], large = young.schema, large | large_integers(young, young.column_names)
    return union(schemas, large)


def scan(location: Location, now: Snapshot, name: str, types: Mapping[str, pa.DataType]) -> pl.LazyFrame:
    """Return every row of the table ``name`` in the columns ``types``: one scan per schema, and the journal."""
    frames = [_conform(_scan_parts(location, parts), parts[0].schema, types) for parts in _by_schema(now.parts(name))]
    if now.journal_rows(name):
        journal = now.journal_table(name)
        frames.append(_conform(pl.LazyFrame(pl.from_arrow(journal)), journal.schema, types))
    if not frames:
        return pl.LazyFrame(schema={name: polars_type(kind) for name, kind in types.items()})
    return pl.concat(frames) if len(frames) > 1 else frames[0]


def scan_ids(location: Location, parts: Sequence[StorePart]) -> pl.LazyFrame:
    """Return the trial_id column of parts of any schema."""
    paths = [location.path(part.path) for part in parts]
    if not paths:
        return pl.LazyFrame(schema={"trial_id": pl.String})
    if location.local:
        return pl.scan_parquet(paths, glob=False, schema={"trial_id": pl.String}, extra_columns="ignore")
    return _dataset(location, paths, pa.schema([("trial_id", pa.string())]))


def polars_type(kind: pa.DataType) -> pl.DataType:
    """Return the Polars type of one of our Arrow types."""
    return POLARS[kind]


def _by_schema(parts: Sequence[StorePart]) -> list[list[StorePart]]:
    """Group ``parts`` by schema."""
    groups: list[list[StorePart]] = []
    for part in parts:
        same = next((group for group in groups if group[0].schema.equals(part.schema)), None)
        if same is None:
            groups.append([part])
        else:
            same.append(part)
    return groups


def _conform(frame: pl.LazyFrame, schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pl.LazyFrame:
    """Return ``frame`` with exactly the columns of ``types``: cast to the wider type, null if missing."""
    present = dict(zip(schema.names, schema.types, strict=True))
    if list(present.items()) == list(types.items()):
        return frame
    columns = [
        (pl.col(name) if name in present else pl.lit(None)).cast(polars_type(kind)).alias(name)
        if present.get(name) != kind
        else pl.col(name)
        for name, kind in types.items()
    ]
    return frame.select(columns)


def _scan_parts(location: Location, parts: Sequence[StorePart]) -> pl.LazyFrame:
    """Scan parts of one schema: by Polars if the files are local, else by pyarrow."""
    paths = [location.path(part.path) for part in parts]
    if location.local:
        fields = parts[0].schema  # given, so that Polars need not read the footers for it
        return pl.scan_parquet(paths, glob=False, schema={field.name: polars_type(field.type) for field in fields})
    return _dataset(location, paths)


def _dataset(location: Location, paths: Sequence[str], schema: pa.Schema | None = None) -> pl.LazyFrame:
    import pyarrow.dataset as pads  # deferred: it takes a quarter of a second, and a local store never needs it

    found = pads.dataset(paths, schema=schema, filesystem=location.filesystem, format="parquet")
    return pl.scan_pyarrow_dataset(found)
