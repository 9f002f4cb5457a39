"""Where the search of a launch stands, as the store keeps it: ``searches/<launch>.json``.

A launch whose search proposes its trials writes the file while it runs and at its end; reports and `sweeplaw status`
read it, so that neither needs the workload of the sweep.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplaw.trials.store_format.damage import parsed_all
from sweeplaw.trials.store_format.location import Location

FOLDER = "searches"


@dataclass(frozen=True, slots=True)
class SearchState:
    """Where a search stands: ``proposals`` made so far, ``known`` settings with an outcome, what is ``left`` of each
    part of the budget, what it believes, and why it has ``ended`` (empty while it goes on).

    ``recommended`` has a row for each scientific point: the values of all axes, the ``value`` of the objective, the
    ``intervals`` of knobs, the ``basis`` in words, the ``edges`` of the axes on which it lies, its ``trust`` (the
    probability that it is within a thousandth of the best) and whether it is ``certified``; None where the search does
    not know. ``running`` maps trials to the number and the reason of their proposals.
    """

    sweep: str
    kind: str
    objective: str
    maximize: bool
    proposals: int
    known: int
    left: Mapping[str, float]
    belief: str = ""
    ended: str = ""
    recommended: Sequence[Mapping[str, Any]] = ()
    running: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(location: Location, faults: list[str] | None = None) -> dict[str, SearchState]:
    """Return launch_id -> where its search stands, of every launch that published it, oldest first.

    Damage is appended to ``faults``; without these it raises DamagedFileError.
    """
    return dict(sorted(parsed_all(location, FOLDER, _parsed, faults).items()))


def foremost(states: Mapping[str, SearchState]) -> dict[str, SearchState]:
    """Return for each sweep the state with the most proposals, of several the latest: a launch that ended before others
    on the same store knows less than they.
    """
    found: dict[str, SearchState] = {}
    for state in states.values():
        if state.sweep not in found or state.proposals >= found[state.sweep].proposals:
            found[state.sweep] = state
    return found


def _parsed(content: Mapping[str, Any]) -> SearchState:
    """Return the state in a file. Raise ValueError, TypeError, LookupError or AttributeError if it is none."""
    return SearchState(
        sweep=_text(content["sweep"]),
        kind=_text(content["kind"]),
        objective=_text(content["objective"]),
        maximize=content["maximize"] is True,
        proposals=operator.index(content["proposals"]),
        known=operator.index(content["known"]),
        left={_text(name): float(value) for name, value in content["left"].items()},
        belief=_text(content["belief"]),
        ended=_text(content["ended"]),
        recommended=tuple(map(_row, content["recommended"])),
        running={
            _text(trial): {"number": operator.index(note["number"]), "reason": _text(note["reason"])}
            for trial, note in content["running"].items()
        },
    )


def _row(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a recommendation of checked types."""
    trust, certified = content["trust"], content["certified"]
    if certified not in (None, True, False):
        raise ValueError(f"certified = {certified!r}")
    return {
        **content,
        "value": float(content["value"]),
        "intervals": {_text(name): (float(low), float(high)) for name, (low, high) in content["intervals"].items()},
        "basis": _text(content["basis"]),
        "edges": {_text(name): _text(end) for name, end in content["edges"].items()},
        "trust": None if trust is None else float(trust),
        "certified": certified,
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
