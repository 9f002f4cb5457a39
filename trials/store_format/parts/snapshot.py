"""Snapshot of a store: its readable parts with their schemas, the rows still in journals, and the damage.

Used by the launcher to find finished trials and by the analysis to build tables. Damage is data: a part that cannot be
read is reported, and everything else remains usable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.store_format.checksum import ChecksumError
from sweeplaw.trials.store_format.columns import table
from sweeplaw.trials.store_format.damage import DamagedFileError, reason_of
from sweeplaw.trials.store_format.journal import Decoded, decode
from sweeplaw.trials.store_format.journal import read as read_journal
from sweeplaw.trials.store_format.layout import PART_FOLDERS, Catalog, catalog, counts_of, irregular
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.id_index import hashes, may_hold
from sweeplaw.trials.store_format.parts.merged_parts import stands_in
from sweeplaw.trials.store_format.parts.part_files import DECLARED, MisplacedFileError, opened
from sweeplaw.trials.store_format.parts.verification import Verifier, verifier

_Rows = Mapping[str, int | None]  # the number of rows of parts, by name
_MANY = 32  # below this many local files, reading footers one by one is faster than starting threads (milliseconds)


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

    ``faults`` are sentences; ``damaged`` are the Parquet files that cannot be read. ``unmerged`` are the merged parts
    with such files for which those count that they were merged from.
    """

    trials: tuple[StorePart, ...]
    curves: tuple[StorePart, ...]
    superseded: tuple[StorePart, ...]
    journal: Decoded
    faults: tuple[str, ...]
    damaged: tuple[str, ...]
    unmerged: tuple[str, ...] = ()

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
    """Return the store as it is now. A file missing since the listing was sealed or merged: listed again.

    A damaged merged part is replaced by its sources, as long as they are there.
    """
    before: Catalog | None = None
    unmerged: dict[str, dict[str, str]] = {}  # the faults of each merged part that does not count
    while True:
        files = catalog(location, unmerged)
        faults = {name: what for found in unmerged.values() for name, what in found.items()}
        try:
            now = _read(location, files, faults, unchanged=files == before)
        except FileNotFoundError:
            before = files
            continue
        broken = _replaceable(location, files, faults)
        if not broken:
            return replace(now, unmerged=tuple(unmerged))
        unmerged |= broken


def _replaceable(location: Location, files: Catalog, faults: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the faults of each damaged merged part for which the files count that it replaced."""
    found = {}
    for merge in files.merged:
        named = {name: faults[name] for folder in PART_FOLDERS if (name := f"{folder}/{merge}.parquet") in faults}
        if named and stands_in(location, merge, named):
            instead = "what it was merged from counts instead, as far as it is there"
            found[merge] = {name: f"{what}; {instead}" for name, what in named.items()}
    return found


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
    sentences = (*now.faults, *_sentences(faults))
    return replace(now, trials=trials, curves=curves, faults=sentences, damaged=(*now.damaged, *faults))


def _read(location: Location, files: Catalog, faults: dict[str, str], *, unchanged: bool) -> Snapshot:
    """Read ``files``, and add what is damaged to ``faults``.

    If the listing is ``unchanged``, a missing file is damage; otherwise raise FileNotFoundError.
    """
    expected = _expected(location, files, faults, unchanged)
    with verifier(location) as checked:
        parts = {
            folder: _parts(location, folder, rows, files, checked, faults, unchanged)
            for folder, rows in expected.items()
        }
    journal = _journal(location, files, faults, unchanged)
    for name in location.names("quarantine", ".parquet"):
        faults[f"quarantine/{name}.parquet"] = (
            "was set aside as damaged; its rows are missing until it is repaired or removed"
        )
    damaged = tuple(name for name in faults if name.endswith(".parquet") and not name.startswith("quarantine/"))
    odd = irregular(location)
    others = {name: what for name, what in faults.items() if name not in odd and name.partition("/")[0] not in odd}
    sentences = (*_sentences(odd), *files.faults, *_sentences(others))
    return Snapshot(parts["trials"], parts["curves"], parts["earlier"], journal, sentences, damaged)


def _sentences(faults: Mapping[str, str]) -> Iterator[str]:
    return (f"{name} {what}" for name, what in faults.items())


def _expected(location: Location, files: Catalog, faults: dict[str, str], unchanged: bool) -> dict[str, _Rows]:
    """Return the parts to read by folder, those that are there and those that were sealed and must be there, and the
    number of rows of each; None if they were not counted.
    """
    counted = {*files.parts, *files.merged}

    def counts(name: str) -> tuple[str, Mapping[str, int]]:
        return name, counts_of(location, name)

    sealed = sorted(files.sealed & (counted | {*files.missing}))
    known = dict(_each(location, counts, sealed, lambda name: f"sealed/{name}.json", faults, unchanged))
    held = {folder: {name for name, rows in known.items() if folder in rows} for folder in PART_FOLDERS}
    there = {folder: {*location.names(folder, ".parquet")} for folder in ("curves", "earlier")}
    names = {
        "trials": {*files.parts, *set(files.merged).difference(known), *held["trials"]},
        "curves": counted & (there["curves"] | held["curves"]),
        "earlier": {*files.merged} & (there["earlier"] | held["earlier"]),
    }
    return {folder: {name: known.get(name, {}).get(folder) for name in sorted(names[folder])} for folder in names}


def _parts(
    location: Location,
    folder: str,
    expected: _Rows,
    files: Catalog,
    checked: Verifier,
    faults: dict[str, str],
    unchanged: bool,
) -> tuple[StorePart, ...]:
    disjoint = {*files.merged} - files.circular

    def read(name: str) -> StorePart:
        schema, rows, large = opened(location, checked, folder, name, expected[name])
        return StorePart(f"{folder}/{name}.parquet", schema, rows, name in disjoint, large)

    return tuple(_each(location, read, expected, lambda name: f"{folder}/{name}.parquet", faults, unchanged))


def _journal(location: Location, files: Catalog, faults: dict[str, str], unchanged: bool) -> Decoded:
    def read(name: str) -> tuple[str, Decoded]:
        return name, read_journal(location, name) if location.local else decode(location.read(f"journal/{name}.jsonl"))

    found: list[Decoded] = []
    for name, rows in _each(location, read, files.journal, lambda name: f"journal/{name}.jsonl", faults, unchanged):
        if rows.fault:
            faults[f"journal/{name}.jsonl"] = rows.fault
        found.append(rows)
    faults.update(files.lost)
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
        except MisplacedFileError as error:
            return None, f"does not count: {error}"
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
