"""A folder on any file system, and the files in it: every name is resolved here, and no name reaches outside.

What a store holds is not trusted. A name, whether listed or found in a file, is that of a file in the root,
``store.json``, or in one of its folders, ``trials/<part>.parquet``; only regular files are read; links and special
files are ignored (`trials.store_format.confined`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.checksum import KEY, NAME_KEY, check_json
from sweeplaw.trials.store_format.damage import DamagedFileError

if TYPE_CHECKING:
    from pyarrow import fs as pafs


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on any file system that pyarrow supports. ``root`` is its path there, without scheme."""

    uri: str
    filesystem: pafs.FileSystem
    root: str
    local: bool

    def path(self, name: str) -> str:
        """Return the path of ``name`` on ``filesystem``. Raise ValueError if a store has no such names."""
        return f"{self.root}/{confined.checked(name)}"

    def readable(self, name: str) -> str:
        """Return the path of the file ``name`` for a library that opens files itself.

        Raise FileNotFoundError; OSError if it is a link or no regular file.
        """
        if self.local:
            confined.status(self.root, name)
        return self.path(name)

    def writable(self, name: str) -> str:
        """Return the path at which to write the file ``name``. Raise OSError if its folder is a link or no folder."""
        if self.local:
            confined.check_folder(self.root, name)
        return self.path(name)

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names, less ``suffix``, of files in ``folder`` with it; none if the folder is missing.

        What `irregular` names is left out, and so are hidden files.
        """
        if self.local:
            found: Iterable[str] = confined.files(self.root, folder)
        else:
            from pyarrow import fs as pafs

            selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
            found = [info.base_name for info in self.filesystem.get_file_info(selector)]
            found = filter(confined.VISIBLE.fullmatch, found)
        return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))

    def states(self, folder: str) -> dict[str, tuple[int, int, int]]:
        """Return for each entry of ``folder`` a state that changes with it: its inode (0 for an object), its size in
        bytes and its time in nanoseconds. Of a local store, also of a link or a file in place of the folder.
        """
        if self.local:
            found = confined.states(self.root, folder)
            return {f"{folder}/{name}": state for name, state in found.items()}
        from pyarrow import fs as pafs

        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        listed = self.filesystem.get_file_info(selector)
        return {f"{folder}/{info.base_name}": (0, int(info.size or 0), int(info.mtime_ns or 0)) for info in listed}

    def exists(self, name: str) -> bool:
        """Return whether there is a file ``name``, which is no link."""
        if self.local:
            try:
                return bool(confined.status(self.root, name))
            except (FileNotFoundError, NotADirectoryError, confined.IrregularError):
                return False
        from pyarrow import fs as pafs

        return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)

    def is_free(self, name: str) -> bool:
        """Return whether there is nothing at all under ``name``, not even a link."""
        if self.local:
            return confined.is_free(self.root, name)
        from pyarrow import fs as pafs

        return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.NotFound)

    def is_vacant(self) -> bool:
        """Return whether there is nothing at ``root``, or an empty folder; False if it cannot be reached."""
        from pyarrow import fs as pafs

        try:
            kind = self.filesystem.get_file_info(self.root).type
            empty_folder = self.local and kind == pafs.FileType.Directory and not os.listdir(self.root)
            return bool(kind == pafs.FileType.NotFound or empty_folder)
        except OSError:
            return False

    def open(self, name: str) -> BinaryIO:
        """Return the file ``name``, open for reading. Raise FileNotFoundError; OSError if it is no regular file."""
        if self.local:
            return os.fdopen(confined.open_file(self.root, name), "rb")
        return self.filesystem.open_input_file(self.path(name))  # type: ignore[no-any-return]

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``name``. Raise FileNotFoundError; OSError if it is no regular file."""
        if self.local:
            with self.open(name) as file:
                return file.read()
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            if not self.exists(name):  # an object may be deleted between opening and reading
                raise FileNotFoundError(name) from error
            raise

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file ``name``. Raise FileNotFoundError, DamagedFileError."""
        try:
            return decoded_json(name, self.read(name))
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if not self.local:  # a connection may work again
                raise
            raise DamagedFileError(name, error) from None


def decoded_json(name: str, data: bytes, *, anywhere: bool = False) -> dict[str, Any]:
    """Return the JSON object ``data`` of the file ``name``; verify the checksum and the name that it carries, if any.

    ``anywhere``: it may have been written under another name. Raise DamagedFileError.
    """
    try:
        check_json(data)
        content = json.loads(_text(data))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(name, error) from None
    if not isinstance(content, dict):
        raise DamagedFileError(name, "it does not hold a JSON object")
    content.pop(KEY, None)
    written = content.pop(NAME_KEY, name)
    if written != name and not anywhere:
        raise DamagedFileError(name, f"it was written as {shown(written)}")
    return content


def _text(data: bytes) -> str:
    """Return the text of a JSON file. Raise ValueError in plain words if there is none."""
    if not data.strip(b"\0"):
        raise ValueError("it holds nothing but NUL bytes" if data else "it is empty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def locate(source: str | Path) -> Location:
    """Return the location of a path or URI (``s3://``, ``gs://`` or another scheme of pyarrow) without accessing it.

    Endpoint and credentials come from the standard environment variables and are never shown. Raise InputError.
    """
    from pyarrow import ArrowInvalid, ArrowNotImplementedError
    from pyarrow import fs as pafs

    text = str(source)
    parts = split(text) if "://" in text else None
    if parts is None or parts.scheme == "file":
        if parts is not None and (parts.netloc not in ("", "localhost") or not parts.path):
            raise InputError(f"{shown(text)} is not the address of a file here (accepted: file:///path)")
        root = _absolute(os.path.expanduser(text if parts is None else parts.path))
        return Location(root, pafs.LocalFileSystem(), root, local=True)
    if not parts.netloc:
        raise InputError(f"{shown(text)} names no bucket (accepted: {shown(parts.scheme)[1:-1]}://bucket/path)")
    if "@" in parts.netloc or parts.query:
        raise InputError("a store URI carries no credentials or options: give them by environment variables")
    try:
        if parts.scheme == "s3":
            return Location(text.rstrip("/"), _s3(), f"{parts.netloc}{parts.path}".rstrip("/"), local=False)
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (ArrowInvalid, ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{text!r} is not reachable: {error}") from None
    return Location(text.rstrip("/"), filesystem, root.rstrip("/"), local=False)


def _absolute(path: str) -> str:
    """Return the absolute path; after a link, ``..`` is the folder that its target lies in, as for the system."""
    parts = Path(path).parts
    if ".." not in parts:
        return os.path.abspath(path)
    end = len(parts) - parts[::-1].index("..")
    return os.path.join(os.path.realpath(os.path.join(*parts[:end])), *parts[end:])


def split(uri: str) -> SplitResult:
    """Return the parts of a URI. Raise InputError."""
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise InputError(f"{shown(uri)} is no address: {error}") from None


def _s3() -> pafs.FileSystem:
    """Return S3 configured by the standard AWS environment variables, with pyarrow's defaults for the rest.

    Where pyarrow can (from 21 on), a small object is written by one request instead of the three of a multipart upload.
    """
    import pyarrow as pa
    from pyarrow import fs as pafs

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {"region": region} if region else {}
    if endpoint:
        address = urlsplit(endpoint)
        options.update(endpoint_override=address.netloc, scheme=address.scheme)
        options.setdefault("region", "us-east-1")
    if int(pa.__version__.partition(".")[0]) >= 21:
        options["allow_delayed_open"] = True
    return pafs.S3FileSystem(**options)
