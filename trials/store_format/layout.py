"""Layout of a store on disk or in a bucket: its folders, file names, and which of its files count.

    store.json                 format and schema version
    launches/<launch>.json     facts about each launch
    journal/<segment>.jsonl    appended lines of one writer (object store: <segment>.<number>.jsonl, one per write)
    journal/<segment>.json     how many lines it has at least (not on an object store)
    trials/<part>.parquet      a sealed segment, under the segment's name; or merged-…, written by compaction
    curves/<part>.parquet      the curve rows of the same part
    earlier/<part>.parquet     superseded attempts of the trials in a merged part
    merges/<part>.json         commits a merged part and hides the files it replaces
    merges/<part>.ids          sorted hashes of the ids in a merged part (`trials.store_format.parts.id_index`)
    sealed/<part>.json         the number of rows in each file of a part, written last: from then on none may be missing
    retries/…, claims/…        trials to run again; which launch runs which trials
    exclusions/…               trials that are no data (`trials.store_format.exclusions`)
    forecasts/….json           registered forecasts (`analysis.forecasting.registered`)
    searches/….json            where the search of a launch stands (`trials.store_format.search_state`)
    weights/<trial>.safetensors  trained weights that a sweep keeps (`trials.store_format.kept_weights`)
    corpora/<id>.safetensors   text sampled from kept models (`trials.store_format.synthetic_corpora`)
    logs/….log                 what the attempts of a pack printed (`trials.store_format.attempt_log`)
    rejected/…, quarantine/…   rows rejected by an import; damaged files

A part counts as soon as `trials/<part>.parquet` exists (a merged part: its merges/ file); from then on the files it
replaces do not. So each row is read exactly once, whatever a writer was doing when it died. The writer (orchestrator)
and the reader (analysis) share these rules and never import each other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import SCHEMA_VERSION
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed
from sweeplaw.trials.store_format.journal import ACKNOWLEDGED
from sweeplaw.trials.store_format.location import Location, split

# Made when they are first used.
LATER_FOLDERS = ("sealed", "usage", "checkpoints", "exclusions", "forecasts", "searches", "weights", "corpora", "logs")
PART_FOLDERS = ("trials", "curves", "earlier")
FOLDERS = ("launches", "journal", *PART_FOLDERS, "merges", "retries", "claims", "rejected", "quarantine")
MARKER = "store.json"
FORMAT = "sweeplaw store"
MERGED = "merged-"
# The last row of a trial by these columns counts. Attempts and ids of launches increase from launch to launch, whatever
# their clocks say: a launch that stalled until another one took over has the smaller id. Times only decide between
# imported rows, which have no launch.
RECENCY = ("attempt", "launch_id", "ended_at")

_SUFFIXES = (".json", ".jsonl", ".parquet", ".ids", ".log")  # of the files that are read
_UNCOUNTED = "the rows of trials/{}.parquet are missing"
_OBJECT_NUMBER = re.compile(r"\.\d{8}$")


def identify(location: Location) -> int:
    """Return the schema version of the store at ``location``. Raise InputError if it is not a store, or a newer one."""
    try:
        marker = location.read_json(MARKER)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{location.uri} is not a sweeplaw store (it has no {MARKER})") from None
    except DamagedFileError as error:
        raise InputError(f"{location.uri}/{error}") from None
    except OSError as error:
        raise InputError(f"{location.uri} cannot be read: {error.strerror or error}") from None
    version = marker.get("schema")
    if marker.get("format") != FORMAT:
        raise InputError(f"{location.uri} is not a sweeplaw store ({MARKER} has format {marker.get('format')!r})")
    if type(version) is not int or version < 1:
        accepted = f"a whole number, 1 to {SCHEMA_VERSION}"
        raise InputError(f"{location.uri}/{MARKER} is damaged: schema is {version!r} (accepted: {accepted})")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{location.uri} is a store of schema {version}; this sweeplaw reads up to {SCHEMA_VERSION}: update it"
        )
    return version


def is_store(source: str | Path) -> bool:
    """Return whether ``source`` denotes a store rather than a file: a URI or a folder."""
    text = str(source)
    return Path(text).is_dir() or ("://" in text and not Path(split(text).path).suffix)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The files of a store that count at one moment.

    Over all ``merged`` parts each trial occurs once; ``parts`` and ``journal`` may hold several attempts, or attempts
    newer than a merged row. ``replaced`` are names that no longer count, although their files may still exist.
    ``faults`` are sentences about merges/ files that are damaged or missing; their parts are left out. ``missing`` are
    sealed parts without a trials/ file; ``sealed`` are all parts whose rows have been counted (`counts_of`).
    ``circular`` are merged parts that replace themselves or each other: only these may hold a trial twice. ``lost``
    are journals, or objects of one, that are gone before they were sealed, with what to say of each.
    """

    parts: tuple[str, ...]
    merged: tuple[str, ...]
    journal: tuple[str, ...]
    replaced: frozenset[str]
    faults: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    sealed: frozenset[str] = frozenset()
    circular: frozenset[str] = frozenset()
    lost: Mapping[str, str] = field(default_factory=dict)


def segment_of(journal: str) -> str:
    """Return the segment of the journal file of this name (without .jsonl)."""
    return _OBJECT_NUMBER.sub("", journal)


def catalog(location: Location, without: Collection[str] = ()) -> Catalog:
    """Return the files that count now, consistent while writers and a compaction are active.

    The merged parts ``without`` are excluded, and the parts they replaced are included instead.

    The order of the listings matters. A writer creates a part before it removes the journal, and the count of the
    journal before that, so counts are listed before journals and these before the parts. A compaction creates its
    merged part before the merges/ file, so merges are listed before the parts, and again at the end: if they have
    changed, start over. The sealed/ file of a part is created last and removed first, so it is listed before the parts:
    a part that it names was there.
    """
    while True:
        merges = location.names("merges", ".json")
        counts = location.names("journal", ".json") if location.local else []
        journal = location.names("journal", ".jsonl")
        sealed = location.names("sealed", ".json")
        present = location.names("trials", ".parquet")
        try:
            replaces, faults = _replaces(location, merges)
        except FileNotFoundError:
            continue
        if location.names("merges", ".json") == merges:
            counting = {merge: names for merge, names in replaces.items() if merge not in without}
            found = _catalog(counting, journal, present)
            found = _with_losses(found, sealed, merges, faults)
            return replace(found, lost=_lost_journals(found, {*journal}, counts, {*present}))


def counts_of(location: Location, part: str) -> dict[str, int]:
    """Return the number of rows of a sealed part by folder. Raise FileNotFoundError, DamagedFileError."""
    return parsed(location, f"sealed/{part}.json", _counts)


def replaced_by(location: Location, part: str) -> frozenset[str]:
    """Return the names that this merged part replaces: parts, and journals with their suffix.

    Raise FileNotFoundError; DamagedFileError, also if one of them is not the name of a file in a folder of the store.
    """
    return parsed(location, f"merges/{part}.json", lambda content: frozenset(map(confined.bare, content["replaces"])))


def merged(part: str) -> bool:
    """Return whether a part of this name was written by a compaction."""
    return part.startswith(MERGED)


def irregular(location: Location) -> dict[str, str]:
    """Return why each name in a local store that is not read is not: it is a link or something else that is no regular
    file (or folder), or a name that no file of a store has.
    """
    folders = (*FOLDERS, *LATER_FOLDERS) if location.local else ()
    found = (confined.irregular(location.root, folder, _SUFFIXES) for folder in folders)
    return {name: what for faults in found for name, what in faults.items()}


def _counts(content: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of rows. Raise ValueError if one cannot be."""
    counts = {folder: content[folder] for folder in PART_FOLDERS if folder in content}
    if wrong := [f"{folder} = {rows!r}"[:80] for folder, rows in counts.items() if type(rows) is not int or rows < 0]:
        raise ValueError(f"no numbers of rows: {', '.join(wrong)}")
    return counts


def _replaces(location: Location, merges: Iterable[str]) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return what each merged part replaces, and a sentence for each damaged merges/ file. Raise FileNotFoundError."""
    found: dict[str, frozenset[str]] = {}
    faults = []
    for name in merges:
        if not merged(name):
            faults.append(f"merges/{name}.json is ignored: the name of a merged part begins with {MERGED}")
            continue
        try:
            found[name] = replaced_by(location, name)
        except DamagedFileError as error:
            faults.append(f"{error}; {_UNCOUNTED.format(name)}")
    return found, faults


def _circular(replaces: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the merged parts that replace themselves or each other, which no compaction does."""
    left = {merge: set(names) & replaces.keys() for merge, names in replaces.items()}
    while left:
        named = set(chain(*left.values()))
        ends = {merge for merge, names in left.items() if not names or merge not in named}
        if not ends:
            break
        left = {merge: names - ends for merge, names in left.items() if merge not in ends}
    return frozenset(left)


def _with_losses(found: Catalog, sealed: list[str], merges: list[str], faults: list[str]) -> Catalog:
    """Return ``found`` with its faults, and with the sealed parts that have no trials/ file; a merged part, no merges/
    file, without which it does not count.
    """
    known = {*found.replaced, *merges, *found.parts, *map(segment_of, found.journal)}
    lost = [name for name in sealed if name not in known]
    faults = [
        *faults,
        *(f"merges/{name}.json is missing; {_UNCOUNTED.format(name)}" for name in lost if merged(name)),
        *(
            f"merges/{name}.json is damaged: its part would replace itself; it counts"
            for name in sorted(found.circular)
        ),
    ]
    missing = tuple(name for name in lost if not merged(name))
    return replace(found, faults=tuple(faults), missing=missing, sealed=frozenset(sealed))


def _lost_journals(
    found: Catalog, journal: Collection[str], counts: list[str], present: Collection[str]
) -> dict[str, str]:
    """Return what is gone of journals that are not sealed: local ones by their counts, objects by their numbers."""
    gone = [name for name in counts if not {name, f"{name}.jsonl"} & {*journal, *present, *found.replaced}]
    lost = {f"journal/{name}.jsonl": f"is missing, with the rows {ACKNOWLEDGED}" for name in gone}
    numbers: dict[str, set[int]] = {}
    for name in (*found.journal, *(name.removesuffix(".jsonl") for name in found.replaced)):
        if _OBJECT_NUMBER.search(name):
            numbers.setdefault(segment_of(name), set()).add(int(name.rpartition(".")[2]))
    for segment in {*map(segment_of, found.journal)} & numbers.keys():
        there = numbers[segment]
        if missing := max(there) - len(there):
            first = next(number for number in range(1, len(there) + 2) if number not in there)
            more = f", and {missing - 1} after it" if missing > 1 else ""
            lost[f"journal/{segment}.{first:08d}.jsonl"] = f"is missing{more}"
    return lost


def _catalog(replaces: Mapping[str, frozenset[str]], journal: list[str], present: list[str]) -> Catalog:
    circular = _circular(replaces)
    replaced = {*chain(*(names - circular if merge in circular else names for merge, names in replaces.items()))}
    sealed = set(present) | replaced
    return Catalog(
        parts=tuple(name for name in present if not merged(name) and name not in replaced),
        merged=tuple(name for name in replaces if name not in replaced),
        journal=tuple(name for name in journal if segment_of(name) not in sealed and f"{name}.jsonl" not in replaced),
        replaced=frozenset(replaced),
        circular=circular,
    )
