"""Log-likelihoods of continuations under several models and ensembles of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.corpus.tokenizer import encode_texts
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.training.evaluation.combination import subset_losses
from sweeplaw.trials.training.evaluation.ensemble import BATCH_LOGITS

Predict = Callable[[Tensor], Tensor]  # from tokens (batch, positions) to logits (models, batch, positions, vocabulary)
MOST_SEQUENCES = 256  # of a batch
_NAMED = 5  # faults


@dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids of a text, of which those from ``start`` on (at least 1) are predicted from all before them."""

    tokens: tuple[int, ...]
    start: int

    @classmethod
    def of(cls, before: Sequence[int], own: Sequence[int], context: int) -> Continuation:
        """Return the continuation ``own`` of what is ``before``, shortened from the left to what a model reads.

        Raise InputError if ``own`` is empty, or longer than the ``context`` of the models.
        """
        if not before or not own or len(own) > context:
            raise InputError(
                f"a continuation of {len(own)} tokens after {len(before)} (accepted: 1 to {context} after 1)"
            )
        tokens = (*before, *own)[-(context + 1) :]
        return cls(tokens, len(tokens) - len(own))

    def __len__(self) -> int:
        return len(self.tokens) - self.start


def continuations(pairs: Sequence[tuple[str, str]], tokenizer: str, context: int) -> list[Continuation]:
    """Return the second text of each pair as the continuation of the first, for models that read ``context`` tokens.

    A text begins after the token between documents, as in training; a beginning that is too long is cut from the left.
    Where a tokenizer joins the end of the first text and the start of the second, the joined token belongs to the
    second. Raise InputError for texts that are longer than the models read, or begin after nothing.
    """
    begun, end = encode_texts([before for before, _ in pairs], tokenizer)
    joined, _ = encode_texts([before + own for before, own in pairs], tokenizer)
    found: list[Continuation] = []
    faults: list[str] = []
    for (_, own), before, whole in zip(pairs, begun, joined, strict=True):
        shared = _shared(before, whole)
        try:
            found.append(Continuation.of([*end, *whole[:shared]], whole[shared:], context))
        except InputError as error:
            faults.append(f"{shown(own)}: {error.faults[0]}")
    if faults:
        more = [f"{len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
        raise InputError([*faults[:_NAMED], *more])
    return found


def _shared(before: Sequence[int], whole: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    differing = (i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b)
    return next(differing, min(len(before), len(whole)))


@torch.no_grad()
def log_likelihoods(
    predict: Predict,
    texts: Sequence[Continuation],
    subsets: Sequence[int],
    combine: str = "logits",
    *,
    models: int,
    vocabulary: int,
    device: str = "cpu",
) -> Tensor:
    """Return the log-likelihood in nats of each continuation under each ensemble, (subsets, texts) in float64.

    A subset is a bit mask over the ``models`` whose logits ``predict`` returns, combined as `subset_losses` does. Texts
    are batched by length, so a model reads few tokens of padding; as it reads from left to right, these change nothing.
    """
    found = torch.zeros(len(subsets), len(texts), dtype=torch.float64)
    for batch in batches(texts, BATCH_LOGITS[device] // (models * vocabulary)):
        tokens, counted = padded([texts[i] for i in batch])
        tokens = tokens.to(device)
        losses = subset_losses(predict(tokens[:, :-1]), tokens[:, 1:], subsets, combine).cpu().double()
        found[:, batch] = -(losses.view(-1, *counted.shape) * counted).sum(dim=2)
    return found


def padded(texts: Sequence[Continuation]) -> tuple[Tensor, Tensor]:
    """Return the tokens of a batch, (texts, longest), and which of those after the first belong to a continuation."""
    longest = max(len(text.tokens) for text in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.int64)
    counted = torch.zeros(len(texts), longest - 1, dtype=torch.bool)
    for row, text in enumerate(texts):
        size = len(text.tokens)
        tokens[row, :size] = torch.tensor(text.tokens)
        counted[row, text.start - 1 : size - 1] = True
    return tokens, counted


def batches(texts: Sequence[Continuation], positions: int) -> Iterator[list[int]]:
    """Yield the numbers of all texts, sorted by length, in batches of about ``positions`` positions."""
    waiting: list[int] = []
    for i in sorted(range(len(texts)), key=lambda i: (len(texts[i].tokens), i)):
        if waiting and (len(waiting) == MOST_SEQUENCES or (len(waiting) + 1) * len(texts[i].tokens) > positions):
            yield waiting
            waiting = []
        waiting.append(i)
    if waiting:
        yield waiting
