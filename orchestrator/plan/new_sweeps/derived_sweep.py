"""A sweep file at the best settings of an earlier sweep, with some knobs changed.

The best setting of each scientific point is that of the table `best`. Its models are those that ran: a requested number
of parameters has become a shape. Students of these models take `sampled`, the text that was sampled from them, or their
`trial_id`.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.roles.best import best
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.plan.sweep import SweepSpec, parse
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.formula import Formula
from sweeplaw.trials.formula import parse as parse_formula
from sweeplaw.trials.record import ENSEMBLE_SCORES, TASK_SCORES
from sweeplaw.trials.spec import Knob, Value
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.synthetic_corpora import texts

SEED, SPEC = "seed", "spec"  # columns
TRIAL, SAMPLED = "trial_id", "sampled"  # in formulas: the trials of the setting, and the text sampled from them


def derive(
    tables: Tables,
    changes: Mapping[str, str],
    *,
    name: str | None = None,
    sweep: str | None = None,
    seeds: int = 1,
    loss: str = "val_loss",
    store: str | None = None,
) -> str:
    """Return the text of a sweep file with one trial for each scientific point of a sweep of ``tables``, and seed.

    A point has the setting of least mean ``loss`` there. ``changes`` are formulas for knobs, over the knobs and the
    columns of that setting (``{"epochs": "2 * epochs"}``). ``sweep`` names the sweep, which a store of one need not;
    ``name`` is that of the new one, by default the old one's with ``-best``. ``store``, a path or URI, is that of the
    tables, which a formula may name models or texts of: `TRIAL` and `SAMPLED`. Raise InputError.
    """
    launched = launched_sweep(tables, sweep)
    base = parse(launched["sweep_file"], where=f"the sweep file of {launched['sweep']}")
    rows = _best(tables, launched, loss)
    known = {name for row in rows for name, value in row.items() if value is not None}
    formulas = _formulas(changes, base, known | ({SAMPLED} if store else set()))
    used = {name for formula in formulas.values() for name in formula.names}
    if SAMPLED in used:
        rows = _with_texts(rows, locate(str(store)))
    knobs = {knob.name: knob for knob in base.workload.knobs if knob.name != SEED}
    settings = [_setting(row, formulas, knobs) for row in rows]
    file = toml_file.parse(base.text)
    if store and used & {TRIAL, SAMPLED}:
        file = {**file, "workload": _workload(file, base, store)}
    text = _text(name or f"{base.name}-best", base, file, settings, knobs, seeds, changes)
    parse(text, where="the derived sweep")
    return text


def best_runs(tables: Tables, sweep: str | None = None, loss: str = "val_loss") -> list[dict[str, Any]]:
    """Return all columns of a run of the best setting of each scientific point, and every knob.

    `TRIAL` has all trials of the setting, one for each seed, with commas between them. Raise InputError.
    """
    launched = launched_sweep(tables, sweep)
    return [{**row, **json.loads(row[SPEC])["knobs"]} for row in _best(tables, launched, loss)]


def _with_texts(rows: Sequence[Mapping[str, Any]], location: Location) -> list[dict[str, Any]]:
    """Return the rows with the name of the text that the store has from the trials of each. Raise InputError."""
    made = texts(location)
    found: list[dict[str, Any]] = []
    faults = []
    for row in rows:
        teachers = frozenset(row[TRIAL].split(","))
        names = [name for name, trials in made.items() if trials == teachers]
        if len(names) == 1:
            found.append({**row, SAMPLED: names[0]})
            continue
        authors = ", ".join(sorted(teachers))
        command = f"sweeplaw sample {shlex.quote(location.uri)} --trial {authors.replace(', ', ' --trial ')} --tokens N"
        several = f"has {len(names)} texts of {authors} (accepted: one; name it: {', '.join(names)})"
        none = f"has no text of {authors}: {command}"
        faults.append(f"{location.uri} {several if names else none}")
    if faults:
        raise InputError(faults)
    return found


def _workload(file: Mapping[str, Any], base: SweepSpec, store: str) -> dict[str, Any]:
    """Return the workload of the sweep file with the store that has the teachers."""
    own = file.get("workload", base.workload.name)
    uri = store if "://" in store else os.path.abspath(store)
    return {**(own if isinstance(own, Mapping) else {"kind": own}), "store": uri}


def launched_sweep(tables: Tables, sweep: str | None) -> Mapping[str, Any]:
    """Return the record of the latest launch of the sweep. Raise InputError unless one sweep is meant."""
    runs = [one for one in tables.launches if one.get("workload") not in (TASK_SCORES, ENSEMBLE_SCORES)]
    named = tables.launches if sweep is not None else runs
    recorded = [one for one in named if one.get("sweep_file") and sweep in (None, one.get("sweep"))]
    names = sorted({str(one["sweep"]) for one in recorded})
    if len(names) == 1:
        return recorded[-1]
    known = sorted({str(one["sweep"]) for one in tables.launches if one.get("sweep_file")})
    if sweep is not None:
        raise InputError(f"no launch of a sweep {shown(sweep)} (launched: {', '.join(known) or 'none'})")
    if not known:
        raise InputError("no sweep was launched into this store, so there is no sweep file to derive from")
    raise InputError(f"several sweeps were launched into this store: name one with --sweep ({', '.join(known)})")


def _best(tables: Tables, launched: Mapping[str, Any], loss: str) -> list[dict[str, Any]]:
    """Return a run of the best setting of each point, all columns, `SPEC` among them."""
    trials = tables.trials.filter(pl.col("sweep") == launched["sweep"], pl.col(SPEC).is_not_null())
    rows = best(trials, launched["scientific"], loss, [launched])
    if rows.is_empty():
        raise InputError(f"sweep {launched['sweep']} has no completed trial with a {loss}")
    axes = [*launched["scientific"], *launched["nuisance"]]
    order = [SEED] if SEED in trials.collect_schema() else []
    seeds = trials.select({*axes, *order, SPEC, TRIAL}).sort(*order, TRIAL)
    runs = seeds.group_by(axes).agg(pl.col(SPEC).first(), pl.col(TRIAL).str.join(",")).collect()
    found = rows.drop(SPEC, TRIAL, strict=False).join(
        runs, on=axes, how="left", nulls_equal=True, maintain_order="left"
    )
    return found.to_dicts()


def _formulas(changes: Mapping[str, str], base: SweepSpec, columns: set[str]) -> dict[str, Formula]:
    """Return the formula of each changed knob, over knobs and ``columns``. Raise InputError with every fault."""
    known = {knob.name for knob in base.workload.knobs} - {SEED}
    faults = [
        f"{knob} is not a knob of {base.workload.name} (accepted: {', '.join(sorted(known))})"
        for knob in changes
        if knob not in known
    ]
    formulas: dict[str, Formula] = {}
    for knob, text in changes.items():
        try:
            formulas[knob] = parse_formula(text)
        except InputError as error:
            faults += [f"{knob}: {fault}" for fault in error.faults]
            continue
        missing = sorted(formulas[knob].names - known - columns)
        faults += [f"{knob} = {text}: {name} is neither a knob nor a column with a value" for name in missing]
    if faults:
        raise InputError(faults)
    return formulas


def _setting(row: Mapping[str, Any], formulas: Mapping[str, Formula], knobs: Mapping[str, Knob]) -> dict[str, Value]:
    """Return every knob of the best setting in ``row``, changed. Raise InputError for a formula without a value."""
    ran = {name: value for name, value in json.loads(row[SPEC])["knobs"].items() if name in knobs}
    complete = {**{name: knob.default for name, knob in knobs.items() if knob.default is not None}, **ran}
    scope = {**row, **complete}
    found: dict[str, Value] = dict(complete)
    for name, formula in formulas.items():
        try:
            found[name] = knobs[name].from_formula(formula(scope))
        except ValueError as error:
            raise InputError(f"{name} = {formula.text}: {error}") from None
    return found


def _text(
    name: str,
    base: SweepSpec,
    file: Mapping[str, Any],
    settings: Sequence[Mapping[str, Value]],
    knobs: Mapping[str, Knob],
    seeds: int,
    changes: Mapping[str, str],
) -> str:
    """Return the sweep file: knobs that vary together in one block, or one as an axis; the others fixed."""
    axes = {*base.names("scientific")} & set(knobs)
    varying = [one for one in knobs if one in axes or len({setting[one] for setting in settings}) > 1]
    varying = varying or [next(iter(changes), next(iter(knobs)))]
    fixed = {one: settings[0][one] for one in knobs if one not in varying and settings[0][one] != knobs[one].default}
    changed = "".join(f", {knob} = {text}" for knob, text in changes.items())
    lines = [
        f"# The best setting of each point of the sweep {base.name}{changed}.",
        f"name = {toml_file.text_of(name)}",
        f"workload = {toml_file.text_of(file.get('workload', base.workload.name))}",
        f"seeds = {seeds}",
        *([f"keep = {toml_file.text_of(base.keep)}"] if base.keep else []),
        "",
        *(
            ["[fixed]", *(f"{toml_file.key(one)} = {toml_file.text_of(value)}" for one, value in fixed.items()), ""]
            if fixed
            else []
        ),
        *(["[scientific]"] if len(varying) == 1 else ["[[zip]]", 'role = "scientific"']),
        *(f"{toml_file.key(one)} = {toml_file.text_of([setting[one] for setting in settings])}" for one in varying),
    ]
    return "\n".join(lines) + "\n"
