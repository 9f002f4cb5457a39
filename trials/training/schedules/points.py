"""Schedules of one's own as text: points that are connected by lines."""

from __future__ import annotations

from collections.abc import Sequence


def parse(text: str) -> tuple[tuple[float, float], ...]:
    """Return the points of ``'0: 1, 0.8: 0.6, 1: 0'``: shares of the run in increasing order, from 0 to 1, and shares
    of the peak, each in [0, 1]. Raise ValueError with what is wrong.
    """
    points = []
    for part in text.split(","):
        place, mark, height = part.partition(":")
        try:
            if not mark:
                raise ValueError
            points.append((float(place), float(height)))
        except ValueError:
            raise ValueError(f"{part.strip()!r} is no point (accepted: SHARE_OF_RUN: SHARE_OF_LR, …)") from None
    places = [place for place, _ in points]
    if places[0] != 0 or places[-1] != 1 or places != sorted(set(places)):
        raise ValueError(f"the shares of the run are {places} (accepted: increasing, from 0 to 1)")
    if not all(0 <= height <= 1 for _, height in points):
        raise ValueError("a share of lr is outside [0, 1]")
    return tuple(points)


def write(points: Sequence[tuple[float, float]]) -> str:
    """Return the text that `parse` reads, to four digits."""
    return ", ".join(f"{place:.4g}: {height:.4g}" for place, height in points)
