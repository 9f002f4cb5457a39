"""A search as text on a terminal: what is known of it beforehand, and what it recommends at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import emit_json, report_damage
from sweeplaw.orchestrator.cli.sweeps.simulation import lines
from sweeplaw.trials.quantities import counted, plain, short

_NO_SETTING = ("trial_ids", "until", "reason", "value", "intervals", "basis", "trust", "certified", "edges")

if TYPE_CHECKING:
    from sweeplaw.orchestrator.plan.sweep import SweepSpec
    from sweeplaw.orchestrator.store.store import Store


def plan_search(
    sweep: SweepSpec, store: Store | None, *, json: bool, simulated: Mapping[str, Any] | None = None
) -> None:
    """Print what is known beforehand of a sweep whose search proposes its trials, and what its simulation gave.

    Raise InputError if the search cannot work.
    """
    from sweeplaw.orchestrator.launch.adaptive.known import ledger
    from sweeplaw.orchestrator.plan.estimate import absent_data_of
    from sweeplaw.orchestrator.search import registry
    from sweeplaw.orchestrator.search.contract import History, RemainingBudget
    from sweeplaw.orchestrator.search.preview import left, preview
    from sweeplaw.orchestrator.search.space import Space

    registry.check(sweep)
    space = Space(sweep)
    known = ledger(space, store) if store else None
    history = known.history(RemainingBudget()) if known else History()
    history = replace(history, left=left(sweep.budget, history, known.trials if known else 0))
    found = preview(space, registry.load(space), history)
    if json:
        emit_json(found if simulated is None else {**found, "simulation": simulated})
    else:
        print_outlook(found)
        for line in lines(simulated) if simulated else ():
            typer.echo(line)
        print_recommended(simulated["searches"][0]["recommended"] if simulated else [])
    if known and known.foreign:
        ignored = "is outside these axes and is" if known.foreign == 1 else "are outside these axes and are"
        typer.echo(f"note: {counted(known.foreign, 'trial')} in the store {ignored} ignored", err=True)
    for sentence in absent_data_of(sweep.workload, space.examples):
        typer.echo(f"note: {sentence}", err=True)
    report_damage(store.problems if store else ())


def print_outlook(known: Mapping[str, Any]) -> None:
    """Print what is known of a search beforehand."""
    kind = known["search"]["kind"]
    typer.echo(f"{known['sweep']}: {kind} search of {known['workload']} at {counted(known['points'], 'point')}")
    for line in _lines(known):
        typer.echo(line)
    for number, proposal in enumerate(known["proposals"], start=1):
        values = ", ".join(f"{name} {_value(value)}" for name, value in _settings(proposal).items())
        typer.echo(f"{'first' if number == 1 else 'then'}: {values} ({proposal['reason']})")


def print_recommended(rows: Sequence[Mapping[str, Any]], most: int = 20) -> None:
    """Print the recommended setting of each scientific point; of a long list, its first rows."""
    if not rows:
        return
    typer.echo("recommended by the search:")
    for row in rows[:most]:
        values = ", ".join(f"{name} {_value(value)}" for name, value in _settings(row).items())
        ranges = "; ".join(f"{name} {_value(low)} to {_value(high)}" for name, (low, high) in row["intervals"].items())
        typer.echo(f"  {values}: {row['value']:.5g} ({row['basis']}{f'; 95 %: {ranges}' if ranges else ''})")
    if len(rows) > most:
        typer.echo(f"  and {len(rows) - most} more (--json for all)")


def _lines(known: Mapping[str, Any]) -> Iterator[str]:
    """Yield the space, the cost and the budget, as far as they are known."""
    for name, values in known["axes"].items():
        joined = ", ".join(map(_value, values["values"])) if "values" in values else None
        yield f"{name}: {joined or ' to '.join(map(_value, values['range']))}"
    if known["settings"] is not None:
        seeds = f" x {known['seeds']} seeds" if known["seeds"] > 1 else ""
        grid = f", {short(known['grid_flops'])} FLOPs as a grid" if known["grid_flops"] else ""
        yield f"space: {counted(known['settings'], 'setting')}{seeds}{grid}"
    if known["setting_flops"]:
        yield f"a setting costs {_between(*map(short, known['setting_flops']))} FLOPs"
    budget = ", ".join(f"{name} {_value(limit)}" for name, limit in known["budget"].items()) or "none"
    spent = f"; {counted(known['known'], 'setting')} known, {short(known['spent_flops'])} FLOPs spent"
    yield f"budget: {budget}{spent if known['known'] else ''}"
    if known["trials"]:
        cost = f", {_between(*map(short, known['flops']))} FLOPs" if known["flops"] else ""
        yield f"in all: {_between(*known['trials'])} trials{cost}"


def _between(low: int | str, high: int | str) -> str:
    if low == high:
        return str(high)
    return f"{low} to {high}" if low not in (0, "0") else f"up to {high}"


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _NO_SETTING and value is not None}


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(map(_value, value))
    if isinstance(value, float):
        return plain(value) if 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"
    return short(value) if type(value) is int and value >= 10_000 else str(value)
