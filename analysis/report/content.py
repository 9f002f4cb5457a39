"""The cards of a family, by the part of the page where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.report.answer import objection
from sweeplaw.analysis.report.charts.cards import Card
from sweeplaw.analysis.report.extrapolation import forecast_band
from sweeplaw.analysis.report.panels import isoflop
from sweeplaw.analysis.report.panels.axis import axis_card
from sweeplaw.analysis.report.panels.bowls import bowls_card
from sweeplaw.analysis.report.panels.importance import importance_card
from sweeplaw.analysis.report.panels.knobs import optimum_card, sweep_card
from sweeplaw.analysis.report.panels.loss import compute_card
from sweeplaw.analysis.report.panels.parallel import parallel_card
from sweeplaw.analysis.report.panels.residuals import residuals_card
from sweeplaw.analysis.report.panels.runs import curves_card
from sweeplaw.analysis.report.panels.tuning import best_of_card
from sweeplaw.analysis.report.report import Section, best_of_each_size


def family_cards(
    section: Section, values: Mapping[str, Any], curves: pl.LazyFrame, prefix: str
) -> dict[str, list[Card]]:
    """Return the cards of a family: ``key`` (one, or none), ``loss``, ``knobs``, ``runs`` and ``numbers``.

    ``values`` are those of the family in `report_values`. ``prefix`` makes the keys of the cards unique.
    """
    by, family = section.by, section.family
    surface = section.surface.fit if section.surface.fit and section.surface.fit.verified else None  # no other is drawn
    advised = surface is not None and not (values["surface"]["derived"] or {}).get("withheld")
    band = forecast_band(surface)
    first = compute_card(family, by, surface, advised, band, f"{prefix}-compute") if surface is not None else None
    own = {
        along: {one.at[held]: one.fit for one in section.slices if one.fit and held in one.at and one.fit.verified}
        for along, held in ((by.n, by.d), (by.d, by.n))
    }
    loss = [
        axis_card(family, by, surface, own[along], along, band, f"{prefix}-{name}")
        for along, name in ((by.n, "n"), (by.d, "d"))
    ]
    shown = [card for card in loss if card is not None]
    key = [first] if first is not None else shown[:1]
    return {
        "key": key,
        "loss": [*(shown if first is not None else shown[1:]), *_isoflop_cards(section, values, prefix)],
        "knobs": _kept(_knob_cards(section, values, prefix)),
        "runs": _kept([_curves(section, curves, f"{prefix}-curves")]),
        "numbers": _kept([residuals_card(surface, section.by, f"{prefix}-residuals")]) if surface is not None else [],
    }


def _isoflop_cards(section: Section, values: Mapping[str, Any], prefix: str) -> list[Card]:
    """Return the isoFLOP curves and the growth of the best size, beside that by the law where it may be used."""
    if section.isoflop is None:
        return []
    law = values["surface"]
    advised = law.get("verified") and law["derived"] and not law["derived"].get("withheld")
    a: Mapping[str, Any] = (law["derived"].get("a") or {}) if advised else {}
    surface = (a["value"], a["interval"]["low"], a["interval"]["high"]) if a.get("interval") else None
    curves = isoflop.curves_card(section.isoflop, section.by, f"{prefix}-isoflop")
    return _kept([curves, isoflop.growth_card(section.isoflop, section.by, surface, f"{prefix}-growth")])


def _knob_cards(section: Section, values: Mapping[str, Any], prefix: str) -> list[Card | None]:
    by, family, optima = section.by, section.family, section.optima
    hyper = values["hyperlaws"] or {}
    usable = hyper and not hyper["refused"] and not objection(hyper["verdict"])
    laws: Mapping[str, Any] = hyper["laws"] if usable else {}
    cards = [bowls_card(family, by, by.knobs, optima, laws, f"{prefix}-bowls")] if optima else []
    if section.shares is not None:
        cards.append(importance_card(section.shares, by, f"{prefix}-importance"))
    for k, knob in enumerate(by.knobs):
        cards.append(sweep_card(family, by, knob, optima, f"{prefix}-knob{k}"))
        cards.append(optimum_card(by, knob, optima, laws.get(knob), f"{prefix}-best{k}"))
    if section.drawn is not None:
        cards.append(best_of_card(section.drawn, family, by, f"{prefix}-best-of"))
    return [*cards, parallel_card(family, by, by.knobs, f"{prefix}-parallel")]


def _curves(section: Section, curves: pl.LazyFrame, key: str) -> Card | None:
    """Return the curves of the best trial of each size at its largest data budget."""
    labels = best_of_each_size(section)
    points = curves.filter(pl.col("trial_id").is_in(list(labels)))
    return curves_card(points.collect(), labels, section.by, key) if labels else None


def _kept(cards: Sequence[Card | None]) -> list[Card]:
    return [card for card in cards if card is not None]
