"""A local file that is whole or absent, and stays: written beside its name, then renamed.

Write a hidden temporary file, fsync it, rename it, fsync the folder. The order is what makes it hold through a power
cut: a name never points at bytes that are not on the disk yet.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable


def write_whole(target: str, write: Callable[[str], None]) -> None:
    """``target`` is what ``write`` makes of the path it is given; its folder is made where there is none.

    Raises OSError and what ``write`` raises, and then it is as it was before.
    """
    folder, name = os.path.split(target)
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}"
    os.makedirs(folder, exist_ok=True)
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    sync(folder)


def sync(path: str) -> None:
    """The file is on the disk; of a folder, what was created, renamed or removed in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
