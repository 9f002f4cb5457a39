"""The page of one trial: its knobs, curve, the end of its log, and its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.orchestrator.monitor import trial_view
from sweeplaw.orchestrator.monitor.printed import readable
from sweeplaw.orchestrator.monitor.trial_view import AttemptLog, TrialView
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.quantities import counted

TAIL_LINES = 60
MOST_POINTS = 600  # of a curve; of more, this many are drawn, evenly
_LOSSES = (("train_loss", "training", "own s0"), ("val_loss", "validation", "law"))


def trial_page(store: Store, prefix: str) -> dict[str, Any]:
    """Return what the template `trial.html.j2` shows of the trial whose id begins with ``prefix``. Raise InputError."""
    found = trial_view.view(store, trial_view.find(store, prefix))
    logs = trial_view.logs(store, found.trial_id, found.attempts)
    return {
        "trial": found,
        "facts": _facts(found.row),
        "card": curve_card(found),
        "attempts": found.attempts.to_dicts(),
        "log": _tail(logs[-1]) if logs else None,
        "faults": store.problems,
    }


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the trial besides its knobs."""
    names = {
        "val_loss": "validation loss", "train_loss": "training loss", "params": "parameters",
        "params_non_embedding": "N", "tokens": "D", "last_step": "last step", "train_seconds": "seconds",
        "host": "host", "device": "device", "sweep": "sweep",
    }  # fmt: skip
    known = {label: row[name] for name, label in names.items() if name in row}
    return {label: f"{value:.4f}" if "loss" in label else value for label, value in known.items()}


def _tail(log: AttemptLog) -> dict[str, Any]:
    """Return the last lines of a log."""
    lines = readable(log.output).splitlines()
    shown = lines[-TAIL_LINES:]
    return {"attempt": log.attempt, "together": log.together, "before": len(lines) - len(shown), "lines": shown}


def curve_card(found: TrialView) -> Card | None:
    """Return training and validation loss against the steps; None without two points of either."""
    known = found.curve.filter(pl.col("step") > 0) if "step" in found.curve.columns else found.curve.clear()
    if known.height > MOST_POINTS:
        known = known.gather_every(-(-known.height // MOST_POINTS))
    lines = []
    for name, label, css in _LOSSES:
        own = known.drop_nulls(name).filter(pl.col(name).is_finite()) if name in known.columns else known.clear()
        if own.height > 1:
            lines.append((label, css, own["step"].to_list(), own[name].to_list()))
    if not lines:
        return None
    losses = [value for *_, values in lines for value in values]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([step for _, _, steps, _ in lines for step in steps], "step", log=False, room=0.01),
            axis_over(losses, "loss"),
            width,
            320.0,
            "loss against the step",
            right=text_width(["validation"]),
        )
        for label, css, steps, values in lines:
            chart.line(steps, values, css)
            for step, value in zip(steps, values, strict=True) if len(steps) <= 60 else ():
                chart.dot(
                    step, value, "pt f2" if label == "validation" else "pt f5", f"step {step:,}: {value:.4f}", "", 2.6
                )
            chart.end(steps[-1], values[-1], label)
        return chart.svg()

    ends = " and ".join(f"{label} {values[-1]:.4f}" for label, _, _, values in reversed(lines))
    return card(
        "curve",
        f"The curve ends at {ends}",
        "Loss against the step, of the latest attempt.",
        draw,
        f"{counted(known.height, 'point')}.",
        f"Learning curve: {ends}.",
        sheet(tuple(known.columns), known.iter_rows()),
        half=True,
    )
