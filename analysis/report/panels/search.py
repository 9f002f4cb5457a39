"""The cards of a sweep that searched: its regret against what it spent, its proposals, and its path over two knobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from sweeplaw.analysis.report.charts.cards import Card, card, clipped, sheet
from sweeplaw.analysis.report.charts.chart import Chart, text_width
from sweeplaw.analysis.report.charts.dots import MOST_DOTS, dots_note, drawn_dots, most_even
from sweeplaw.analysis.report.charts.numbers import level, percent, places
from sweeplaw.analysis.report.charts.scales import FARTHEST, Axis, axis_over
from sweeplaw.analysis.report.panels.knobs import knob_axis
from sweeplaw.analysis.report.panels.shades import fill, stroke
from sweeplaw.analysis.report.search_section import Proposed, SearchSection
from sweeplaw.trials.quantities import counted, is_number, settings

HEIGHT = 320.0
MOST_POINTS = 8  # scientific points that are drawn
MOST_LISTED = 5_000  # proposals in the table of a card: some 500 kB
LEAST_EXCESS = 1e-4  # of the loss: the end of the logarithmic axis, about a tenth of the noise of a run
SIDE = 200.0  # of the map of one point

Points = list[tuple[str, list[Proposed]]]


def search_cards(section: SearchSection, key: str) -> list[Card]:
    """Return the cards; none without a finished proposal, and no map without two knobs of numbers."""
    if not section.best:
        return []
    points = section.shown_points(MOST_POINTS)
    knobs = section.numeric_knobs
    cards = [_regret(section, points, f"{key}-regret"), _proposals(section, points, f"{key}-proposals")]
    return [*cards, _maps(section, points, knobs[0], knobs[1], f"{key}-maps")] if len(knobs) > 1 else cards


def share(section: SearchSection, one: Proposed, value: float) -> float:
    """Return by what share a value is worse than the best of its point in the end, at least `LEAST_EXCESS`."""
    return min(max(section.excess(one, value) / 100, LEAST_EXCESS), FARTHEST)


def _regret(section: SearchSection, points: Points, key: str) -> Card:
    known = all(one.spent is not None for one in section.path)
    order = {id(one): place for place, one in enumerate(section.path, start=1)}
    whole = float(section.path[-1].spent or 0.0) if known else float(len(section.path))
    lines = []
    for name, ran in points:
        ended = [one for one in ran if one.best is not None]
        xs = [float((one.spent or 0.0) if known else order[id(one)]) for one in ended]
        lines.append((name, xs, [share(section, one, one.best) for one in ended if one.best is not None]))
    every = [x for _, xs, _ in lines for x in xs]
    log = known and min(every) > 0 and max(every) > min(every)
    top = max(y for _, _, ys in lines for y in ys)

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([*every, whole], "FLOPs spent by the search" if known else "proposals that ended", log=log),
            _excess_axis(section, top),
            width,
            HEIGHT,
            "best of each point so far",
            right=text_width([name for name, _ in points]),
        )
        for rank, (name, xs, ys) in enumerate(lines):
            corners = [(x, y) for x, y, before in zip(xs, ys, [ys[0], *ys], strict=False) for y in (before, y)]
            steps = [*corners, (whole, ys[-1])]
            chart.line([x for x, _ in steps], [y for _, y in steps], f"cur {stroke(rank, len(lines))}", name)
            chart.end(whole, ys[-1], name, "l", name)
        return chart.svg()

    hidden = len(section.points) - len(points)
    left_out = f" {counted(hidden, 'more point')} not drawn." if hidden else ""
    notes = left_out + _unlisted(section) + _zeros(section, points)
    return card(
        key,
        f"{counted(len(section.path), 'proposal')} over {counted(len(section.points), 'point')}",
        f"The best {section.objective} of each point so far, {_against(section)}.",
        draw,
        f"A line is a point of the sweep, dark to light {_order(section)}.{notes}",
        f"Best so far of {counted(len(points), 'point')}.",
        sheet(
            ("proposal", "point", "state", section.objective, "best_so_far", "spent_flops"),
            ((one.number, one.at, one.state, one.value, one.best, one.spent) for one in _listed(section)),
        ),
        half=True,
    )


def _proposals(section: SearchSection, points: Points, key: str) -> Card:
    marks = [(rank, one, *found) for rank, (_, ran) in enumerate(points) for one in ran if (found := _value(one))]
    stopped = sum(predicted for *_, predicted in marks)
    top = max(share(section, one, value) for _, one, value, _ in marks)

    def draw(width: float) -> str:
        chart = Chart(
            axis_over([float(one.number) for _, one, *_ in marks], "number of the proposal"),
            _excess_axis(section, top),
            width,
            HEIGHT,
            "every proposal",
        )
        for rank, one, value, predicted in [marks[k] for k in drawn_dots(len(marks))]:
            where = settings({**one.point, **one.knobs})
            text = f"{one.number}: {where}: {section.objective} {places(value)}"
            text += f", predicted when it was stopped ({one.reason})" if predicted else ""
            css = f"{'hollow' if predicted else 'pt'} {(stroke if predicted else fill)(rank, len(points))}"
            chart.dot(float(one.number), share(section, one, value), css, text, one.at, 3)
        return chart.svg()

    lost = len([one for _, ran in points for one in ran]) - len(marks)
    parts = [f"{counted(len(marks) - stopped, 'finished proposal')}"]
    parts += [f"{stopped} stopped early, hollow at their prediction"] if stopped else []
    parts += [f"{lost} without a result are not drawn"] if lost else []
    elsewhere = len(section.path) - len(marks) - lost
    parts += [f"{elsewhere} at points that are not drawn"] if elsewhere else []
    return card(
        key,
        "The proposals in their order" if elsewhere or lost else "Every proposal in its order",
        f"A dot is a proposal, {_against(section)}; colours as in the other picture.",
        draw,
        f"{'; '.join(parts)}.{dots_note(len(marks), listed=False)}{_zeros(section, points)}",
        f"{counted(len(marks), 'proposal')} in their order.",
        half=True,
    )


def _listed(section: SearchSection) -> list[Proposed]:
    """Return the proposals in the tables of the cards: all, or `MOST_LISTED` of them, spread evenly."""
    return most_even(section.path, MOST_LISTED)


def _unlisted(section: SearchSection) -> str:
    count = len(section.path)
    return (
        f" {MOST_LISTED:,} of {count:,} proposals are in the table; the store has all." if count > MOST_LISTED else ""
    )


def _against(section: SearchSection) -> str:
    return f"as a share {'below' if section.maximize else 'above'} the best of its point in the end"


def _order(section: SearchSection) -> str:
    costs = {one.flops for one in section.path}
    return "in the order of their ends" if None in costs or len(costs) == 1 else "from the cheapest to the dearest"


def _zeros(section: SearchSection, points: Points) -> str:
    """Return the sentence on points whose best is zero, of which nothing is a share."""
    zeros = [name for name, _ in points if not section.best[name]]
    return f" Where the best is 0, 1 % is a difference of 0.01: {'; '.join(zeros)}." if zeros else ""


def _excess_axis(section: SearchSection, top: float) -> Axis:
    title = f"{section.objective} {'below' if section.maximize else 'above'} the best"
    return Axis(title, LEAST_EXCESS * 0.9, max(top, 2 * LEAST_EXCESS) * 1.1, True, percent)


def _value(one: Proposed) -> tuple[float, bool] | None:
    """Return the value of a proposal, and whether it is one that was predicted when the proposal was stopped."""
    if one.value is not None:
        return one.value, False
    return (one.predicted, True) if one.state == "stopped" and one.predicted is not None else None


def _maps(section: SearchSection, points: Points, across: str, up: str, key: str) -> Card:
    maps = [clipped(_map(section, name, ran, across, up), f"c-{key}-{k}") for k, (name, ran) in enumerate(points)]
    recommended = section.state is not None and len(section.state.recommended) > 0
    many = max(len(ran) for _, ran in points) > MOST_DOTS
    some = f" Of a map at most {MOST_DOTS:,} are drawn, evenly spread." if many else ""
    some += _unlisted(section)
    return Card(
        key,
        f"The path of the search over {across} and {up}",
        f"{across} across, {up} up: a map for each point. Dots from dark to light as the proposals came.",
        (f'<div class="bowls">{"".join(maps)}</div>',),
        f"{'Ring: the recommended setting. ' if recommended else ''}Cross: no finished {section.objective}.{some}",
        f"{counted(len(maps), 'map')} of proposals over {across} and {up}.",
        sheet(
            ("proposal", "point", across, up, "state", section.objective),
            ((one.number, one.at, one.knobs[across], one.knobs[up], one.state, one.value) for one in _listed(section)),
        ),
    )


def _map(section: SearchSection, name: str, ran: Sequence[Proposed], across: str, up: str) -> str:
    x, y = (knob_axis([float(one.knobs[knob]) for one in section.path], knob) for knob in (across, up))
    chart = Chart(x, y, SIDE, SIDE, f"proposals at {name}", zooms=False)
    last = max(max(one.number for one in section.path), 0)
    for one in [ran[k] for k in drawn_dots(len(ran))]:
        a, b = float(one.knobs[across]), float(one.knobs[up])
        text = f"{one.number}: {settings(one.knobs)}: " + (one.state if one.value is None else places(one.value))
        if one.value is None:
            chart.cross(a, b, "exx", text)
        else:
            chart.dot(a, b, f"pt {fill(max(one.number, 0), last + 1)}", text, radius=3)
    for a, b in _recommended(section, ran, across, up):
        chart.dot(a, b, "held", f"recommended: {across} {level(a)}, {up} {level(b)}", radius=6)
    return f'<div class="bowl"><p class="bt"><b>{escape(name)}</b></p>{chart.svg()}</div>'


def _recommended(
    section: SearchSection, ran: Sequence[Proposed], across: str, up: str
) -> Iterator[tuple[float, float]]:
    for row in section.state.recommended if section.state else ():
        here = all(row.get(name) == value for name, value in ran[0].point.items())
        a, b = row.get(across), row.get(up)  # None: a knob whose condition does not hold has no place
        if here and is_number(a) and is_number(b):
            yield float(a), float(b)
