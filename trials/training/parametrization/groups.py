"""Groups of neighbouring values that an optimizer updates alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training.parametrization.layout import WeightSlot, layout
from sweeplaw.trials.training.parametrization.scaling import STANDARD, Parametrization, ScaledValues, scaled

PARTS_OF = {"qkv": 3, "gate_up": 2}  # matrices that a tensor consists of, one below the other


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """``size`` neighbouring values of each member.

    ``decays`` is whether they decay, ``lr`` the factor of their learning rate. ``matrices`` are the shapes of the
    hidden matrices that the values are, for optimizers of whole matrices; empty for those of single values.
    """

    size: int
    decays: bool
    lr: float = 1.0
    matrices: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """All values of a member in order. With ``whole_matrices``, hidden matrices are groups of their own."""

    values: tuple[ScaledValues, ...]
    whole_matrices: bool = False

    @classmethod
    def of(
        cls, shape: Shape, parametrization: Parametrization = STANDARD, *, whole_matrices: bool = False
    ) -> ParameterLayout:
        """Return the layout of a model of this shape."""
        return cls(tuple(scaled(layout(shape), shape, parametrization)), whole_matrices)

    @property
    def slots(self) -> tuple[WeightSlot, ...]:
        """The tensors."""
        return tuple(slot for slot, _ in itertools.groupby(item.slot for item in self.values))

    @property
    def groups(self) -> tuple[ParameterGroup, ...]:
        """The groups in order, as few as there can be."""
        return group(self.values, whole_matrices=self.whole_matrices)

    def part(self, name: str) -> ParameterLayout:
        """Return the layout of one part of the weights."""
        return ParameterLayout(tuple(item for item in self.values if item.slot.part == name), self.whole_matrices)


def group(values: Sequence[ScaledValues], *, whole_matrices: bool = False) -> tuple[ParameterGroup, ...]:
    """Return the groups of these values in order."""

    def alike(item: ScaledValues) -> tuple[bool, float, bool]:
        return item.slot.decays, item.lr, whole_matrices and item.slot.is_hidden

    found = []
    for (decays, lr, matrices), items in itertools.groupby(values, alike):
        own = list(items)
        shapes = tuple(shape for item in own for shape in _matrices(item.slot)) if matrices else ()
        found.append(ParameterGroup(sum(item.size for item in own), decays, lr, shapes))
    return tuple(found)


def _matrices(slot: WeightSlot) -> list[tuple[int, int]]:
    """Return the shapes of the matrices that a tensor consists of: queries, keys and values are three."""
    rows, columns = slot.size
    parts = PARTS_OF.get(slot.name.partition(".")[2], 1)
    return [(rows // parts, columns)] * parts
