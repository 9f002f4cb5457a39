"""Schedule-free AdamW (Defazio et al. 2024, arXiv:2405.15682, algorithm 1), which averages iterates instead of
lowering the learning rate.

Gradients are taken at y = (1 - beta1) z + beta1 x, which are the values; z moves as AdamW without a first moment does,
and x, the average of z with weights lr², is what a model is evaluated with. As in its authors' code, the weight of an
update is the square of the largest learning rate so far, and the decay is that of y.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.optimizer import Coefficients, clip, clip_norms, column
from sweeplaw.trials.training.parametrization.groups import ParameterGroup


class ScheduleFreeAdamW:
    """Schedule-free AdamW on ``values``; ``beta1`` of every member is above 0."""

    def __init__(
        self, values: Sequence[Tensor], groups: Sequence[ParameterGroup], members: Sequence[Coefficients]
    ) -> None:
        self._values, self._groups, self._members = values, groups, members
        self._clip = clip_norms(members, values[0].device)
        self._coefficients = [
            column([getattr(member, name) for member in members], values[0]) for name in ("beta1", "beta2", "eps")
        ]
        self._second = [torch.zeros_like(part) for part in values]
        self._z = [part.clone() for part in values]
        self.moments = {"second": self._second, "z": self._z}
        self._steps = 0
        self._largest, self._weight_sum = [0.0] * len(members), [0.0] * len(members)

    def step(
        self, lr: Sequence[float], weight_decay: Sequence[float], gradients: Sequence[Tensor], norms: Tensor
    ) -> None:
        clip(gradients, norms, self._clip)
        if not self._steps:  # the values may have been replaced since
            for z, values in zip(self._z, self._values, strict=True):
                z.copy_(values)
        shares = self._count(lr)
        like, (beta1, beta2, eps) = self._values[0], self._coefficients
        share, correction = column(shares, like), 1 - beta2**self._steps
        decay = column([rate * decay for rate, decay in zip(lr, weight_decay, strict=True)], like)
        parts = zip(self._groups, self._values, gradients, self._second, self._z, strict=True)
        for group, values, gradient, second, z in parts:
            second.mul_(beta2).addcmul_(gradient, gradient * (1 - beta2))
            move = gradient.div_((second / correction).sqrt_().add_(eps))
            move.mul_(column([rate * group.lr for rate in lr], like))
            if group.decays:
                move.addcmul_(values, decay)
            values.lerp_(z, share).addcmul_(move, beta1 * (1 - share) - 1)
            z.sub_(move)

    def resume(self, rates: Iterable[Sequence[float]]) -> None:
        for lr in rates:
            self._count(lr)

    def averaged(self) -> list[Tensor]:
        """Return x, the averages."""
        weight = column([1 - 1 / member.beta1 for member in self._members], self._values[0])
        if not self._steps:
            return [values.clone() for values in self._values]
        return [values.lerp(z, weight) for values, z in zip(self._values, self._z, strict=True)]

    def _count(self, lr: Sequence[float]) -> list[float]:
        """Count an update; return the weight of z in the average of each member."""
        self._steps += 1
        self._largest = [max(pair) for pair in zip(self._largest, lr, strict=True)]
        self._weight_sum = [total + rate**2 for total, rate in zip(self._weight_sum, self._largest, strict=True)]
        pairs = zip(self._largest, self._weight_sum, strict=True)
        return [rate**2 / total if total else 0.0 for rate, total in pairs]
