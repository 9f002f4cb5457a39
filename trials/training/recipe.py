"""What a training run is: the settings that its members share, those of each member, and the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.changes import Change, value_at
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup
from sweeplaw.trials.training.optimizers.optimizer import USUAL, Coefficients
from sweeplaw.trials.training.parametrization.scaling import STANDARD, Parametrization
from sweeplaw.trials.training.regularizers.settings import NONE, Regularizers
from sweeplaw.trials.training.schedules.lr_schedule import Schedule


@dataclass(frozen=True, slots=True)
class Member:
    """Settings that may differ between the members of a stack.

    A member whose loss exceeds ``divergence_loss`` nats has diverged. ``changes`` give lr and weight decay new values
    from some steps on. ``init_seed`` and ``data_seed`` replace the seed of the initialization and of the data order.
    An ``independent_decay`` is in proportion to the schedule, not to the learning rate (Loshchilov and Hutter 2019,
    algorithm 2): an update takes ``schedule * weight_decay`` of the values instead of ``lr * weight_decay``.
    """

    seed: int
    lr: float
    weight_decay: float
    schedule: Schedule
    divergence_loss: float
    coefficients: Coefficients = USUAL
    independent_decay: bool = False
    changes: tuple[Change, ...] = ()
    init_seed: int | None = None
    data_seed: int | None = None
    regularizers: Regularizers = NONE

    def lr_at(self, step: int) -> float:
        """Return the learning rate at update ``step``, counted from 0."""
        return self._peak(step) * self.schedule(step)

    def weight_decay_at(self, step: int) -> float:
        """Return the weight decay coefficient at update ``step``: the update shrinks weights by it times `lr_at`."""
        weight_decay = value_at("weight_decay", self.weight_decay, self.changes, step)
        return weight_decay / self._peak(step) if self.independent_decay else weight_decay

    def _peak(self, step: int) -> float:
        return value_at("lr", self.lr, self.changes, step)

    @property
    def initialization(self) -> int:
        """Seed of the initial weights."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def data_order(self) -> int:
        """Seed of the order in which it sees the data."""
        return self.seed if self.data_seed is None else self.data_seed


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings that all members of a stack share. Its ``steps`` are those of the longest of them."""

    shape: Shape
    context: int
    batch_sequences: int
    steps: int
    rope_base: float
    precision: str
    optimizer: str = "adamw"
    parametrization: Parametrization = STANDARD

    @property
    def batch_tokens(self) -> int:
        """Tokens of one step of one member."""
        return self.batch_sequences * self.context


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """Device of a stack: its ``type`` ("cpu" or "cuda"), the processes that share the training, and the number of
    micro-batches in which each process computes its share of a batch.
    """

    type: str
    group: ProcessGroup = ALONE
    micro_batch_divisor: int = 1

    @property
    def stacked(self) -> bool:
        """Whether all members of a pack train as one on it."""
        return self.type != "cpu"

    def micro_batches(self, sequences: int) -> list[tuple[slice, float]]:
        """Return this process's micro-batches of a batch of ``sequences``: rows, and their weight in the batch's mean.

        Their sizes differ by at most one sequence. All processes have the same number of micro-batches, because they
        communicate in each. Raise InputError if there are fewer sequences than processes.
        """
        if sequences < self.group.size:
            raise InputError(
                f"batch_sequences = {sequences} cannot be split over {self.group.size} processes "
                f"(accepted: at most {sequences} processes a trial)"
            )
        own = np.array_split(np.arange(sequences), self.group.size)[self.group.rank]
        micro_batches = np.array_split(own, min(self.micro_batch_divisor, sequences // self.group.size))
        return [(slice(int(rows[0]), int(rows[-1]) + 1), len(rows) / sequences) for rows in micro_batches]
