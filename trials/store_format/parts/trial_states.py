"""The state of the latest outcome of each trial of a store: for messages on what a trial lacks."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.store_format.layout import RECENCY
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.snapshot import snapshot

SHORTEST = 4  # characters that an id shares at least with one that it was meant for


def latest_states(location: Location) -> dict[str, str]:
    """Return trial_id -> state of the latest outcome. Trials in damaged files are missing."""
    now, columns = snapshot(location), ["trial_id", "state", *RECENCY]
    tables = [now.journal_table("trials").select(columns)]
    for part in now.parts("trials"):
        try:
            tables.append(pq.read_table(location.path(part.path), columns=columns, filesystem=location.filesystem))
        except (pa.ArrowInvalid, OSError):
            continue
    rows = pa.concat_tables(tables, promote_options="permissive").sort_by([(name, "ascending") for name in RECENCY])
    return dict(zip(rows["trial_id"].to_pylist(), rows["state"].to_pylist(), strict=True))


def nearest_id(trial_id: str, known: Iterable[str]) -> str | None:
    """Return the known id that shares the longest beginning with this one, None if that is shorter than `SHORTEST`."""
    found, longest = None, SHORTEST - 1
    for other in known:
        shared = next((i for i, pair in enumerate(zip(trial_id, other, strict=False)) if pair[0] != pair[1]), None)
        length = min(len(trial_id), len(other)) if shared is None else shared
        if length > longest:
            found, longest = other, length
    return found
