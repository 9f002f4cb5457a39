"""CPU seconds of one proposal with many records: twenty cells, planted losses, records in random order."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from sweeplaw.orchestrator.search.contract import Finished, History, Observation, RemainingBudget
from sweeplaw.orchestrator.search.rehearsal.contestants import contestants
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace, recorded_space
from sweeplaw.trials.workloads.replay.recorded import RecordedColumns, RecordedTable

CELLS = (5, 4)  # sizes and token budgets
PROPOSALS = 5  # of which the median counts
LONGEST = 60.0  # CPU seconds that a search may take to read its records; with more of them it is not asked


def measured(kinds: Sequence[str], records: Sequence[int]) -> Iterator[tuple[str, int, float, float]]:
    """Yield kind, number of records, and the CPU seconds of the first proposal of a new instance, which reads all
    records, and of a later one; NaN where the first would take too long.
    """
    for kind in kinds:
        slow = False
        for count in records:
            if slow:
                yield kind, count, math.nan, math.nan
                continue
            first, later = _proposals(_space(count), kind, count)
            slow = first * 10 > LONGEST
            yield kind, count, first, later


def _space(records: int) -> RecordedSpace:
    """Return twenty cells with at least twice as many settings as there are records."""
    side = max(8, math.ceil(math.sqrt(2 * records / math.prod(CELLS))))
    n, d, lr, batch = (
        grid.ravel()
        for grid in np.meshgrid(
            2.0 ** np.arange(26, 26 + CELLS[0]),
            2.0 ** np.arange(30, 30 + CELLS[1]),
            np.logspace(-4, -1, side),
            np.unique(np.logspace(3, 12, side, base=2.0)),
        )
    )
    u = np.log2(lr) + 9 + 0.4 * (np.log2(n) - 28)
    v = np.log2(batch) - 7 - 0.4 * (np.log2(d) - 31)
    noise = np.exp(0.0006 * np.random.default_rng(0).standard_normal(len(n)))
    losses = (2 + 80 / n**0.25) * (1 + 0.004 * u**2 + 0.003 * v**2) * noise
    frame = pl.DataFrame({"N": n, "D": d, "lr": lr, "batch": batch, "loss": losses})
    table = RecordedTable.of(frame, RecordedColumns({name: name for name in ("N", "D", "lr", "batch")}, "loss"))
    return recorded_space(table, ("N", "D"), ("lr", "batch"))


def _proposals(space: RecordedSpace, kind: str, count: int) -> tuple[float, float]:
    order = np.random.default_rng(1).permutation(len(space.outcomes))
    settings = [list(space.outcomes)[n] for n in order]
    seen = [
        Observation(setting, "completed", (space.outcomes[setting].loss,), space.outcomes[setting].flops)
        for setting in settings[:count]
    ]
    search = contestants(space, [kind])[0].make(0, min(1.0, count / len(settings)))
    seconds = []
    for number in range(PROPOSALS + 1):
        spent = sum(one.flops or 0.0 for one in seen)
        history = History(list(seen), (), RemainingBudget(flops=space.total), number, spent)
        started = time.process_time()
        found = search.propose(history)
        seconds.append(time.process_time() - started)
        if found is None or isinstance(found, Finished):
            return seconds[0], math.nan
        recorded = space.outcomes[found.setting]
        seen.append(Observation(found.setting, "completed", (recorded.loss,), recorded.flops, number, len(seen)))
    return seconds[0], float(np.median(seconds[1:]))
