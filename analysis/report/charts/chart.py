"""A chart as SVG: a frame of two axes, marks in it, and labels at the ends of lines that do not overlap.

Marks take classes of the page's style, so that one drawing serves every theme. A mark with a text shows it when it is
pointed at; marks of one ``key`` are lit together across figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.report.charts.scales import Axis

Values = Sequence[float] | NDArray[np.float64]
End = tuple[float, float, str, str, str]  # of a line: its place, its label, the label's class and key

LINE = 14.0  # height of a line of labels
BAR = 16.0  # height of a horizontal bar
LETTER = 6.3  # mean width of a letter at the size of labels
LONGEST = 26  # letters of a label at the end of a line


@dataclass(slots=True)
class Chart:
    """A chart of ``width`` x ``height`` units. Marks are drawn in the order of the calls; values outside are cut.

    With a script, a chart ``zooms`` in the page: its frame and axes are in its ``data-`` attributes.
    """

    x: Axis
    y: Axis
    width: float
    height: float
    alt: str
    right: float = 16.0
    left: float = 0.0
    zooms: bool = True
    _parts: list[str] = field(default_factory=list)
    _ends: list[End] = field(default_factory=list)

    def __post_init__(self) -> None:
        widest = max((len(text) for _, text in self.y.ticks(self._rows)), default=1)
        self.left = self.left or 14 + LETTER * widest

    @property
    def _rows(self) -> int:
        return max(3, int(self.height / 62))

    @property
    def _box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the frame."""
        return self.left, 30.0, self.width - self.right, self.height - 44

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a point."""
        left, top, right, bottom = self._box
        return left + self.x.share(x) * (right - left), bottom - self.y.share(y) * (bottom - top)

    def line(self, xs: Values, ys: Values, css: str, key: str = "") -> None:
        """Draw a line through points."""
        if path := self._path(xs, ys):
            self._parts.append(f'<path class="{css}"{_key(key)} clip-path="url(#CLIP)" fill="none" d="{path}"/>')

    def band(self, xs: Values, low: Values, high: Values, css: str = "bd") -> None:
        """Fill between two lines."""
        ends = [self.y.low if not math.isfinite(v) or (self.y.log and v <= 0) else v for v in low]
        tops = [self.y.high if not math.isfinite(v) else v for v in high]
        path = self._path([*xs, *xs[::-1]], [*ends, *reversed(tops)])
        if path:
            self._parts.append(f'<path class="{css}" clip-path="url(#CLIP)" d="{path}Z"/>')

    def dot(self, x: float, y: float, css: str, text: str = "", key: str = "", radius: float = 3.5) -> None:
        """Draw a disc; nothing outside the frame."""
        if self._inside(x, y):
            px, py = self.at(x, y)
            self._mark(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}"', css, text, key)

    def diamond(self, x: float, y: float, css: str, text: str = "", key: str = "") -> None:
        """Draw a diamond."""
        if self._inside(x, y):
            px, py = self.at(x, y)
            self._mark(f'<path d="M{px:.1f} {py:.1f}m0-5l5 5-5 5-5-5Z"', css, text, key)

    def cross(self, x: float, y: float, css: str, text: str = "", key: str = "") -> None:
        """Draw a diagonal cross."""
        if self._inside(x, y):
            px, py = self.at(x, y)
            self._mark(f'<path d="M{px - 4:.1f} {py - 4:.1f}l8 8m0-8l-8 8"', css, text, key)

    def whisker(self, x: float, low: float | None, high: float | None, css: str) -> None:
        """Draw a vertical interval, cut at the frame."""
        if not self.x.inside(x) or (self.y.log and high is not None and high <= 0):
            return
        floor = self.y.low if low is None or (self.y.log and low <= 0) else max(low, self.y.low)
        top = self.y.high if high is None else min(high, self.y.high)
        if top > floor:
            (px, a), (_, b) = self.at(x, floor), self.at(x, top)
            self._parts.append(f'<path class="{css}" d="M{px:.1f} {a:.1f}V{b:.1f}"/>')

    def span(self, y: float, low: float, high: float, css: str) -> None:
        """Draw a horizontal interval, cut at the frame."""
        left, right = max(low, self.x.low), min(high, self.x.high)
        if self.y.inside(y) and right > left:
            (a, py), (b, _) = self.at(left, y), self.at(right, y)
            self._parts.append(f'<path class="{css}" d="M{a:.1f} {py:.1f}H{b:.1f}"/>')

    def bar(self, y: float, length: float, css: str, text: str) -> None:
        """Draw a horizontal bar from the left end of the axis to ``length``."""
        if self.y.inside(y):
            (a, py), (b, _) = self.at(self.x.low, y), self.at(min(max(length, self.x.low), self.x.high), y)
            self._mark(f'<path d="M{a:.1f} {py - BAR / 2:.1f}H{b:.1f}v{BAR:g}H{a:.1f}Z"', css, text, "")

    def level(self, x: float, text: str, css: str = "gg") -> None:
        """Draw a vertical line at ``x`` with a text at its top."""
        if self.x.inside(x):
            _, top, right, bottom = self._box
            px, _ = self.at(x, self.y.low)
            self._parts.append(f'<path class="{css}" d="M{px:.1f} {top:.1f}V{bottom:.1f}"/>')
            side = "end" if px > (self.left + right) / 2 else "start"
            shift = -6 if side == "end" else 6
            self._parts.append(_text(px + shift, top + 10, text, "l", side))

    def end(self, x: float, y: float, text: str, css: str = "l", key: str = "") -> None:
        """Write a label at the right end of a line; labels are moved apart. Texts over `LONGEST` letters are cut."""
        if self._inside(x, y):
            self._ends.append((*self.at(x, y), cut(text), css, key))

    def svg(self) -> str:
        """Return the chart. The clip has a name that the page makes unique."""
        return self.svg_with(())

    def svg_with(self, marks: Sequence[str]) -> str:
        """Return the chart with further ``marks``, SVG text placed by `at`; with these it does not zoom."""
        left, top, right, bottom = self._box
        clip = f'<clipPath id="CLIP"><path d="M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"/></clipPath>'
        zoom = self._zoom() if self.zooms and not marks else ""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        head = f'<svg class="ch" {size}{zoom} role="img" aria-label="{escape(self.alt)}">'
        inside = [*self._parts, *marks, *self._labels()]
        return "".join([head, clip, *self._frame(), '<g class="m">', *inside, "</g></svg>"])

    def _zoom(self) -> str:
        """Return the attributes that a script zooms by: the frame, and the ends, scale and labels of both axes."""
        box = " ".join(f"{edge:.1f}" for edge in self._box)
        axes = (
            f"{axis.low:.10g} {axis.high:.10g} {'log' if axis.log else 'linear'} {getattr(axis.label, '__name__', '')}"
            for axis in (self.x, self.y)
        )
        return f' data-box="{box}"' + "".join(f' data-{name}="{axis}"' for name, axis in zip("xy", axes, strict=True))

    def _frame(self) -> list[str]:
        left, _, right, bottom = self._box
        parts = ['<g class="fr">']
        for value, text in self.y.ticks(self._rows):
            _, py = self.at(self.x.low, value)
            parts.append(f'<path class="g" d="M{left:.1f} {py:.1f}H{right:.1f}"/>')
            parts.append(_text(left - 7, py + 4, text, "t", "end"))
        ticks = self.x.ticks(max(2, int((right - left) / 74)))
        for value, text in spread(ticks, lambda v: self.at(v, self.y.low)[0]):
            px, _ = self.at(value, self.y.low)
            parts.append(f'<path class="ax" d="M{px:.1f} {bottom:.1f}v4"/>')
            parts.append(_text(px, bottom + 17, text, "t", "middle"))
        parts.append(f'</g><path class="ax" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>')
        parts.append(_text(0, 13, cut(self.y.title, int(self.width / LETTER)), "at", "start"))
        parts.append(_text(right, bottom + 35, cut(self.x.title, int(right / LETTER)), "at", "end"))
        return parts

    def _labels(self) -> list[str]:
        """Return the labels at ends of lines, moved apart where they would overlap."""
        ends = [(min(px + 7, self.width - LETTER * len(text)), py, text, css, key)
                for px, py, text, css, key in self._ends]  # fmt: skip
        labels = []
        for column in _columns(ends):
            places = apart([py for _, py, *_ in column], LINE, self._box[1], self._box[3])
            for (px, _, text, css, key), py in zip(column, places, strict=True):
                labels.append(_text(px, py + 4, text, css, "start", key))
        return labels

    def _inside(self, x: float, y: float) -> bool:
        return self.x.inside(x) and self.y.inside(y)

    def _path(self, xs: Values, ys: Values) -> str:
        """Return a path through the points that both axes can hold; a gap starts a new piece."""
        pieces, open_ = [], False
        for x, y in zip(xs, ys, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)) or (self.y.log and y <= 0) or (self.x.log and x <= 0):
                open_ = False
                continue
            px, py = self.at(x, y)
            pieces.append(f"{'L' if open_ else 'M'}{_far(px):.1f} {_far(py):.1f}")
            open_ = True
        return "".join(pieces) if len(pieces) > 1 else ""

    def _mark(self, start: str, css: str, text: str, key: str) -> None:
        if text:
            self._parts.append(f'{start} class="p {css}"{_key(key)}><title>{escape(text)}</title>{_close(start)}')
        else:
            self._parts.append(f'{start} class="{css}"{_key(key)}/>')


def cut(text: str, most: int = LONGEST) -> str:
    """Return a text of at most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _columns(ends: Sequence[End]) -> list[list[End]]:
    """Return labels that stand over or under each other, from the left, each column from its top."""
    columns: list[list[End]] = []
    edge = -math.inf
    for one in sorted(ends):
        if one[0] > edge:
            columns.append([])
        columns[-1].append(one)
        edge = max(edge, one[0] + LETTER * len(one[2]))
    return [sorted(column, key=lambda one: one[1]) for column in columns]


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending ``places`` moved as little as an even push allows so that neighbours are ``gap`` apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, low))
    over = moved[-1] - high if moved else 0.0
    for k in range(len(moved) - 1, -1, -1):
        if over <= 0:
            break
        moved[k] = min(moved[k], high - gap * (len(moved) - 1 - k))
    return moved


def text_width(texts: Sequence[str]) -> float:
    """Return the room that labels at ends of lines need."""
    return 16 + LETTER * min(LONGEST, max((len(text) for text in texts), default=0))


def spread(ticks: Sequence[tuple[float, str]], place: Callable[[float], float]) -> list[tuple[float, str]]:
    """Return the ticks whose labels do not touch."""
    kept: list[tuple[float, str]] = []
    edge = -math.inf
    for value, text in ticks:
        middle, half = place(value), LETTER * len(text) / 2
        if middle - half > edge + 6:
            kept.append((value, text))
            edge = middle + half
    return kept


def _text(x: float, y: float, text: str, css: str, anchor: str, key: str = "") -> str:
    return f'<text class="{css}"{_key(key)} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _key(key: str) -> str:
    return f' data-k="{escape(key)}"' if key else ""


def _close(start: str) -> str:
    return "</circle>" if start.startswith("<circle") else "</path>"


def _far(place: float) -> float:
    """Return a place that SVG readers can hold."""
    return max(-1e5, min(1e5, place))
