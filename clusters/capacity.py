"""What trials may take of one node: CPU cores, GPUs and memory; and how much of each this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CGROUPS = Path("/sys/fs/cgroup")


class Capacity(NamedTuple):
    """CPU cores, GPUs and bytes of memory of one node, as far as they are for trials; None: nobody says."""

    cpus: float
    gpus: float = 0.0
    memory_bytes: int | None = None


def usable_cores() -> int:
    """CPU cores this process may use: the affinity mask where the system has one, not the machine's total."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory(groups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes of memory this process may use: the machine's, or what its control groups leave of it (Linux).

    None where the system does not say. ``groups`` is where control groups are, ``own`` the file that names ours.
    """
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits(groups, own)])


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """The limit of each control group this process is in, of either version; a container sees its own as the root."""
    yield from _numbers(groups / "memory" / "memory.limit_in_bytes")
    try:
        path = next(line[4:] for line in own.read_text().splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        path = ""
    folder = groups / path
    for group in (folder, *folder.parents):
        if group.is_relative_to(groups):
            yield from _numbers(group / "memory.max")


def _numbers(path: Path) -> Iterator[int]:
    try:
        yield int(path.read_text())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return
