"""The device time of each launch, kept in the store as ``usage/<launch>.json``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from sweeplaw.orchestrator.schedule.device_time import Meter, Reason, Usage
from sweeplaw.orchestrator.store import atomic, compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import Content
from sweeplaw.trials.store_format.layout import Location

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


def load(location: Location, sweep: str | None = None) -> dict[str, Usage]:
    """Return launch_id -> device time, for every launch (of ``sweep``) that published it."""
    found: dict[str, Usage] = {}
    for name in location.names(FOLDER, ".json"):
        content: dict[str, Any] = location.read_json(f"{FOLDER}/{name}.json")
        if sweep is None or content.get("sweep") == sweep:
            found[name] = Usage(content.get("useful", 0.0), content.get("wasted", {}), content.get("losses", {}))
    return found
