"""Sequences drawn token by token from the distribution of a model, or from the mean logits of several.

The random numbers of a sequence depend on the seed and on its number alone, so the tokens do not depend on how
sequences are batched, nor on whether a cache is used (up to the last digits of the logits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.sampling.cache import CachedModel

Next = Callable[[Tensor], Tensor]  # from all tokens so far, (batch, positions), to the next logits


def sample(
    models: Sequence[KeptModel],
    prompts: Tensor,
    length: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    batch: int = 64,
    cached: bool = True,
) -> Tensor:
    """Continue ``prompts``, (sequences, positions), by ``length`` tokens: (sequences, positions + length).

    Several models predict by the mean of their logits at every token. At temperature 0 the most probable token is
    taken. ``batch`` sequences are sampled at a time. Raise InputError if the models have different vocabularies, a
    sequence is longer than a model can read, or a prompt is empty or has tokens that are none.
    """
    _check(models, prompts, length, temperature)
    numbers = torch.rand(len(prompts), length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts = []
    for tokens, drawn in zip(torch.split(prompts, batch), torch.split(numbers, batch), strict=True):
        total = tokens.shape[1] + length
        readers = [_cached(model, len(tokens), total) if cached else _uncached(model) for model in models]
        for column in drawn.unbind(dim=1):
            logits = torch.stack([reader(tokens).float() for reader in readers]).mean(dim=0)
            tokens = torch.cat([tokens, _drawn(logits, column, temperature)[:, None]], dim=1)
        parts.append(tokens)
    return torch.cat(parts)


def _cached(model: KeptModel, batch: int, length: int) -> Next:
    reader = CachedModel(model, batch, length)
    return lambda tokens: reader.next_logits(tokens[:, reader.read :])


def _uncached(model: KeptModel) -> Next:
    return lambda tokens: model.predict(tokens)[:, -1]


def _drawn(logits: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Return the token of each row at which the cumulative probability passes its number in [0, 1)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    passed = torch.searchsorted(cumulative, numbers[:, None].to(logits.device).contiguous(), right=True)[:, 0]
    return passed.clamp(max=logits.shape[-1] - 1)


def _check(models: Sequence[KeptModel], prompts: Tensor, length: int, temperature: float) -> None:
    faults = []
    if not models:
        raise InputError("no model to sample from (accepted: one or more)")
    vocabularies = sorted({model.shape.vocabulary for model in models})
    if len(vocabularies) > 1:
        faults.append(f"models with vocabularies of {', '.join(map(str, vocabularies))} (accepted: one vocabulary)")
    if prompts.ndim != 2 or not prompts.shape[1]:
        faults.append("prompts of no token (accepted: at least one, such as that between documents)")
    elif prompts.numel() and not 0 <= int(prompts.min()) <= int(prompts.max()) < vocabularies[0]:
        faults.append(
            f"prompts with tokens {int(prompts.min())} to {int(prompts.max())} (accepted: 0 to {vocabularies[0] - 1})"
        )
    longest = min(len(model.rotation) for model in models)
    if prompts.ndim == 2 and prompts.shape[1] + length > longest + 1:
        asked = f"{prompts.shape[1]} + {length} tokens"
        faults.append(
            f"{asked} are longer than a model reads (accepted: {longest + 1}, or models with a longer context)"
        )
    if length < 1 or not 0 <= temperature < float("inf"):
        faults.append(f"length = {length}, temperature = {temperature} (accepted: from 1 on, from 0 on)")
    if faults:
        raise InputError(faults)
