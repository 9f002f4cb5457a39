"""Atomic and durable writes of local files.

Write a hidden temporary file, fsync it, rename it, fsync the folder. In this order a name never points at bytes that
are not on the disk yet, so the guarantee survives a power failure. A link at the target is replaced, never followed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable


def write_atomically(target: str, write: Callable[[str], object], *, durable: bool = True) -> None:
    """Replace ``target`` by the file that ``write`` creates at the path it receives; create the folder if necessary.

    Unless ``durable``, a power failure may lose the file or its content. Raise OSError or the exception of ``write``;
    ``target`` is then unchanged.
    """
    folder, name = os.path.split(os.path.abspath(target))
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}"
    os.makedirs(folder, exist_ok=True)
    try:
        write(temporary)
        if durable:
            sync(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and error.filename in (None, temporary):
            error.filename = target  # the name that the caller knows
            del error.filename2  # None would be shown
        raise
    if durable:
        sync(folder)


def sync(path: str) -> None:
    """Fsync a file, or a folder: the creations, renames and removals in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
