"""Cost of a trial: parameters by group, tokens, steps, FLOPs and memory, each by a named convention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated cost of a trial before it runs. An unknown value is None, never zero.

    ``memory_bytes`` is the peak on one device that trains the trial alone. When several devices train it, its
    ``state_bytes`` (weights, gradient, optimizer) divide evenly over them, each holds the ``undivided_bytes``, the rest
    follows each device's share of the batch, and ``gathered_bytes``, the parameters a device gathers temporarily, come
    on top. A single device holds at least ``gradient_bytes`` beside the state, in micro-batches of any size. All other
    fields are columns of the trials table.
    """

    params: int | None = None
    params_embedding: int | None = None
    params_non_embedding: int | None = None
    tokens: int | None = None
    unique_tokens: int | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_sequences: int | None = None
    batch_tokens: int | None = None
    flops_per_token: float | None = None
    flops: float | None = None
    flops_convention: str | None = None
    memory_bytes: int | None = None
    state_bytes: int | None = None
    gathered_bytes: int | None = None
    undivided_bytes: int = 0
    gradient_bytes: int = 0

    def columns(self) -> dict[str, Any]:
        """Return the columns of the trials table that this fills."""
        return {item.name: getattr(self, item.name) for item in fields(self) if not item.name.endswith("_bytes")}

    def memory_on(self, devices: int, micro_batch_divisor: int = 1) -> int | None:
        """Return the peak bytes on each of ``devices`` that train the trial together.

        State is sharded and the batch is split, into micro-batches if ``micro_batch_divisor`` is above 1; the device
        with the largest share counts. None if unknown, or if the batch has fewer sequences than there are devices.
        """
        if self.memory_bytes is None or (devices, micro_batch_divisor) == (1, 1):
            return self.memory_bytes
        if self.state_bytes is None or self.gathered_bytes is None or self.batch_sequences is None:
            return None
        if devices > self.batch_sequences:
            return None
        divisor = min(micro_batch_divisor, self.batch_sequences // devices)  # as in `TrainingDevice.micro_batches`
        sequences = _largest_share(_largest_share(self.batch_sequences, devices), divisor)
        divided = self.memory_bytes - self.state_bytes - self.undivided_bytes
        activations = _largest_share(divided * sequences, self.batch_sequences) + self.undivided_bytes
        if devices == 1:
            activations = max(activations, self.gradient_bytes)
        gathered = self.gathered_bytes if devices > 1 else 0
        return _largest_share(self.state_bytes, devices) + gathered + activations


def _largest_share(total: int, shares: int) -> int:
    """Return the largest of ``shares`` nearly equal integer shares of ``total``."""
    return -(-total // shares)


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder-only transformer: pre-RMSNorm, rotary positions, SwiGLU of hidden width ``ffn``, no biases."""

    depth: int
    width: int
    heads: int
    ffn: int
    vocabulary: int
    tied_embeddings: bool = False
    qk_norm: bool = False


@dataclass(frozen=True, slots=True)
class Parameters:
    """Trained parameters of one model by group. ``output_head`` is 0 when it is the token embedding's transpose."""

    token_embedding: int
    output_head: int
    attention: int
    feed_forward: int
    norms: int

    @property
    def embedding(self) -> int:
        """Token embedding and output head."""
        return self.token_embedding + self.output_head

    @property
    def non_embedding(self) -> int:
        """Everything but the token embedding and the output head (the N of Kaplan et al. 2020)."""
        return self.attention + self.feed_forward + self.norms

    @property
    def total(self) -> int:
        """All trained parameters."""
        return self.embedding + self.non_embedding


def parameters(shape: Shape) -> Parameters:
    """Return the trained parameters of one member, by group."""
    table = shape.vocabulary * shape.width
    qk_gains = 2 * (shape.width // shape.heads) if shape.qk_norm else 0
    return Parameters(
        token_embedding=table,
        output_head=0 if shape.tied_embeddings else table,
        attention=shape.depth * 4 * shape.width**2,
        feed_forward=shape.depth * 3 * shape.width * shape.ffn,
        norms=shape.depth * (2 * shape.width + qk_gains) + shape.width,
    )


def palm_flops_per_token(shape: Shape, context: int) -> float:
    """Training FLOPs per token: 6 x (non-embedding + output head) + 12 x depth x context x width.

    Two FLOPs per multiply-add, backward twice the forward; attention scores at full context (not halved for causality);
    the head is a matrix product and counts, tied or not; the embedding lookup does not.
    Source: Chowdhery et al. 2022 (PaLM), appendix B, where heads x head dimension is our width.
    """
    head = shape.vocabulary * shape.width
    return 6.0 * (parameters(shape).non_embedding + head) + 12.0 * shape.depth * context * shape.width


def kaplan_flops_per_token(shape: Shape, context: int) -> float:
    """Training FLOPs per token: 6 x non-embedding parameters, attention scores and head left out.

    Source: Kaplan et al. 2020, section 2.1, C = 6NBS.
    """
    return 6.0 * parameters(shape).non_embedding


def chinchilla_flops_per_token(shape: Shape, context: int) -> float:
    """Training FLOPs per token, all terms: embedding, QKV, scores, softmax, reduction, projection, FFN, logits.

    Source: Hoffmann et al. 2022, appendix F (a lookup counted as a product with a one-hot matrix, 3 FLOPs per
    softmax entry); their two-matrix FFN becomes our three-matrix SwiGLU.
    """
    embedding = 2 * shape.vocabulary * shape.width
    projections = 2 * 4 * shape.width**2
    scores = 2 * context * shape.width + 3 * shape.heads * context + 2 * context * shape.width
    feed_forward = 2 * 3 * shape.width * shape.ffn
    forward = embedding + shape.depth * (projections + scores + feed_forward) + 2 * shape.width * shape.vocabulary
    return 3.0 * forward


FLOPS_CONVENTIONS: Mapping[str, Callable[[Shape, int], float]] = MappingProxyType(
    {"palm": palm_flops_per_token, "kaplan": kaplan_flops_per_token, "chinchilla": chinchilla_flops_per_token}
)
RECORDED_CONVENTION = "palm"  # recorded by our own trials; the others follow from the shape columns


@dataclass(frozen=True, slots=True)
class Length:
    """Length of one run. ``tokens`` counts repeats, ``unique_tokens`` does not."""

    steps: int
    tokens: int
    unique_tokens: int
    batch_tokens: int


WEIGHT_PARTS = 10**6  # a share of synthetic windows is rounded to whole parts of this, so that counts are exact


def real_parts(synthetic_weight: float) -> int:
    """Return the share of real windows in parts of `WEIGHT_PARTS`."""
    return WEIGHT_PARTS - round(synthetic_weight * WEIGHT_PARTS)


def length(
    unique_tokens: int, epochs: float, batch_sequences: int, context: int, synthetic_weight: float = 0.0
) -> Length:
    """Return steps and tokens of a run over ``unique_tokens // context`` windows, ``epochs`` times, in whole batches.

    Batches cross the boundaries of epochs; only the last partial batch of the run is dropped, so ``tokens`` is the
    number actually trained on, at most one batch below ``unique_tokens * epochs``. Zero steps are possible. A share
    ``synthetic_weight`` below 1 of all windows is synthetic: the epochs are those of the real ones, so the run is
    1 / (1 - weight) times as long.
    """
    windows = unique_tokens // context
    steps = math.floor(windows * epochs + 1e-9) * WEIGHT_PARTS // real_parts(synthetic_weight) // batch_sequences
    batch_tokens = batch_sequences * context
    return Length(steps, steps * batch_tokens, windows * context, batch_tokens)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a training run on one device, in bytes: ``state`` throughout, ``activations`` at the peak, and what no
    smaller share of the batch lessens, ``undivided``.

    ``gathered`` is added if the state is sharded over several devices. ``gradients`` are held beside the state on a
    single device when a backward pass ends, or what an update takes, however small the activations.
    """

    state: int
    activations: int
    undivided: int
    gathered: int
    gradients: int

    @property
    def peak(self) -> int:
        """Peak bytes of a run on a single device."""
        return self.state + self.activations + self.undivided


ADAM_MOMENTS = 2
LOSS_LOGITS = 2**27  # logits whose losses are computed at once: 512 MiB in float32, enough work for a device
LOGIT_BYTES = 3 * 4  # at the peak of a loss: logits, their log-softmax and their gradient


@dataclass(frozen=True, slots=True)
class OperandCopies:
    """Copies that a matrix product holds of its operand for a while: of activations or their gradient, of a weight."""

    activations: int
    weights: int


PLAIN = OperandCopies(0, 1)


def memory(
    shape: Shape,
    context: int,
    batch_sequences: int,
    *,
    members: int = 1,
    bytes_per_value: int = 4,
    moments: int = ADAM_MOMENTS,
    workspace: int = 1,
    operands: OperandCopies = PLAIN,
) -> Memory:
    """Estimate the device memory of training ``members`` stacked models.

    State: weights, gradient and the optimizer's ``moments`` in float32, 16 bytes per parameter for Adam's two.
    Activations kept for the backward pass, in ``bytes_per_value``: a block keeps ``10 width + 4 ffn`` values per
    token (residual and normed inputs, q, k, v and attention output; gate and up, their product and gradient), the
    output ``3 width`` (normed inputs, their copy and gradient) and `LOGIT_BYTES` a logit. Undivided: if there are
    more than `LOSS_LOGITS`, so many are held at a time (`training.projected_loss`), or else those of a window of
    the evaluation, with the gradient of the head and its product with a gain. Gathered: a device holds at most the
    embedding, the head, all gains and the matrices of two blocks unsharded at a time (one of the two is in
    transit), as weights, as their gradients and as the buffer of the exchange (`training.sharding`): 12 bytes per
    parameter. Gradients: when the backward pass ends, 4 bytes per parameter of parts beside the whole gradient, with
    the activations of one block; or ``workspace`` times as many in the update. ``operands`` are held by one product in
    float32, of the block's widest matrix, while the logits are not. Teachers of soft labels are not counted.

    Measured peaks are .82 to 1.05 of it (`tests/trials/workloads/test_memory.py`).
    """
    tokens, token_logits = batch_sequences * context, members * shape.vocabulary
    block = members * tokens * (10 * shape.width + 4 * shape.ffn) * bytes_per_value
    widest = 4 * members * max(2 * shape.ffn, 3 * shape.width)  # bytes of a row of the gate and up, or of q, k and v
    logits, undivided = LOGIT_BYTES * tokens * token_logits, 0
    if tokens * token_logits > LOSS_LOGITS:
        undivided = LOGIT_BYTES * max(LOSS_LOGITS, context * token_logits) + 2 * 4 * token_logits * shape.width
        logits = 0
    held = max(logits, operands.activations * tokens * widest)
    activations = block * shape.depth + members * tokens * 3 * shape.width * bytes_per_value + held
    count = parameters(shape)
    gradients = members * 4 * workspace * count.total + operands.weights * widest * shape.width
    blocks_held = min(2, shape.depth) * (count.attention + count.feed_forward) // shape.depth
    gathered = count.embedding + count.norms + blocks_held
    return Memory(
        state=members * 4 * (2 + moments) * count.total,
        activations=max(activations, gradients + block - undivided),
        undivided=undivided,
        gathered=members * 12 * gathered,
        gradients=gradients,
    )
