"""What a suggestion for a new model is: settings with their intervals, distances from the evidence, other laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeplaw.analysis.tables.display import Card, Shown, brief, finite


@dataclass(frozen=True, slots=True)
class SuggestedSetting:
    """One knob's value. ``low``, ``high``: 95 % interval of the law at the point; None if unknown.

    ``plateau``: factor by which it may be off for 0.25 % of loss with the others fixed; None if unknown. ``source``:
    origin of the value.
    """

    value: float
    low: float | None
    high: float | None
    plateau: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A published law's value for a knob. ``factor``: over ours; ``beyond``: whether it exceeds the plateau."""

    law: str
    knob: str
    value: float
    factor: float
    beyond: bool | None
    verified: bool


@dataclass(frozen=True, slots=True, repr=False)
class Suggestion(Shown):
    """Settings for (params, tokens). ``decades``: distance outside the evidence by axis, 0 inside it."""

    params: float
    tokens: float
    settings: Mapping[str, SuggestedSetting]
    decades: Mapping[str, float]
    disagreements: tuple[Disagreement, ...]
    notes: tuple[str, ...]

    def headline(self) -> tuple[str, ...]:
        """Return each setting with its interval, its tolerance and its source."""
        return tuple(_setting_line(name, setting) for name, setting in self.settings.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as plain values for JSON."""
        return dict(finite({
            "params": self.params,
            "tokens": self.tokens,
            "settings": {
                name: {
                    "value": setting.value,
                    "interval": [setting.low, setting.high],
                    "plateau_factor": setting.plateau,
                    "source": setting.source,
                }
                for name, setting in self.settings.items()
            },
            "decades_beyond_the_evidence": self.decades,
            "disagreements": [
                {
                    "law": other.law,
                    "knob": other.knob,
                    "value": other.value,
                    "factor": other.factor,
                    "beyond_plateau": other.beyond,
                    "verified": other.verified,
                }
                for other in self.disagreements
            ],
            "notes": self.notes,
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the settings as a table."""
        rows = [
            (name, brief(one.value), brief(one.low), brief(one.high), brief(one.plateau), one.source)
            for name, one in self.settings.items()
        ]
        head = f"{brief(self.params)} parameters on {brief(self.tokens)} tokens"
        heads = ("knob", "value", "95 % low", "high", "may be off by", "source")
        return Card((head, *self._remarks()), heads, tuple(rows), self.notes)

    def summary(self) -> str:
        """Return settings, distances from the evidence, disagreements and notes as text."""
        return "\n".join([*self.headline(), *self._remarks(), *(f"note: {note}" for note in self.notes)])

    def _remarks(self) -> Iterator[str]:
        for axis, decades in self.decades.items():
            where = f"{abs(decades):.2f} decades {side(decades)}" if decades else "inside"
            yield f"{axis}: {where} the evidence"
        for other in self.disagreements:
            plateau = {True: ", beyond the plateau", False: ", within the plateau", None: ""}[other.beyond]
            mark = "" if other.verified else " [second-hand]"
            yield f"{other.law}{mark}: {other.knob} = {other.value:.4g}, {other.factor:.2f}x ours{plateau}"


def _setting_line(name: str, setting: SuggestedSetting) -> str:
    interval = f"95 % [{setting.low:.4g}, {setting.high:.4g}]" if setting.low is not None else "no interval"
    plateau = f"  may be off by {setting.plateau:.2f}x for 0.25 % of loss" if setting.plateau else ""
    return f"{name:16s} {setting.value:10.4g}  {interval}{plateau}  ({setting.source})"


def side(decades: float) -> str:
    """Return on which side of the evidence a point lies."""
    return "above" if decades > 0 else "below"
