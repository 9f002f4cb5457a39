"""Lion: the sign of an interpolated momentum, and decoupled decay (Chen et al. 2023, arXiv:2302.06675, algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.elementwise import ElementwiseRule, Moments, UpdateColumns


def _update(values: Tensor, gradient: Tensor, moments: Moments, columns: UpdateColumns) -> None:
    first = moments["first"]
    direction = torch.lerp(gradient, first, columns.beta1).sign_()
    values.mul_(1 - columns.decay).sub_(direction.mul_(columns.lr))
    first.lerp_(gradient, 1 - columns.beta2)


LION = ElementwiseRule(("first",), _update)
