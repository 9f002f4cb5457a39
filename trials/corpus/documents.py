"""Readers of text corpora: documents as UTF-8 bytes, in a fixed order."""

from __future__ import annotations

import glob
import os
import platform
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sweeplaw.trials.corpus.names import Name
from sweeplaw.trials.errors import InputError, nearest

# Folders that distributions of Python omit or extend; without them the same version is the same text.
NOT_STDLIB = frozenset(
    [
        *("__pycache__", "distutils", "ensurepip", "idlelib", "lib2to3", "lib-dynload", "pydoc_data", "site-packages"),
        *("dist-packages", "test", "tests", "tkinter", "turtledemo", "venv"),
    ]
)


def stdlib(name: Name) -> Iterator[bytes]:
    """Yield the source files of the running Python's standard library, except tests and what distributions split off.

    Raise InputError if the name requests another version.
    """
    running = platform.python_version()
    if name.path != running:
        raise InputError(
            f"corpus = 'stdlib:{name.path}' is the source text of Python {name.path}, but this process runs {running}"
            f" (run it on Python {name.path}, or write corpus = 'stdlib' for the text of the Python that launches)"
        )
    for folder, folders, files in os.walk(sysconfig.get_paths()["stdlib"]):
        folders[:] = sorted(
            inside for inside in folders if inside not in NOT_STDLIB and not inside.startswith("config-")
        )
        for file in sorted(files):
            if file.endswith(".py") and not file.startswith("_sysconfigdata"):
                yield Path(folder, file).read_bytes()


def text_files(name: Name) -> Iterator[bytes]:
    """Yield whole files, in path order."""
    for path in _matching(name):
        yield path.read_bytes()


def parquet_rows(name: Name) -> Iterator[bytes]:
    """Yield one text column of Parquet files, row by row, without nulls."""
    import pyarrow.parquet as pq

    column = name.options["column"]
    for path in _matching(name):
        with pq.ParquetFile(path) as file:
            _check_column(name, column, file.schema_arrow.names)
            for batch in file.iter_batches(columns=[column]):
                yield from (str(text).encode() for text in batch.column(0).to_pylist() if text is not None)


def hf_rows(name: Name) -> Iterator[bytes]:
    """Yield one text column of a Hugging Face data set. Raise InputError if the ``datasets`` package is missing."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"corpus = 'hf:{name.path}' needs the package datasets (pip install 'sweeplaw[datasets]')"
        ) from error
    rows: Any = load_dataset(name.path, name.options.get("config"), split=name.options["split"])
    column = name.options["column"]
    _check_column(name, column, rows.column_names)
    yield from (str(row[column]).encode() for row in rows if row[column] is not None)


READERS: Mapping[str, Callable[[Name], Iterator[bytes]]] = MappingProxyType(
    {"stdlib": stdlib, "text": text_files, "parquet": parquet_rows, "hf": hf_rows}
)


def _matching(name: Name) -> list[Path]:
    paths = sorted(Path(path) for path in glob.glob(name.path, recursive=True) if os.path.isfile(path))
    if not paths:
        raise InputError(f"corpus = '{name.kind}:{name.path}' matches no file")
    return paths


def _check_column(name: Name, column: str, columns: list[str]) -> None:
    if column not in columns:
        raise InputError(
            f"corpus = '{name.kind}:{name.path}' has no column {column!r} (it has: {', '.join(columns)})"
            f"{nearest(column, columns)}"
        )
