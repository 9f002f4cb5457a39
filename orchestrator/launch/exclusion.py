"""Which trials a user excludes from a store's data, or restores: those for which a condition holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.sql.expressions import condition, values_of
from sweeplaw.orchestrator.store import exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.store_format.exclusions import exclusions as exclusions_of

EVERY = "true"  # the condition that excludes all trials

Notify = Callable[[str], None]


def _ignore(sentence: str) -> None: ...


def exclude_where(store: Store, where: str, reason: str, notify: Notify = _ignore) -> list[str]:
    """Exclude the trials, in any state, for which ``where`` holds; return their ids. Raise InputError, OSError.

    Only the condition `EVERY`, and one that names trials by their ids, exclude all there are: that of any other is
    likely to be a mistake. ``notify`` is called with a sentence on the trials for which the condition is unknown, and
    one on those for which it computes an infinity.
    """
    store.report(exclusions_of(store.location).faults)
    if not reason.strip():
        raise InputError("an exclusion needs a reason, such as --reason 'learning rate was logged wrongly'")

    def choose(verify: bool) -> tuple[_Chosen, tuple[str, ...]]:
        loaded = tables.load(store.location.uri, states=None, verify=verify)
        return _chosen(loaded.trials, where), loaded.faults

    found, faults = tables.unless_damaged(choose)
    store.report(faults)
    named = where.strip().lower() == EVERY or values_of("trial_id", where) is not None
    if found.ids and len(found.ids) == found.among and not named:
        every = "the only trial" if found.among == 1 else f"all {counted(found.among, 'trial')}"
        raise InputError([f"{where!r} holds for {every} in the data; --where {EVERY} excludes all", *found.notes])
    _notify(found, notify)
    exclusions.exclude(store, found.ids, reason.strip())
    return found.ids


def restore_where(store: Store, where: str, notify: Notify = _ignore) -> list[str]:
    """Restore the excluded trials for which ``where`` holds; return their ids. Raise InputError, OSError.

    ``notify`` is called as in `exclude_where`.
    """
    store.report(exclusions_of(store.location).faults)

    def choose(verify: bool) -> tuple[_Chosen, tuple[str, ...]]:
        loaded = tables.load(store.location.uri, states=None, verify=verify)
        return _chosen(loaded.excluded.collect().lazy(), where), loaded.faults

    found, faults = tables.unless_damaged(choose)
    store.report(faults)
    _notify(found, notify)
    exclusions.restore(store, found.ids)
    return found.ids


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The ``ids`` of the trials for which a condition holds, of ``among``; ``notes`` are sentences on the rest."""

    ids: list[str]
    among: int
    notes: list[str]


def _chosen(trials: pl.LazyFrame, where: str) -> _Chosen:
    holds = condition(where, trials.collect_schema())
    infinite = pl.any_horizontal(False, *_computed(holds, trials))
    frame = trials.select("trial_id", holds=holds.cast(pl.Boolean), infinite=infinite.fill_null(False)).collect()
    unknown, odd = frame["holds"].null_count(), frame.filter("holds", "infinite").height
    notes = {
        f"the condition is unknown (a missing value) for {counted(unknown, 'trial')}, left as before": unknown,
        f"the condition computes an infinity (a division by zero?) for {counted(odd, 'trial')}": odd,
    }
    ids = sorted(frame.filter("holds")["trial_id"])
    return _Chosen(ids, frame.height, [sentence for sentence, count in notes.items() if count])


def _notify(found: _Chosen, notify: Notify) -> None:
    for sentence in found.notes:
        notify(sentence)


def _computed(holds: pl.Expr, trials: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Yield for each float that the condition computes whether it is infinite."""
    schema = trials.collect_schema()
    empty = pl.DataFrame(schema=schema)
    for number, part in enumerate(_parts(holds, schema)):
        try:
            kind = empty.select(part.alias("part")).dtypes[0]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # no value of its own
            continue
        if kind.is_float():
            yield part.is_infinite().alias(f"part {number}")


def _parts(expression: pl.Expr, schema: pl.Schema) -> Iterator[pl.Expr]:
    """Yield every operation in the expression; columns and literals are none."""
    operands = expression.meta.pop(schema=schema)
    if operands:
        yield expression
    for operand in operands:
        yield from _parts(operand, schema)
