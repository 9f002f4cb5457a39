"""The logs of a store: what the attempts of one pack printed, in `logs/<launch>-<pack>-<attempt>.log`.

The file holds a section for each trial that ran alone, or for all trials of a stack: a header of one line, ``\\x1e``
and a JSON object with ``attempts`` (trial id -> attempt), then the bytes as they were printed. Of a long section the
first HEAD_BYTES and the last TAIL_BYTES are kept, with the number of bytes left out between them. A pack whose trials
print nothing has no log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HEAD_BYTES = 1 << 16
TAIL_BYTES = 1 << 16
FOLDER = "logs"
SUFFIX = ".log"

_MARK = b"\x1e"


@dataclass(frozen=True, slots=True)
class LogSection:
    """What these attempts (trial id -> attempt) printed: of one trial, or of trials that trained together."""

    attempts: Mapping[str, int]
    output: bytes


def name(launch_id: str, pack_id: str, attempt: int) -> str:
    """Return the name of the log, in its folder, of a pack whose first trial has this attempt."""
    return f"{launch_id}-{pack_id}-{attempt}{SUFFIX}"


def header(attempts: Mapping[str, int]) -> bytes:
    """Return the first line of a section."""
    return _MARK + json.dumps({"attempts": dict(attempts)}, separators=(",", ":")).encode() + b"\n"


def left_out(count: int) -> bytes:
    """Return the line between the head and the tail of a section."""
    return b"\n[... %d bytes left out ...]\n" % count


def sections(content: bytes) -> Iterator[LogSection]:
    """Yield the sections of a log that have any output; bytes that are no section are skipped."""
    for part in content.split(_MARK + b'{"attempts":')[1:]:
        line, _, output = part.partition(b"\n")
        try:
            attempts = json.loads(line[:-1])
        except (ValueError, RecursionError):
            continue
        if output and isinstance(attempts, dict) and all(type(attempt) is int for attempt in attempts.values()):
            yield LogSection(attempts, output)
