"""How results show themselves: a few lines, a table in a notebook, plain values for JSON."""

from __future__ import annotations

import abc
import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

from sweeplaw.trials.quantities import counted

SHOWN = 6  # entries of a list or mapping in one cell of a table; further ones are counted
LONGEST = 80  # characters of one cell
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLE = "text-align:left; padding:0 .8em 0 0; font-variant-numeric:tabular-nums"


@dataclass(frozen=True, slots=True)
class Card:
    """What a result shows: ``lines``, a table of ``rows`` under ``heads`` and a caption, then notes and ``after``."""

    lines: tuple[str, ...]
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    caption: str = ""
    after: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the card as lines of text."""
        caption = [self.caption] if self.caption else []
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([*self.lines, *caption, *_aligned(self.heads, self.rows), *notes, *self.after])

    def html(self) -> str:
        """Return the card as HTML that needs no other file."""
        head, *more = self.lines
        parts = [f"<b>{escape(head)}</b>", *(f"<div>{escape(line)}</div>" for line in more)]
        parts += [f"<small>{escape(self.caption)}</small>"] if self.caption else []
        parts += [_html_table(self.heads, self.rows)] if self.rows else []
        parts += [f"<div><small>note: {escape(note)}</small></div>" for note in self.notes]
        parts += [f"<div>{escape(line)}</div>" for line in self.after]
        return f'<div class="tex2jax_ignore mathjax_ignore">{"".join(parts)}</div>'  # a $ is no formula


class Shown(abc.ABC):
    """A result that a notebook shows in a few lines or as a table, and that `to_dict` turns into plain values."""

    __slots__ = ()

    @abc.abstractmethod
    def headline(self) -> tuple[str, ...]:
        """Return the result in a few lines."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, in which numbers that are not finite are None."""
        return {field.name: finite(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    def card(self) -> Card:
        """Return what a notebook shows: the headline, and `to_dict` as a table of two columns."""
        rows = tuple((name, brief(value)) for name, value in self.to_dict().items())
        return Card(self.headline(), ("", ""), rows)

    def summary(self) -> str:
        """Return the result as text."""
        return self.card().text()

    def __repr__(self) -> str:
        return "\n".join(self.headline())

    def _repr_html_(self) -> str:
        return self.card().html()


def finite(value: Any) -> Any:
    """Return ``value`` for JSON: non-finite floats as None, mappings, sequences and arrays as dicts and lists.

    Times are texts of ISO 8601 in UTC, as those that queries print: 2026-12-01T14:53:59.026633Z.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC) if value.tzinfo else value).strftime(TIME)
    if isinstance(value, Shown):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return finite(value.tolist()) if hasattr(value, "tolist") else value


def brief(value: Any) -> str:
    """Return a plain value in a few words: ``lr = 0.001, steps = 200``, ``1, 2, 3 and 12 more``."""
    if isinstance(value, Mapping):
        items = [f"{name} = {brief(item)}" for name, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [brief(item) for item in value]
    else:
        text = "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return brief(", ".join(items[:SHOWN]) + more) if items else "none"


def visible(text: str) -> str:
    """Return the text with control characters, which nothing shows and XML does not accept, as ``\\xNN``."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def more_notes(count: int) -> tuple[str, ...]:
    """Return a line that points at the notes of a result, none without notes."""
    return (f"{counted(count, 'note')}: summary() shows them",) if count else ()


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [heads, *rows] if any(heads) else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = _html_row("th", heads) if any(heads) else ""
    return f"<table>{top}{''.join(_html_row('td', row) for row in rows)}</table>"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="{_STYLE}">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"
