"""Kept models by name: ``TRIAL_ID`` of a trial of one model, ``TRIAL_ID:2`` of a member, ``TRIAL_ID@120`` at a step.

A subset of models is their names with commas between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.store_format.kept_weights import Kept, KeptWeights


@dataclass(frozen=True, slots=True)
class MemberName:
    """One model: a member of a trial (None: its only one), at the end of its training or at a step."""

    kept: Kept
    number: int | None = None

    @classmethod
    def of(cls, text: str) -> MemberName:
        """Return the model of this name. Raise InputError."""
        head, mark, step = text.partition("@")
        trial_id, colon, number = head.partition(":")
        if colon and not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise InputError(f"model {shown(text)}: accepted are TRIAL_ID, TRIAL_ID:MEMBER and either with @STEP")
        return cls(Kept.of(f"{trial_id}{mark}{step}"), int(number) if colon else None)

    def __str__(self) -> str:
        member = "" if self.number is None else f":{self.number}"
        step = "" if self.kept.step is None else f"@{self.kept.step}"
        return f"{self.kept.trial_id}{member}{step}"

    def index(self, weights: KeptWeights) -> int:
        """Return the number of the member in the file of its trial. Raise InputError if the name is ambiguous."""
        if self.number is None and weights.members > 1:
            last = weights.members - 1
            raise InputError(f"trial {self.kept} has {weights.members} members (accepted: :0 to :{last} after its id)")
        return self.number or 0


def parse(text: str) -> tuple[MemberName, ...]:
    """Return the models of a subset. Raise InputError for one that is named twice."""
    found = tuple(MemberName.of(part.strip()) for part in text.split(","))
    if twice := sorted({str(name) for name in found if found.count(name) > 1}):
        raise InputError(f"{', '.join(twice)}: named twice in one ensemble (accepted: once)")
    return found


def write(names: Sequence[MemberName]) -> str:
    """Return the text of a subset; `parse` gives it back."""
    return ",".join(map(str, names))
