"""A fit as text on a terminal: the card of the library, and the checks that were requested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from sweeplaw.analysis.fitting.display.fit_card import ends, fit_card, mark
from sweeplaw.trials.quantities import counted, percent


def show(answer: Mapping[str, Any]) -> None:
    """Print the summary of a fit: law, objective, parameters, verdict, warnings, derived values and checks."""
    typer.echo("\n".join([fit_card(answer).text(), *_checks(answer)]))


def _checks(answer: Mapping[str, Any]) -> Iterator[str]:
    if held_out := answer.get("holdout"):
        inside, level = held_out["rows_inside_band"], held_out["band_level"]
        held = "" if inside is None else f", {inside} inside their {percent(level)} band"
        yield (
            f"held out {held_out['kind']}: {held_out['rows']} rows, "
            f"mean relative error {percent(held_out['mean_relative_error'], '.3f')}, "
            f"worst {percent(held_out['worst_relative_error'], '.3f')}, "
            f"bias {percent(held_out['bias'], '+.3f')}{held}, "
            f"fitted on {counted(held_out['trained_on'], 'row')}{mark(held_out)}"
        )
    for item in answer.get("approaches", ()):
        interval = ends(item["intervals"].get("a"), 3)
        value = "" if item["a"] is None else f"a = {item['a']:.4f}{interval}; "
        yield f"approach {item['name']}: {value}{'; '.join(item['notes'])}".removesuffix("; ")
    for item in answer.get("comparison", ()):
        pair = item["against_best"]
        chance = f", the best is better with probability {pair['probability_first_better']:.2f}" if pair else ""
        yield f"{item['law']}: rms {item['held_out_rms_nats']:.5f} nats on held-out rows{chance}"
    for item in answer.get("coverage", ()):
        shares = ", ".join(f"{name} {share:.3f}" for name, share in item["coverage"].items())
        yield (
            f"coverage of {percent(item['level'])} {item['method']} intervals, {item['noise']} noise "
            f"{item['scale']:.3g}, {item['sets']} sets: {shares} (+- {item['standard_error']:.3f})"
        )
