"""Soft labels: the distribution that teachers predict, as a target beside the tokens of the text.

With logits z of the student and t of the teachers (the mean of theirs), temperature T and weight w, the loss of a
position is (1 - w) H(token, softmax(z)) + w T^2 H(softmax(t / T), softmax(z / T)) with the cross-entropy H; T^2 keeps
gradients of one size (Hinton, Vinyals and Dean 2015, section 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.training.kernels import mean_losses
from sweeplaw.trials.training.regularizers.layers import smoothed_losses


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """``teacher`` gives next-token logits, (windows, context, vocabulary), of tokens (windows, context).

    ``weight`` of them in the loss is above 0 and at most 1, ``temperature`` above 0.
    """

    teacher: Callable[[Tensor], Tensor]
    weight: float
    temperature: float = 1.0

    def losses(self, logits: Tensor, windows: Tensor, smoothing: Tensor | None = None) -> Tensor:
        """Return the loss of each member, (members,) in nats a token.

        ``logits`` are (members, batch * context, vocabulary), ``windows`` (members, batch, context + 1). ``smoothing``
        is the label smoothing of each member, of the tokens alone.
        """
        targets = windows[..., 1:].flatten(1)
        with torch.no_grad():
            predicted = self.teacher(windows[..., :-1].flatten(0, 1)).view(logits.shape)
        soft = soft_losses(logits, predicted, self.temperature)
        if self.weight == 1:
            return soft
        hard = mean_losses(logits, targets) if smoothing is None else smoothed_losses(logits, targets, smoothing)
        return (1 - self.weight) * hard + self.weight * soft


def soft_losses(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean cross-entropy of each member with the teacher at temperature T, (members,).

    Both are (members, positions, vocabulary).
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    logs = torch.log_softmax(logits.to(wide) / temperature, dim=-1)
    shares = torch.softmax(teacher_logits.to(wide) / temperature, dim=-1)
    return -(shares * logs).sum(dim=-1).mean(dim=1) * temperature**2
