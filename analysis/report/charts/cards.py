"""Cards: a chart with its finding as the title, what is plotted, a caption, and its data as a table to download."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

WIDE, HALF, NARROW = 940.0, 446.0, 350.0  # widths of a drawing: full, of two beside each other, of a telephone


@dataclass(frozen=True, slots=True)
class Sheet:
    """The data of a card: a table of plain values under ``heads``."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def link(self) -> str:
        """Return the table as CSV in a data link; unknown values are empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.heads)
        writer.writerows(["" if value is None else value for value in row] for row in self.rows)
        return f"data:text/csv;charset=utf-8,{quote(out.getvalue())}"


@dataclass(frozen=True, slots=True)
class Card:
    """A figure of the page: ``drawings`` are SVG, the wide one and the narrow one, or one that fits any width.

    ``title`` says what the picture shows, ``subtitle`` what is plotted, ``alt`` the same for people who do not see it.
    """

    key: str
    title: str
    subtitle: str
    drawings: tuple[str, ...]
    caption: str
    alt: str
    sheet: Sheet | None = None
    half: bool = False


def card(
    key: str,
    title: str,
    subtitle: str,
    draw: Callable[[float], str],
    caption: str,
    alt: str,
    sheet: Sheet | None = None,
    *,
    half: bool = False,
) -> Card:
    """Return a card with two drawings: ``draw`` takes a width."""
    widths = (HALF if half else WIDE, NARROW)
    drawings = tuple(clipped(draw(width), f"c-{key}-{k}") for k, width in enumerate(widths))
    return Card(key, title, subtitle, drawings, caption, alt, sheet, half)


def clipped(drawing: str, name: str) -> str:
    """Return a drawing whose clip has this name. Words of its texts stay: in these, quotes are escaped."""
    return drawing.replace('id="CLIP"', f'id="{name}"').replace('"url(#CLIP)"', f'"url(#{name})"')


def sheet(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Sheet:
    """Return a table of data."""
    return Sheet(tuple(heads), tuple(tuple(row) for row in rows))
