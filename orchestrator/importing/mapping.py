"""Mapping from the columns of a source to ours: a column, an expression, or the first of several that exists.

In TOML::

    source = "chinchilla figure 4"
    run = "run_id"                       # identifies a run (default: the whole row)
    where = "loss < 5"
    keep = ["lr", "batch"]               # source columns to keep under their own name (default: all)

    [columns]
    params_non_embedding = "Model Size"
    tokens = '"Training FLOP" / (6 * N)'  # our names are replaced by their own mapping
    batch_tokens = "bs * 2048"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES, parse, some_columns, unknown_columns
from sweeplaw.analysis.tables.sql.sql_text import tokens
from sweeplaw.clusters.profile import toml_file
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import RESERVED_COLUMNS

# Reserved columns that an import may fill; the others are set by the import itself.
FILLABLE = ("state", "message", "started_at", "ended_at", "train_seconds", "last_step", "host", "device", "commit")
STATES: Mapping[str, str | None] = {  # None: not a result yet
    **dict.fromkeys(("completed", "complete", "finished", "terminated", "success", "succeeded", "done"), "completed"),
    **dict.fromkeys(("failed", "fail", "crashed", "error", "errored"), "failed"),
    **dict.fromkeys(("stopped", "killed", "pruned", "canceled", "cancelled"), "stopped"),
    **dict.fromkeys(("preempted", "preempting"), "preempted"),
    "paused": "paused",
    "budget": "budget",
    **dict.fromkeys(("diverged", "nan"), "diverged"),
    **dict.fromkeys(("out_of_memory", "oom"), "out_of_memory"),
    **dict.fromkeys(("running", "pending", "waiting", "scheduled", "queued")),
}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How source rows map to ours.

    ``columns``: our name -> source column or expression, or several, of which the first valid one is used. ``run``:
    source columns that identify a run, () for the whole row. ``keep``: source columns to keep, None for all remaining
    ones. ``optional``: our names that may be missing in the file. ``rounds``: fractions in columns of whole
    numbers are rounded, since sizes were read off a figure, not rejected.
    """

    source: str = ""
    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    run: tuple[str, ...] = ()
    where: str | None = None
    keep: tuple[str, ...] | None = None
    optional: frozenset[str] = frozenset()
    rounds: bool = False


def from_toml(path: Path) -> ColumnMapping:
    """Return the mapping in a TOML file. Raise InputError with every fault."""
    _, content = toml_file.read(path, where=str(path))
    accepted = ("source", "run", "where", "keep", "columns")
    faults = [f"{key} is not known{nearest(key, accepted)}" for key in content if key not in accepted]
    columns = content.get("columns", {})
    for name, theirs in columns.items() if isinstance(columns, dict) else [("columns", columns)]:
        if not isinstance(theirs, str | int | float):
            faults.append(f"columns.{name} = {theirs!r} is not a column name or expression")
    if faults:
        raise InputError(faults, where=str(path))
    keep = content.get("keep")
    return ColumnMapping(
        source=str(content.get("source", "")),
        columns={name: str(theirs) for name, theirs in columns.items()},
        run=_several(content.get("run", ())),
        where=content.get("where"),
        keep=None if keep is None else _several(keep),
    )


def extended(mapping: ColumnMapping, pairs: Iterable[str]) -> ColumnMapping:
    """Return ``mapping`` with ``ours=theirs`` pairs from the command line added. Raise InputError."""
    columns = dict(mapping.columns)
    faults = []
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            faults.append(f"--map {pair!r} is not OURS=THEIRS")
        columns[ours.strip()] = theirs.strip()
    if faults:
        raise InputError(faults)
    return replace(mapping, columns=columns)


def resolve(mapping: ColumnMapping, theirs: Sequence[str]) -> dict[str, str]:
    """Return our name -> source column or expression for this file, kept columns included. Raise InputError."""
    faults: list[str] = []
    chosen: dict[str, str] = {}
    rules = {ALIASES.get(ours, ours): _several(rule) for ours, rule in mapping.columns.items()}
    for name, rule in rules.items():
        if name in RESERVED_COLUMNS and name not in FILLABLE:
            faults.append(f"column {name} is filled by the import itself")
            continue
        if name.startswith("\0"):
            faults.append(f"column {name!r}: a name does not begin with a null character")
            continue
        texts = [_in_theirs(text, rules, theirs, (name,)) for text in _possible(rule, rules, theirs)]
        found = [_plain(text, theirs) for text in texts if _fits(text, theirs)]
        if found:
            chosen[name] = found[0]
        elif name not in mapping.optional:
            faults.append(_missing(name, rule, theirs))
    faults += [f"run: {fault}" for fault in unknown_columns(mapping.run, theirs)]
    faults += [f"keep: {fault}" for fault in unknown_columns(mapping.keep or (), theirs)]
    if not faults and not {"val_loss", "state"} & ({*chosen} | {*theirs}):
        faults.append(
            f"no column is mapped to the loss: --map val_loss=COLUMN (columns: {some_columns(theirs, 'val_loss')})"
        )
    if faults:
        raise InputError(faults)
    return chosen | _kept(mapping, theirs, chosen)


def expression(text: str, theirs: Sequence[str] | pl.Schema) -> pl.Expr:
    """Return the source column of this name, or the expression over source columns."""
    return pl.col(text) if text in theirs else parse(text, theirs)


def _kept(mapping: ColumnMapping, theirs: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the columns to keep; a name with another meaning here is prefixed with `their_`.

    N, D and C have another meaning if the columns that they stand for are mapped.
    """
    used = set(chosen.values())
    kept = [name for name in theirs if name not in used] if mapping.keep is None else mapping.keep
    meant = {*chosen, *(alias for alias, name in ALIASES.items() if name in chosen)}
    names: dict[str, str] = {}
    for name in kept:
        taken = name in meant or (name in RESERVED_COLUMNS and name not in FILLABLE) or name.startswith("\0")
        ours = f"their_{name}" if taken else name
        while ours != name and ours in {*kept, *chosen}:
            ours = f"their_{ours}"
        names[ours] = name
    return names


def _in_theirs(text: str, rules: Mapping[str, tuple[str, ...]], theirs: Sequence[str], within: tuple[str, ...]) -> str:
    """Return ``text`` with our names expanded by their own rules unless the file has such a column: ``flop / (6 * N)``
    works if N is mapped. ``within`` are the names being expanded, which are not expanded again."""
    if text in theirs:
        return text
    expanded = []
    for kind, token in tokens(text):
        name = ALIASES.get(token, token)
        if kind == "name" and name in rules and name not in within and not {token, name} & {*theirs}:
            texts = [_in_theirs(one, rules, theirs, (*within, name)) for one in _possible(rules[name], rules, theirs)]
            fitting = next((one for one in texts if _fits(one, theirs)), None)
            token = token if fitting is None else f'"{fitting}"' if fitting in theirs else f"({fitting})"
        expanded.append(token)
    return "".join(expanded)


def _plain(text: str, theirs: Sequence[str]) -> str:
    """Return the column that ``text`` quotes (``"val/loss"``) by its name, any other text as it is."""
    words = [(kind, token) for kind, token in tokens(text) if kind != "space"]
    if text in theirs or len(words) != 1:
        return text
    (kind, token), *_ = words
    name = token[1:-1].replace(2 * token[0], token[0]) if kind == "quoted" else token
    return name if name in theirs else text


def _possible(rule: tuple[str, ...], rules: Mapping[str, tuple[str, ...]], theirs: Sequence[str]) -> Sequence[str]:
    """Return the texts that a rule may stand for: its only column or expression, or those of several that are names of
    columns in the file or of ours.

    If several are given, all must be column names: ``model/params`` is then a name, not a quotient of two columns.
    """
    return rule if len(rule) == 1 else [text for text in rule if text in theirs or text in rules]


def _fits(text: str, theirs: Sequence[str]) -> bool:
    try:
        expression(text, theirs)
    except InputError:
        return False
    return True


def _missing(ours: str, texts: tuple[str, ...], theirs: Sequence[str]) -> str:
    if len(texts) == 1:
        try:
            expression(texts[0], theirs)
        except InputError as error:
            return f"{ours}: {error}"
    return (
        f"{ours}: none of {', '.join(texts)} is a column; --map {ours}=COLUMN (columns: {some_columns(theirs, ours)})"
    )


def _several(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value))
