"""The documents of text corpora, as UTF-8 bytes, in a fixed order."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Folders that distributions of Python leave out or add to, so that the same version means the same text.
NOT_STDLIB = frozenset(
    [
        *("__pycache__", "distutils", "ensurepip", "idlelib", "lib2to3", "lib-dynload", "pydoc_data", "site-packages"),
        *("dist-packages", "test", "tests", "tkinter", "turtledemo", "venv"),
    ]
)


def stdlib() -> Iterator[bytes]:
    """Source files of the running Python's standard library, without tests and what distributions split off."""
    root = sysconfig.get_paths()["stdlib"]
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in NOT_STDLIB and not name.startswith("config-"))
        for file in sorted(files):
            if file.endswith(".py") and not file.startswith("_sysconfigdata"):
                yield Path(folder, file).read_bytes()
