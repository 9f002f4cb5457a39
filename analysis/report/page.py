"""A report as files: one self-contained HTML page, and the same values as JSON.

`report.report_values` defines the content; the page only displays it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.display.fit_card import further_warnings, sides, status_in_words
from sweeplaw.analysis.report import figures
from sweeplaw.analysis.report.extrapolation import forecast_band
from sweeplaw.analysis.report.report import Report, Section, report_values
from sweeplaw.analysis.report.search_figures import search_figures
from sweeplaw.analysis.tables.display import finite
from sweeplaw.trials.quantities import short
from sweeplaw.trials.store_format.atomic_file import write_atomically

MOST_NAMED = 3  # sweeps in a title


def pictures(section: Section, curves: pl.LazyFrame) -> dict[str, str]:
    """Return the figures of a section as SVG, by name."""
    by, family = section.by, section.family
    by_size = {one.at[by.d]: one.fit for one in section.slices if one.fit and by.d in one.at and one.fit.verified}
    by_data = {one.at[by.n]: one.fit for one in section.slices if one.fit and by.n in one.at and one.fit.verified}
    forecast = forecast_band(section.surface.fit)
    drawn = {
        "loss_n": figures.loss_curves(family, by, section.surface.fit, by_size, along=by.n, forecast=forecast),
        "loss_d": figures.loss_curves(family, by, section.surface.fit, by_data, along=by.d, forecast=forecast),
    }
    if section.surface.fit is not None:
        drawn["residuals"] = figures.residuals(section.surface.fit, by)
    for knob in by.knobs:
        drawn[f"knob_{knob}"] = figures.nuisance(family, by, knob, section.optima)
    if section.hyper is not None:
        drawn.update(section.hyper.figures)
    if labels := _longest(section):
        points = curves.filter(pl.col("trial_id").is_in(list(labels))).collect()
        if points.height:
            drawn["curves"] = figures.training_curves(points, labels, by)
    return {name: figures.svg(figure) for name, figure in drawn.items()}


def _longest(section: Section) -> dict[str, str]:
    """Return the best trial of each size at its largest data budget, as trial_id -> label."""
    by, seeds = section.by, section.family.seeds
    if "trial_id" not in seeds.columns:
        return {}
    rows = seeds.filter(pl.col(by.d) == pl.col(by.d).max().over(by.n)).unique(by.n, keep="first").sort(by.n)
    return {row["trial_id"]: f"N = {short(row[by.n])}" for row in rows.to_dicts()[:8]}


def page(report: Report, values: Mapping[str, Any]) -> str:
    """Return the report as one self-contained HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sweeplaw.analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(
        short=short, g=_g, seconds=_seconds, plainly=status_in_words, warnings=further_warnings, sides=sides
    )
    return environment.get_template("report.html.j2").render(
        report=values,
        loss_unit=report.by.units.get(report.by.loss, ""),
        data_unit=report.by.units.get("tokens") or "tokens",
        note=report.note,
        title=_title(report),
        description=_description(report),
        pictures=[pictures(section, report.tables.curves) for section in report.sections],
        search_pictures=[
            {name: figures.svg(figure) for name, figure in search_figures(one).items()} for one in report.searches
        ],
        recipe_cards=report.recipes.cards() if report.recipes else [],
        recipe_pictures=report.recipes.pictures() if report.recipes else {},
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


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


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json`` to ``folder`` and return their paths. A link there is replaced."""
    values = finite(report_values(report))
    html, data = folder / "report.html", folder / "report.json"
    _write(html, page(report, values))
    _write(data, json.dumps(values, indent=1, ensure_ascii=False, default=str) + "\n")
    return html, data


def _write(path: Path, text: str) -> None:
    write_atomically(str(path), lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
