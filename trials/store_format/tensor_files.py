"""Files of named tensors in safetensors' format, which holds numbers and text and nothing executable.

On a file system a file is written under a temporary name and renamed, on an object store it is one upload, so a reader
sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.store_format.atomic_file import write_atomically
from sweeplaw.trials.store_format.location import Location, locate

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
PIECE_BYTES = 1 << 24  # read or written at a time


def place(folder: str, name: str) -> tuple[Location, str]:
    """Return the location that ``folder`` lies in, and ``name`` as seen from there: then ``folder`` must be no link."""
    location = locate(folder)
    uri, _, _ = location.uri.rpartition("/")
    root, _, base = location.root.rpartition("/")
    return replace(location, uri=uri, root=root), f"{base}/{name}"


def write(location: Location, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace the file ``name`` by these tensors, no two of which share memory. Raise OSError; it is then unchanged."""
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    if location.local:
        write_atomically(location.writable(name), lambda path: save(contiguous, path, metadata))
        return
    with tempfile.TemporaryDirectory(prefix="sweeplaw-tensors-") as scratch:
        path = f"{scratch}/tensors{SUFFIX}"
        save(contiguous, path, metadata)
        _upload(path, location, name)


def write_rows(
    location: Location, name: str, key: str, rows: npt.NDArray[np.integer], dtype: str, metadata: Mapping[str, str]
) -> None:
    """As `write`, of one tensor of two dimensions, which may be a memory map: little of it is in memory at a time.

    ``dtype`` is the name of its type in the file.
    """
    tensor = {"dtype": dtype, "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}
    header = json.dumps({"__metadata__": dict(metadata), key: tensor}).encode()
    header += b" " * (-len(header) % 8)
    step = max(1, PIECE_BYTES // max(1, rows[:1].nbytes))

    def pieces() -> Iterator[bytes]:
        yield len(header).to_bytes(8, "little") + header
        for begin in range(0, len(rows), step):
            yield rows[begin : begin + step].tobytes()

    def save_pieces(path: str) -> None:
        with open(path, "xb") as file:
            file.writelines(pieces())

    if location.local:
        write_atomically(location.writable(name), save_pieces)
        return
    stream = location.filesystem.open_output_stream(location.path(name))
    for piece in pieces():
        stream.write(piece)
    stream.close()


@contextlib.contextmanager
def scratch_rows(
    location: Location, shape: tuple[int, int], dtype: type[np.integer]
) -> Iterator[npt.NDArray[np.integer]]:
    """Yield rows of zeros in a file without a name, on the disk of the store or else of this machine, which is gone
    afterwards, also if this process is killed. Raise OSError.
    """
    folder = None
    if location.local:
        folder = os.path.dirname(location.writable("scratch"))
        os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        yield np.memmap(file, dtype, "w+", shape=shape)


def free_bytes(location: Location) -> int:
    """Return the free space of the disk that `scratch_rows` writes to."""
    return shutil.disk_usage(location.root if location.local else tempfile.gettempdir()).free


@contextlib.contextmanager
def at_path(location: Location, name: str) -> Iterator[str]:
    """Yield a local path of the file ``name``: that of a copy if it is on an object store.

    Raise FileNotFoundError; OSError if it is a link or no regular file.
    """
    if location.local:
        yield location.readable(name)
        return
    with tempfile.TemporaryDirectory(prefix="sweeplaw-tensors-") as scratch:
        path = f"{scratch}/tensors{SUFFIX}"
        with location.filesystem.open_input_stream(location.path(name)) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, PIECE_BYTES)
        yield path


@contextlib.contextmanager
def opened(location: Location, name: str) -> Iterator[BinaryIO]:
    """Yield the file ``name``, open for reading: a copy if it is on an object store.

    Raise FileNotFoundError; OSError if it is a link or no regular file, also if it became one just now.
    """
    if location.local:
        with location.open(name) as file:
            yield file
        return
    with at_path(location, name) as path, open(path, "rb") as file:
        yield file


def is_version_of(form: str, seen: object) -> bool:
    """Return whether ``seen`` names a version of the format ``form``, such as ``sweeplaw weights 1``."""
    return isinstance(seen, str) and bool(re.fullmatch(rf"{re.escape(form.rpartition(' ')[0])} [1-9][0-9]*", seen))


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of the values of a tensor on the CPU."""
    return zlib.crc32(tensor.contiguous().numpy().data)


def save(tensors: Mapping[str, Tensor], path: str, metadata: Mapping[str, str]) -> None:
    """Write a new local file of these tensors, no two of which share memory. Others may read it as the umask allows.

    Raise OSError, whatever the reason the file cannot be written; there may be half of it then.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    mode = os.fstat(created).st_mode
    os.close(created)
    try:
        save_file(dict(tensors), path, dict(metadata))  # replaces the file by one that nobody else may read
    except SafetensorError as error:  # raised for a full disk, too
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            code = int(number[1])
            raise OSError(code, os.strerror(code), path) from error
        raise OSError(f"{path} cannot be written: {error}") from error
    os.chmod(path, stat.S_IMODE(mode))


def _upload(path: str, location: Location, name: str) -> None:
    """Upload in pieces; the object appears only when the stream is closed without an error."""
    with open(path, "rb") as source:
        stream = location.filesystem.open_output_stream(location.path(name))
        shutil.copyfileobj(source, stream, PIECE_BYTES)
        stream.close()
