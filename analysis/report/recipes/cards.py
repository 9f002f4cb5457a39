"""The cards of a study of recipes: losses against N, K and U with their limits, multiples of data, and students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeplaw.analysis.recipes.study.distillation import Retained
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import LETTER, Chart, cut, text_width
from sweeplaw.analysis.report.charts.numbers import people, percent, places
from sweeplaw.analysis.report.charts.scales import Axis, axis_over, rows
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.report.recipes import lines
from sweeplaw.analysis.report.recipes.lines import DrawnLaw

HEIGHT = 330.0
ROW = 34.0  # height of a student
WIDEST = 0.7  # of a drawing: the longest name of a student
LOSS = "validation loss"
_LAW = "Dots: losses with 95 % intervals; lines: C + A x^-alpha, shaded: its 95 % band; dotted: its limit C."


def study_panels(study: RecipeStudy, shares: Sequence[Retained], key: str) -> list[Card]:
    """Return the cards that have something to show."""
    found = []
    if any(limit.law for recipe in study.recipes.values() for limit in recipe.sizes):
        found += _by_budget(lines.against_n(study), len(study.recipes), "N, parameters", f"{key}-n")
    if any(limit.law for recipe in study.recipes.values() for limit in recipe.chosen):
        found += _by_budget(lines.against_k(study), None, "K, members", f"{key}-k")
    if any(recipe.law and recipe.law.law for recipe in study.recipes.values()):
        found.append(_reached(lines.against_u(study), len(study.recipes), f"{key}-u"))
        if worth := lines.multiples(study):
            found.append(_multiples(worth, study, f"{key}-multiples"))
    known = [one for one in shares if one.share is not None]
    return [*found, _students(known, f"{key}-students")] if known else found


def _by_budget(found: Mapping[float, Sequence[DrawnLaw]], count: int | None, x: str, key: str) -> list[Card]:
    """Return a card for each U. ``count`` colours are shared by the cards; None: each has as many as lines."""
    cards = []
    for number, (u, drawn) in enumerate(found.items()):
        limits = sorted((one.limit, one.name) for one in drawn if one.limit is not None)
        best = f": {limits[0][1]} reaches {places(limits[0][0], 3)}" if limits else ""
        cards.append(
            _law_card(drawn, count or len(drawn), (x, LOSS), f"{people(u)} unique tokens{best}", f"{key}{number}")
        )
    return cards


def _reached(drawn: Sequence[DrawnLaw], count: int, key: str) -> Card:
    return _law_card(drawn, count, ("U, unique tokens", LOSS), "What each recipe reaches as data grow", key)


def _multiples(drawn: Sequence[DrawnLaw], study: RecipeStudy, key: str) -> Card:
    most = max(drawn, key=lambda one: one.losses.max())
    title = f"{_started(most.name)} is worth up to {people(float(most.losses.max()))} times the data"
    caption = "Dots: multiples with 95 % intervals."
    if endless := lines.endless(study):
        title = f"{_started(' and '.join(endless))} can be worth more than any amount of data"
        where = "; ".join(f"{name} at U = {', '.join(map(people, budgets))}" for name, budgets in endless.items())
        caption += f" Not drawn, since {study.standard} reaches these losses with no amount of data: {where}."
    axes = ("U, unique tokens", f"data that {study.standard} would need, as a multiple")
    return _law_card(drawn, len(study.recipes), axes, title, key, caption)


def _law_card(
    drawn: Sequence[DrawnLaw], count: int, titles: tuple[str, str], title: str, key: str, caption: str = _LAW
) -> Card:
    across = [float(x) for one in drawn for x in (*one.x, *one.grid)]
    labels = [_label(one) for one in drawn]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over(across, titles[0], log=True, room=0.06),
            axis_over(lines.heights(drawn), titles[1], room=0.08),
            width,
            HEIGHT,
            f"{titles[1]} against {titles[0]}",
            right=text_width(labels),
        )
        for one, label in zip(drawn, labels, strict=True):
            _draw(chart, one, label, count)
        return chart.svg()

    return card(
        key,
        title,
        f"{_started(titles[1])} against {titles[0]}.",
        draw,
        caption,
        f"{titles[1]} against {titles[0]}: {', '.join(labels)}.",
        sheet(("line", titles[0], titles[1], "low", "high"), (row for one in drawn for row in _rows(one))),
        half=True,
    )


def _draw(chart: Chart, one: DrawnLaw, label: str, count: int) -> None:
    colour = stroke(one.rank, count)
    if one.band is not None:
        chart.band(one.grid, *one.band)
    if len(one.grid):
        chart.line(one.grid, one.expected, f"cur {colour}", one.name)
        chart.end(float(one.grid[-1]), float(one.expected[-1]), label, "l", one.name)
    elif len(one.x):
        chart.line(one.x, one.losses, f"own {colour}", one.name)
        chart.end(float(one.x[-1]), float(one.losses[-1]), label, "l", one.name)
    if one.limit is not None:
        chart.line([chart.x.low, chart.x.high], [one.limit, one.limit], f"own {colour}", one.name)
    for x, loss, ends in zip(one.x, one.losses, one.ends, strict=True):
        if ends is not None:
            chart.whisker(float(x), *ends, f"wh {colour}")
        between = "" if ends is None else f" ({places(ends[0])} to {places(ends[1])})"
        chart.dot(
            float(x),
            float(loss),
            f"pt {fill(one.rank, count)}",
            f"{one.name}, {people(float(x))}: {places(float(loss))}{between}",
            one.name,
        )


def _started(text: str) -> str:
    """Return a text with a capital first; the others stay, since names have their own."""
    return f"{text[:1].upper()}{text[1:]}"


def _label(one: DrawnLaw) -> str:
    name = one.name.replace("K to infinity", "K → ∞")
    return name if one.limit is None else f"{name}: {places(one.limit, 3)}"


def _rows(one: DrawnLaw) -> list[tuple[str, float, float, float | None, float | None]]:
    ends = [found or (None, None) for found in one.ends]
    return [(one.name, float(x), float(y), *between) for x, y, between in zip(one.x, one.losses, ends, strict=True)]


def _students(shares: Sequence[Retained], key: str) -> Card:
    roles = ("best single model", "student", "teacher")
    losses = [[one.single, one.student, one.teacher] for one in shares]
    names = [one.name or "student" for one in shares]

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([loss for row in losses for loss in row], LOSS, room=0.12),
            Axis(
                "",
                len(shares) + 0.5,
                0.5,
                label=lambda place: cut(names[round(place) - 1], int(WIDEST * width / LETTER)),
                marks=rows(len(names)),
            ),
            width,
            90 + ROW * len(shares),
            "losses of single models, students and teachers",
            zooms=False,
        )
        for place, (name, row) in enumerate(zip(names, losses, strict=True), start=1):
            chart.span(place, min(row), max(row), "barwh")
            for rank, (role, loss) in enumerate(zip(roles, row, strict=True)):
                chart.dot(loss, place, f"pt {fill(3 * rank, 7)}", f"{name}, {role}: {places(loss)}", role, 5)
        return chart.svg()

    kept = [f"{name}: {percent(one.share)}{_between(one)}" for name, one in zip(names, shares, strict=True)]
    return card(
        key,
        _kept(min(one.share or 0.0 for one in shares), len(shares)),
        "From dark to light: the best single model, the student, and the teacher.",
        draw,
        f"Share of the gain over the best single model that the student keeps: {'; '.join(kept)}.",
        f"Losses of {', '.join(names)}.",
        sheet(
            ("student", *roles, "share"), ((n, *row, o.share) for n, row, o in zip(names, losses, shares, strict=True))
        ),
    )


def _kept(least: float, count: int) -> str:
    if least <= 0:
        who = "The student keeps nothing" if count == 1 else "Not every student keeps some"
        return f"{who} of the ensemble's gain"
    more = "" if count == 1 else " or more"
    return f"{'The student keeps' if count == 1 else 'Students keep'} {percent(least)} of the ensemble's gain{more}"


def _between(one: Retained) -> str:
    ends = lines.ends_of(one.interval)
    return "" if ends is None else f" ({percent(ends[0])} to {percent(ends[1])})"
