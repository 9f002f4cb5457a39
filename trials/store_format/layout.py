"""How a store lies on disk or in a bucket: its folders, its names, and which of its files count at this moment.

    store.json                 format and schema version
    launches/<launch>.json     what each launch was
    journal/<segment>.jsonl    appended lines of one writer (on an object store: <segment>.<number>.jsonl, one a write)
    trials/<part>.parquet      a sealed segment, under the segment's name; or merged-…, made by compaction
    curves/<part>.parquet      the curve rows of the same part
    earlier/<part>.parquet     attempts that a merged part left behind
    merges/<part>.json         makes a merged part count, and the files it replaces not count
    merges/<part>.ids          hashes of the ids in a merged part, sorted (`trials.store_format.id_index`)
    retries/…, claims/…        trials to run again; who runs what
    rejected/…, quarantine/…   rows an import refused; damaged files that were set aside

A part counts from the moment `trials/<part>.parquet` has its name (a merged part: its merges/ file), and from then on
the files it replaces do not. So each row is seen exactly once, whatever a writer was doing when it died. The writer
(orchestrator) and the reader (analysis) share these rules and never import each other.
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
# The row that counts among several of one trial is the last by these columns. Attempts rise from launch to launch, and
# ids of launches too, whatever their clocks say: a launch that stalled until another took over has the smaller id.
# Times decide between imported rows alone, which have no launch.
RECENCY = ("attempt", "launch_id", "ended_at")

_OBJECT_NUMBER = re.compile(r"\.\d{8}$")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on any file system pyarrow reaches. ``root`` is its path there, without scheme."""

    uri: str
    filesystem: pafs.FileSystem
    root: str
    local: bool

    def path(self, name: str) -> str:
        """The path of ``name`` on ``filesystem``."""
        return f"{self.root}/{name}"

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names of the files in ``folder`` that end in ``suffix``, without it, sorted. Empty without the folder."""
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
        """Whether the file ``name`` is there."""
        from pyarrow import fs as pafs

        return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def read(self, name: str) -> bytes:
        """The bytes of the file ``name``. Raises FileNotFoundError."""
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            if not self.local and not self.exists(name):  # an object may go between opening and reading
                raise FileNotFoundError(name) from error
            raise

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name``. Raises FileNotFoundError, ValueError."""
        content = json.loads(self.read(name))
        if not isinstance(content, dict):
            raise ValueError(f"{name} holds no JSON object")
        return content


def locate(source: str | Path) -> Location:
    """Where a path or a URI (``s3://``, ``gs://``, whatever pyarrow knows) points. Nothing is touched. Raises
    InputError.

    Endpoint and credentials come from the environment's standard variables and are never shown.
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
    """S3 by the variables every AWS client reads; pyarrow's own defaults for what they leave open."""
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
    """The schema version of the store at ``location``. Raises InputError when it is no store or a newer one."""
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
        raise InputError(f"{location.uri} is not a sweeplaw store ({MARKER} says {marker.get('format')!r})")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{location.uri} is a store of schema {version}; this sweeplaw reads up to {SCHEMA_VERSION}: update it"
        )
    return version


def is_store(source: str | Path) -> bool:
    """Whether ``source`` is meant as a store rather than a file: a URI or a folder."""
    text = str(source)
    return Path(text).is_dir() or ("://" in text and not Path(urlsplit(text).path).suffix)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The files of a store that count at one moment.

    ``merged`` parts hold every trial once over all of them; ``parts`` and ``journal`` may hold several attempts, or
    attempts newer than a merged row. ``replaced`` are names that no longer count (their files may linger).
    """

    parts: tuple[str, ...]
    merged: tuple[str, ...]
    journal: tuple[str, ...]
    replaced: frozenset[str]


def segment_of(journal: str) -> str:
    """The segment that the journal file of this name (without .jsonl) belongs to."""
    return _OBJECT_NUMBER.sub("", journal)


def catalog(location: Location) -> Catalog:
    """What counts in the store now, consistent while writers and a compaction work.

    The order of the listings is the point. A writer makes a part before it removes the journal, so the journal is
    listed before the parts; a compaction makes its merged part before the merges/ file, so merges are listed before the
    parts, and listed again at the end: when they changed, start over.
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
            return _counting(merges, journal, present, replaced)


def _counting(merges: list[str], journal: list[str], present: list[str], replaced: set[str]) -> Catalog:
    sealed = set(present) | replaced
    return Catalog(
        parts=tuple(name for name in present if not name.startswith(MERGED) and name not in replaced),
        merged=tuple(name for name in merges if name not in replaced),
        journal=tuple(name for name in journal if segment_of(name) not in sealed and f"{name}.jsonl" not in replaced),
        replaced=frozenset(replaced),
    )
