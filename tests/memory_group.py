"""A command in a control group of its own, so that a limit on memory counts what the command takes and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# The group is mounted over the root of its hierarchy, where Ray's memory monitor reads limit and use.
_ENTER = 'echo $$ > "$1/cgroup.procs" && mount --bind "$1" "$2" && shift 2 && exec "$@"'


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[list[str]]:
    """Yield the words to put before a command, so that it and its children run in a group of ``limit`` bytes.

    Skip the test where such a group cannot be made.
    """
    root, setting = _hierarchy()
    group = root / f"sweeplaw-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / setting).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"needs a control group of its own: {error}")
    try:
        yield ["unshare", "--mount", "bash", "-c", _ENTER, "-", str(group), str(root)]
    finally:
        _remove(group)


def _hierarchy() -> tuple[Path, str]:
    """Return the root of the memory controller and the name of its limit."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs a control group of its own: only root can make one, with unshare")
    for root, setting in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "cgroup.controllers")):
        if (Path(root) / setting).exists():
            return Path(root), setting.replace("cgroup.controllers", "memory.max")
    pytest.skip("needs a control group of its own: there is no memory controller")


def _remove(group: Path, seconds: float = 30.0) -> None:
    """Remove the group once its last process has ended."""
    until = time.monotonic() + seconds
    while group.exists() and time.monotonic() < until:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.2)
