"""One stack of members in training: model, optimizer, data and step count, advanced some steps at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trials.accounting import Shape
from trials.corpus import Budget
from trials.corpus.order import batches
from trials.model import Transformer
from trials.optimizer import AdamW
from trials.schedule import Schedule

LOOK_EVERY = {"cpu": 1, "cuda": 16}  # steps between looks at the losses: a look makes the host wait for the device
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Member:
    """What may differ between the members of a stack. Beyond ``divergence_loss`` nats a member has diverged."""

    seed: int
    lr: float
    weight_decay: float
    grad_clip: float
    schedule: Schedule
    divergence_loss: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all members of a stack share."""

    shape: Shape
    context: int
    batch_sequences: int
    steps: int
    beta1: float
    beta2: float
    eps: float
    rope_base: float
    precision: str

    @property
    def batch_tokens(self) -> int:
        """Tokens of one step of one member."""
        return self.batch_sequences * self.context


class Stack:
    """Members that train as one. ``model`` holds their weights, ``step`` counts the updates done."""

    def __init__(self, members: Sequence[Member], recipe: Recipe, budget: Budget, device: str) -> None:
        self.members, self.recipe, self.device, self.step = members, recipe, device, 0
        self.model = Transformer(recipe.shape, recipe.context, [m.seed for m in members], device, recipe.rope_base)
        self.optimizer = AdamW(
            self.model.flat,
            self.model.gradient,
            decayed=self.model.decayed,
            weight_decay=torch.tensor([member.weight_decay for member in members], device=device),
            grad_clip=torch.tensor([member.grad_clip for member in members], device=device),
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            eps=recipe.eps,
        )
        self.batches = [batches(budget, member.seed, recipe.batch_sequences, recipe.steps) for member in members]
        self.bounds = np.array([member.divergence_loss for member in members])
        self.beyond = np.zeros(len(members), dtype=bool)

    def advance(self, until: int) -> tuple[Floats, Floats]:
        """Train to step ``until``, or until every member has diverged. Losses before and gradient norms of each
        update, (steps, members) each.
        """
        losses: list[Floats] = []
        norms: list[Floats] = []
        while self.step < until and not self.beyond.all():
            steps = min(LOOK_EVERY[self.device], until - self.step)
            with denormals_flushed():
                done = [self._train_step() for _ in range(steps)]
            losses.append(torch.stack([loss for loss, _ in done]).cpu().double().numpy())
            norms.append(torch.stack([norm for _, norm in done]).cpu().double().numpy())
            self.beyond |= beyond(losses[-1], self.bounds).any(axis=0)
        return np.concatenate(losses), np.concatenate(norms)

    def lrs(self, step: int) -> list[float]:
        """Learning rate of each member at update number ``step``, counted from 0."""
        return [member.lr * member.schedule(step) for member in self.members]

    def logits(self, tokens: Tensor) -> Tensor:
        """Next-token logits of every member on the same ``tokens`` (batch, context): (members, batch, context,
        vocabulary).
        """
        with self._precision():
            return self.model.logits(tokens.expand(len(self.members), -1, -1))

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """What forward passes run under: autocast to bfloat16 where the recipe says so."""
        if self.recipe.precision == "bfloat16":
            return torch.autocast(self.device, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _train_step(self) -> tuple[Tensor, Tensor]:
        windows = torch.from_numpy(np.stack([next(member) for member in self.batches])).to(self.device)
        with self._precision():
            losses = self.model.losses(windows)
        self.model.backward(losses)
        norms = self.optimizer.step(torch.tensor(self.lrs(self.step), device=self.device))
        self.step += 1
        return losses.detach(), norms


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Denormal numbers count as zero inside: second moments of rare tokens decay to them, and CPUs are slow at them.

    It is a setting of the whole thread, and code elsewhere relies on the default.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def beyond(losses: Floats, bounds: Floats | float) -> npt.NDArray[np.bool_]:
    """Which losses are NaN, infinite or above the bound."""
    return ~(losses <= bounds)
