"""The coordinate check of a parametrization: a model at several widths, and how its activations move with the width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.parametrization.coordinates import coordinate_changes
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model import LanguageModel, shapes
from sweeplaw.trials.workloads.language_model.data import open_data
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of
from sweeplaw.trials.workloads.language_model.training_knobs import SCALE_INVARIANT

PARAMETRIZATIONS = ("standard", "mup")
PROBED_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class CoordinateChange:
    """How far a layer's activations are from their start after ``step`` updates, as a root mean square."""

    parametrization: str
    width: int
    step: int
    layer: str
    change: float


def check_coordinates(
    workload: LanguageModel,
    spec: TrialSpec,
    widths: Sequence[int],
    steps: int,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[CoordinateChange]:
    """Train the model of this spec at each width under each parametrization, and return how its activations move.

    Depth and all settings of training are the spec's; µP has the smallest width as its base. ``watch`` is called with
    trainings done and in all. Raise InputError with every fault before anything is trained.
    """
    if faults := _faults(spec, widths):
        raise InputError(faults)
    runs = [
        _at_width(workload, spec, width, min(widths) if name == "mup" else None)
        for name in PARAMETRIZATIONS
        for width in sorted(set(widths))
    ]
    if (most := recipe_of(runs[0]).steps) < steps:
        raise InputError(f"steps = {steps} of a run of {most} (accepted: at most {most})")
    found: list[CoordinateChange] = []
    for done, own in enumerate(runs):
        watch(done, len(runs))
        found += _changes(workload, own, steps)
    watch(len(runs), len(runs))
    return found


def _faults(spec: TrialSpec, widths: Sequence[int]) -> list[str]:
    """Return why a model of this spec cannot be compared at these widths."""
    faults = []
    if len(set(widths)) < 2 or min(widths) < 1 or any(width % min(widths) for width in widths):
        faults.append(f"widths = {list(widths)} (accepted: two or more, of which the smallest divides the others)")
    if spec["optimizer"] not in SCALE_INVARIANT:
        why = "whose learning rates µP scales, which the check compares with the standard parametrization"
        faults.append(f"optimizer = {spec['optimizer']!r} (accepted: {', '.join(SCALE_INVARIANT)}, {why})")
    return faults


def slopes(changes: Sequence[CoordinateChange]) -> dict[tuple[str, str], float]:
    """Return the exponent of the width by which the change of each layer grows, by parametrization and layer.

    It is fitted by least squares at the last step; NaN for a layer that does not move.
    """
    last = max(item.step for item in changes)
    found = {}
    for key in dict.fromkeys((item.parametrization, item.layer) for item in changes):
        own = [item for item in changes if (item.parametrization, item.layer) == key and item.step == last]
        moved = all(item.change > 0 for item in own)
        wide, far = ([math.log(getattr(item, name)) for item in own if moved] for name in ("width", "change"))
        found[key] = float(np.polyfit(wide, far, 1)[0]) if moved else math.nan
    return found


def _at_width(workload: LanguageModel, spec: TrialSpec, width: int, base: int | None) -> TrialSpec:
    knobs: dict[str, Any] = dict(spec.knobs)
    of_mup = {"parametrization": "mup", "base_width": base, "base_heads": shapes.default_heads(base)} if base else {}
    cleared = {"parametrization": "standard", "base_width": 0, "base_heads": 0}
    for name in ("heads", "ffn"):
        del knobs[name]
    wanted = workload.resolve({**knobs, "width": width, **cleared, **of_mup})
    own = TrialSpec.of(workload.name, workload.knobs, wanted)
    workload.cost(own)  # refuses knobs that do not go together
    return own


def _changes(workload: LanguageModel, spec: TrialSpec, steps: int) -> Iterator[CoordinateChange]:
    data = open_data(spec, workload.store, "cpu")
    stack = Stack(member_group(spec).members[:1], recipe_of(spec), data.budget, TrainingDevice("cpu"))
    windows = data.held_out.read(np.arange(min(PROBED_WINDOWS, data.held_out.size)))
    tokens = torch.from_numpy(windows[:, :-1])
    for step, moved in enumerate(coordinate_changes(stack, tokens, steps), start=1):
        for layer, change in moved.items():
            yield CoordinateChange(spec["parametrization"], spec["width"], step, layer, change)
