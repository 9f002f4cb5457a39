"""The backends that run the packs of a launch, one for each kind of cluster."""

from __future__ import annotations

from typing import Protocol

from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Queue


class Backend(Protocol):
    """Runs every pack of a queue; returns once nothing runs and nothing more may start."""

    def __call__(
        self,
        queue: Queue,
        callbacks: DispatcherCallbacks,
        /,
        *,
        slots: int | None,
        patience: float,
        grace: float,
        ready: float,
        commit: str | None,
    ) -> None:
        """Run at most ``slots`` packs at a time, on nodes that hold them.

        A worker without a row for ``patience`` seconds is ended as if it had died. Once ``callbacks.ending()`` is true,
        workers have ``grace`` seconds to end. Packs that no live node can hold are waited for ``ready`` seconds.
        ``commit`` is the code the launch was made from.

        Raise what ``callbacks.sink`` raises, ConnectError, ScheduleError.
        """
        ...


def backend(kind: str) -> Backend:
    """Return the backend for a cluster of this kind (`Profile.kind`). Only a backend that needs Ray imports it."""
    if kind == "inline":
        from sweeplaw.orchestrator.schedule import inline

        return inline.run
    from sweeplaw.orchestrator.schedule.ray_tune import backend as ray_tune

    return ray_tune.run
