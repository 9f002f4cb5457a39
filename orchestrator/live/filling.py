"""The map of a sweep: a row for each cell, a square for each setting, filled as its trials end."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl

from sweeplaw.analysis.report.charts.cards import NARROW, WIDE, Card, sheet
from sweeplaw.analysis.report.charts.chart import LETTER
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import level, people, percent
from sweeplaw.analysis.report.panels.knobs import cell_key
from sweeplaw.analysis.report.panels.shades import heat
from sweeplaw.orchestrator.live.overview import Overview
from sweeplaw.trials.quantities import counted, is_number

ENDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of the classes of loss above the best, as shares
MOST_ROWS = 24
MOST_LEVELS = 24  # of the knob across; of more, some are drawn
MOST_SECOND = 8  # levels of the second knob; with more there is none
SQUARE, GAP, HEAD = 26.0, 4.0, 24.0  # height of a square, space between rows, room for the levels


@dataclass(frozen=True, slots=True)
class Square:
    """The trials of one setting: numbers of completed, diverged and all ended ones, and the mean loss of the best.

    ``trial`` is one of them, that of least loss if any has completed.
    """

    completed: int
    diverged: int
    ended: int
    loss: float | None
    trial: str


@dataclass(frozen=True, slots=True)
class Filling:
    """The squares of the cells that are drawn. ``across`` and ``second`` are knobs with their levels, or None."""

    across: tuple[str, tuple[Any, ...]] | None
    second: tuple[str, tuple[Any, ...]] | None
    rows: tuple[Mapping[str, Any], ...]
    squares: Mapping[tuple[float, float, Any, Any], Square]
    running: frozenset[tuple[float, float, Any, Any]]
    hidden: int


def filling_card(found: Overview, trials: pl.DataFrame, key: str) -> Card | None:
    """Return the map of these ``trials`` of the store; None where there are no cells."""
    if found.by is None or found.cells is None or not found.cells.frame.height:
        return None
    made = filling(found, trials)
    cells = found.cells.frame
    complete = int(cells["complete"].sum())
    hidden = f" {counted(made.hidden, 'further cell')} not drawn, evenly chosen." if made.hidden else ""
    empty = "none of its trials has ended, or none was planned"
    if trials.height < found.rows.height:
        empty += ", or WHERE leaves them out"
    others = [name for name in found.by.knobs if name not in _names(made)]
    best = f"; {', '.join(others)} at their best" if others else ""
    drawings = tuple(_drawing(made, width).replace("CLIP", f"c-{key}") for width in (WIDE, NARROW))
    rows = (
        (n, d, a, b, one.ended, one.completed, one.diverged, one.loss)
        for (n, d, a, b), one in sorted(made.squares.items(), key=lambda item: tuple(map(str, item[0])))
    )
    names = [*_names(made), "setting", "second_setting"][:2]
    return Card(
        key,
        f"{complete} of {counted(cells.height, 'cell')} {'is' if complete == 1 else 'are'} complete",
        f"{_sentence(made)} Colour: loss above the best of its row{best}.",
        drawings,
        f"A square is a setting, means over seeds. Empty: {empty}.{hidden}",
        f"A row for each of {counted(len(made.rows), 'cell')}, {complete} of {cells.height} complete.",
        sheet((found.by.n, found.by.d, *names, "ended", "completed", "diverged", "loss"), rows),
    )


def legend() -> str:
    """Return what colours and marks of the map mean, as HTML."""
    ends = ["best", *(percent(end) for end in ENDS[1:]), "more"]
    steps = "".join(f'<span><i class="hk{k}"></i>{text}</span>' for k, text in enumerate(ends))
    marks = (
        ('<rect x="2" y="2" width="10" height="10" rx="2" class="top1"/>', "best of its row"),
        ('<rect x="1" y="1" width="12" height="12" rx="2" class="run"/>', "running"),
        ('<path class="exx" d="M3 3l8 8m0-8l-8 8"/>', "diverged or failed"),
        ('<rect x="1" y="1" width="12" height="12" rx="2" class="wait"/>', "waiting"),
    )
    symbols = "".join(f'<span><svg viewBox="0 0 14 14">{mark}</svg>{text}</span>' for mark, text in marks)
    return f'<div class="keybar ch">{steps}<span class="sym">{symbols}</span></div>'


def filling(found: Overview, trials: pl.DataFrame) -> Filling:
    """Return the squares of the map, aggregated in Polars. ``found`` has cells."""
    assert found.by is not None
    assert found.cells is not None
    n, d = found.cells.keys
    across, second = _axes(found.by.knobs, found.rows)
    names = [axis[0] for axis in (across, second) if axis is not None]
    every = found.cells.frame.to_dicts()
    rows = tuple(most_even(every, MOST_ROWS))
    completed = pl.col("state") == "completed"
    loss = pl.when(completed & pl.col(found.by.loss).is_finite()).then(pl.col(found.by.loss))
    drawn = trials.with_columns(pl.col(n, d).cast(pl.Float64)).join(
        pl.DataFrame([{n: row[n], d: row[d]} for row in rows], schema={n: pl.Float64, d: pl.Float64}),
        on=[n, d],
        how="semi",
    )
    knobs = [name for name in found.by.knobs if name in trials.columns]
    settings = drawn.group_by([n, d, *knobs]).agg(
        completed=completed.sum(),
        diverged=(pl.col("state") == "diverged").sum(),
        ended=pl.col("final").sum(),
        loss=loss.mean(),
        trial=pl.col("trial_id").get(loss.arg_min().fill_null(0)),
    )
    squares = settings.group_by([n, d, *names]).agg(
        pl.col("completed", "diverged", "ended").sum(),
        pl.col("loss").min(),
        pl.col("trial").get(pl.col("loss").arg_min().fill_null(0)),
    )
    levels = [set(axis[1]) for axis in (across, second) if axis is not None]
    placed = {}
    for row in squares.to_dicts():
        at = [row[name] for name in names]
        if all(value in known for value, known in zip(at, levels, strict=True)):
            spot = (row[n], row[d], *at, *[None] * (2 - len(at)))
            placed[spot] = Square(row["completed"], row["diverged"], row["ended"], row["loss"], row["trial"])
    least = {(a, b): loss for a, b, loss in settings.group_by(n, d).agg(pl.col("loss").min()).iter_rows()}
    shown = tuple({**row, "best_mean": least.get((row[n], row[d]))} for row in rows)
    return Filling(across, second, shown, placed, _running(found, names), len(every) - len(rows))


def _axes(knobs: Sequence[str], trials: pl.DataFrame) -> tuple[tuple[str, tuple[Any, ...]] | None, ...]:
    """Return the knob across and the second one with their levels: the learning rate first, then by their levels."""
    known = {name: trials[name].drop_nulls().unique().sort().to_list() for name in knobs if name in trials.columns}
    order = sorted(known, key=lambda name: (name != "lr", -len(known[name]), name))
    if not order:
        return None, None
    across = order[0], tuple(most_even(known[order[0]], MOST_LEVELS))
    rest = [name for name in order[1:] if 1 < len(known[name]) <= MOST_SECOND]
    return across, (rest[0], tuple(known[rest[0]])) if rest else None


def _running(found: Overview, names: Sequence[str]) -> frozenset[tuple[float, float, Any, Any]]:
    """Return the settings of which a pack runs, as far as packs publish them."""
    assert found.by is not None
    spots: set[tuple[float, float, Any, Any]] = set()
    for pack in found.progress.packs:
        point = [pack.about.get(name) for name in (found.by.n, found.by.d)]
        at = [pack.about.get(name) for name in names]
        if all(isinstance(value, int | float) for value in point):
            first, second = [*at, None, None][:2]
            spots.add((float(point[0] or 0), float(point[1] or 0), first, second))
    return frozenset(spots)


def _names(made: Filling) -> list[str]:
    return [axis[0] for axis in (made.across, made.second) if axis is not None]


def _sentence(made: Filling) -> str:
    if made.across is None:
        return "A square for each cell."
    if made.second is None:
        return f"{made.across[0]} across."
    levels = made.second[1]
    if len(levels) > 4:
        shown = f"from {_level(levels[0])} to {_level(levels[-1])}"
    else:
        shown = f"{', '.join(map(_level, levels[:-1]))} and {_level(levels[-1])}"
    narrow = f"on a narrow page one, at the best {made.second[0]}"
    return f"{made.across[0]} across, {len(levels)} squares each ({narrow}): {made.second[0]} {shown}."


def _drawing(made: Filling, width: float) -> str:
    """Return the map as SVG; a narrow one has no second knob."""
    wide = width == WIDE
    n, d = list(made.rows[0])[:2]
    labels = [_row_labels(row, (n, d), wide=wide) for row in made.rows]
    left, right = (12 + LETTER * max(len("".join(label[side])) for label in labels) for side in (0, 1))
    firsts: tuple[Any, ...] = made.across[1] if made.across else (None,)
    seconds: tuple[Any, ...] = made.second[1] if made.second and wide else (None,)
    merged = made.second is not None and not wide
    step = (width - left - right) / len(firsts)
    side = (step - 5) / len(seconds)
    middles = [left + k * step + (step - 5) / 2 for k in range(len(firsts))]
    parts = [
        _text(middles[k], 14, _level(firsts[k]), "t", "middle")
        for k in _apart(middles, [_level(value) for value in firsts] if made.across else [], width)
    ]
    parts.append(_text(width, 14, "best", "t", "end"))
    for number, (row, (name, best)) in enumerate(zip(made.rows, labels, strict=True)):
        top = HEAD + number * (SQUARE + GAP)
        middle = f'y="{top + SQUARE / 2 + 4:.1f}"'
        parts.append(f'<text class="t" x="0" {middle}>{_bold(name[0])}{name[1]}</text>')
        parts.append(f'<text class="t" x="{width:g}" {middle} text-anchor="end">{best[0]}{_bold(best[1])}</text>')
        for k, first in enumerate(firsts):
            for j, second in enumerate(seconds):
                spot = (row[n], row[d], first, second)
                one, runs = _at(made, spot, merged=merged)
                x = left + k * step + j * side
                parts.append(_square(one, row, spot, made, (x, top, max(1.5, side - 1.5)), running=runs))
    height = HEAD + len(made.rows) * (SQUARE + GAP)
    head = f'<svg class="ch fill" viewBox="0 0 {width:g} {height:g}" role="img" '
    return f'{head}aria-label="map of {counted(len(made.rows), "cell")}">{"".join(parts)}</svg>'


def _apart(middles: Sequence[float], labels: Sequence[str], width: float) -> range:
    """Return which labels to draw: each, or every second, third and so on, so that none touches another or "best"."""
    halves = [LETTER * len(text) / 2 for text in labels]
    ends = [(at - half, at + half) for at, half in zip(middles, halves, strict=False)]
    for every in range(1, len(ends) + 1):
        drawn = [*ends[::every], (width - LETTER * len("best"), width)]
        if all(right + LETTER <= left for (_, right), (left, _) in itertools.pairwise(drawn)):
            return range(0, len(ends), every)
    return range(0)


def _at(made: Filling, spot: tuple[float, float, Any, Any], *, merged: bool) -> tuple[Square | None, bool]:
    """Return the square at a spot and whether a pack runs there; ``merged``: the best of all second levels, or where
    none has a loss one that has ended.
    """
    if not merged:
        return made.squares.get(spot), spot in made.running
    levels = made.second[1] if made.second else ()
    spots = [(*spot[:3], second) for second in levels]
    found = [made.squares[one] for one in spots if one in made.squares]
    best = min(found, key=lambda one: (float("inf") if one.loss is None else one.loss, -one.ended), default=None)
    return best, any(one in made.running for one in spots)


def _row_labels(
    row: Mapping[str, Any], keys: tuple[str, str], *, wide: bool
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return what stands left of a row, the first part bold, and right of it, the second part bold."""
    n, d = (people(row[key]) for key in keys)
    best = "–" if row["best"] is None else f"{row['best']:.3f}"
    of = f"{row['ended']:,}" + ("" if row["planned"] is None else f" of {row['planned']:,}")
    return (n, f" · {d}"), (f"{of} · " if wide else "", best)


def _bold(text: str) -> str:
    return f'<tspan class="b">{text}</tspan>'


def _square(
    one: Square | None, row: Mapping[str, Any], spot: tuple[float, float, Any, Any], made: Filling,
    box: tuple[float, float, float], *, running: bool,
) -> str:  # fmt: skip
    x, y, side = box
    rect = f'<rect x="{x:.1f}" y="{y:g}" width="{side:.1f}" height="{SQUARE:g}" rx="{min(4.0, side / 4):.1f}"'
    if one is None or not one.ended:
        return f'{rect} class="{"run" if running else "wait"}"/>'
    names = [
        f"{name} {_level(value)}" for name, value in zip(_names(made), spot[2:], strict=False) if value is not None
    ]
    about = f"{people(spot[0])} parameters, {people(spot[1])} tokens{''.join(f', {name}' for name in names)}"
    if one.loss is None:
        text = f"{about}: {one.diverged} diverged, {one.ended - one.diverged} not completed"
        cross = f"M{x + side / 2 - 4:.1f} {y + SQUARE / 2 - 4:g}l8 8m0-8l-8 8" if side >= 10 else ""
        body = f'{rect} class="p off"><title>{escape(text)}</title></rect><path class="exx" d="{cross}"/>'
    else:
        excess = one.loss / row["best_mean"] - 1 if row["best_mean"] else 0.0
        text = f"{about}: loss {one.loss:.4f}, {percent(max(0.0, excess))} above the best"
        text += f", {counted(one.completed, 'run')}{f', {one.diverged} diverged' if one.diverged else ''}"
        body = f'{rect} class="p k{heat(excess, ENDS)}"><title>{escape(text)}</title></rect>'
        if one.loss == row["best_mean"]:
            frame = f'x="{x - 1.5:.1f}" y="{y - 1.5:g}" width="{side + 3:.1f}" height="{SQUARE + 3:g}"'
            body += f'<rect {frame} rx="4" class="top1"/>'
    if running:
        body += f'{rect} class="run"/>'
    key = cell_key(*spot[:2])
    return f'<a href="trial/{escape(one.trial)}" data-k="{key}" tabindex="-1">{body}</a>'


def _level(value: Any) -> str:
    if is_number(value):
        return level(float(value))
    return str(value)


def _text(x: float, y: float, text: str, css: str, anchor: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
