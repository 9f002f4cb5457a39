"""Resources that a computation in this process may request: threads, a device, sequences at a time."""

from __future__ import annotations

import re

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.sampling.corpora import DRAWN_TOGETHER

MOST_THREADS = 1024
_DEVICE = re.compile(r"cpu|cuda(?::([0-9]{1,3}))?")


def check(*, threads: int = 1, batch: int = 1, device: str = "cpu") -> None:
    """Raise InputError naming each value that is out of range, and a device that this machine does not have."""
    faults = [
        f"{name} = {shown(value)} (accepted: 1 to {most})"
        for name, value, most in (("threads", threads, MOST_THREADS), ("batch", batch, DRAWN_TOGETHER))
        if not 1 <= value <= most
    ]
    if fault := _fault_of_device(device):
        faults.append(fault)
    if faults:
        raise InputError(faults)


def _fault_of_device(device: str) -> str | None:
    parsed = _DEVICE.fullmatch(device)
    if not parsed:
        return f"device = {shown(device)} (accepted: cpu, cuda, cuda:NUMBER)"
    if device == "cpu":
        return None
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return f"device = {device!r}, but this process sees no CUDA device (accepted: cpu)"
    if int(parsed[1] or 0) >= count:
        return f"device = {device!r}, but there are {count} (accepted: cuda:0 to cuda:{count - 1})"
    return None
