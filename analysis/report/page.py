"""A report as files: one self-contained HTML page, and the same values as JSON.

`report.report_values` defines the content; the page only displays it.
"""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sweeplaw.analysis.fitting.display.fit_card import further_warnings, sides, status_in_words
from sweeplaw.analysis.report.answer import (
    answer,
    badges,
    formula_html,
    next_budgets,
    parameter_rows,
    plain,
    repeated,
    sentence,
)
from sweeplaw.analysis.report.charts.numbers import flops, people, percent, without_e
from sweeplaw.analysis.report.content import family_cards
from sweeplaw.analysis.report.extrapolation import forecast_sentences
from sweeplaw.analysis.report.fonts import embedded
from sweeplaw.analysis.report.panels.against import against_card
from sweeplaw.analysis.report.panels.event_time import event_card
from sweeplaw.analysis.report.panels.runs import times_card
from sweeplaw.analysis.report.panels.search import search_cards
from sweeplaw.analysis.report.panels.transfer import transfer_card
from sweeplaw.analysis.report.report import Report, report_values
from sweeplaw.analysis.report.unbroken import unbroken
from sweeplaw.analysis.tables.display import finite, visible
from sweeplaw.trials.quantities import counted, settings, short
from sweeplaw.trials.store_format.atomic_file import write_atomically
from sweeplaw.trials.table_file import SUFFIXES

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_NAMED = 3  # sweeps in a title
_RECORDED = ("launch_id", "recorded_at", "host", "cluster", "planned", "source", "rows", "added", "sha256")
_PERHAPS = ("preset", "rejected", "where")  # of an import, shown only if there


def page(report: Report, values: Mapping[str, Any]) -> str:
    """Return the report as one self-contained HTML page, in which control characters of names and texts are visible."""
    families = [
        {
            **shown,
            "cards": family_cards(section, shown, report.tables.curves, f"f{k}"),
            "key": f"family-{k}",
            "sentences": tuple(answer(shown)),
            "odd_units": section.surface.fit.observations.odd_units if section.surface.fit else "",
        }
        for k, (section, shown) in enumerate(zip(report.sections, values["families"], strict=True))
    ]
    times = times_card(report.everything, "times")
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            report=values,
            launches=[_complete(one) for one in values["launches"]],
            families=families,
            times=[times] if times else [],
            loss_unit=report.by.units.get(report.by.loss, ""),
            data_unit=report.by.units.get("tokens") or "tokens",
            note=report.note,
            why_empty=why_empty(report),
            source="" if _is_table(report.source) else shlex.quote(report.source),
            title=_title(report),
            description=_description(report),
            search_cards=[search_cards(one, f"search{k}") for k, one in enumerate(report.searches)],
            against=report.against and report.against.card(),
            against_cards=[found] if report.against and (found := against_card(report.against, "against")) else [],
            transfer_cards=[transfer_card(report.transfer, "transfer")] if report.transfer else [],
            event_cards=[card for k, one in enumerate(report.events) if (card := event_card(one, f"event{k}"))],
            recipe_cards=report.recipes.cards() if report.recipes else [],
            recipe_panels=report.recipes.panels("recipes") if report.recipes else [],
            created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    return unbroken(visible(text))


def _complete(launch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a launch or an import recorded with a dash for what a foreign or damaged file lacks."""
    dropped = launch.get("dropped")
    return {
        **dict.fromkeys(_RECORDED, "–"),
        **dict.fromkeys(_PERHAPS),
        **launch,
        "dropped": dropped if isinstance(dropped, Mapping) else {},
    }


def why_empty(report: Report) -> str:
    """Return why the report has no section; empty if it has one."""
    if report.sections:
        return ""
    trials = report.everything
    completed = trials.filter(pl.col("state") == "completed") if "state" in trials.columns else trials
    if not completed.height:
        return "no trial has completed yet"
    return f"none of {counted(completed.height, 'completed trial')} has N, D and a positive finite {report.by.loss}"


def environment() -> Environment:
    """Return the templates of pages with their filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("sweeplaw.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    found.filters.update(
        short=short, g=_g, seconds=_seconds, plainly=status_in_words, warnings=further_warnings, sides=sides,
        people=people, flops=flops, percent=percent, badges=badges, parameters=parameter_rows,
        budgets=next_budgets, tens=without_e, formula=formula_html, repeated=repeated, plain=plain,
        sentence=sentence, counted=counted, setting=settings, forecasts=forecast_sentences,
    )  # fmt: skip
    found.globals["fonts"] = embedded
    return found


def _is_table(source: str) -> bool:
    """Return whether a source is a file of a table, which has no attempts and logs of its trials."""
    return Path(source).suffix.lower() in SUFFIXES


def _sweeps(report: Report) -> list[str]:
    """Return the names of the sweeps that were launched, the first first."""
    return list(dict.fromkeys(str(one["sweep"]) for one in report.tables.launches if "sweep" in one))


def _title(report: Report) -> str:
    """Return the names of the sweeps, or the source of other runs."""
    names = _sweeps(report)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more if names else report.source


def _description(report: Report) -> str:
    """Return what the sweep file says of itself, nothing of several sweeps."""
    descriptions = [str(one.get("description") or "") for one in report.tables.launches if "sweep" in one]
    return f"{descriptions[-1].rstrip('.')}. " if len(_sweeps(report)) == 1 and descriptions[-1] else ""


def _g(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def write(report: Report, folder: Path, name: str = "report") -> tuple[Path, Path]:
    """Write ``name``.html and ``name``.json to ``folder`` and return their paths. A link there is replaced."""
    values = finite(report_values(report))
    html, data = folder / f"{name}.html", folder / f"{name}.json"
    write_text(html, page(report, values))
    write_text(data, json.dumps(values, indent=1, ensure_ascii=False, default=str) + "\n")
    return html, data


def write_text(path: Path, text: str) -> Path:
    """Write a file of a report, and return its path. A link there is replaced."""
    path.parent.mkdir(exist_ok=True)
    write_atomically(str(path), lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
    return path
