"""Checksums that files of a store carry inside: the CRC-32 of the file, as eight hex digits after a tag; and names.

The checksum is computed with zeros in place of the digits, so one pass over the bytes verifies a file, wherever it was
copied to. A file of an older version has no tag, and nothing is verified. The name inside a file
shows whether it is in the place of another one.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

KEY = "sweeplaw.file_crc32"
NAME_KEY = "sweeplaw.name"  # the name of the file in its store
ZEROS = "00000000"

# Each tag in two halves, of which damage to one byte leaves one: as `json.dumps` writes a key and the start of its
# text, and in Thrift's compact protocol, where the next field holds a text of eight bytes.
_JSON = b'"sweeplaw.file', b'_crc32": "'
_PARQUET = b"sweeplaw.file", b"_crc32\x18\x08"
_END = struct.Struct("<I4s")  # of a Parquet file: the length of its footer, and the magic bytes
_PIECE = 1 << 20


class ChecksumError(ValueError):
    """The bytes of a file are not the ones that were written."""

    def __init__(self) -> None:
        super().__init__("its content differs from its checksum")


def stamp_parquet(file: BinaryIO) -> None:
    """Write the checksum into a Parquet file whose metadata has `KEY` with `ZEROS`."""
    digits = _parquet_digits(file)
    assert digits is not None
    stamp = _checksum(file, digits)
    file.seek(digits)
    file.write(stamp)


def check_parquet(file: BinaryIO) -> bool:
    """Return whether the Parquet file carries a checksum. Raise ChecksumError if its bytes have another."""
    digits = _parquet_digits(file)
    if digits is not None:
        _check(file, digits)
    return digits is not None


def stamped_json(data: bytes) -> bytes:
    """Return the JSON object ``data``, whose last key is `KEY` with `ZEROS`, with its checksum in their place."""
    digits = _after(_JSON, data, 0)
    assert digits is not None
    return data[:digits] + _checksum(io.BytesIO(data), digits) + data[digits + len(ZEROS) :]


def check_json(data: bytes) -> None:
    """Raise ChecksumError if the JSON object ``data`` has another checksum than it carries."""
    digits = _after(_JSON, data, 0)
    if digits is not None:
        _check(io.BytesIO(data), digits)


def _parquet_digits(file: BinaryIO) -> int | None:
    """Return the position of the digits, in the footer at the end of the file; None if there are none.

    Raise ChecksumError if their tag is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END.size))
    length, _ = _END.unpack(file.read(_END.size).rjust(_END.size, b"\0"))
    start = max(0, size - _END.size - length)
    file.seek(start)
    return _after(_PARQUET, file.read(), start)


def _after(tag: tuple[bytes, bytes], data: bytes, start: int) -> int | None:
    """Return the position after the last ``tag`` of ``data``, which begins at ``start``; None if there is none.

    Raise ChecksumError if there is half of a tag.
    """
    whole = b"".join(tag)
    found = data.rfind(whole)
    if found < 0 and any(half in data for half in tag):
        raise ChecksumError
    return None if found < 0 else start + found + len(whole)


def _check(file: BinaryIO, digits: int) -> None:
    file.seek(digits)
    if file.read(len(ZEROS)) != _checksum(file, digits):
        raise ChecksumError


def _checksum(file: BinaryIO, digits: int) -> bytes:
    file.seek(0)
    before = zlib.crc32(ZEROS.encode(), _crc(file, 0, digits))
    file.seek(digits + len(ZEROS))
    return b"%08x" % _crc(file, before, None)


def _crc(file: BinaryIO, start: int, length: int | None) -> int:
    """Continue the CRC-32 ``start`` with the next ``length`` bytes of ``file``, or with all of the rest."""
    while piece := file.read(_PIECE if length is None else min(_PIECE, length)):
        start = zlib.crc32(piece, start)
        length = None if length is None else length - len(piece)
    return start
