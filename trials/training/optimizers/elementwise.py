"""Optimizers that treat each value alone, given as a rule: which moments it keeps, and how it updates one group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.optimizer import Coefficients, clip, clip_norms, column
from sweeplaw.trials.training.parametrization.groups import ParameterGroup


@dataclass(frozen=True, slots=True)
class UpdateColumns:
    """Numbers of an update by member, (members, 1) each, in the type of the values.

    ``lr`` is the learning rate, and ``decay`` the fraction of themselves that the values lose.
    """

    lr: Tensor
    decay: Tensor
    beta1: Tensor
    beta2: Tensor
    momentum: Tensor
    nesterov: Tensor


Moments = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ElementwiseRule:
    """``update(values, gradient, moments, columns)`` changes values and moments, (members, n) each, in place."""

    moments: tuple[str, ...]
    update: Callable[[Tensor, Tensor, Moments, UpdateColumns], None]


class ElementwiseOptimizer:
    """The rule, applied to every group of values."""

    def __init__(
        self,
        rule: ElementwiseRule,
        values: Sequence[Tensor],
        groups: Sequence[ParameterGroup],
        members: Sequence[Coefficients],
    ) -> None:
        self._rule, self._values, self._groups = rule, values, groups
        self.moments = {name: [torch.zeros_like(part) for part in values] for name in rule.moments}
        self._clip = clip_norms(members, values[0].device)
        self._fixed = {
            name: column([getattr(member, name) for member in members], values[0])
            for name in ("beta1", "beta2", "momentum", "nesterov")
        }

    def step(
        self, lr: Sequence[float], weight_decay: Sequence[float], gradients: Sequence[Tensor], norms: Tensor
    ) -> None:
        clip(gradients, norms, self._clip)
        decays = [rate * decay for rate, decay in zip(lr, weight_decay, strict=True)]
        for i, (group, values, gradient) in enumerate(zip(self._groups, self._values, gradients, strict=True)):
            rates = column([rate * group.lr for rate in lr], values)
            decay = column(decays if group.decays else [0.0] * len(decays), values)
            moments = {name: parts[i] for name, parts in self.moments.items()}
            self._rule.update(values, gradient, moments, UpdateColumns(rates, decay, **self._fixed))

    def resume(self, rates: Iterable[Sequence[float]]) -> None:
        """Do nothing: the moments are the whole state."""

    def averaged(self) -> None:
        return None
