"""The pieces of the page, each as HTML under the id of its place: what has not changed is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from jinja2 import ChoiceLoader, Environment, PackageLoader

from sweeplaw.analysis.report.answer import badges, formula_html
from sweeplaw.analysis.report.charts.numbers import level, people
from sweeplaw.analysis.report.page import environment as report_environment
from sweeplaw.orchestrator.live.figures import Figures
from sweeplaw.orchestrator.live.filling import filling_card, legend
from sweeplaw.orchestrator.live.overview import LOSS, Overview
from sweeplaw.orchestrator.live.trial_table import Asked, matching, trial_table
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import hours, is_number

MOST_RUNNING, MOST_REASONS = 12, 8
_COLUMNS = {LOSS: "loss", "train_seconds": "time"}


@dataclass(frozen=True, slots=True)
class Pieces:
    """HTML by place, in the order of the page; places of figures begin with ``f-``."""

    html: Mapping[str, str]

    def changed(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the pieces whose digest is not the one that is ``known`` for their place."""
        return {place: html for place, html in self.html.items() if known.get(place) != digest(html)}

    def digests(self) -> dict[str, str]:
        """Return the digest of each piece."""
        return {place: digest(html) for place, html in self.html.items()}


def digest(html: str) -> str:
    """Return a digest that distinguishes a piece from another one."""
    return hashlib.blake2b(html.encode(), digest_size=8).hexdigest()


def environment() -> Environment:
    """Return the templates of the page, with those of the report that they include."""
    report = report_environment()
    assert report.loader is not None
    made = report.overlay(loader=ChoiceLoader([PackageLoader("sweeplaw.orchestrator.live"), report.loader]))
    made.filters.update(value=_value, hours=_hours, column=_column)
    return made


def pieces(templates: Environment, found: Overview, figures: Figures | None, note: str, asked: Asked) -> Pieces:
    """Return the page's pieces. ``figures`` are those that take longer, None before the first; ``note`` says why."""
    parts: Any = templates.get_template("pieces.html.j2").module
    try:
        trials, fault = matching(found, asked.where), ""
    except InputError as error:
        trials, fault = found.rows.clear(), str(error)
    card = filling_card(found, trials, "map")
    html = {
        "strip": parts.strip(found, *_shares(found)),
        "match_count": parts.match_count(trials.height, asked, fault),
        "map": parts.map(card, found, legend()),
        "running": parts.running(found, _running(found)),
        "law": _law(parts, figures, note or _awaited(found)),
        "failures": parts.failures(_failures(found), found),
        "table": parts.table(trial_table(found, trials, asked)),
    }
    for one in figures.cards if figures else ():
        html[f"f-{one.key}"] = parts.card(one)
    return Pieces({place: str(text) for place, text in html.items()})


def _law(parts: Any, figures: Figures | None, note: str) -> Any:
    if figures is None:
        return parts.no_law(note)
    law = figures.law
    fitted = law.values["law"] is not None
    return parts.law(
        law, formula_html(law.values) if fitted else "", badges(law.values) if fitted else [], figures.first
    )


def _awaited(found: Overview) -> str:
    """Return why there is no law yet."""
    if found.progress.states.get("completed"):
        return "It is being fitted, and appears here."
    return "It appears when the first trials have completed."


def _shares(found: Overview) -> tuple[list[tuple[str, float]], int]:
    """Return (class, per cent) of the parts of the bar, and the number of all trials."""
    states = found.progress.states
    total = found.total or found.ended or 1
    bad = sum(states.get(state, 0) for state in ("diverged", "failed", "out_of_memory", "stopped"))
    amounts = [("c", max(0, found.ended - bad)), ("d", bad), ("r", found.progress.running)]
    return [(css, round(100 * amount / total, 2)) for css, amount in amounts if amount], total


def _running(found: Overview) -> list[dict[str, Any]]:
    """Return what runs, the longest first: the setting, the host, the share of steps done and the seconds so far."""
    rows = []
    for pack in sorted(found.progress.packs, key=lambda pack: pack.since)[:MOST_RUNNING]:
        trial, step = next(iter(pack.steps.items()), ("", None))
        steps = pack.about.get("steps")
        known = isinstance(steps, int | float) and step is not None and steps > 0
        seconds = (found.at - pack.idle_since).total_seconds()
        share = min(1.0, (step or 0) / float(steps or 1)) if known else None
        rows.append({
            "trial": trial, "host": pack.host or "its worker is starting", "step": step,
            "steps": steps if known else None, "share": share, "seconds": seconds,
            "left": seconds / share - seconds if share else None,
            "setting": _setting(found, pack.about), "more": max(0, pack.left - 1),
        })  # fmt: skip
    return rows


def _setting(found: Overview, about: Mapping[str, Any]) -> str:
    if found.by is None:
        return ""
    point = [
        people(float(about[name])) for name in (found.by.n, found.by.d) if isinstance(about.get(name), int | float)
    ]
    return " · ".join([*point, *(f"{name} {_value(about[name])}" for name in found.by.knobs if name in about)])


def _failures(found: Overview) -> list[tuple[int, str, str, str]]:
    """Return (count, what, detail, an example's id) of what did not complete, the most frequent first."""
    rows = [(one.count, one.reason, "", one.trial_id) for one in found.progress.failures[:MOST_REASONS]]
    diverged = found.rows.filter(pl.col("state") == "diverged") if found.rows.height else found.rows
    if diverged.height:
        rows.append((diverged.height, "diverged", _where(found, diverged), str(diverged["trial_id"].min())))
    return sorted(rows, key=lambda row: -row[0])


def _where(found: Overview, diverged: pl.DataFrame) -> str:
    """Return at which levels of which knob trials diverged, if these are fewer than all that were tried."""
    for name in found.by.knobs if found.by else ():
        tried, levels = found.rows[name].drop_nulls().n_unique(), diverged[name].drop_nulls().unique().sort()
        if 0 < levels.len() <= 3 and levels.len() < tried:
            return f"all at {name} {' or '.join(_value(value) for value in levels)}"
    return ""


def _value(value: Any) -> str:
    """Return a value of the table as people read it."""
    if value is None:
        return "–"
    if isinstance(value, float) and value != value:
        return "not a number"
    if is_number(value):
        return level(float(value))
    return str(value)


def _hours(seconds: float | None) -> str:
    return hours(None if seconds is None else seconds / 3600)


def _column(name: str, found: Any = None) -> str:
    return _COLUMNS.get(name, {"params_non_embedding": "N", "params": "N", "tokens": "D"}.get(name, name))
