"""Whether the trials of a search report what it minimizes: without that it would propose for ever."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.trials.errors import nearest
from sweeplaw.trials.record import CurvePoint, Row, TrialRecord

FEW = 5  # trials of this launch that may end without an objective before the search ends


class ObjectiveWatch:
    """Watches the rows of a launch for ``metrics``; those of curves count where trials are ``judged_by_curves``."""

    def __init__(self, metrics: Sequence[str], *, judged_by_curves: bool) -> None:
        self._lacking, self._by_curves = set(metrics), judged_by_curves
        self._reported: set[str] = set()
        self._ended = 0

    def seen(self, row: Row) -> None:
        """Note a row."""
        if not self._lacking:
            return
        if isinstance(row, TrialRecord) and row.outcome.state in ("completed", "paused"):
            self._ended += 1
            names = {name for name, value in row.outcome.metrics.items() if value is not None}
            names |= {name for name in self._lacking if row.row().get(name) is not None}
        elif isinstance(row, CurvePoint) and self._by_curves:
            names = {name for name, value in {**row.row(), **row.metrics}.items() if value is not None}
        else:
            return
        self._reported |= names
        self._lacking -= names

    @property
    def fault(self) -> str:
        """Why the search cannot go on; empty while it can."""
        if not self._lacking or self._ended < FEW:
            return ""
        missing = sorted(self._lacking)
        metrics = sorted(name for name in self._reported if not name.startswith("search_"))
        return (
            f"none of the {self._ended} trials that ended reported the objective {', '.join(missing)}"
            f"{nearest(missing[0], metrics)} (they reported: {', '.join(metrics) or 'nothing'})"
        )
