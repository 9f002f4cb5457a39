"""Devices: peak FLOP/s by number type, memory, and the assumed share of the peak that training reaches.

Peaks are dense (no 2:4 sparsity) tensor-core rates with float32 accumulation, from the maker's data sheet. The
share a trial reaches depends on its size: a small model cannot fill a large device. The shares for accelerators are
assumptions, that of the CPU core is measured; a plan that uses either is marked.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sweeplaw.trials.errors import InputError, nearest

DType = Literal["fp32", "tf32", "bf16", "fp16", "fp8"]

# Assumption: the share of peak reached by one trial that holds a whole accelerator, against its parameters. Public
# training runs of 1e9 parameters and more report 0.35-0.5; below that the device waits for kernels to be launched.
ACCELERATOR_UTILISATION = ((1e6, 0.02), (1e7, 0.10), (1e8, 0.30), (1e9, 0.40))

# Measured with our training loop, one thread on one core of a machine whose cores were all busy, as a sweep keeps them:
# 10,000 to 2,700,000 parameters, 512 and 1,024 tokens a step, least squares of the relative error. The cost of a step
# is Python and kernel launches; the cost of a token is its embedding, its logits and all else that the FLOPs of a small
# model do not count.
_CORE_FLOPS, _CORE_STEP_SECONDS, _CORE_TOKEN_SECONDS = 42e9, 3.5e-3, 7.2e-6

# The rest of device memory is taken by the CUDA context and by fragmentation. Assumption.
USABLE_MEMORY = 0.90


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of device.

    ``peak`` is FLOP/s by number type; ``memory_bytes`` is None where trials share the host's memory; ``utilisation`` is
    (parameters, share of peak) points, joined by straight lines over log parameters and constant outside them.
    ``step_seconds`` and ``token_seconds`` are added to the time of the FLOPs, for each step and each token.
    """

    name: str
    peak: Mapping[DType, float]
    memory_bytes: int | None
    utilisation: tuple[tuple[float, float], ...]
    source: str
    accelerator: bool = True
    step_seconds: float = 0.0
    token_seconds: float = 0.0

    @property
    def dtype(self) -> DType:
        """The default number type of training: bf16, else fp16, else fp32."""
        preferred: tuple[DType, ...] = ("bf16", "fp16", "fp32")
        return next(dtype for dtype in preferred if dtype in self.peak)

    @property
    def usable_bytes(self) -> int | None:
        """Memory a plan may use: the fraction `USABLE_MEMORY` of the device's."""
        return None if self.memory_bytes is None else int(self.memory_bytes * USABLE_MEMORY)

    def is_called(self, model: str) -> bool:
        """Return whether ``model``, as a trial's row names its device, is this hardware; any other model is a CPU."""
        named = next((name for name, pattern in _MODELS.items() if re.search(pattern, model)), None)
        return named == self.name if self.accelerator else named is None

    def share_of_peak(self, params: float | None = None) -> float:
        """Return the assumed (CPU core: measured) share of peak for ``params`` parameters; the largest if None."""
        points = self.utilisation
        if params is None or params >= points[-1][0]:
            return points[-1][1]
        if params <= points[0][0]:
            return points[0][1]
        (low, share), (high, next_share) = next(
            pair for pair in itertools.pairwise(points) if pair[0][0] <= params < pair[1][0]
        )
        along = math.log(params / low) / math.log(high / low)
        return share + along * (next_share - share)

    def seconds(
        self,
        flops: float,
        dtype: DType | None = None,
        params: float | None = None,
        steps: int | None = None,
        tokens: int | None = None,
    ) -> float:
        """Estimate the seconds for ``flops`` on one device, at the share of peak of a trial with ``params`` parameters.

        ``steps`` and ``tokens`` are those of the trial; an unknown one adds nothing, so the estimate is too low rather
        than invented. Raise InputError for a number type the device has no rate for.
        """
        dtype = dtype or self.dtype
        if dtype not in self.peak:
            accepted = ", ".join(self.peak)
            raise InputError(f"{self.name} has no {dtype} rate (accepted: {accepted})")
        overhead = (steps or 0) * self.step_seconds + (tokens or 0) * self.token_seconds
        return flops / (self.peak[dtype] * self.share_of_peak(params)) + overhead


# Names of devices as PyTorch reports them (`torch.cuda.get_device_name`), by hardware.
_MODELS = {
    "t4": r"Tesla T4$",
    "v100-16": r"V100.*16GB",
    "v100-32": r"V100.*32GB",
    "a10g": r"A10G$",
    "a100-40": r"A100.*40GB",
    "a100-80": r"A100.*80GB",
    "rtx3090": r"RTX 3090",
    "rtx4090": r"RTX 4090",
    "l4": r"NVIDIA L4$",
    "l40s": r"L40S$",
    "h100-pcie": r"H100 PCIe",
    "h100-sxm": r"H100 80GB HBM3",
    "h200": r"NVIDIA H200",
    "b200": r"NVIDIA B200",
    "mi250x-gcd": r"MI250X",
    "mi300x": r"MI300X",
}


def _gpu(name: str, gigabytes: int, source: str, **teraflops: float) -> Hardware:
    peak = {dtype: rate * 1e12 for dtype, rate in teraflops.items()}
    return Hardware(name, peak, gigabytes * 10**9, ACCELERATOR_UTILISATION, source)  # type: ignore[arg-type]


_AMPERE = "NVIDIA A100 Tensor Core GPU data sheet, 2021"
_HOPPER = "NVIDIA H100 Tensor Core GPU data sheet, 2023, sparse rates halved"
_VOLTA = "NVIDIA V100 data sheet, 2020 (SXM2)"

_CORE = Hardware(
    name="cpu-core",
    peak={"fp32": _CORE_FLOPS},
    memory_bytes=None,
    utilisation=((1.0, 1.0),),
    source="measured: one x86 core, PyTorch 2.13, float32; 100 % is the rate measured, not a data sheet's peak",
    accelerator=False,
    step_seconds=_CORE_STEP_SECONDS,
    token_seconds=_CORE_TOKEN_SECONDS,
)

# Data-sheet gigabytes are taken as 1e9 bytes, which is never more than what the device has.
_KNOWN = {
    item.name: item
    for item in (
        _CORE,
        _gpu("t4", 16, "NVIDIA T4 data sheet, 2019", fp32=8.1, fp16=65.0),
        _gpu("v100-16", 16, _VOLTA, fp32=15.7, fp16=125.0),
        _gpu("v100-32", 32, _VOLTA, fp32=15.7, fp16=125.0),
        _gpu("a10g", 24, "NVIDIA A10G data sheet, 2021", fp32=31.5, tf32=35.0, bf16=70.0, fp16=70.0),
        _gpu("a100-40", 40, _AMPERE, fp32=19.5, tf32=156.0, bf16=312.0, fp16=312.0),
        _gpu("a100-80", 80, _AMPERE, fp32=19.5, tf32=156.0, bf16=312.0, fp16=312.0),
        _gpu("rtx3090", 24, "NVIDIA Ampere GA102 whitepaper, 2020", fp32=35.6, tf32=35.6, bf16=71.0, fp16=71.0),
        _gpu("rtx4090", 24, "NVIDIA Ada whitepaper, 2022", fp32=82.6, tf32=82.6, bf16=165.2, fp16=165.2, fp8=330.3),
        _gpu("l4", 24, "NVIDIA L4 data sheet, 2023, halved", fp32=30.3, tf32=60.0, bf16=121.0, fp16=121.0, fp8=242.5),
        _gpu("l40s", 48, "NVIDIA L40S data sheet, 2023", fp32=91.6, tf32=183.0, bf16=362.05, fp16=362.05, fp8=733.0),
        _gpu("h100-pcie", 80, _HOPPER, fp32=51.0, tf32=378.0, bf16=756.5, fp16=756.5, fp8=1513.0),
        _gpu("h100-sxm", 80, _HOPPER, fp32=67.0, tf32=494.5, bf16=989.5, fp16=989.5, fp8=1979.0),
        _gpu("h200", 141, "NVIDIA H200 data sheet, 2024", fp32=67.0, tf32=494.5, bf16=989.5, fp16=989.5, fp8=1979.0),
        _gpu("b200", 180, "NVIDIA HGX B200, 2024", fp32=75.0, tf32=1125.0, bf16=2250.0, fp16=2250.0, fp8=4500.0),
        _gpu("mi250x-gcd", 64, "AMD Instinct MI250X data sheet, half a card", fp32=47.9, bf16=191.5, fp16=191.5),
        _gpu("mi300x", 192, "AMD MI300X data sheet", fp32=163.4, tf32=653.7, bf16=1307.4, fp16=1307.4, fp8=2614.9),
    )
}


def known() -> tuple[str, ...]:
    """Return every hardware name a profile may give."""
    return tuple(_KNOWN)


def get(name: str) -> Hardware:
    """Return the hardware of this name. Raise InputError with the accepted names and the nearest one."""
    if name not in _KNOWN:
        raise InputError(f"hardware = {name!r} is not known (accepted: {', '.join(_KNOWN)}){nearest(name, _KNOWN)}")
    return _KNOWN[name]


def of_model(model: str) -> Hardware | None:
    """Return the accelerator that PyTorch calls ``model``; None if it is not among those known."""
    return next((item for item in _KNOWN.values() if item.accelerator and item.is_called(model)), None)
