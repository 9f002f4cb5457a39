"""What trials may take of one node: CPU cores, GPUs and memory; and what this machine has of cores and memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OBJECT_STORE_BYTES = 512 * 2**20  # of a node we start: jobs of many trials and rows on their way; Ray's default is 30 %
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
    """Bytes of memory this process may use: the machine's, or what its Slurm job or its control groups leave of it.

    None where the system does not say. ``groups`` is where control groups are, ``own`` the file that names ours.
    """
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits(groups, own)])


def object_store_bytes() -> int:
    """`OBJECT_STORE_BYTES`, or half of the shared memory there is; Ray needs 80 MB and spills to disk beyond."""
    try:
        shared = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    return max(80 * 2**20, min(OBJECT_STORE_BYTES, shared.f_bavail * shared.f_frsize // 2))


def memory_for_trials(whole: int | None) -> int | None:
    """Bytes of a node's memory that a Ray we start there gives to trials: all but its object store."""
    return None if whole is None else max(whole - OBJECT_STORE_BYTES, whole // 2)


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """What Slurm granted, and the limit of each control group this process is in, of either version; a container sees
    its own as the root.
    """
    granted = os.environ.get("SLURM_MEM_PER_NODE", "0")  # MiB; 0 is all there is
    if granted.isdecimal() and int(granted):
        yield int(granted) * 2**20
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
