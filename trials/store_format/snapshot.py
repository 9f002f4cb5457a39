"""Snapshot of a store: its readable parts with their schemas, the rows still in journals, and the damage.

Used by the launcher to find finished trials and by the analysis to build tables. Damage is data: a part that cannot be
read is reported, and everything else remains usable.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS, Column
from sweeplaw.trials.store_format.checksum import ChecksumError
from sweeplaw.trials.store_format.columns import ARROW, POLARS, is_large, table
from sweeplaw.trials.store_format.damage import DamagedFileError, reason_of
from sweeplaw.trials.store_format.id_index import hashes, may_hold
from sweeplaw.trials.store_format.journal import Decoded, decode
from sweeplaw.trials.store_format.layout import PART_FOLDERS, Catalog, catalog, counts_of, irregular
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.verification import Verifier, verifier

Footer = tuple[pa.Schema, int, frozenset[str]]  # schema, rows, columns with large integers
DECLARED: Mapping[str, tuple[Column, ...]] = {"trials": TRIAL_COLUMNS, "curves": CURVE_COLUMNS}
_MANY = 32  # below this many local files, reading footers one by one is faster than starting threads (milliseconds)
# Columns without which a part is damaged; others may be missing (an older store) and are null.
_NEEDED = {"trials": ("trial_id", "state"), "curves": ("trial_id", "step")}


@dataclass(frozen=True, slots=True)
class StorePart:
    """A readable Parquet file of the store. Over all ``merged`` parts each trial occurs once.

    ``large`` are its columns with integers beyond 2^53 (`columns.large_integers`).
    """

    path: str
    schema: pa.Schema
    rows: int
    merged: bool
    large: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """File name without folder and suffix."""
        return PurePath(self.path).stem


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Parts and journal rows of both tables, parts with earlier attempts of trials in merged ones, and the damage.

    ``faults`` are sentences; ``damaged`` are the Parquet files that cannot be read.
    """

    trials: tuple[StorePart, ...]
    curves: tuple[StorePart, ...]
    superseded: tuple[StorePart, ...]
    journal: Decoded
    faults: tuple[str, ...]
    damaged: tuple[str, ...]

    def parts(self, name: str) -> tuple[StorePart, ...]:
        """Return the parts of the table ``name``."""
        return self.trials if name == "trials" else self.curves

    @property
    def earlier(self) -> int:
        """The number of earlier attempts that compactions have moved aside."""
        return sum(part.rows for part in self.superseded)

    def journal_rows(self, name: str) -> int:
        """Return the number of rows of the table ``name`` that are still in journals."""
        return len(self.journal.trials if name == "trials" else self.journal.curves)

    def journal_table(self, name: str) -> pa.Table:
        """Return the rows of the table ``name`` that are still in journals.

        Raise DamagedFileError if another program wrote values that do not fit.
        """
        try:
            return table(self.journal.trials if name == "trials" else self.journal.curves, DECLARED[name])
        except (ValueError, TypeError) as error:
            raise DamagedFileError("journal", error) from None


def snapshot(location: Location) -> Snapshot:
    """Return the store as it is now. A file missing since the listing was sealed or merged: list again."""
    before: Catalog | None = None
    while True:
        files = catalog(location)
        try:
            return _read(location, files, unchanged=files == before)
        except FileNotFoundError:
            before = files


def holding(location: Location, parts: Iterable[StorePart], trial_ids: Collection[str]) -> tuple[StorePart, ...]:
    """Return those of ``parts`` that may hold a row of one of the trials; the others hold none."""
    wanted = hashes(trial_ids)
    return tuple(part for part in parts if not part.merged or np.any(may_hold(location, part.name, part.rows, wanted)))


def verified(location: Location, now: Snapshot) -> Snapshot:
    """Return ``now`` without parts that are damaged behind a valid footer: every page is read and verified."""
    faults: dict[str, str] = {}

    def intact(part: StorePart) -> bool:
        try:
            pq.read_table(location.path(part.path), filesystem=location.filesystem, page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            faults[part.path] = f"is damaged inside: {reason_of(error)}"
        return part.path not in faults

    trials, curves = tuple(filter(intact, now.trials)), tuple(filter(intact, now.curves))
    sentences = (*now.faults, *(f"{name} {what}" for name, what in faults.items()))
    return replace(now, trials=trials, curves=curves, faults=sentences, damaged=(*now.damaged, *faults))


def _read(location: Location, files: Catalog, *, unchanged: bool) -> Snapshot:
    """Read ``files``. If the listing is ``unchanged``, a missing file is damage; otherwise raise FileNotFoundError."""
    faults: dict[str, str] = {}
    expected = _expected(location, files, faults, unchanged)
    with verifier(location) as checked:
        parts = {
            folder: _parts(location, folder, names, files, checked, faults, unchanged)
            for folder, names in expected.items()
        }
    journal = _journal(location, files.journal, faults, unchanged)
    for name in location.names("quarantine", ".parquet"):
        faults[f"quarantine/{name}.parquet"] = (
            "was set aside as damaged; its rows are missing until it is repaired or removed"
        )
    damaged = tuple(name for name in faults if name.endswith(".parquet") and not name.startswith("quarantine/"))
    sentences = (*irregular(location), *files.faults, *(f"{name} {what}" for name, what in faults.items()))
    return Snapshot(parts["trials"], parts["curves"], parts["earlier"], journal, sentences, damaged)


def _expected(location: Location, files: Catalog, faults: dict[str, str], unchanged: bool) -> dict[str, list[str]]:
    """Return the parts to read by folder: those that are there, and those that were sealed and must be there."""
    counted = {*files.parts, *files.merged}

    def counts(name: str) -> tuple[str, Mapping[str, int]]:
        return name, counts_of(location, name)

    sealed = sorted(files.sealed & (counted | {*files.missing}))
    known = dict(_each(location, counts, sealed, lambda name: f"sealed/{name}.json", faults, unchanged))
    held = {folder: {name for name, rows in known.items() if folder in rows} for folder in PART_FOLDERS}
    there = {folder: {*location.names(folder, ".parquet")} for folder in ("curves", "earlier")}
    return {
        "trials": sorted({*files.parts, *set(files.merged).difference(known), *held["trials"]}),
        "curves": sorted(counted & (there["curves"] | held["curves"])),
        "earlier": sorted({*files.merged} & (there["earlier"] | held["earlier"])),
    }


def _parts(
    location: Location,
    folder: str,
    names: list[str],
    files: Catalog,
    checked: Verifier,
    faults: dict[str, str],
    unchanged: bool,
) -> tuple[StorePart, ...]:
    table_name = "curves" if folder == "curves" else "trials"

    def read(name: str) -> StorePart:
        path = f"{folder}/{name}.parquet"
        checked.verify(path)
        schema, rows, large = _footer(location, location.readable(path), table_name)
        return StorePart(path, schema, rows, name in files.merged, large)

    return tuple(_each(location, read, names, lambda name: f"{folder}/{name}.parquet", faults, unchanged))


def _footer(location: Location, path: str, table_name: str) -> Footer:
    """Return what the footer of the Parquet file at ``path``, a part of this table, tells.

    Cached for local files: a part is immutable. The key includes inode, size and time of change, so a file that was
    replaced or damaged is read again. Raise ValueError if the type of a column differs from its declaration.
    """
    if location.local:
        status = os.stat(path)
        return _local_footer(path, table_name, status.st_ino, status.st_size, status.st_ctime_ns)
    return _read_footer(path, table_name, location.filesystem)


@functools.lru_cache(maxsize=4096)
def _local_footer(path: str, table_name: str, inode: int, size: int, changed_ns: int) -> Footer:
    return _read_footer(path, table_name, None)


def _read_footer(path: str, table_name: str, filesystem: Any) -> Footer:
    footer = pq.read_metadata(path, filesystem=filesystem)
    schema = footer.schema.to_arrow_schema()
    _check_types(schema, table_name)
    return schema, footer.num_rows, _large(footer, schema, {column.name for column in DECLARED[table_name]})


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


def _journal(location: Location, names: tuple[str, ...], faults: dict[str, str], unchanged: bool) -> Decoded:
    def read(name: str) -> tuple[str, Decoded]:
        return name, decode(location.read(f"journal/{name}.jsonl"))

    found: list[Decoded] = []
    for name, rows in _each(location, read, names, lambda name: f"journal/{name}.jsonl", faults, unchanged):
        if rows.damaged:
            lines = ", ".join(map(str, rows.damaged[:5]))
            faults[f"journal/{name}.jsonl"] = f"has {len(rows.damaged)} damaged lines ({lines}); the others count"
        found.append(rows)
    trials = [row for rows in found for row in rows.trials]
    curves = [row for rows in found for row in rows.curves]
    return Decoded(trials, curves, sum(rows.torn for rows in found), ())


def _each(
    location: Location,
    read: Callable[[str], Any],
    names: Iterable[str],
    label: Callable[[str], str],
    faults: dict[str, str],
    unchanged: bool,
) -> list[Any]:
    """Call ``read`` for every name, in threads if that is faster; record damage in ``faults``."""

    def attempt(name: str) -> tuple[Any, str | None]:
        try:
            return read(name), None
        except FileNotFoundError:
            if not unchanged:
                raise
            return None, "is missing"
        except DamagedFileError as error:
            return None, error.what
        except ChecksumError as error:
            return None, f"is damaged inside: {error}"
        except (pa.ArrowException, OSError, ValueError) as error:
            return None, f"cannot be read: {reason_of(error)}"

    names = list(names)
    if location.local and len(names) < _MANY:
        results = [attempt(name) for name in names]
    else:  # requests to an object store are slow
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(attempt, names))
    faults.update({label(name): fault for name, (_, fault) in zip(names, results, strict=True) if fault is not None})
    return [result for result, fault in results if fault is None]


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
