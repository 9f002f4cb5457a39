"""One stack of members in training: model, optimizer, data and step count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeplaw.trials.corpus import DataBudget
from sweeplaw.trials.corpus.order import Mixture, batches
from sweeplaw.trials.training.distillation import SoftLabels
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.optimizers.registry import OF_MATRICES, OPTIMIZERS
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.precision.noise import RoundingNoise
from sweeplaw.trials.training.precision.quantize import LOW_PRECISIONS
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.regularizers.noise import StepNoise
from sweeplaw.trials.workload import never_preempted

SYNC_EVERY = {"cpu": 1, "cuda": 16}  # steps between reads of the losses, for which the host waits for the device
Floats = npt.NDArray[np.float64]
CURVES = ("losses", "norms")  # of a state: (steps, members)
STEP_PARTS = ("data", "forward", "backward", "optimizer")
Timed = Callable[[str], contextlib.AbstractContextManager[None]]
_NOT_TIMED = contextlib.nullcontext()


def untimed(part: str) -> contextlib.AbstractContextManager[None]:
    """Return a context that does nothing."""
    return _NOT_TIMED


class Stack:
    """Members that train as one. ``model`` holds their weights; ``step`` is the number of updates done.

    ``losses`` before and gradient ``norms`` of the updates are (steps, members), filled up to ``step``. ``diverged`` is
    whether each member has diverged, (members,). The weights of one that has stay as they are when its losses are read,
    and the others compute what they would beside any other member.
    """

    def __init__(
        self,
        members: Sequence[Member],
        recipe: Recipe,
        budget: DataBudget | Mixture,
        device: TrainingDevice,
        soft_labels: SoftLabels | None = None,
        timed: Timed = untimed,
    ) -> None:
        """``timed`` is entered with the name of each part of a step, one of `STEP_PARTS`."""
        self.recipe, self.device, self._budget = recipe, device, budget
        self._soft_labels, self._timed = soft_labels, timed
        self.micro_batches = device.micro_batches(recipe.batch_sequences)
        self._begin(members)

    def _begin(self, members: Sequence[Member]) -> None:
        """Set the state of members before their first update."""
        recipe, device = self.recipe, self.device
        self.members, self.step = members, 0
        self._regularizers = [member.regularizers for member in members]
        smoothing = [one.label_smoothing for one in self._regularizers]
        self._smoothing = torch.tensor(smoothing, device=device.type) if any(smoothing) else None
        seeds = [member.initialization for member in members]
        autocast = torch.bfloat16 if recipe.precision == "bfloat16" else None
        low_precision = LOW_PRECISIONS.get(recipe.precision)
        self._stochastic = low_precision is not None and low_precision.stochastic
        layout = ParameterLayout.of(
            recipe.shape, recipe.parametrization, whole_matrices=recipe.optimizer in OF_MATRICES
        )
        self.model = Transformer(
            recipe.shape,
            recipe.context,
            seeds,
            device.type,
            recipe.rope_base,
            device.group,
            autocast,
            layout,
            low_precision,
        )
        weights = self.model.weights
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            weights.values, weights.groups, [member.coefficients for member in members]
        )
        self.losses, self.norms = np.empty((2, recipe.steps, len(members)))
        self.divergence_losses = np.array([member.divergence_loss for member in members])
        self.diverged = np.zeros(len(members), dtype=bool)
        self._frozen: FrozenWeights | None = None
        self._batches = self._open_batches()

    def advance(self, until: int, pause: Callable[[], bool] = never_preempted) -> tuple[Floats, Floats]:
        """Train to step ``until``; stop earlier if every member has diverged or ``pause`` returns True.

        ``pause`` is called each time the losses are read. Return the losses before and the gradient norms of each
        update, (steps, members) each.
        """
        begin = self.step
        while self.step < until and not self.diverged.all():
            first, steps = self.step, min(SYNC_EVERY[self.device.type], until - self.step)
            with flush_denormals():
                updates = [self._train_step() for _ in range(steps)]
            losses = self.device.group.sum(torch.stack([loss for loss, _ in updates]))
            self.losses[first : self.step] = losses.cpu().double().numpy()
            self.norms[first : self.step] = torch.stack([norm for _, norm in updates]).cpu().double().numpy()
            self._freeze_diverged(first)
            if pause():
                break
        return self.losses[begin : self.step], self.norms[begin : self.step]

    def state(self) -> dict[str, Tensor] | None:
        """Return everything that determines further training, on the CPU: (members, parameters) and (steps, members).

        A collective operation: every process of the group must call it, and only the first gets a result.
        """
        gathered = {name: self.model.weights.gather(parts) for name, parts in self._tensors().items()}
        copies = {name: torch.from_numpy(getattr(self, name)[: self.step].copy()) for name in CURVES}
        tensors = {name: tensor for name, tensor in gathered.items() if tensor is not None}
        return {**tensors, **copies} if tensors else None

    def weights(self) -> Tensor | None:
        """Return the weights to evaluate with, (members, parameters), on the CPU; None except in the first process.

        A collective operation, as `state`.
        """
        averaged = self.optimizer.averaged()
        return self.model.weights.gather(self.model.weights.values if averaged is None else averaged)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Compute with the weights that the optimizer averages, if it does, until the end of the context."""
        averaged, values = self.optimizer.averaged(), self.model.weights.values
        if averaged is None:
            yield
            return
        trained = [part.clone() for part in values]
        _copy(averaged, values)
        try:
            yield
        finally:
            _copy(trained, values)

    def begin_from(self, weights: Tensor) -> None:
        """Replace the initial weights by these, (members, parameters)."""
        self.model.weights.load(self.model.weights.values, weights)

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state`."""
        for name, parts in self._tensors().items():
            self.model.weights.load(parts, state[name])
        self.step = len(state["losses"])
        self.optimizer.resume(self.lrs(step) for step in range(self.step))
        self.losses[: self.step], self.norms[: self.step] = state["losses"].numpy(), state["norms"].numpy()
        self._freeze_diverged(0)
        self._batches = self._open_batches()

    def freeze(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Count these members as diverged: their weights no longer change."""
        self.diverged[rows] = True
        frozen = torch.from_numpy(np.flatnonzero(self.diverged)).to(self.device.type)
        parts = [] if self.diverged.all() else [part[frozen] for part in self.model.weights.values]
        self._frozen = FrozenWeights(frozen, parts) if parts else None  # without others there are no more updates

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the members alone, of one process. They continue as from a checkpoint."""
        state = self.state()
        assert state is not None, "only a stack of one process shrinks"
        own = {name: tensor[:, rows] if name in CURVES else tensor[rows] for name, tensor in state.items()}
        del state, self.model, self.optimizer, self._frozen  # before the memory is taken again
        self._begin([self.members[row] for row in rows])
        self.resume(own)

    def lrs(self, step: int) -> list[float]:
        """Return the learning rate of each member at update ``step``, counted from 0."""
        return [member.lr_at(step) for member in self.members]

    def weight_decays(self, step: int) -> list[float]:
        """Return the weight decay of each member at update ``step``, counted from 0."""
        return [member.weight_decay_at(step) for member in self.members]

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the next-token logits of every member on the same ``tokens``, (batch, context).

        The result is (members, batch, context, vocabulary).
        """
        return self.model.logits(tokens.expand(len(self.members), -1, -1))

    def _tensors(self) -> dict[str, Sequence[Tensor]]:
        """Return the weights and their moments, as far as this process holds them."""
        return {"weights": self.model.weights.values, **self.optimizer.moments}

    def _freeze_diverged(self, begin: int) -> None:
        """Freeze the members that have diverged by an update from ``begin`` on."""
        found = is_diverged(self.losses[begin : self.step], self.divergence_losses).any(axis=0)
        if (found & ~self.diverged).any():
            self.freeze(np.flatnonzero(found))

    def _open_batches(self) -> list[Iterator[npt.NDArray[np.int64]]]:
        """Return each member's batches from the current step on."""
        sequences, steps = self.recipe.batch_sequences, self.recipe.steps
        return [batches(self._budget, member.data_order, sequences, steps, self.step) for member in self.members]

    def _train_step(self) -> tuple[Tensor, Tensor]:
        """Return this process's part of the losses and the norms of the whole gradient, (members,) each."""
        weights, timed = self.model.weights, self._timed
        with timed("data"):
            windows = np.stack([next(member) for member in self._batches])
        loss = torch.zeros(len(self.members), device=self.device.type)
        for i, (rows, weight) in enumerate(self.micro_batches):
            with timed("data"):
                micro_batch = torch.from_numpy(windows[:, rows]).to(self.device.type)
            with timed("forward"):
                losses = self._losses(micro_batch, rows)
            with timed("backward"):
                weights.backward(losses, weight, first=i == 0)
            loss += losses.detach() * weight
        with timed("optimizer"):
            norms = weights.norms()
            self.optimizer.step(self.lrs(self.step), self.weight_decays(self.step), weights.gradients, norms)
            if self._frozen is not None:
                self._frozen.restore(weights.values)
        self.step += 1
        return loss, norms

    def _losses(self, windows: Tensor, rows: slice) -> Tensor:
        """Return the training loss of each member on these rows of the batch, (members,)."""
        noise, rounding = self._noise(rows), self._rounding(rows)
        return self.model.losses(windows, noise, self._smoothing, self._soft_labels, rounding)

    def _rounding(self, rows: slice) -> RoundingNoise | None:
        """Return the noise of stochastic rounding for these rows of the batch; None without stochastic rounding."""
        if not self._stochastic:
            return None
        return RoundingNoise([member.seed for member in self.members], self.step, rows.start, self.device.type)

    def _noise(self, rows: slice) -> StepNoise | None:
        """Return the masks of the regularizers for these rows of the batch; None if no member needs any."""
        if not any(one.noisy for one in self._regularizers):
            return None
        seeds, sequences = [member.seed for member in self.members], self.recipe.batch_sequences
        return StepNoise(self._regularizers, seeds, self.step, rows, sequences, self.device.type)


@dataclass(frozen=True, slots=True)
class FrozenWeights:
    """Weights of the members ``rows`` of a stack that no longer change: parts (rows, n) of those of all members."""

    rows: Tensor
    parts: Sequence[Tensor]

    def restore(self, values: Sequence[Tensor]) -> None:
        """Set these members among ``values``, (members, n) each, to their weights."""
        for part, own in zip(values, self.parts, strict=True):
            part.index_copy_(0, self.rows, own)


def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for values, copy in zip(source, target, strict=True):
        copy.copy_(values)


def history(stacks: Sequence[Stack], begin: int, end: int) -> tuple[Floats, Floats]:
    """Return losses and gradient norms of all members at updates ``begin`` to ``end``: (steps, members) each."""
    losses = np.concatenate([stack.losses[begin:end] for stack in stacks], axis=1)
    return losses, np.concatenate([stack.norms[begin:end] for stack in stacks], axis=1)


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero: second moments of rare tokens decay to them, and CPUs are slow at them.

    This is a setting of the whole thread, reset on leaving because other code relies on the default.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def is_diverged(losses: Floats, bounds: Floats | float) -> npt.NDArray[np.bool_]:
    """Return which losses are NaN, infinite or above their bound."""
    return ~(losses <= bounds)
