"""The files below one local folder, and nothing else: links are not followed, and only regular files are opened.

A store may have been written by anyone. A link in it may lead anywhere, and a FIFO or a device may never end. So every
name is opened relative to a descriptor of its folder. Only the root itself may be reached through a link.

Names are those of a file in the root, ``store.json``, or in one of its folders, ``trials/<part>.parquet``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator

BARE = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?:{BARE}/)?\.{{0,2}}{BARE}")
VISIBLE = re.compile(BARE)
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class IrregularError(OSError):
    """Expected a regular file (or a folder), found a link, a FIFO, a socket, a device or the other of the two."""

    def __str__(self) -> str:
        return str(self.strerror)


def _irregular(path: str, mode: int, wanted: str = "regular file") -> IrregularError:
    found = _KINDS.get(stat.S_IFMT(mode), "a device")
    return IrregularError(errno.EINVAL, f"it is {found}, not a {wanted}", path)


def checked(name: str) -> str:
    """Return ``name``. Raise ValueError if no file of a store has such a name (``../x``, ``/x``, ``a/b/c``)."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a file in a store")
    return name


def bare(name: str) -> str:
    """Return ``name``. Raise ValueError if it does not name a visible file in a folder."""
    if not VISIBLE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a file in a store")
    return name


def files(root: str, folder: str, names: re.Pattern[str] = VISIBLE) -> list[str]:
    """Return the regular files in a folder whose names match; none if the folder is missing or a link."""
    try:
        with _opened(root, folder) as descriptor, os.scandir(descriptor) as entries:
            return [e.name for e in entries if names.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    except (FileNotFoundError, IrregularError):
        return []


def irregular(root: str, folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return why each visible entry of these suffixes is left out by `files`, by its name; or of the folder itself."""
    try:
        with _opened(root, folder) as descriptor, os.scandir(descriptor) as entries:
            odd = [e for e in entries if not (VISIBLE.fullmatch(e.name) and e.is_file(follow_symlinks=False))]
            shown = [e for e in odd if e.name.endswith(suffixes) and not e.name.startswith(".")]
            faults = {entry.name: _fault(entry) for entry in shown}
    except FileNotFoundError:
        return {}
    except IrregularError as error:
        return {folder: f"cannot be read: {error}"}
    return {f"{folder}/{ascii(name)[1:-1]}": f"cannot be read: {fault}" for name, fault in sorted(faults.items())}


def states(root: str, folder: str) -> dict[str, tuple[int, int, int]]:
    """Return inode, size in bytes and time in nanoseconds of each entry of a folder, whatever it is, by its name; under
    '' those of what stands in place of the folder. Empty if it is missing.
    """
    found = {}
    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
        try:
            with _opened(root, folder) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found[entry.name] = _state(entry.stat(follow_symlinks=False))
        except IrregularError:
            found[""] = _state(os.lstat(f"{root}/{folder}"))
    return found


def _state(own: os.stat_result) -> tuple[int, int, int]:
    return own.st_ino, own.st_size, own.st_mtime_ns


def status(root: str, name: str) -> os.stat_result:
    """Return the status of the regular file ``name``. Raise FileNotFoundError, IrregularError, OSError."""
    with _parent(root, name) as (descriptor, bare):
        return _status(root, name, descriptor, bare)


def is_free(root: str, name: str) -> bool:
    """Return whether there is nothing at all under ``name``, not even a dangling link. Raise OSError."""
    try:
        with _parent(root, name) as (descriptor, bare):
            os.stat(bare, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def open_file(root: str, name: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Return a descriptor of the regular file ``name``, created if the flags say so. Raise OSError as `status`."""
    with _parent(root, name) as (descriptor, bare):
        with contextlib.suppress(FileNotFoundError):  # what is not there cannot block
            _status(root, name, descriptor, bare)
        opened = os.open(bare, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=descriptor)
        found = os.fstat(opened).st_mode
        if not stat.S_ISREG(found):  # it was replaced in between
            os.close(opened)
            raise _irregular(f"{root}/{name}", found)
        return opened


def is_open(descriptor: int, status: os.stat_result) -> bool:
    """Return whether a descriptor is still of the file with this status: code of an inline trial may close any, and the
    number is then given to another file.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), status)
    except OSError:
        return False


def check_folder(root: str, name: str) -> None:
    """Raise IrregularError if the folder of ``name`` exists and is none, or a link to one."""
    with contextlib.suppress(FileNotFoundError), _parent(root, name):
        pass


def remove(root: str, name: str) -> None:
    """Delete the file or link ``name``. Raise FileNotFoundError, OSError."""
    with _parent(root, name) as (descriptor, bare):
        os.unlink(bare, dir_fd=descriptor)


def remove_tree(root: str, name: str) -> None:
    """Delete the folder ``name`` with all it holds; of anything else, only the name. Raise OSError."""
    with _parent(root, name) as (descriptor, bare):
        if stat.S_ISDIR(os.stat(bare, dir_fd=descriptor, follow_symlinks=False).st_mode):
            shutil.rmtree(bare, dir_fd=descriptor)  # follows no links
        else:
            os.unlink(bare, dir_fd=descriptor)


def make_folder(root: str, name: str) -> None:
    """Make the folder ``name`` and the one it lies in. Raise OSError if either is a link or no folder."""
    check_folder(root, name)
    path = f"{root}/{name}"
    os.makedirs(path, exist_ok=True)
    mode = os.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        raise _irregular(path, mode, "folder")


def move(root: str, name: str, target: str) -> None:
    """Rename the file ``name`` to ``target``, in an existing folder. Raise OSError."""
    with _parent(root, name) as (source, bare), _parent(root, target) as (destination, new):
        os.rename(bare, new, src_dir_fd=source, dst_dir_fd=destination)


def _status(root: str, name: str, descriptor: int, bare: str) -> os.stat_result:
    found = os.stat(bare, dir_fd=descriptor, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise _irregular(f"{root}/{name}", found.st_mode)
    return found


@contextlib.contextmanager
def _parent(root: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield a descriptor of the folder of ``name``, and the last component of ``name``.

    An OSError of a call relative to that descriptor names the whole path.
    """
    folder, _, bare = checked(name).rpartition("/")
    with _opened(root, folder) as descriptor:
        try:
            yield descriptor, bare
        except OSError as error:
            if error.filename == bare:
                error.filename = f"{root}/{name}"
            raise


@contextlib.contextmanager
def _opened(root: str, folder: str) -> Iterator[int]:
    """Yield a descriptor of a folder of ``root``, or of ``root`` itself if ``folder`` is empty."""
    path = f"{root}/{folder}" if folder else root
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if folder else 0))
    except OSError as error:
        if folder and error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise _irregular(path, os.lstat(path).st_mode, "folder") from None
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fault(entry: os.DirEntry[str]) -> str:
    """Return why `files` leaves the entry out."""
    if not VISIBLE.fullmatch(entry.name):
        return "no file of a store has such a name"
    return str(_irregular("", entry.stat(follow_symlinks=False).st_mode))
