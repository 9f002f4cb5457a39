"""Stochastic gradient descent with momentum (Sutskever et al. 2013), plain or Nesterov's, in PyTorch's form.

The decay is decoupled (Loshchilov and Hutter 2019, algorithm 1): it does not enter the momentum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.elementwise import ElementwiseRule, Moments, UpdateColumns


def _update(values: Tensor, gradient: Tensor, moments: Moments, columns: UpdateColumns) -> None:
    velocity = moments["velocity"].mul_(columns.momentum).add_(gradient)
    direction = torch.where(columns.nesterov > 0, gradient.addcmul_(velocity, columns.momentum), velocity)
    values.mul_(1 - columns.decay).sub_(direction * columns.lr)


SGD = ElementwiseRule(("velocity",), _update)
