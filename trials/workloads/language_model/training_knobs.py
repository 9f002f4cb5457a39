"""What the knobs of optimizer, schedule and parametrization say together, and which of them go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweeplaw.trials import changes
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.schedules import points
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.workloads.language_model import shapes
from sweeplaw.trials.workloads.language_model.knobs import (
    KNOBS,
    MOMENTUM,
    NO_BASE,
    OF_OPTIMIZER,
    OPTIMIZER_KNOBS,
    TUNING,
)
from sweeplaw.trials.workloads.language_model.resolve import length_of

SCALE_INVARIANT = ("adamw", "lion", "schedule_free")  # optimizers whose rates mup and depth scaling have rules for
EMULATED = ("fp8", "fp4")
NOISY = ("dropout", "attention_dropout", "stochastic_depth")  # whose layers multiply in the precision of the weights
# The knobs that `member_faults` reads.
READ = (*TUNING, *NOISY, "optimizer", "precision", "decay_convention", "lr", "schedule", "schedule_points")
# The member knobs that `member_faults` and `change_faults` read. Of lr they read no more than whether it is 0.
JOINED = frozenset(knob.name for knob in KNOBS if knob.member and knob.name in {*READ, "changes"} - {"lr"})
# The knobs, beside the member knobs, in which trials that see the same windows may differ: each ends at its own step.
LENGTH = frozenset({"epochs", "curve_points", "evaluations"})
# The knobs that do not matter before a schedule decays: of the length, the decay, and what is reported on the way.
BEHIND_TRUNK = frozenset(
    {"epochs", "schedule", "warmup_fraction", "final_lr_fraction", "decay_fraction", "curve_points", "evaluations"}
)
_DEFAULTS = {knob.name: knob.default for knob in KNOBS}


def schedule(knobs: Mapping[str, Any]) -> Schedule:
    """Return the schedule of these knobs."""
    return Schedule(
        knobs["schedule"],
        length_of(knobs).steps,
        warmup_fraction=knobs["warmup_fraction"],
        final_fraction=knobs["final_lr_fraction"],
        decay_fraction=knobs["decay_fraction"],
        points=points.parse(knobs["schedule_points"]) if knobs["schedule_points"] else (),
    )


def momentum(knobs: Mapping[str, Any]) -> float:
    """Return the momentum of these knobs; 0 for an optimizer without."""
    given = float(knobs["momentum"])
    return MOMENTUM.get(knobs["optimizer"], 0.0) if given == OF_OPTIMIZER else given


def base_head_width(knobs: Mapping[str, Any]) -> int | None:
    """Return the width of a head at the base width of mup; None in standard."""
    if knobs["parametrization"] == "standard":
        return None
    base: int = knobs["base_width"]
    return base // (knobs["base_heads"] or shapes.default_heads(base))


def check(knobs: Mapping[str, Any]) -> None:
    """Raise InputError with every fault of knobs that do not go together and that all trials of a pack share."""
    if faults := list(_parametrization_faults(knobs)):
        raise InputError(faults)


def member_faults(knobs: Mapping[str, Any]) -> list[str]:
    """Return the faults of knobs that may differ between the trials of a pack."""
    return [*_optimizer_faults(knobs), *_schedule_faults(knobs), *_precision_faults(knobs)]


def change_faults(knobs: Mapping[str, Any]) -> list[str]:
    """Return the faults of the changes of knobs during a run of this length."""
    if not knobs["changes"]:
        return []
    text, steps = str(knobs["changes"]), length_of(knobs).steps
    try:
        late = [change.step for change in changes.parse(text) if change.step >= steps]
    except ValueError as error:
        return [f"changes: {error}"]
    return [f"changes: {text!r}: step {step} of {steps} (accepted: before the end)" for step in late]


def _precision_faults(knobs: Mapping[str, Any]) -> Iterator[str]:
    if knobs["precision"] in EMULATED:
        for name in NOISY:
            if knobs[name]:
                yield f"{name} = {knobs[name]:g} with precision = {knobs['precision']!r} (accepted: float32, bfloat16)"


def _optimizer_faults(knobs: Mapping[str, Any]) -> Iterator[str]:
    optimizer = knobs["optimizer"]
    for name in sorted(TUNING - OPTIMIZER_KNOBS[optimizer]):
        if knobs[name] != _DEFAULTS[name]:
            having = ", ".join(known for known, own in OPTIMIZER_KNOBS.items() if name in own)
            yield f"{name} = {knobs[name]} is no knob of optimizer = {optimizer!r} (accepted with: {having})"
    if "momentum" in OPTIMIZER_KNOBS[optimizer] and OF_OPTIMIZER < knobs["momentum"] < 0:
        yield f"momentum = {knobs['momentum']:g} (accepted: [0, 1), or -1 for the optimizer's own)"
    if optimizer == "schedule_free" and knobs["beta1"] == 0:
        yield "beta1 = 0 with optimizer = 'schedule_free' (accepted: above 0, since what is evaluated is an average)"
    if knobs["decay_convention"] == "independent" and knobs["lr"] == 0:
        yield "lr = 0 with decay_convention = 'independent' (accepted: above 0)"


def _schedule_faults(knobs: Mapping[str, Any]) -> Iterator[str]:
    wanted, text = knobs["schedule"] == "points", knobs["schedule_points"]
    if wanted != bool(text):
        given = f"schedule = {knobs['schedule']!r} with schedule_points = {text!r}"
        yield f"{given} (accepted: 'points' and points, or neither)"
    elif text:
        try:
            points.parse(text)
        except ValueError as error:
            yield f"schedule_points = {text!r}: {error}"


def _parametrization_faults(knobs: Mapping[str, Any]) -> Iterator[str]:
    base, heads, width = knobs["base_width"], knobs["base_heads"], knobs["width"]
    if knobs["parametrization"] == "standard":
        for name in ("base_width", "base_heads"):
            if knobs[name] != NO_BASE:
                yield f"{name} = {knobs[name]} with parametrization = 'standard' (accepted with: mup)"
    elif base == NO_BASE:
        yield "parametrization = 'mup' without base_width (accepted: the width at which the lr was tuned)"
    elif width % base:
        yield f"base_width = {base} does not divide width = {width} (accepted: a divisor of every width)"
    elif heads and base % (2 * heads):
        yield f"base_heads = {heads}: base_width = {base} is no even multiple of it (rotary positions turn pairs)"
    scaled = [name for name in ("base_width", "base_depth") if knobs[name] != NO_BASE]
    if scaled and knobs["optimizer"] not in SCALE_INVARIANT:
        given = f"{scaled[0]} = {knobs[scaled[0]]} with optimizer = {knobs['optimizer']!r}"
        yield f"{given} (accepted: {', '.join(SCALE_INVARIANT)}, which the rules of mup are for)"
