"""The names that figures of a report may have, known from what was read, before its laws are fitted."""

from __future__ import annotations

import re

from sweeplaw.analysis.event_times.observations import TIME
from sweeplaw.analysis.report.findings.event_laws import measured_events
from sweeplaw.analysis.report.read import FamiliesRead
from sweeplaw.analysis.report.recipes.section import has_recipes
from sweeplaw.analysis.report.report import MAX_FAMILIES
from sweeplaw.analysis.report.search_section import searched
from sweeplaw.trials.errors import InputError, nearest

OF_A_FAMILY = (
    "loss_n", "loss_d", "residuals", "isoflop", "best_size", "importance", "hyperlaw_lines", "hyperlaw_heatmaps",
    "curves",
)  # fmt: skip
OF_A_SEARCH = ("search_path", "search_surface")
OF_RECIPES = ("recipes_n", "recipes_k", "recipes_u", "recipes_students")


def possible_figures(read: FamiliesRead) -> list[str]:
    """Return the name of every figure that a report of what was ``read`` may have: it has those that its laws allow.

    Of the figures of one event at several settings, whose names end in numbers, the first alone is named.
    """
    names = [*OF_A_FAMILY[:3], *(f"knob_{knob}" for knob in read.by.knobs), *OF_A_FAMILY[3:]]
    suffixes = ["", *(f"-{number}" for number in range(2, min(len(read.families), MAX_FAMILIES) + 1))]
    found = [f"{name}{suffix}" for suffix in suffixes[: len(read.families)] for name in names]
    found += [f"{name}-{sweep}" for sweep in searched(read.everything) for name in OF_A_SEARCH]
    found += ["one_setting"] if read.families else []
    found += [f"time_{time.removesuffix(TIME)}" for time in measured_events(read.everything)]
    return [*found, *(OF_RECIPES if has_recipes(read.tables) else ())]


def refuse_impossible(name: str, read: FamiliesRead) -> None:
    """Raise InputError if no report of what was ``read`` has a figure of this name, and say which it may have."""
    known = possible_figures(read)
    alone = re.sub(r"-\d+$", "", name) if name.startswith("time_") else name
    if alone not in known:
        accepted = f"figures that these runs may have: {', '.join(known)}" if known else "no trial has completed"
        raise InputError(f"there is no figure {name!r}{nearest(name, known)} ({accepted})")
