"""Muon: the momentum of each hidden matrix, orthogonalized (Jordan et al. 2024); AdamW for all other values.

Queries, keys and values, and gate and up, are matrices of their own. Updates are scaled by 0.2 sqrt(max(rows, columns))
(Liu et al. 2025, arXiv:2502.16982, equation 4), which gives them the root mean square of AdamW's, so that one learning
rate and one weight decay serve both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.optimizers.adamw import AdamW
from sweeplaw.trials.training.optimizers.optimizer import Coefficients, clip, clip_norms, column
from sweeplaw.trials.training.parametrization.groups import ParameterGroup

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of x, x³ and x⁵ (Jordan et al. 2024)
NEWTON_SCHULZ_STEPS = 5
NORM_EPS = 1e-7
RMS = 0.2  # root mean square of AdamW's updates (Liu et al. 2025, section 2.2)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices with the singular vectors of ``matrices``, (…, rows, columns), and singular values near 1.

    A quintic Newton-Schulz iteration; its singular values are between about 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = (wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=NORM_EPS)).reshape(-1, *wide.shape[-2:])
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    x = x.view(wide.shape)
    tall: Tensor = x.mT
    return tall if matrices.shape[-2] > matrices.shape[-1] else x


class Muon:
    """Muon on the ``groups`` that are hidden matrices, AdamW on the others."""

    def __init__(
        self, values: Sequence[Tensor], groups: Sequence[ParameterGroup], members: Sequence[Coefficients]
    ) -> None:
        self._groups, self._members = groups, members
        self._hidden = [i for i, group in enumerate(groups) if group.matrices]
        self._rest = [i for i, group in enumerate(groups) if not group.matrices]
        self._values = values
        self._clip = clip_norms(members, values[0].device)
        unclipped = [Coefficients(0.0, member.beta1, member.beta2, member.eps) for member in members]
        self._adamw = AdamW([values[i] for i in self._rest], [groups[i] for i in self._rest], unclipped)
        self._velocity = [torch.zeros_like(values[i]) for i in self._hidden]
        self.moments = {"velocity": self._velocity, **self._adamw.moments}
        self._momentum = column([member.momentum for member in members], values[0])
        self._nesterov = column([member.nesterov for member in members], values[0]) > 0

    def step(
        self, lr: Sequence[float], weight_decay: Sequence[float], gradients: Sequence[Tensor], norms: Tensor
    ) -> None:
        clip(gradients, norms, self._clip)
        self._adamw.step(lr, weight_decay, [gradients[i] for i in self._rest], norms)
        rates, decays = (column(numbers, self._values[0]) for numbers in (lr, weight_decay))
        for i, velocity in zip(self._hidden, self._velocity, strict=True):
            group, values = self._groups[i], self._values[i]
            velocity.lerp_(gradients[i], 1 - self._momentum)
            direction = torch.where(self._nesterov, gradients[i].lerp_(velocity, self._momentum), velocity)
            if group.decays:
                values.mul_(1 - rates * decays)
            values.sub_(_by_matrix(direction, group.matrices).mul_(rates * group.lr))

    def resume(self, rates: Iterable[Sequence[float]]) -> None:
        self._adamw.resume(rates)

    def averaged(self) -> None:
        return None


def _by_matrix(values: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Orthogonalize and scale the matrices that (members, values) consist of, all of one shape at once."""
    sizes = [math.prod(shape) for shape in shapes]
    updates = list(values.split(sizes, dim=1))
    for shape in dict.fromkeys(shapes):
        own = [i for i, other in enumerate(shapes) if other == shape]
        matrices = torch.stack([updates[i].unflatten(1, shape) for i in own])
        scaled = orthogonalized(matrices).mul_(RMS * math.sqrt(max(shape))).flatten(2)
        for i, update in zip(own, scaled, strict=True):
            updates[i] = update
    return torch.cat(updates, dim=1)
