"""The logs of a store: what the attempts of one pack printed, in `logs/<launch>-<pack>-<attempt>.log`.

The file holds a section for each trial that ran alone, or for all trials of a stack: a header of one line, ``\\x1e``
and a JSON object with ``attempts`` (trial id -> attempt), then the bytes as they were printed. Of a long section the
first HEAD_BYTES and the last TAIL_BYTES are kept, with the number of bytes left out between them. A pack whose trials
print nothing has no log. When the pack ends, a last line has the CRC-32 of all bytes before it; the log of a pack that
runs, or whose worker died, has none, and is not verified.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HEAD_BYTES = 1 << 16
TAIL_BYTES = 1 << 16
FOLDER = "logs"
SUFFIX = ".log"

_MARK = b"\x1e"
_TRAILER = b'\x1e{"sweeplaw.log_crc32":"%08x"}\n'
_TRAILERS = re.compile(rb'\x1e\{"sweeplaw\.log_crc32":"([0-9a-f]{8})"\}\n')
_DIGITS = slice(_TRAILER.index(b"%"), -3)  # of a trailer


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


def trailer(checksum: int) -> bytes:
    """Return the last line of a log whose other bytes have this CRC-32."""
    return _TRAILER % checksum


def is_damaged(content: bytes) -> bool:
    """Return whether a log ends with the checksum of other bytes, or with such a line of which a byte is another."""
    usual = bytearray(trailer(0))
    line = content[-len(usual) :]
    if found := _TRAILERS.fullmatch(line):
        return int(found[1], 16) != zlib.crc32(memoryview(content)[: -len(line)])
    if len(line) < len(usual):
        return False
    usual[_DIGITS] = line[_DIGITS]
    return sum(one != other for one, other in zip(line, usual, strict=True)) <= 1


def sections(content: bytes) -> Iterator[LogSection]:
    """Yield the sections of a log that have any output; bytes that are no section are skipped."""
    for part in _TRAILERS.sub(b"", content).split(_MARK + b'{"attempts":')[1:]:
        line, _, output = part.partition(b"\n")
        try:
            attempts = json.loads(line[:-1])
        except (ValueError, RecursionError):
            continue
        if output and isinstance(attempts, dict) and all(type(attempt) is int for attempt in attempts.values()):
            yield LogSection(attempts, output)
