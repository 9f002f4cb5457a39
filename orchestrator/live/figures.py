"""The report's own figures of a store whose launches may run: what is not complete is hollow and in no law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sweeplaw.analysis.report.charts.cards import Card
from sweeplaw.analysis.report.extrapolation import forecast_band
from sweeplaw.analysis.report.next_section import family_optima
from sweeplaw.analysis.report.panels.axis import axis_card
from sweeplaw.analysis.report.panels.knobs import optimum_card, sweep_card
from sweeplaw.analysis.report.panels.loss import compute_card
from sweeplaw.analysis.report.panels.residuals import residuals_card
from sweeplaw.analysis.report.panels.runs import times_card
from sweeplaw.analysis.report.read import same_family
from sweeplaw.orchestrator.live.law import LawSoFar, law_so_far
from sweeplaw.orchestrator.live.overview import Overview

MOST_KNOBS = 3  # with figures of their own


@dataclass(frozen=True, slots=True)
class Figures:
    """``first`` stands beside the law, ``cards`` below."""

    law: LawSoFar
    first: Card | None
    cards: Sequence[Card]


def figures(found: Overview) -> Figures | None:
    """Return the figures of the family with the most trials; None while no trial has completed."""
    law = law_so_far(found)
    if law is None:
        return None
    by, family = law.by, law.every
    surface = law.surface.fit if law.surface.fit is not None and law.surface.fit.verified else None
    band = forecast_band(surface)
    advised = surface is not None and not (law.values.get("derived") or {}).get("withheld")
    cells = family.best.select(by.n, by.d).rows()
    open_ = frozenset(cell for cell in cells if cell not in law.complete)
    rows = found.rows.with_columns(pl.col(by.n, by.d).cast(pl.Float64))
    optima = [
        one
        for one in family_optima(same_family(rows, family), family, by)
        if (one.cell[by.n], one.cell[by.d]) in law.complete
    ]
    cards: list[Card | None] = [
        compute_card(family, by, surface, advised, band, "compute") if surface is not None and not open_ else None,
        axis_card(family, by, surface, {}, by.d, band, "d", open_),
    ]
    for k, knob in enumerate(by.knobs[:MOST_KNOBS]):
        cards.append(sweep_card(family, by, knob, optima, f"knob{k}"))
        cards.append(optimum_card(by, knob, optima, None, f"best{k}"))
    cards.append(residuals_card(surface, by, "residuals") if surface is not None else None)
    cards.append(times_card(found.rows, "times"))
    first = axis_card(family, by, surface, {}, by.n, band, "n", open_)
    return Figures(law, first, [card for card in cards if card is not None])
