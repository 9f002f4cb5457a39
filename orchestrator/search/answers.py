"""The answer of a search: the best setting at each scientific point, by its records or by what it has learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from sweeplaw.orchestrator.search.contract import History, Search, Setting
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials.spec import Value


@dataclass(frozen=True, slots=True)
class Answer:
    """The best setting of a scientific point: its ``value`` (recorded, or expected where nothing ran), the interval of
    each knob where the search knows one, and in ``words`` what it rests on. ``knobs`` are those set beside it.

    ``trust`` is the probability that it is within a thousandth of the best, ``certified`` whether every neighbour ran
    and no neighbour is better; None from a search that does not say.
    """

    setting: Setting
    value: float
    words: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trust: float | None = None
    certified: bool | None = None
    knobs: Mapping[str, Value] = field(default_factory=dict)


@runtime_checkable
class RecommendingSearch(Protocol):
    """A search that recommends settings from more than the best record."""

    def answers(self, history: History) -> list[Answer]:
        """Return the recommended setting of each scientific point."""
        ...


def answers(search: Search, space: Space, history: History) -> list[Answer]:
    """Return what the search recommends: by default the best completed setting of each scientific point with one."""
    if isinstance(search, RecommendingSearch):
        return search.answers(history)
    best: dict[int, Answer] = {}
    counts: dict[int, int] = {}
    for seen in history.observations:
        cell = seen.setting.cell
        counts[cell] = counts.get(cell, 0) + 1
        if seen.value is not None and (cell not in best or seen.value < best[cell].value):
            best[cell] = Answer(seen.setting, seen.value, "", knobs=seen.knobs)
    return [replace(found, words=f"the best of {counts[cell]} recorded") for cell, found in sorted(best.items())]
