"""What a sweep allows: how much it may use in all, and how often a trial is tried again after each way to end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pydantic

from sweeplaw.trials.record import STATES, UNFINISHED

Tries = Annotated[int, pydantic.Field(ge=0, le=1000)]

# Names a person may look for in [retry], and why they are not there.
NOT_RETRIED: Mapping[str, str] = {
    "completed": "a completed trial is never run again",
    **dict.fromkeys(UNFINISHED, "always run again, because the trial did not end by itself"),
}


class Budget(pydantic.BaseModel):
    """Upper bounds, kept twice: a plan that is estimated above one is refused before anything starts, and a launch ends
    when what was measured reaches one.

    ``trials`` and ``flops`` bound the plan. ``device_hours`` bounds the sweep: every launch on the store counts, wasted
    time too. ``wall_hours`` bounds one launch, from the moment its cluster is there.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    trials: int | None = pydantic.Field(default=None, ge=1)
    flops: float | None = pydantic.Field(default=None, gt=0)
    device_hours: float | None = pydantic.Field(default=None, gt=0)
    wall_hours: float | None = pydantic.Field(default=None, gt=0)


def used_up(budget: Budget, device_seconds: float, wall_seconds: float) -> str | None:
    """Which bound is reached by a sweep that has used so many device-seconds, in a launch of so many seconds."""
    if budget.device_hours is not None and device_seconds >= budget.device_hours * 3600:
        return f"budget.device_hours = {budget.device_hours:g} is used up ({device_seconds / 3600:.4g} device-hours)"
    if budget.wall_hours is not None and wall_seconds >= budget.wall_hours * 3600:
        return f"budget.wall_hours = {budget.wall_hours:g} has passed"
    return None


class Retry(pydantic.BaseModel):
    """How many further attempts a trial gets after it ended in each state, in one launch or over many.

    ``worker_died`` is how often a trial is started again because its worker died; then it is `failed`. The defaults:
    what diverged or raised would do so again, what ran out of memory is tried in smaller micro-batches where the
    workload can (`settled`), and a worker dies for reasons of its own.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    diverged: Tries = 0
    failed: Tries = 0
    out_of_memory: Tries = 1
    stopped: Tries = 0
    worker_died: Tries = 2

    def settled(self, *, shrinks: bool) -> Retry:
        """This policy for a workload that can take smaller micro-batches or cannot. One that cannot would run out of
        memory again: then only a policy that says so gives it another attempt.
        """
        if shrinks or "out_of_memory" in self.model_fields_set:
            return self
        return self.model_copy(update={"out_of_memory": 0})

    def by_state(self) -> Mapping[str, int]:
        """Further attempts after each state that has any."""
        tries = {state: getattr(self, state, 0) for state in STATES}
        return {state: number for state, number in tries.items() if number}
