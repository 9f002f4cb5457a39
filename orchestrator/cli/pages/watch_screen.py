"""The screen of `sweeplaw watch`: counts, cells, what runs where, the law so far, and why trials failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeplaw.analysis.report.answer import badges, parameter_rows
from sweeplaw.analysis.report.charts.numbers import level, people
from sweeplaw.orchestrator.launch.failures import sentences
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.live.law import LawSoFar
from sweeplaw.orchestrator.live.overview import Overview, running_cells
from sweeplaw.orchestrator.monitor import searches
from sweeplaw.orchestrator.monitor.printed import harmless
from sweeplaw.trials.quantities import counted, hours, is_number

MOST_CELLS, MOST_PACKS = 200, 24  # rows where there is no terminal
TALL = 40  # lines of a terminal that has room for the intervals of a law
OTHERS = 22  # lines of a terminal that cells leave to the rest
_BAR = 10  # characters of the bar of a cell
_COLOURS = {"completed": "green", "ok": "green", "part": "yellow", "no": "red"}


def screen(found: Overview, law: LawSoFar | None, clock: str, height: int | None) -> Group:
    """Return the screen of a terminal of ``height`` lines; None: no terminal, and everything is shown."""
    most = MOST_CELLS if height is None else max(4, height - OTHERS)
    packs = MOST_PACKS if height is None else max(2, (height - 12) // 6)
    parts: list[RenderableType] = [
        *_head(found, clock, terminal=height is not None),
        *_cells(found, most),
        *_running(found, packs),
        *_failures(found),
        *(Text(safe(f"damaged: {fault}"), style="red") for fault in found.progress.faults),
        *_law(law, low=height is not None and height < TALL),
    ]
    return Group(*parts)


def unseen(why: str, clock: str) -> Group:
    """Return the screen of a store that cannot be read for now."""
    return Group(Text(safe(f"{why}, at {clock}; retrying"), style="red"))


def safe(text: object) -> str:
    """Return a text of the store that cannot control the terminal."""
    return harmless(str(text).replace("\x1b", "\\x1b").replace("\n", " "))


def _head(found: Overview, clock: str, *, terminal: bool) -> Iterator[RenderableType]:
    state = "running" if found.lives else "finished" if found.progress.missing == 0 else "no launch runs"
    colour = "green" if found.lives else "default"
    yield Text.assemble((safe(found.name), "bold"), "  ", (state, colour), f"  {safe(found.source)} at {clock}")
    if terminal and found.total:
        yield Padding(ProgressBar(total=found.total, completed=found.ended), 0)
    yield Text(" · ".join(_counts(found)))
    yield Text(found.progress.usage.sentence(), style="dim")
    for state_of_search in found.progress.searches:
        yield from (Text(safe(line)) for line in searches.sentences(state_of_search))


def _counts(found: Overview) -> Iterator[str]:
    seen = found.progress
    yield f"{found.ended:,} of {found.total:,} ended" if found.total is not None else f"{found.ended:,} ended"
    yield f"{seen.running:,} running"
    if seen.claimed:
        yield f"{seen.claimed:,} claimed"
    yield from (f"{count:,} {state}" for state, count in seen.states.items() if state != "completed")
    if seen.rate is not None and found.lives:
        yield f"{seen.rate:.1f}/s" if seen.rate >= 1 else f"{60 * seen.rate:.1f}/min"
        if seen.seconds_left is not None:
            yield f"{hours(seen.seconds_left / 3600)} left"
    if seen.best_loss is not None:
        yield f"best loss {seen.best_loss:.4f}"


def _cells(found: Overview, most: int) -> Iterator[RenderableType]:
    if found.cells is None or found.by is None:
        yield Text(safe(f"cells: {found.why_not}"), style="yellow")
        return
    running, (n, d) = running_cells(found), found.cells.keys
    rows = found.cells.frame.to_dicts()
    shown = _most_telling(rows, most)
    yield _heading("cells", f"{sum(row['complete'] for row in rows)} of {len(rows)} complete")
    table = _table("N", "D", "ended", "", "best loss", *found.cells.knobs, "", right=(0, 1, 2, 4))
    for row in shown:
        here = running.get((row[n], row[d]), 0)
        of = "" if row["planned"] is None else f" of {row['planned']:,}"
        state = "complete" if row["complete"] else f"{here} running" if here else "open"
        best = "–" if row["best"] is None else f"{row['best']:.4f}"
        knobs = [_value(row[name]) for name in found.cells.knobs]
        share = row["ended"] / row["planned"] if row["planned"] else 0.0
        bar = Text("█" * round(_BAR * min(1.0, share)), style="green" if row["complete"] else "cyan")
        table.add_row(people(row[n]), people(row[d]), f"{row['ended']:,}{of}", bar, best, *knobs, state)
    yield table
    if len(shown) < len(rows):
        yield Text(f"  and {counted(len(rows) - len(shown), 'more cell')}", style="dim")


def _most_telling(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return at most this many cells in their order: those in work, then the complete ones, then the others."""

    def rank(row: Mapping[str, Any]) -> int:
        return 1 if row["complete"] else 0 if row["ended"] else 2

    kept = sorted(range(len(rows)), key=lambda k: (rank(rows[k]), k))[:most]
    return [rows[k] for k in sorted(kept)]


def _running(found: Overview, most: int) -> Iterator[RenderableType]:
    packs = sorted(found.progress.packs, key=lambda pack: pack.since)
    if not packs:
        return
    yield _heading("running", counted(len(packs), "pack"))
    table = _table("trial", "host", "setting", "step", "for", right=(3, 4))
    for pack in packs[:most]:
        trial, step = next(iter(pack.steps.items()), (pack.pack_id, None))
        more = f" and {len(pack.steps) - 1} more" if len(pack.steps) > 1 else ""
        seconds = f"{(found.at - pack.idle_since).total_seconds():.0f} s"
        at = f"{'–' if step is None else f'{step:,}'}{_of_steps(pack)}"
        table.add_row(safe(trial[:12] + more), safe(pack.host or "starting"), _setting(found, pack), at, seconds)
    yield table
    if len(packs) > most:
        yield Text(f"  and {counted(len(packs) - most, 'more pack')}", style="dim")


def _of_steps(pack: RunningPack) -> str:
    steps = pack.about.get("steps")
    return f" of {steps:,}" if isinstance(steps, int) else ""


def _setting(found: Overview, pack: RunningPack) -> str:
    names = (found.by.n, found.by.d, *found.by.knobs) if found.by else ()
    labels = {found.by.n: "N", found.by.d: "D"} if found.by else {}
    pieces = (f"{labels.get(name, name)} {_value(pack.about[name])}" for name in names if name in pack.about)
    return safe(", ".join(pieces))


def _law(law: LawSoFar | None, *, low: bool) -> Iterator[RenderableType]:
    if law is None:
        return
    yield _heading("law so far", law.basis)
    if law.values["law"] is None:
        yield Text(safe(f"  none: {law.surface.why_not}"), style="dim")
        return
    yield Text(f"  {law.values['formula'].replace('**', '^')}")
    rows = parameter_rows(law.values)
    if low:
        yield Text("  " + ", ".join(f"{name} {value}" for name, value, _ in rows))
    else:
        table = _table("", "value", "95 % interval", right=(1, 2))
        for row in rows:
            table.add_row(*row)
        yield table
    for badge in badges(law.values):
        yield Padding(Text.assemble((badge.title, _COLOURS[badge.grade]), f": {badge.sentence}"), (0, 0, 0, 2))


def _failures(found: Overview) -> Iterator[RenderableType]:
    if why := sentences(found.progress.failures, found.source):
        yield _heading("why trials failed", "")
        yield from (Text(safe(line)) for line in why)


def _heading(name: str, note: str) -> Text:
    return Text.assemble("\n", (name, "bold"), f"  {note}" if note else "")


def _table(*heads: str, right: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, head in enumerate(heads):
        table.add_column(safe(head), justify="right" if number in right else "left", no_wrap=True)
    return table


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if is_number(value):
        return level(float(value))
    return safe(value)
