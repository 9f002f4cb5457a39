"""A fit as a person reads it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(answer: Mapping[str, Any]) -> None:
    """Print a fit's summary: law, objective, parameters, verdict, warnings, and what follows from it."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    mark = "" if answer["verified"] else "  [not verified]"
    console.print(f"{answer['law']}: L = {answer['formula']}{mark}", markup=False)
    columns = ", ".join(f"{name} = {column}" for name, column in answer["columns"].items())
    units = ", ".join(f"{name} in {unit:g}" for name, unit in answer["units"].items() if unit != 1)
    console.print(f"columns: {columns}" + (f"; units: {units}" if units else ""), markup=False)
    console.print(f"objective: {answer['objective']['in_words']} = {answer['objective']['value']:.10g}", markup=False)
    console.print(f"status: {answer['status']}", markup=False)
    console.print(f"rows: {answer['rows_used']} used, {answer['rows_dropped']} left out", markup=False)
    console.print(_parameters(answer))
    for line in [*answer["warnings"], *answer["identifiability"]]:
        console.print(f"note: {line}", markup=False)
    _derived(console, answer["derived"])
    _checks(console, answer)


def _parameters(answer: Mapping[str, Any]) -> Table:
    method = next(iter(answer["intervals"].values()), {"level": 0.95, "method": ""})
    table = Table("parameter", "value", "low", "high", box=None, pad_edge=False)
    table.title, table.title_justify = f"{method['level']:.0%} intervals: {method['method']}", "left"
    for name, value in answer["params"].items():
        interval = answer["intervals"].get(name)
        ends = [f"{interval[end]:.6g}" for end in ("low", "high")] if interval else ["", ""]
        table.add_row(name, f"{value:.8g}" + ("" if answer["verified"] else " ?"), *ends)
    for name, value in answer["fixed"].items():
        table.add_row(name, f"{value:.8g}", "fixed", "")
    return table


def _derived(console: Console, derived: Mapping[str, Any]) -> None:
    if "compute_optimal" not in derived:
        return
    a = derived["a"]
    sure = f" [{a['interval']['low']:.3f}, {a['interval']['high']:.3f}]" if a["interval"] else ""
    console.print(f"{derived['compute']}: N* grows as C^{a['value']:.4f}{sure}", markup=False)
    for item in derived["compute_optimal"]:
        spread = item["intervals"].get("loss")
        loss = f"{item['loss']:.4f}" + (f" [{spread['low']:.4f}, {spread['high']:.4f}]" if spread else "")
        ratio = f"{item['tokens_per_param']:.3g} tokens a parameter, loss {loss}"
        console.print(f"  {item['sentence']} ({ratio})", markup=False)


def _checks(console: Console, answer: Mapping[str, Any]) -> None:
    if held := answer.get("holdout"):
        console.print(
            f"held out {held['kind']}: {held['rows']} rows, mean relative error {held['mean_relative_error']:.3%}, "
            f"worst {held['worst_relative_error']:.3%}, bias {held['bias']:+.3%}; trained on {held['trained_on']}",
            markup=False,
        )
    for item in answer.get("approaches", ()):
        interval = item["intervals"].get("a")
        sure = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
        console.print(f"approach {item['name']}: a = {item['a']:.4f}{sure}; " + "; ".join(item["notes"]), markup=False)
    for item in answer.get("comparison", ()):
        pair = item["against_best"]
        chance = f", the best is better with probability {pair['probability_first_better']:.2f}" if pair else ""
        console.print(f"{item['law']}: rms {item['held_out_rms_nats']:.5f} nats on held-out rows{chance}", markup=False)
    for item in answer.get("coverage", ()):
        shares = ", ".join(f"{name} {share:.3f}" for name, share in item["coverage"].items())
        console.print(
            f"coverage of {item['level']:.0%} {item['method']} intervals, {item['noise']} noise {item['scale']:.3g}, "
            f"{item['sets']} sets: {shares} (+- {item['standard_error']:.3f})",
            markup=False,
        )
