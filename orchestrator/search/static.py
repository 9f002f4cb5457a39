"""Static searches as a special case of the contract: every combination, or the first points of a Sobol sequence."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.orchestrator.search.contract import Finished, History, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, sobol


class StaticSearch:
    """Proposes a fixed list of settings, in its order, leaving out what has run or runs."""

    def __init__(self, space: Space, settings: Sequence[Setting]) -> None:
        self._space, self._settings = space, settings

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the first setting of the list that is neither known nor pending."""
        taken = history.taken
        for number, setting in enumerate(self._settings, start=1):
            if setting not in taken and self._space.admits(setting):
                return Proposal(setting, f"{number} of {len(self._settings)} settings planned beforehand")
        return None if history.pending else Finished("every setting has run")

    def belief(self, history: History) -> str:
        """Return nothing: it learns nothing."""
        return ""


def grid(space: Space) -> list[Setting]:
    """Return every setting of a finite space. Raise InputError if there are too many."""
    return [candidate.setting for candidate in space.candidates]


def random(space: Space, samples: int, seed: int) -> list[Setting]:
    """Return the same ``samples`` Sobol points at every scientific point."""
    drawn = sobol(space.axes, samples, seed)
    settings = (space.canonical(Setting(cell, values)) for values in drawn for cell in range(len(space.cells)))
    return list(dict.fromkeys(settings))
