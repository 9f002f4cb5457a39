"""Kept models that another training learns from, by the names of `trials.kept.members`, described without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import names as corpora
from sweeplaw.trials.errors import InputError, gathered
from sweeplaw.trials.kept import members
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.kept.model import SHAPE, KeptModel, knobs_of
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.location import Location

TEXT = ("corpus", "tokenizer", "context")  # in which the teachers of one text agree


@dataclass(frozen=True, slots=True)
class Described:
    """A kept model by its name and the knobs of its trial."""

    name: MemberName
    knobs: Mapping[str, Any]

    @property
    def vocabulary(self) -> int:
        """Number of tokens that it knows."""
        return corpora.vocabulary(self.knobs["corpus"], self.knobs["tokenizer"])

    @property
    def shape(self) -> Shape:
        """Shape of the model."""
        return Shape(vocabulary=self.vocabulary, **{name: self.knobs[name] for name in SHAPE})


def describe(location: Location, text: str) -> list[Described]:
    """Return the models of a list of names with commas between them; a trial of several members is all of them.

    Raise InputError with every fault: no such weights, a damaged file, a name given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    described = gathered({part: partial(_of_trial, location, part) for part in parts})
    found = [one for part in parts for one in described[part]]
    members.parse(members.write([one.name for one in found]))  # refuses one that is named twice
    return found


def _of_trial(location: Location, text: str) -> list[Described]:
    name = MemberName.of(text)
    with kept_weights.opened(location, name.kept) as weights:
        knobs, count = knobs_of(weights), weights.members
    if name.number is None:
        return [Described(MemberName(name.kept, number if count > 1 else None), knobs) for number in range(count)]
    if name.number >= count:
        raise InputError(f"trial {name.kept} has no member {name.number} (accepted: 0 to {count - 1})")
    return [Described(name, knobs)]


def disagreements(models: Sequence[Described], knobs: Sequence[str]) -> list[str]:
    """Return a sentence for each of these knobs in which the models differ."""
    found = []
    for knob in knobs:
        values = {repr(one.knobs[knob]): str(one.name) for one in models}
        if len(values) > 1:
            seen = ", ".join(f"{value} in {name}" for value, name in values.items())
            found.append(f"{knob} = {seen} (accepted: models with the same {knob})")
    return found


def load(location: Location, name: MemberName, device: str = "cpu") -> KeptModel:
    """Return a model with its weights. Raise InputError if they are damaged."""
    with kept_weights.opened(location, name.kept) as weights:
        return KeptModel(weights, name.index(weights), device)
