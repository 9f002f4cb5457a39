"""What a sweep may use in all, when it stops because trials fail, and the further attempts after each way to end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

import pydantic
from pydantic_core import PydanticCustomError

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import STATES, UNFINISHED

_RULE = r"first ([1-9]\d{0,8})|([1-9]\d{0,8}) in a row"
_RULE_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": f"^(never|{_RULE})$"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    ]
}
Tries = Annotated[int, pydantic.Field(ge=0, le=1000)]

# States that [retry] does not accept, and why.
NOT_RETRIED: Mapping[str, str] = {
    "completed": "a completed trial is never run again",
    **dict.fromkeys(UNFINISHED, "always run again, because the trial did not end by itself"),
}


class Budget(pydantic.BaseModel):
    """Upper bounds, enforced twice: a plan estimated above one is refused before anything starts, and a launch ends
    when the measured use reaches one.

    ``trials`` and ``flops`` bound the plan. ``device_hours`` bounds the sweep: every launch on the store counts, wasted
    time too. ``wall_hours`` bounds one launch, from the moment its cluster is there.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    trials: int | None = pydantic.Field(default=None, ge=1)
    flops: float | None = pydantic.Field(default=None, gt=0)
    device_hours: float | None = pydantic.Field(default=None, gt=0)
    wall_hours: float | None = pydantic.Field(default=None, gt=0)


def used_up(budget: Budget, device_seconds: float, wall_seconds: float) -> str | None:
    """Return a sentence naming the bound that is reached, or None.

    ``device_seconds`` are used by the sweep so far, ``wall_seconds`` by this launch.
    """
    if budget.device_hours is not None and device_seconds >= budget.device_hours * 3600:
        return f"budget.device_hours = {budget.device_hours:g} is used up ({device_seconds / 3600:.4g} device-hours)"
    if budget.wall_hours is not None and wall_seconds >= budget.wall_hours * 3600:
        return f"budget.wall_hours = {budget.wall_hours:g} has passed"
    return None


class StopPolicy(pydantic.BaseModel):
    """When a launch whose trials fail stops: `failures` is one of

    - ``"first N"``: each of the first N attempts that ended has failed (the default: 10), so nothing works;
    - ``"N in a row"``: N attempts have failed without another outcome between them;
    - a share, such as 0.5: that share of all attempts has failed, once ten have ended;
    - ``"never"``.

    Only the state `failed` counts: an exception, an exit code, a worker that died again and again.
    """

    LEAST: ClassVar[int] = 10

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    failures: Annotated[str | float, pydantic.WithJsonSchema(_RULE_SCHEMA)] = "first 10"

    @pydantic.field_validator("failures")
    @classmethod
    def _check(cls, value: str | float) -> str | float:
        _rule(value)
        return value

    @property
    def rule(self) -> tuple[str, float]:
        """The kind of the rule (first, row, share, never) and its number."""
        return _rule(self.failures)


def _rule(text: str | float) -> tuple[str, float]:
    if text == "never":
        return "never", 0
    if isinstance(text, float) and 0 < text <= 1:
        return "share", text
    if isinstance(text, str) and (found := re.fullmatch(_RULE, text)):
        return ("first", int(found[1])) if found[1] else ("row", int(found[2]))
    raise PydanticCustomError("rule", "accepted are 'first N', 'N in a row', a share above 0 and up to 1, 'never'")


class Retry(pydantic.BaseModel):
    """Number of further attempts of a trial after it ended in each state, in one launch or over several.

    ``worker_died`` is the number of restarts after the death of a trial's worker; then the trial is `failed`. Deaths
    with a whole node and deaths after new progress (a checkpoint farther than any before) do not count; of others that
    left a checkpoint, and of lost nodes without progress, the first 20 do not. Reasons for the defaults: a trial that
    diverged or raised would do so again, one that ran out of memory is tried in smaller micro-batches where the
    workload can (`settled`), and a worker dies for reasons unrelated to the trial.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    diverged: Tries = 0
    failed: Tries = 0
    out_of_memory: Tries = 1
    stopped: Tries = 0
    worker_died: Tries = 2

    def settled(self, *, divides_micro_batch: bool) -> Retry:
        """Return this policy for a workload that can, or cannot, take smaller micro-batches.

        One that cannot would run out of memory again, so it gets another attempt only if the sweep file asks for it.
        """
        if divides_micro_batch or "out_of_memory" in self.model_fields_set:
            return self
        return self.model_copy(update={"out_of_memory": 0})

    def by_state(self) -> Mapping[str, int]:
        """Return the number of further attempts after each state that has any."""
        tries = {state: getattr(self, state, 0) for state in STATES}
        return {state: number for state, number in tries.items() if number}


def unknown_flops(flops: float) -> str:
    """Return the fault of a budget of FLOPs for trials of unknown FLOPs, which would never spend it."""
    return (
        f"budget.flops = {flops:g}, but the FLOPs of the trials are not known (accepted: a knob `flops` under "
        "[workload.knobs], or a formula for it under [derived]; or a budget of trials, device_hours or wall_hours)"
    )


def require_within_budget(budget: Budget, trials: int, flops: float | None, where: str) -> None:
    """Raise InputError if these trials and FLOPs (None: unknown) exceed the budget; a launch checks device hours."""
    faults = []
    if budget.trials is not None and trials > budget.trials:
        faults.append(f"budget.trials = {budget.trials}, but the sweep has {trials} trials")
    if budget.flops is not None and flops is None:
        faults.append(unknown_flops(budget.flops))
    if budget.flops is not None and flops is not None and flops > budget.flops:
        faults.append(f"budget.flops = {budget.flops:g}, but the sweep needs {flops:.3g} FLOPs")
    if faults:
        raise InputError(faults, where=where)
