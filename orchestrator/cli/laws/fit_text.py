"""A fit as text on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(answer: Mapping[str, Any]) -> None:
    """Print the summary of a fit: law, objective, parameters, verdict, warnings, derived values and checks."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in _heading(answer):
        console.print(line, markup=False)
    console.print(_parameters(answer))
    for line in (*_notes(answer), *_derived(answer), *_checks(answer)):
        console.print(line, markup=False)


def _heading(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['law']}: L = {answer['formula']}" + ("" if answer["verified"] else "  [not verified]")
    columns = ", ".join(f"{name} = {column}" for name, column in answer["columns"].items())
    units = ", ".join(f"{name} in {unit:g}" for name, unit in answer["units"].items() if unit != 1)
    yield f"columns: {columns}" + (f"; units: {units}" if units else "")
    yield f"objective: {answer['objective']['in_words']} = {answer['objective']['value']:.10g}"
    yield f"status: {answer['status']}"
    yield f"rows: {answer['rows_used']} used, {answer['rows_dropped']} left out"


def _parameters(answer: Mapping[str, Any]) -> Table:
    method = next(iter(answer["intervals"].values()), {"level": 0.95, "method": ""})
    table = Table("parameter", "value", "low", "high", box=None, pad_edge=False)
    table.title, table.title_justify = f"{method['level']:.0%} intervals: {method['method']}", "left"
    for name, value in answer["params"].items():
        interval = answer["intervals"].get(name)
        ends = [f"{interval[end]:.6g}" for end in ("low", "high")] if interval else ["", ""]
        table.add_row(name, f"{value:.8g}{_mark(answer)}", *ends)
    for name, value in answer["fixed"].items():
        table.add_row(name, f"{value:.8g}", "fixed", "")
    return table


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    for line in (*answer["warnings"], *answer["identifiability"]):
        yield f"note: {line}"


def _derived(answer: Mapping[str, Any]) -> Iterator[str]:
    derived, mark = answer["derived"], _mark(answer)
    if "compute_optimal" not in derived:
        return
    a = derived["a"]
    yield f"{derived['compute']}: N* grows as C^{a['value']:.4f}{_range(a['interval'], 3)}{mark}"
    for item in derived["compute_optimal"]:
        loss = f"{item['loss']:.4f}{_range(item['intervals'].get('loss'), 4)}"
        yield f"  {item['sentence']} ({item['tokens_per_param']:.3g} tokens per parameter, loss {loss}){mark}"


def _checks(answer: Mapping[str, Any]) -> Iterator[str]:
    if held_out := answer.get("holdout"):
        yield (
            f"held out {held_out['kind']}: {held_out['rows']} rows, "
            f"mean relative error {held_out['mean_relative_error']:.3%}, "
            f"worst {held_out['worst_relative_error']:.3%}, bias {held_out['bias']:+.3%}; "
            f"trained on {held_out['trained_on']}{_mark(held_out)}"
        )
    for item in answer.get("approaches", ()):
        interval = _range(item["intervals"].get("a"), 3)
        yield f"approach {item['name']}: a = {item['a']:.4f}{interval}; {'; '.join(item['notes'])}"
    for item in answer.get("comparison", ()):
        pair = item["against_best"]
        chance = f", the best is better with probability {pair['probability_first_better']:.2f}" if pair else ""
        yield f"{item['law']}: rms {item['held_out_rms_nats']:.5f} nats on held-out rows{chance}"
    for item in answer.get("coverage", ()):
        shares = ", ".join(f"{name} {share:.3f}" for name, share in item["coverage"].items())
        yield (
            f"coverage of {item['level']:.0%} {item['method']} intervals, {item['noise']} noise {item['scale']:.3g}, "
            f"{item['sets']} sets: {shares} (+- {item['standard_error']:.3f})"
        )


def _mark(numbers: Mapping[str, Any]) -> str:
    """Return the mark of numbers that come from a fit that is not verified."""
    return "" if numbers["verified"] else " ?"


def _range(interval: Mapping[str, float] | None, digits: int) -> str:
    return f" [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]" if interval else ""
