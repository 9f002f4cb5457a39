"""The trained weights of completed trials, written where their sweep keeps them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.training.parametrization.layout import layout
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.trial import TrialInProgress
from sweeplaw.trials.training.weights import views

_log = logging.getLogger(__name__)


class WeightSaver:
    """Keeps the weights of completed trials in ``folder``, a path or URI, with their ``specs`` by trial, and with
    ``snapshots`` those at their evaluations; without a folder, none.
    """

    def __init__(
        self, folder: str | None = None, specs: Mapping[str, str] | None = None, *, snapshots: bool = False
    ) -> None:
        self._folder, self._specs, self._snapshots = folder, specs or {}, snapshots

    def snapshot(self, trials: Sequence[TrialInProgress], stacks: Sequence[Stack]) -> None:
        """Write the weights of these trials at their current step, if it keeps snapshots; failures are logged."""
        if self._snapshots:
            self.keep(trials, stacks, step=stacks[0].step)

    def keep(
        self, trials: Sequence[TrialInProgress], stacks: Sequence[Stack], step: int | None = None
    ) -> dict[str, str]:
        """Write the weights of these trials; return by trial why they are not kept, if any, which is logged.

        ``step`` marks a snapshot. A collective operation: every process that trains the stacks calls it, and the first
        one writes.
        """
        if self._folder is None:
            return {}
        gathered = [weights for stack in stacks if (weights := stack.weights()) is not None]
        members = [row for weights in gathered for row in weights]
        messages: dict[str, str] = {}
        for trial in trials if members else ():
            trial_id = trial.group.trial_id
            try:
                own = [named(row, trial.recipe.shape) for row in members[trial.rows]]
                kept_weights.save(self._folder, Kept(trial_id, step), self._specs[trial_id], own)
            except OSError as error:
                messages[trial_id] = f"its weights are not kept: {error}"
                _log.warning("trial %s: %s", trial_id, messages[trial_id])
        return messages


def named(values: Tensor, shape: Shape) -> dict[str, Tensor]:
    """Return the tensors of one member by name, views of all its values in the order of `weights.layout`."""
    return {name: tensor[0] for name, tensor in views(values[None], layout(shape)).items()}
