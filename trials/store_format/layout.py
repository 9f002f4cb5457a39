"""Layout of a store on disk or in a bucket: its folders, file names, and which of its files count.

    store.json                 format and schema version
    launches/<launch>.json     facts about each launch
    journal/<segment>.jsonl    appended lines of one writer (object store: <segment>.<number>.jsonl, one per write)
    trials/<part>.parquet      a sealed segment, under the segment's name; or merged-…, written by compaction
    curves/<part>.parquet      the curve rows of the same part
    earlier/<part>.parquet     superseded attempts of the trials in a merged part
    merges/<part>.json         commits a merged part and hides the files it replaces
    merges/<part>.ids          sorted hashes of the ids in a merged part (`trials.store_format.id_index`)
    retries/…, claims/…        trials to run again; which launch runs which trials
    rejected/…, quarantine/…   rows rejected by an import; damaged files

A part counts as soon as `trials/<part>.parquet` exists (a merged part: its merges/ file); from then on the files it
replaces do not. So each row is read exactly once, whatever a writer was doing when it died. The writer (orchestrator)
and the reader (analysis) share these rules and never import each other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from pyarrow import fs as pafs

MARKER = "store.json"
FORMAT = "sweeplaw store"
MERGED = "merged-"
# The last row of a trial by these columns counts. Attempts and ids of launches increase from launch to launch, whatever
# their clocks say: a launch that stalled until another one took over has the smaller id. Times only decide between
# imported rows, which have no launch.
RECENCY = ("attempt", "launch_id", "ended_at")

_OBJECT_NUMBER = re.compile(r"\.\d{8}$")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on any file system that pyarrow supports. ``root`` is its path there, without scheme."""

    uri: str
    filesystem: pafs.FileSystem
    root: str
    local: bool

    def path(self, name: str) -> str:
        """Return the path of ``name`` on ``filesystem``."""
        return f"{self.root}/{name}"

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names, less ``suffix``, of files in ``folder`` with it; none if the folder is missing."""
        if self.local:
            try:
                found: Iterable[str] = os.listdir(self.path(folder))
            except FileNotFoundError:
                return []
        else:
            from pyarrow import fs as pafs

            selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
            found = [info.base_name for info in self.filesystem.get_file_info(selector)]
        return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix) and name[0] != ".")

    def exists(self, name: str) -> bool:
        """Return whether the file ``name`` exists."""
        from pyarrow import fs as pafs

        return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def is_vacant(self) -> bool:
        """Return whether there is neither a folder nor a file at ``root``; False if it cannot be reached."""
        from pyarrow import fs as pafs

        try:
            return bool(self.filesystem.get_file_info(self.root).type == pafs.FileType.NotFound)
        except OSError:
            return False

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``name``. Raise FileNotFoundError."""
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            if not self.local and not self.exists(name):  # an object may be deleted between opening and reading
                raise FileNotFoundError(name) from error
            raise

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file ``name``. Raise FileNotFoundError, ValueError."""
        content = json.loads(self.read(name))
        if not isinstance(content, dict):
            raise ValueError(f"{name} does not hold a JSON object")
        return content


def locate(source: str | Path) -> Location:
    """Return the location of a path or URI (``s3://``, ``gs://`` or another scheme of pyarrow) without accessing it.

    Endpoint and credentials come from the standard environment variables and are never shown. Raise InputError.
    """
    from pyarrow import ArrowInvalid, ArrowNotImplementedError
    from pyarrow import fs as pafs

    text = str(source)
    if "://" not in text or text.startswith("file://"):
        root = os.path.abspath(os.path.expanduser(urlsplit(text).path if "://" in text else text))
        return Location(root, pafs.LocalFileSystem(), root, local=True)
    parts = urlsplit(text)
    if "@" in parts.netloc or parts.query:
        raise InputError("a store URI carries no credentials or options: give them by environment variables")
    try:
        if parts.scheme == "s3":
            return Location(text.rstrip("/"), _s3(), f"{parts.netloc}{parts.path}".rstrip("/"), local=False)
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (ArrowInvalid, ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{text!r} is not reachable: {error}") from None
    return Location(text.rstrip("/"), filesystem, root.rstrip("/"), local=False)


def _s3() -> pafs.FileSystem:
    """Return S3 configured by the standard AWS environment variables, with pyarrow's defaults for the rest."""
    from pyarrow import fs as pafs

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {"region": region} if region else {}
    if endpoint:
        address = urlsplit(endpoint)
        options.update(endpoint_override=address.netloc, scheme=address.scheme)
        options.setdefault("region", "us-east-1")
    return pafs.S3FileSystem(**options)


def identify(location: Location) -> int:
    """Return the schema version of the store at ``location``. Raise InputError if it is not a store, or a newer one."""
    try:
        marker = location.read_json(MARKER)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{location.uri} is not a sweeplaw store (it has no {MARKER})") from None
    except PermissionError as error:
        raise InputError(f"{location.uri} cannot be read: {error.strerror}") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{location.uri}/{MARKER} cannot be read: {error}") from None
    version = marker.get("schema")
    if marker.get("format") != FORMAT or not isinstance(version, int):
        raise InputError(f"{location.uri} is not a sweeplaw store ({MARKER} has format {marker.get('format')!r})")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{location.uri} is a store of schema {version}; this sweeplaw reads up to {SCHEMA_VERSION}: update it"
        )
    return version


def is_store(source: str | Path) -> bool:
    """Return whether ``source`` denotes a store rather than a file: a URI or a folder."""
    text = str(source)
    return Path(text).is_dir() or ("://" in text and not Path(urlsplit(text).path).suffix)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The files of a store that count at one moment.

    Over all ``merged`` parts each trial occurs once; ``parts`` and ``journal`` may hold several attempts, or attempts
    newer than a merged row. ``replaced`` are names that no longer count, although their files may still exist.
    """

    parts: tuple[str, ...]
    merged: tuple[str, ...]
    journal: tuple[str, ...]
    replaced: frozenset[str]


def segment_of(journal: str) -> str:
    """Return the segment of the journal file of this name (without .jsonl)."""
    return _OBJECT_NUMBER.sub("", journal)


def catalog(location: Location) -> Catalog:
    """Return the files that count now, consistent while writers and a compaction are active.

    The order of the listings matters. A writer creates a part before it removes the journal, so the journal is listed
    before the parts. A compaction creates its merged part before the merges/ file, so merges are listed before the
    parts, and again at the end: if they have changed, start over.
    """
    while True:
        merges = location.names("merges", ".json")
        journal = location.names("journal", ".jsonl")
        present = location.names("trials", ".parquet")
        try:
            replaced = {name for merge in merges for name in location.read_json(f"merges/{merge}.json")["replaces"]}
        except FileNotFoundError:
            continue
        if location.names("merges", ".json") == merges:
            return _catalog(merges, journal, present, replaced)


def _catalog(merges: list[str], journal: list[str], present: list[str], replaced: set[str]) -> Catalog:
    sealed = set(present) | replaced
    return Catalog(
        parts=tuple(name for name in present if not name.startswith(MERGED) and name not in replaced),
        merged=tuple(name for name in merges if name not in replaced),
        journal=tuple(name for name in journal if segment_of(name) not in sealed and f"{name}.jsonl" not in replaced),
        replaced=frozenset(replaced),
    )
