"""One stack of members in training: model, optimizer, data and step count, advanced some steps at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget
from sweeplaw.trials.corpus.order import batches
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup
from sweeplaw.trials.training.lr_schedule import Schedule
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.optimizers.adamw import AdamW
from sweeplaw.trials.workload import never_preempted

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


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """Where a stack trains: on which device, with which other processes, in how many micro-batches each process's
    share of a batch.
    """

    device: str
    group: ProcessGroup = ALONE
    shrink: int = 1

    def shares(self, sequences: int) -> list[tuple[slice, float]]:
        """The micro-batches of this process among the ``sequences`` of a batch: which, and their weight in its mean.

        They differ by at most one sequence. All processes have equally many, because they exchange something in each.
        Raises InputError when there are fewer sequences than processes.
        """
        if sequences < self.group.size:
            raise InputError(
                f"batch_sequences = {sequences} cannot be split over {self.group.size} processes "
                f"(accepted: at most {sequences} processes a trial)"
            )
        mine = np.array_split(np.arange(sequences), self.group.size)[self.group.rank]
        micro = np.array_split(mine, min(self.shrink, sequences // self.group.size))
        return [(slice(int(part[0]), int(part[-1]) + 1), len(part) / sequences) for part in micro]


class Stack:
    """Members that train as one. ``model`` holds their weights, ``step`` counts the updates done.

    ``losses`` before and gradient ``norms`` of the updates are (steps, members), filled up to ``step``.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe, budget: DataBudget, place: TrainingDevice) -> None:
        self.members, self.recipe, self.place, self.step = members, recipe, place, 0
        device = place.device
        seeds = [member.seed for member in members]
        autocast = torch.bfloat16 if recipe.precision == "bfloat16" else None
        self.model = Transformer(recipe.shape, recipe.context, seeds, device, recipe.rope_base, place.group, autocast)
        self.optimizer = AdamW(
            self.model.weights.values,
            self.model.weights.decays,
            weight_decay=[member.weight_decay for member in members],
            grad_clip=[member.grad_clip for member in members],
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            eps=recipe.eps,
        )
        self.shares = place.shares(recipe.batch_sequences)
        self.losses, self.norms = np.empty((2, recipe.steps, len(members)))
        self.bounds = np.array([member.divergence_loss for member in members])
        self.beyond = np.zeros(len(members), dtype=bool)
        self._budget = budget
        self._batches = self._read()

    def advance(self, until: int, pause: Callable[[], bool] = never_preempted) -> tuple[Floats, Floats]:
        """Train to step ``until``, or until every member has diverged, or ``pause`` says so at a look at the losses.

        Losses before and gradient norms of each update, (steps, members) each.
        """
        begin = self.step
        while self.step < until and not self.beyond.all():
            first, steps = self.step, min(LOOK_EVERY[self.place.device], until - self.step)
            with denormals_flushed():
                done = [self._train_step() for _ in range(steps)]
            losses = self.place.group.total(torch.stack([loss for loss, _ in done]))
            self.losses[first : self.step] = losses.cpu().double().numpy()
            self.norms[first : self.step] = torch.stack([norm for _, norm in done]).cpu().double().numpy()
            self.beyond |= beyond(self.losses[first : self.step], self.bounds).any(axis=0)
            if pause():
                break
        return self.losses[begin : self.step], self.norms[begin : self.step]

    def state(self) -> dict[str, Tensor] | None:
        """All that decides how training goes on, on the CPU: (members, parameters) and (steps done, members).

        Every process of the group must ask; None but in the first.
        """
        whole = {name: self.model.weights.whole(parts) for name, parts in self._held().items()}
        curves = {"losses": self.losses[: self.step], "norms": self.norms[: self.step]}
        copies = {name: torch.from_numpy(rows.copy()) for name, rows in curves.items()}
        known = {name: tensor for name, tensor in whole.items() if tensor is not None}
        return {**known, **copies} if known else None

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        for name, parts in self._held().items():
            self.model.weights.take(parts, state[name])
        self.step = self.optimizer.steps = len(state["losses"])
        self.losses[: self.step], self.norms[: self.step] = state["losses"].numpy(), state["norms"].numpy()
        self.beyond |= beyond(self.losses[: self.step], self.bounds).any(axis=0)
        self._batches = self._read()

    def lrs(self, step: int) -> list[float]:
        """Learning rate of each member at update number ``step``, counted from 0."""
        return [member.lr * member.schedule(step) for member in self.members]

    def logits(self, tokens: Tensor) -> Tensor:
        """Next-token logits of every member on the same ``tokens`` (batch, context): (members, batch, context,
        vocabulary).
        """
        return self.model.logits(tokens.expand(len(self.members), -1, -1))

    def _held(self) -> dict[str, Sequence[Tensor]]:
        """What this process holds of the weights and their moments."""
        return {"weights": self.model.weights.values, "first": self.optimizer.first, "second": self.optimizer.second}

    def _read(self) -> list[Iterator[npt.NDArray[np.int64]]]:
        sequences, steps = self.recipe.batch_sequences, self.recipe.steps
        return [batches(self._budget, member.seed, sequences, steps, self.step) for member in self.members]

    def _train_step(self) -> tuple[Tensor, Tensor]:
        """This process's part of the losses, and the norms of all of the gradient: (members,) each."""
        windows, weights = np.stack([next(member) for member in self._batches]), self.model.weights
        loss = torch.zeros(len(self.members), device=self.place.device)
        for i, (rows, weight) in enumerate(self.shares):
            part = torch.from_numpy(windows[:, rows]).to(self.place.device)
            losses = self.model.losses(part)
            weights.backward(losses, weight, first=i == 0)
            loss += losses.detach() * weight
        norms = weights.norms()
        self.optimizer.step(self.lrs(self.step), weights.gradients, norms)
        self.step += 1
        return loss, norms


def history(stacks: Sequence[Stack], begin: int, end: int) -> tuple[Floats, Floats]:
    """Losses and gradient norms of all members at updates ``begin`` to ``end``: (steps, members) each."""
    losses = np.concatenate([stack.losses[begin:end] for stack in stacks], axis=1)
    return losses, np.concatenate([stack.norms[begin:end] for stack in stacks], axis=1)


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
