"""Runs that differ in more than a comparison names: other tuned knobs are held at their best in each cell."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sweeplaw.analysis.tuning.settings import Launches, split_columns
from sweeplaw.orchestrator.search.rehearsal.recorded_space import check_names
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted


def with_others_at_best(
    runs: pl.DataFrame, cell: Sequence[str], knobs: Sequence[str], y: str, launches: Launches
) -> tuple[pl.DataFrame, list[str]]:
    """Return the runs that differ only in ``cell``, ``knobs`` and seed, and notes on the others, which are left out.

    A further knob that was tuned has one value in each cell: that of the setting of lowest mean ``y``. Raise InputError
    if the runs are of several recipes, of which one must be chosen.
    """
    check_names([*cell, *knobs, y])
    split = split_columns(runs, cell, knobs, y, (), launches)
    if recipes := [name for name in split.recipes if name not in cell]:
        values = {name: runs[name].drop_nulls().unique(maintain_order=True).head(3).to_list() for name in recipes}
        first = recipes[0]
        raise InputError(
            f"runs at the same setting differ in {', '.join(recipes)} (accepted: one recipe, such as "
            f"--where \"{first} = '{values[first][0]}'\", or {first} as a knob or in the cell)"
        )
    if not split.held:
        return runs, []
    means = (
        runs.filter(pl.col(y).is_finite()).group_by([*cell, *knobs, *split.held], maintain_order=True).agg(pl.mean(y))
    )
    best = means.sort(y, maintain_order=True)
    best = (best.unique(cell, keep="first", maintain_order=True) if cell else best.head(1)).select(*cell, *split.held)
    kept = runs.join(best, on=[*cell, *split.held], how="semi")
    gone = counted(runs.height - kept.height, "run")
    return kept, [f"{gone} left out: not at the best {' and '.join(split.held)} of the cell"]
