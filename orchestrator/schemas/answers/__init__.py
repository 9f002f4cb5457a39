"""Schemas of what the commands print with ``--json``, by command.

One schema for each command, some from the dataclasses that are printed. Nothing here makes or checks an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplaw.orchestrator.schemas.answers import (
    event_times,
    forecasts,
    hyperlaws,
    laws,
    recipes,
    report,
    sweeps,
    tables,
    training,
    tuning,
)
from sweeplaw.orchestrator.schemas.models import DRAFT, Schema

ANSWERS: Mapping[str, Mapping[str, Any]] = {
    **sweeps.ANSWERS,
    **tables.ANSWERS,
    **laws.ANSWERS,
    **forecasts.ANSWERS,
    **hyperlaws.ANSWERS,
    **tuning.ANSWERS,
    **event_times.ANSWERS,
    **recipes.ANSWERS,
    **report.ANSWERS,
    **training.ANSWERS,
}


def schema(command: str) -> Schema:
    """Return the schema of what a command prints with ``--json``."""
    return {"$schema": DRAFT, "title": f"sweeplaw {command} --json", **ANSWERS[command]}
