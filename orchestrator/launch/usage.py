"""The device time of each launch, kept in the store as ``usage/<launch>.json``."""

from __future__ import annotations

import math
import operator
import os
from dataclasses import asdict
from typing import Any

from sweeplaw.orchestrator.schedule.device_time import Meter, Reason, Usage
from sweeplaw.orchestrator.store import atomic, compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import Content
from sweeplaw.trials.store_format.damage import parsed_all
from sweeplaw.trials.store_format.location import Location

FOLDER = "usage"


def publish(location: Location, launch_id: str, sweep: str, meter: Meter) -> None:
    """Store what the launch has used so far. Raise OSError."""
    content = {
        "sweep": sweep,
        **asdict(meter.usage()),
        "latest": [{**asdict(loss), "at": loss.at.isoformat()} for loss in meter.latest()],
    }
    atomic.publish_json(location, f"{FOLDER}/{launch_id}.json", content)


def close(location: Location, launch_id: str, device_seconds: float, losses: int) -> None:
    """Add what was running when a launcher died. Further calls change nothing. Raise OSError, TimeoutError."""

    def change(content: Content) -> Content:
        if content.get("closed"):
            return content
        reason: Reason = "launcher died"
        wasted = {**content.get("wasted", {}), reason: device_seconds}
        counts = {**content.get("losses", {}), reason: losses}
        return {"useful": 0.0, **content, "wasted": wasted, "losses": counts, "closed": True}

    if location.local:
        os.makedirs(location.path(FOLDER), exist_ok=True)
    compare_and_swap.update(location, f"{FOLDER}/{launch_id}.json", change)


def load(location: Location, sweep: str | None = None, faults: list[str] | None = None) -> dict[str, Usage]:
    """Return launch_id -> device time, for every launch (of ``sweep``) that published it.

    Damage is appended to ``faults``; without these it raises DamagedFileError.
    """
    published = parsed_all(location, FOLDER, _published, faults)
    return {name: usage for name, (of, usage) in published.items() if sweep is None or of == sweep}


def _published(content: Content) -> tuple[str | None, Usage]:
    """Return the sweep and the device time in a file. Raise ValueError, TypeError, AttributeError."""
    usage = Usage(
        _seconds(content.get("useful", 0.0)),
        {str(reason): _seconds(seconds) for reason, seconds in content.get("wasted", {}).items()},
        {str(reason): operator.index(count) for reason, count in content.get("losses", {}).items()},
    )
    return content.get("sweep"), usage


def _seconds(value: Any) -> float:
    if isinstance(value, bool | str) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)
