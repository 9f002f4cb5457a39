"""What a simulation assumes of a cluster beside its nodes: interruptions, start-up, checkpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeplaw.clusters.profile.fields import MOST_SECONDS, Seconds
from sweeplaw.clusters.profile.requests import Table

# One interruption of a node in a second, up to one in a thousand years.
_Hours = Annotated[float, Field(ge=1 / 3600, le=1e7)]


class SimulationProfile(Table):
    """What `sweeplaw plan --simulate` assumes of the cluster.

    A node fails every ``mtbf_hours`` and is preempted every ``preemption_hours``, both on average and at random times;
    without the key, never. Either way its workers are lost without notice, and it is back after ``away_seconds``. A
    worker takes ``startup_seconds`` until it trains. With ``checkpoints``, trials write one every `checkpoint_seconds`
    and resume from it; a trial of your own that keeps none needs ``false``.
    """

    mtbf_hours: _Hours | None = None
    preemption_hours: _Hours | None = None
    # Assumptions: the time to reboot or replace a machine, and to start Python with torch and a GPU's context.
    away_seconds: Seconds = 600.0
    startup_seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)] = 5.0
    checkpoints: bool = True
