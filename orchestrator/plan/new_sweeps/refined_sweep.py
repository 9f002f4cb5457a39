"""A sweep file that runs a trial again with the schedule that its gradient norms call for."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.schedules import points
from sweeplaw.trials.training.schedules.refined import refined
from sweeplaw.trials.workloads.language_model.knobs import KNOBS

POWERS = {"sgd": 2.0}  # of gradient norms in the weights; 1 for the optimizers that scale each value's step
SHAPE_OF_SCHEDULE = ("schedule", "schedule_points", "warmup_fraction", "final_lr_fraction", "decay_fraction")


def refined_sweep(tables: Tables, trial_id: str, name: str | None = None) -> str:
    """Return the text of the sweep. Raise InputError if the trial is no completed language model, its lr was changed on
    the way, or its curve has too few gradient norms.
    """
    rows = tables.trials.filter(pl.col("trial_id") == trial_id).collect().to_dicts()
    if not rows or rows[0]["workload"] != "language_model":
        seen = f"is of the workload {rows[0]['workload']!r}" if rows else "has not completed"
        raise InputError(f"trial {trial_id} {seen} (accepted: a completed one of language_model)")
    knobs: dict[str, Any] = json.loads(rows[0]["spec"])["knobs"]
    if knobs.get("changes"):
        raise InputError(f"trial {trial_id} changed its lr on the way (accepted: a trial without changes)")
    curve = (
        tables.curves.filter(pl.col("trial_id") == trial_id, pl.col("grad_norm").is_not_null()).sort("step").collect()
    )
    power = POWERS.get(knobs.get("optimizer", "adamw"), 1.0)
    try:
        schedule = refined(curve["step"].to_list(), curve["grad_norm"].to_list(), rows[0]["steps"], power)
    except ValueError as error:
        raise InputError(f"the curve of trial {trial_id} has {error}") from None
    defaults = {knob.name: knob.default for knob in KNOBS}
    own = {key: value for key, value in knobs.items() if key not in SHAPE_OF_SCHEDULE and value != defaults[key]}
    fixed = {**own, "schedule": "points", "warmup_fraction": 0.0}
    lines = [
        f"# Trial {trial_id} again, with the schedule that its gradient norms call for.",
        f"name = {toml_file.text_of(name or f'refined-{trial_id[:8]}')}",
        'workload = "language_model"',
        "",
        "[fixed]",
        *(f"{toml_file.key(key)} = {toml_file.text_of(value)}" for key, value in fixed.items()),
        "",
        "[scientific]",
        f"schedule_points = {toml_file.text_of([points.write(schedule)])}",
    ]
    text = "\n".join(lines) + "\n"
    parse(text, where="the refined sweep")
    return text
