"""The line format of journals: one line with a checksum per write of records and curve points.

A line is ``crc32 json\n``. It is the unit of durability: a torn line (the writer died during the write) fails its
checksum and none of its rows count, so a trial never appears without the curve points that were written with it. Lines
are numbered, so that one that occurs twice (a copy that was resumed, a repeated request) counts once, and one that is
gone is missed: a local journal has a count beside it, ``journal/<segment>.json``: ``{"lines": 7}``, at most the number
of lines that were acknowledged. Whoever removes it accepts the loss.
"""

from __future__ import annotations

import datetime as dt
import json
import operator
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeplaw.trials.quantities import counted
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed
from sweeplaw.trials.store_format.location import Location

Row = dict[str, Any]

ACKNOWLEDGED = "that its writer has acknowledged (removing the .json file beside it accepts the loss)"


@dataclass(frozen=True, slots=True)
class Decoded:
    """Contents of a journal file.

    ``torn`` is the number of bytes of an incomplete last line, which was not acknowledged or is still being written.
    ``damaged`` are the line numbers (from 1) of complete lines that fail their checksum or repeat an earlier line.
    ``lines`` is the number of all complete lines, ``last`` the highest number that one carries, ``missing`` the number
    of those known to be gone, and ``uncounted`` says why that is unknown.
    """

    trials: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    torn: int
    damaged: tuple[int, ...]
    lines: int = 0
    last: int = 0
    missing: int = 0
    uncounted: str | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong with the journal, as the end of a sentence; None if nothing is."""
        numbers = ", ".join(map(str, self.damaged[:5]))
        damaged = [f"has {len(self.damaged)} damaged lines ({numbers}); the others count"] if self.damaged else []
        missing = [f"lacks {counted(self.missing, 'line')} {ACKNOWLEDGED}"] if self.missing else []
        unknown = [f"may lack lines: {self.uncounted}"] if self.uncounted else []
        return "; it ".join([*damaged, *missing, *unknown]) or None


def read(location: Location, segment: str) -> Decoded:
    """Return the rows of a local journal. Raise FileNotFoundError, OSError.

    The count is read first: a journal that is being written may have more lines then, never fewer.
    """
    acknowledged, uncounted = None, None
    try:
        acknowledged = parsed(location, count_file(segment), lambda content: operator.index(content["lines"]))
    except FileNotFoundError:
        pass
    except DamagedFileError as error:
        uncounted = str(error)
    found = decode(location.read(f"journal/{segment}.jsonl"))
    if acknowledged is None:
        return replace(found, uncounted=uncounted)
    return replace(found, missing=max(0, found.last - found.lines, acknowledged - found.lines))


def count_file(segment: str) -> str:
    """Return the name of the file that counts the lines of a local journal."""
    return f"journal/{segment}.json"


def encode(trials: Sequence[Row], curves: Sequence[Row], number: int | None = None) -> bytes:
    """Return one journal line. Times are ISO 8601; NaN and infinity are written by name.

    ``number`` identifies the line in its segment.
    """
    numbered = {} if number is None else {"line": number}
    body = _ENCODER.encode({**numbered, "trials": trials, "curves": curves}).encode("utf-8", "replace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(data: bytes) -> Decoded:
    """Return the rows of all valid lines, in order."""
    trials: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    damaged: list[int] = []
    lines = data.split(b"\n")
    torn = lines.pop()  # empty if the file ends in a newline
    if _checked(torn[:-1]):  # a complete line, whose newline is another byte now
        lines.append(torn)
        torn = b""
    seen: set[str] = set()
    last = 0
    for position, line in enumerate(lines, start=1):
        content = _checked(line)
        if content is None or str(content.get("line")) in seen:
            damaged.append(position)
            continue
        if "line" in content:  # an older version wrote no numbers
            seen.add(str(content["line"]))
            last = max(last, content["line"] if type(content["line"]) is int else 0)
        trials.extend(content["trials"])
        curves.extend(content["curves"])
    return Decoded(trials, curves, len(torn), tuple(damaged), len(lines), last)


def as_read(value: Any) -> Any:
    """Return ``value`` as `decode` would return it."""
    return json.loads(encodable(_ENCODER.encode(value)))


def encodable(text: str) -> str:
    """Return ``text`` with lone surrogates, which UTF-8 cannot encode, replaced by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if hasattr(value, "item"):  # a NumPy or torch scalar
        return value.item()
    return str(value)


_TABLES = ("trials", "curves")
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_plain)


def _checked(line: bytes) -> dict[str, Any] | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        content: dict[str, Any] = json.loads(body)
        sound = all(isinstance(row["trial_id"], str) for table in _TABLES for row in content[table])
    except (ValueError, LookupError, TypeError, RecursionError):  # written by another program
        return None
    return content if sound else None
