"""Validation losses of ensembles of kept models, with memory that does not grow with their number.

A batch of windows holds the logits of all models, so it has the fewer windows the more models there are. Models stay in
memory as long as they have at most `HELD_VALUES` weights together; beyond, each is read anew for every batch, which is
then as large as its logits may be.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept, KeptWeights
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.training.evaluation.combination import subset_losses
from sweeplaw.trials.training.evaluation.ensemble import batch_windows

HELD_VALUES = 2**28  # weights of all models together, 1 GiB
STREAMED_LOGITS = 2**28  # of a batch for which every model is read anew, 1 GiB


@torch.no_grad()
def evaluate(
    location: Location,
    names: Sequence[MemberName],
    windows: Tensor,
    subsets: Sequence[int],
    combine: str = "logits",
    device: str = "cpu",
) -> list[float]:
    """Return the mean loss in nats a token on ``windows``, (windows, context + 1), of each subset of the models.

    A subset is a bit mask over ``names``. One model has the loss that its trial recorded, to the bit. Raise InputError.
    """
    totals = torch.zeros(len(subsets), dtype=torch.float64, device=device)
    with opened_models(location, names, device) as models:
        for part in torch.split(windows, models.batch(windows.shape[1] - 1)):
            own = part.to(device)
            totals += subset_losses(models.logits(own[:, :-1]), own[:, 1:], subsets, combine).double().sum(dim=1)
    return (totals.cpu() / (windows.shape[0] * (windows.shape[1] - 1))).tolist()


@contextlib.contextmanager
def opened_models(location: Location, names: Sequence[MemberName], device: str = "cpu") -> Iterator[Models]:
    """Open the kept weights of these models. Raise InputError."""
    with contextlib.ExitStack() as stack:
        files: dict[Kept, KeptWeights] = {}
        for name in names:
            if name.kept not in files:
                files[name.kept] = stack.enter_context(kept_weights.opened(location, name.kept))
        yield Models(names, files, device)


class Models:
    """The models of these names, held in memory if they are small enough."""

    def __init__(self, names: Sequence[MemberName], files: dict[Kept, KeptWeights], device: str) -> None:
        self._names, self._files, self._device = names, files, device
        first = self._load(0)
        self.vocabulary = first.shape.vocabulary
        values = sum(tensor.numel() for tensor in first.tensors.values()) * len(names)
        self._held = {0: first} if values <= HELD_VALUES or len(names) == 1 else None

    def batch(self, context: int) -> int:
        """Return the number of windows of a batch."""
        if self._held is not None:
            return batch_windows(self._device, len(self._names), self.vocabulary, context)
        return max(1, STREAMED_LOGITS // (len(self._names) * self.vocabulary * context))

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the next-token logits of every model, (models, batch, positions, vocabulary)."""
        return torch.stack([self.model(i).predict(tokens) for i in range(len(self._names))])

    def model(self, index: int) -> KeptModel:
        """Return one model."""
        if self._held is None:
            return self._load(index)
        if index not in self._held:
            self._held[index] = self._load(index)
        return self._held[index]

    def _load(self, index: int) -> KeptModel:
        name = self._names[index]
        weights = self._files[name.kept]
        return KeptModel(weights, name.index(weights), self._device)
