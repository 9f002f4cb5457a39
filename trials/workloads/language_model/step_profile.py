"""Where the time and memory of a trial go: some steps and an evaluation of it, part by part."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sweeplaw.trials.accounting import RECORDED_CONVENTION, Shape
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.evaluation.ensemble import evaluate
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.stack import STEP_PARTS, Stack
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.data import open_data
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of
from sweeplaw.trials.workloads.language_model.step_time import random_windows

WARM_UP = 2  # steps that allocate, not counted where a trial has more
OTHER = "other"  # what of a step is in none of its parts, such as reading its loss
PEAK_SIZE, PEAK_TRIES = 1024, 5  # of the product that measures the peak of a CPU


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Times in seconds: of each part of a step and of a whole one (``step_seconds``), means over the counted ``steps``,
    and of one evaluation. The parts, with `OTHER`, add up to the step.

    ``flops`` are those of a step by ``flops_convention``, and ``peak_flops`` a second those of the device, None if
    unknown; ``peak_bytes`` is the most memory that training held, None if it cannot be measured, ``planned_bytes`` the
    estimate that plans use.
    """

    device: str
    steps: int
    parts: dict[str, float]
    step_seconds: float
    evaluation_seconds: float
    tokens_per_second: float
    flops: float
    flops_convention: str
    peak_flops: float | None
    peak_bytes: int | None
    planned_bytes: int

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilization (Chowdhery et al. 2022, appendix B): FLOPs of steps over the peak of the device."""
        return None if self.peak_flops is None else self.flops / self.step_seconds / self.peak_flops


@dataclass
class _PartTimes:
    device: str
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEP_PARTS, 0.0))

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = self.now()
        yield
        self.seconds[part] += self.now() - began

    def now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()


def profile_steps(
    workload: LanguageModel, spec: TrialSpec, device: str, steps: int, threads: int, peak_flops: float | None = None
) -> StepProfile:
    """Train the trial for ``steps`` counted steps, or for all that it has, and evaluate it once.

    ``peak_flops`` is that of the device; on a CPU it is measured here if None, by float32 products on ``threads``
    threads. The members of an ensemble take turns on a CPU, so one of them is profiled there. Raise InputError, also of
    a trial that diverges before a step is counted.
    """
    cost = workload.cost(spec)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if peak_flops is None and device == "cpu":
            peak_flops = measured_peak()
        times = _PartTimes(device)
        members = member_group(spec).members
        data, recipe = open_data(spec, workload.store, device), recipe_of(spec)
        _load_libraries(members[0], device)
        memory = _PeakMemory(device)
        stack = Stack(
            members[:1] if device == "cpu" else members,
            recipe,
            data.budget,
            TrainingDevice(device),
            data.soft_labels,
            times,
        )
        stack.advance(min(WARM_UP, recipe.steps - 1))
        first, times.seconds = stack.step, dict.fromkeys(STEP_PARTS, 0.0)
        began = times.now()
        stack.advance(min(first + steps, recipe.steps))
        seconds, counted = times.now() - began, stack.step - first
        if not counted:
            raise InputError(f"trial {spec.trial_id} diverges at step {first}, before its steps can be timed")
        parts = {**times.seconds, OTHER: seconds - sum(times.seconds.values())}
        peak_bytes = memory.read()
        held_out = torch.from_numpy(data.held_out.read(np.arange(data.held_out.size)))
        began = times.now()
        evaluate([stack], held_out, 1 if device == "cpu" else spec["members"])
        evaluation_seconds = times.now() - began
    finally:
        torch.set_num_threads(before)
    trained = len(stack.members)
    planned = cost.memory_bytes or 0
    return StepProfile(
        device=device,
        steps=counted,
        parts={part: spent / counted for part, spent in parts.items()},
        step_seconds=seconds / counted,
        evaluation_seconds=evaluation_seconds,
        tokens_per_second=trained * recipe.batch_tokens * counted / seconds,
        flops=trained * float(cost.flops_per_token or 0) * recipe.batch_tokens,
        flops_convention=RECORDED_CONVENTION,
        peak_flops=peak_flops,
        peak_bytes=peak_bytes,
        planned_bytes=planned * trained // len(members),
    )


def _load_libraries(member: Member, device: str) -> None:
    """Train a model of a few values once: what libraries allocate at first use is not the trial's."""
    recipe = Recipe(Shape(1, 8, 1, 16, 16), 8, 1, 1, 1e4, "float32")
    Stack([member], recipe, random_windows(16, 8, 4), TrainingDevice(device)).advance(1)


def measured_peak() -> float:
    """Return the FLOP/s of this process's CPU threads in a float32 product, the best of some tries."""
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE)
    seconds = []
    for _ in range(1 + PEAK_TRIES):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2.0 * PEAK_SIZE**3 / min(seconds[1:])


class _PeakMemory:
    """The most memory that this process, or its device, holds from now on."""

    def __init__(self, device: str) -> None:
        self._device = device
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        elif (clear := Path("/proc/self/clear_refs")).exists():
            clear.write_text("5")  # Linux: the peak begins anew
        self._before = self._resident("VmRSS")

    def read(self) -> int | None:
        """Return the bytes beyond those held before; None where the system does not say."""
        if self._device != "cpu":
            return int(torch.cuda.max_memory_allocated())
        peak = self._resident("VmHWM")
        return None if peak is None or self._before is None else peak - self._before

    @staticmethod
    def _resident(name: str) -> int | None:
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        return next(
            (int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(name)), None
        )
