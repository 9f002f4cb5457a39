"""The provenance of a trial: machine, device, versions, commit. Measured once in each process."""

from __future__ import annotations

import functools
import json
import platform
import socket
import subprocess
from importlib import metadata, resources
from pathlib import Path

from sweeplaw.trials.record import Provenance

PACKAGES = ("sweeplaw", "torch", "ray", "numpy", "polars", "pyarrow")  # those that affect results


@functools.cache
def commit() -> str | None:
    """Return the commit of this checkout, with ``+`` when tracked files differ; None outside a checkout."""
    folder = Path(str(resources.files("sweeplaw"))).resolve().parent
    if not (folder / ".git").exists():
        return None
    head = _git(folder, "rev-parse", "HEAD")
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if head is None else head + ("+" if dirty else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def versions() -> str:
    """Return the versions of Python and of `PACKAGES` as JSON."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return json.dumps(found)


def device_name(device: str) -> str:
    """Return the model of the device, such as ``NVIDIA H100 80GB HBM3`` or the processor's model."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def provenance(device: str, code: str | None) -> Provenance:
    """Return the provenance of this process on this device; ``code`` is the commit the launch was made from."""
    return Provenance(socket.gethostname(), device_name(device), versions(), code)
