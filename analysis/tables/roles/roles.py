"""Roles of the columns of a table: the knobs that were tuned, and the columns that split its runs into families.

Trials that differ in a knob which is neither an axis of the law nor tuned (a corpus, a schedule), in their workload, or
in being imported belong to different families: each has laws of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.display import brief
from sweeplaw.analysis.tables.roles.guessed import guessed, refining, varying_columns
from sweeplaw.analysis.tables.roles.recorded import SCALES, SEED, RecordedRoles, fixed_by_sweep, recorded, spec_knobs
from sweeplaw.trials.quantities import counted, plain
from sweeplaw.trials.record import RESERVED_COLUMNS, TRIAL_COLUMNS

SOURCE = "source"
_FACTS = RESERVED_COLUMNS | {column.name for column in TRIAL_COLUMNS if column.type == "time"}
_COSTS = frozenset(("steps", "flops", "flops_per_token", "flops_convention", "train_loss", "val_loss"))


@dataclass(frozen=True, slots=True)
class Roles:
    """``knobs`` were tuned at each point, ``families`` split the table; ``notes`` are sentences on what was decided."""

    knobs: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def roles(
    frame: pl.DataFrame,
    launches: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    ignored: Sequence[str] = (),
    knobs: Sequence[str] | None = None,
) -> Roles:
    """Return the roles of the columns of ``frame``, whose points are the combinations of the columns ``keys``.

    ``ignored`` are columns without a role (the loss, weights). ``knobs``, if given, are the tuned columns, whatever
    launches recorded and values suggest.
    """
    facts = recorded(launches)
    free = [name for name in frame.columns if name not in {*keys, *ignored, *(knobs or ())}]
    own, imported = _origins(frame, facts)
    tuned, split, recorded_notes = _by_facts(own, facts, keys, free) if facts.known and own.height else ([], [], ())
    other: list[str] = []
    if imported.height:
        apart = [] if own.height else [name for name in fixed_by_sweep(imported) if name in free]
        candidates = [name for name in free if name not in {*_FACTS, *_COSTS} or "trial_id" not in frame.columns]
        more, families, other = guessed(imported, [*keys, *apart], [name for name in candidates if name not in apart])
        split += apart
        tuned += [name for name in more if name not in tuned]
        split += [name for name in families if name not in split]
    if (own.height and imported.height) or _has_both(frame):
        split.append(SOURCE)
    chosen = tuple(knobs) if knobs is not None else tuple(name for name in tuned if name not in split)
    notes = _column_notes(other) if knobs is None else _unnamed([name for name in tuned if name not in split])
    return Roles(chosen, tuple(dict.fromkeys(split)), (*recorded_notes, *notes))


def _origins(frame: pl.DataFrame, facts: RecordedRoles) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows whose roles were recorded, and the others."""
    if not facts.known or "launch_id" not in frame.columns or SOURCE not in frame.columns:
        return frame.clear(), frame
    return frame.filter(pl.col(SOURCE).is_null()), frame.filter(pl.col(SOURCE).is_not_null())


def _has_both(frame: pl.DataFrame) -> bool:
    """Whether a table of trials, exported from a store, has own and imported ones."""
    known = {SOURCE, "trial_id"} <= set(frame.columns)
    return known and 0 < frame[SOURCE].null_count() < frame.height


def _by_facts(
    own: pl.DataFrame, facts: RecordedRoles, keys: Sequence[str], free: Sequence[str]
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return the tuned knobs and the columns of families of our own runs, and sentences on what is in one family."""
    present = [name for name in free if name != SEED]
    knobs = spec_knobs(own)
    candidates = [name for name in present if name in {*facts.nuisance, *facts.scientific, *facts.derived, *knobs}]
    varying = varying_columns(own, keys, candidates)
    tuned = [name for name in varying if name in facts.nuisance]
    compared = [name for name in varying if name in facts.scientific and not name.startswith("params")]
    fixed = [name for name in facts.fixed if name in present and name not in SCALES and own[name].n_unique() > 1]
    rest = [name for name in varying if name not in {*tuned, *compared, *fixed, *facts.derived}]
    split = refining(own, keys, ["workload"] if "workload" in own.columns and own["workload"].n_unique() > 1 else [])
    between = _between_points(own, keys, [name for name in facts.scientific if name in set(present) - {*varying}])
    split = [*split, *compared, *fixed, *(name for name in between if not own[name].dtype.is_numeric())]
    split += refining(own, [*keys, *tuned, *split], rest)
    tuned += refining(own, [*keys, *tuned, *split], [name for name in varying if name in facts.derived])
    pooled = [name for name in between if name not in split]
    return tuned, split, _pooled_notes(own, keys, pooled)


def _between_points(own: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return those of ``names`` with several values, one at each point, that no single key determines.

    What a key determines is a part of it: a width of N, the unique tokens of D.
    """
    usable = [name for name in names if name not in SCALES and not isinstance(own[name].dtype, pl.List | pl.Struct)]
    if not usable or not keys:
        return []
    points = own.group_by(keys).agg(pl.col(usable).first())
    several = [name for name in usable if points[name].n_unique() > 1]
    return [
        name
        for name in several
        if not any(points.group_by(key).agg(pl.col(name).n_unique())[name].max() == 1 for key in keys)
    ]


def _pooled_notes(own: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on each scientific axis of numbers whose values are pooled: one law is over all of them."""
    notes = []
    for name in names:
        points = own.group_by(keys).agg(pl.col(name).first())[name].value_counts().sort(name).iter_rows()
        values = ", ".join(f"{plain(value)} at {counted(count, 'point')}" for value, count in points)
        notes.append(
            f"{name} differs from point to point ({brief(values)}), and one law is over all of them: "
            f"--where '{name} = …' selects one"
        )
    return tuple(notes)


def sweeps_note(frame: pl.DataFrame) -> list[str]:
    """Return a sentence that names the sweeps whose runs are in ``frame``, if there are several."""
    if not {"sweep", "launch_id"} <= set(frame.columns):
        return []
    sweeps = [str(name) for name in frame["sweep"].drop_nulls().unique(maintain_order=True)]
    return [f"runs of {len(sweeps)} sweeps are used together: {', '.join(sweeps)}"] if len(sweeps) > 1 else []


def _column_notes(other: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on the columns that differ at a point and are neither knob nor recipe."""
    which = "which is taken" if len(other) == 1 else "which are taken"
    note = f"runs at one point also differ in {', '.join(other)}, {which} neither as a knob nor as a recipe"
    return (f"{note} (--knobs names the knobs, --where selects rows)",) if other else ()


def _unnamed(knobs: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on the tuned columns that were not named as knobs."""
    if not knobs:
        return ()
    return (f"runs of one setting differ in {', '.join(knobs)}, not named as knobs: they are averaged like seeds",)
