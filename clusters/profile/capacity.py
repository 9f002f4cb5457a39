"""CPU cores, GPUs and memory of one node that trials may use, and those of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OBJECT_STORE_BYTES = 512 * 2**20  # of a node we start, for jobs and rows in transit; Ray's default is 30 %
_CGROUPS = Path("/sys/fs/cgroup")


class Capacity(NamedTuple):
    """CPU cores, GPUs and bytes of memory of one node that trials may use; ``memory_bytes`` is None where unknown."""

    cpus: float
    gpus: float = 0.0
    memory_bytes: int | None = None


def counted(number: float, unit: str) -> str:
    """Return a number with its unit: ``1 GPU``, ``0.5 GPU``, ``0 GPUs``, ``8 GPUs``."""
    return f"{number:g} {unit}{'' if 0 < number <= 1 else 's'}"


def usable_cores() -> int:
    """Return the CPU cores this process may use: its affinity mask where the system has one, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory(groups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the bytes of memory this process may use: the machine's, its Slurm job's or its control groups' limit.

    None if the system does not report it. ``groups`` is the folder of control groups, ``own`` the file that names ours.
    """
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits(groups, own)])


def object_store_bytes() -> int:
    """Return `OBJECT_STORE_BYTES`, or half of the free shared memory; Ray needs 80 MB and spills to disk beyond."""
    try:
        shared = os.statvfs("/dev/shm")
    except OSError:
        return OBJECT_STORE_BYTES
    return max(80 * 2**20, min(OBJECT_STORE_BYTES, shared.f_bavail * shared.f_frsize // 2))


def memory_for_trials(total: int | None) -> int | None:
    """Return the bytes that a Ray we start on a node of ``total`` bytes gives to trials: all but its object store."""
    return None if total is None else max(total - OBJECT_STORE_BYTES, total // 2)


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """Yield the memory Slurm granted and the limit of each control group, version 1 or 2, around this process.

    A container sees its own group as the root.
    """
    granted = os.environ.get("SLURM_MEM_PER_NODE", "0")  # MiB; 0 means all of it
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
