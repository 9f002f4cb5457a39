"""Members that train as one: trials that differ in per-member knobs only, each as if it trained alone.

On a CPU the numbers of a member were equal to the last bit in stacks of any size (measured); tests allow for rounding.

The optimizer is AdamW (Loshchilov and Hutter 2019, algorithm 2, in PyTorch's form: a step decays weights by lr *
weight_decay * weight); all weights decay.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.modular_arithmetic import arithmetic, shapes
from sweeplaw.trials.workloads.modular_arithmetic.losses import LOSSES, remove_parallel
from sweeplaw.trials.workloads.modular_arithmetic.networks import network


@dataclass(frozen=True, slots=True)
class PairScores:
    """Mean losses in nats and shares of right answers on training and validation pairs, (members,) each."""

    train_loss: Tensor
    train_accuracy: Tensor
    val_loss: Tensor
    val_accuracy: Tensor


class Members:
    """Members in training. ``step`` is the number of updates done, ``flat`` their weights, (members, parameters)."""

    def __init__(self, specs: Sequence[TrialSpec], device: str) -> None:
        self.specs, self.device, self.step = specs, device, 0
        self._knobs: dict[str, Any] = {**specs[0].knobs}
        self._network, self._losses = network(self._knobs), LOSSES[self._knobs["loss_function"]]
        self._slots = shapes.tensors(self._knobs)
        self.flat = torch.stack([self._initial(spec) for spec in specs]).to(device).requires_grad_()
        self._optimizer = MemberAdamW(self.flat, specs)
        self._frozen: dict[int, Tensor] = {}  # weights of members that no longer change
        data = arithmetic.results(self._knobs["operation"], self._knobs["modulus"])
        self._first, self._second, self._answers = (torch.from_numpy(part).to(device) for part in data)
        self._train = torch.from_numpy(self._training_pairs()).to(device)  # (members, training pairs)
        self._batches = self._open_batches()

    def advance(self) -> Tensor:
        """Do one update. Return the losses before it, (members,)."""
        pairs = next(self._batches)
        logits = self._network(self._weights(), self._first[pairs], self._second[pairs])
        losses = self._losses(logits, self._answers[pairs]).mean(1)
        (gradient,) = torch.autograd.grad(losses.sum(), self.flat)
        with torch.no_grad():
            if self._knobs["orthogonal_gradient"]:
                remove_parallel(self._split(gradient), self._split(self.flat))
            self._optimizer.step(gradient, warmup(self.step, self._knobs["warmup_steps"]))
            for row, weights in self._frozen.items():
                self.flat[row] = weights
        self.step += 1
        return losses.detach()

    def freeze(self, row: int) -> None:
        """Keep the weights of this member from now on: it has diverged, and the others train on."""
        self._frozen[row] = self.flat[row].detach().clone()

    @torch.no_grad()
    def scores(self) -> PairScores:
        """Return losses and accuracies of the weights of now on all pairs."""
        members = len(self.specs)
        logits = self._network(self._weights(), self._first.expand(members, -1), self._second.expand(members, -1))
        answers = self._answers.expand(members, -1)
        losses, right = self._losses(logits, answers), (logits.argmax(-1) == answers).float()
        trained = torch.zeros_like(losses).scatter_(1, self._train, 1.0)
        parts = [(part, part.sum(1)) for part in (trained, 1 - trained)]
        return PairScores(*((values * part).sum(1) / count for part, count in parts for values in (losses, right)))

    @torch.no_grad()
    def norms(self) -> Tensor:
        """Return the Euclidean norm of all weights of each member, (members,)."""
        return self.flat.square().sum(1).sqrt()

    @property
    def batch_pairs(self) -> int:
        """Pairs of one update of a member."""
        return int(self._knobs["batch_pairs"]) or self._train.shape[1]

    def _weights(self) -> dict[str, Tensor]:
        parts = zip(self._slots.items(), self._split(self.flat), strict=True)
        return {name: part.view(-1, *slot.size) for (name, slot), part in parts}

    def _split(self, flat: Tensor) -> Sequence[Tensor]:
        return torch.split(flat, [slot.numel for slot in self._slots.values()], dim=1)

    def _initial(self, spec: TrialSpec) -> Tensor:
        """Draw the weights of a member on the CPU, so that every device begins with the same."""
        generator = torch.Generator().manual_seed(spec["seed"])
        drawn = [slot.std * torch.randn(slot.numel, generator=generator) for slot in self._slots.values()]
        return torch.cat(drawn).mul_(spec["init_scale"])

    def _training_pairs(self) -> arithmetic.Integers:
        pairs = arithmetic.pair_count(self._knobs["operation"], self._knobs["modulus"])
        count = arithmetic.training_count(
            self._knobs["operation"], self._knobs["modulus"], self._knobs["train_fraction"]
        )
        return np.stack([arithmetic.training_pairs(pairs, count, spec["seed"]) for spec in self.specs])

    def _open_batches(self) -> Iterator[Tensor]:
        """Yield the numbers of the pairs of each update, (members, batch)."""
        size = self._knobs["batch_pairs"]
        if not size:
            yield from itertools.repeat(self._train)
        generators = [torch.Generator().manual_seed(spec["seed"]) for spec in self.specs]
        count = self._train.shape[1]
        while True:  # a pass over the training pairs in a new order; what does not fill a batch is left out
            orders = torch.stack([torch.randperm(count, generator=generator) for generator in generators])
            shuffled = self._train.gather(1, orders.to(self.device))
            yield from torch.split(shuffled[:, : count // size * size], size, dim=1)


def warmup(step: int, steps: int) -> float:
    """Return the share of the learning rate at update ``step``, counted from 0, of a linear rise over ``steps``."""
    return min(1.0, (step + 1) / (steps + 1))


class MemberAdamW:
    """AdamW on ``values``, (members, n), with a learning rate and weight decay for each member."""

    def __init__(self, values: Tensor, specs: Sequence[TrialSpec]) -> None:
        self.values, self.steps = values, 0
        self.beta1, self.beta2, self.eps = (float(specs[0][name]) for name in ("beta1", "beta2", "eps"))
        self.lr, self.decay = (_column([spec[name] for spec in specs], values) for name in ("lr", "weight_decay"))
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)

    @torch.no_grad()
    def step(self, gradient: Tensor, schedule: float) -> None:
        """Update once with the learning rates times ``schedule``."""
        self.steps += 1
        self.first.lerp_(gradient, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        scale = (self.second / (1 - self.beta2**self.steps)).sqrt_().add_(self.eps)
        lr = schedule * self.lr
        self.values.mul_(1 - lr * self.decay).sub_(lr / (1 - self.beta1**self.steps) * self.first / scale)


def _column(settings: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(settings, dtype=like.dtype, device=like.device)[:, None]
