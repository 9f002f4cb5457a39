"""One rank of two trainings of the same models: with our sharded weights, and with torch's `fully_shard` and AdamW.

The peer is a plain module in plain operations, wrapped block by block, with torch's optimizer, clipping and reduction.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.corpus.order import batches
from sweeplaw.trials.training import sharding, weights
from sweeplaw.trials.training.distributed import Rendezvous
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.regularizers.settings import Regularizers
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import draw, generators
from sweeplaw.trials.workload import World

STATE = ("weights", "first", "second")
STEPS = 24


@dataclass(frozen=True)
class Case:
    """A stack that ``size`` processes train, in ``micro_batch_divisor`` micro-batches each, from its start to its end.

    ``dtype`` is that of all values and sums.
    """

    members: tuple[Member, ...]
    shape: Shape
    batch_sequences: int = 8
    size: int = 2
    micro_batch_divisor: int = 1
    dtype: torch.dtype = torch.float64

    @property
    def regularized(self) -> bool:
        """Whether a member has what the peer lacks."""
        return any(member.regularizers != Regularizers() for member in self.members)

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.shape, 16, self.batch_sequences, STEPS, 1e4, "float32")

    @property
    def budget(self) -> DataBudget:
        return open_corpus("markov:states=12,spread=1.5,tokens=65536", "none").budget(16, 200 * 16)


def member(**values: Any) -> Member:
    """Return a member with a warm-up and a decaying learning rate, without clipping by default."""
    settings = {"seed": 0, "lr": 1e-2, "weight_decay": 0.1, **values}
    coefficients = Coefficients(grad_clip=settings.pop("grad_clip", 0.0))
    return Member(coefficients=coefficients, schedule=Schedule("cosine", STEPS, 0.1), divergence_loss=20.0, **settings)


def shape(*, tied: bool = False, qk_norm: bool = False) -> Shape:
    return Shape(2, 16, 2, 40, 12, tied_embeddings=tied, qk_norm=qk_norm)


CASES = {
    "untied": Case((member(),), shape()),
    "tied, QK-norm, an uneven batch in micro-batches": Case(
        (member(),), shape(tied=True, qk_norm=True), batch_sequences=7, micro_batch_divisor=3
    ),
    "regularized members, an uneven batch in micro-batches": Case(
        (
            member(regularizers=Regularizers(dropout=0.2, attention_dropout=0.1, label_smoothing=0.1)),
            member(seed=1, regularizers=Regularizers(stochastic_depth=0.3)),
        ),
        shape(),
        batch_sequences=7,
        micro_batch_divisor=3,
    ),
    "clipped members with settings of their own": Case(
        (member(grad_clip=0.3), member(seed=1, lr=3e-3, weight_decay=1.0, grad_clip=0.1)), shape(qk_norm=True)
    ),
    "clipped, three processes that no part divides by": Case((member(grad_clip=0.3),), shape(qk_norm=True), size=3),
    "float32": Case((member(grad_clip=0.3),), shape(tied=True), dtype=torch.float32),
}


@contextlib.contextmanager
def _in_double() -> Iterator[None]:
    """Draw our weights in float64, and make the forward pass convert to float64 where it converts to float32."""
    losses, construct = Transformer.losses, Transformer.__init__

    def wide(model: Transformer, *args: Tensor | None) -> Tensor:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            return losses(model, *args)  # type: ignore[arg-type]

    def constructed(model: Transformer, *args: object) -> None:
        construct(model, *args)  # type: ignore[arg-type]
        model.rotation = model.rotation.to(torch.complex128)

    def widened(*args: object) -> Tensor:
        return draw(*args).double()  # type: ignore[arg-type]

    with (
        mock.patch.object(weights, "draw", widened),
        mock.patch.object(sharding, "draw", widened),
        mock.patch.object(Transformer, "losses", wide),
        mock.patch.object(Transformer, "__init__", constructed),
    ):
        yield


def ours(case: Case, place: TrainingDevice) -> dict[str, Any]:
    """Train with our own loop.

    Return the whole ``state``, (members, parameters) each, in the first process; the number of values that this process
    holds of it including the gradient (``held``), in all tensors (``alive``), and at most while drawing weights
    (``drawing``).
    """
    before, drawing = _alive(), [0]
    shard = sharding._shard

    def recorded(*args: Any, **options: Any) -> None:
        drawing.append(_alive() - before)
        shard(*args, **options)

    with (
        _in_double() if case.dtype == torch.float64 else contextlib.nullcontext(),
        mock.patch.object(sharding, "_shard", recorded),
    ):
        stack = Stack(case.members, case.recipe, case.budget, place)
        stack.advance(STEPS)
    alive = _alive() - before
    weights, optimizer = stack.model.weights, stack.optimizer
    kept = [*weights.values, *weights.gradients, *itertools.chain(*optimizer.moments.values())]
    assert {tensor.dtype for tensor in kept} == {case.dtype}
    return {
        "state": stack.state(),
        "held": sum(tensor.numel() for tensor in kept),
        "alive": alive,
        "drawing": max(drawing),
    }


def _alive() -> int:
    """Return the number of values in all tensors of this process; a DTensor's are in the local tensor it wraps."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor) and type(thing) is not DTensor]
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in storages.values())


def theirs(case: Case, rank: int) -> dict[str, Tensor]:
    """Return the state of the same members, trained by the peer one after another."""
    states = [_fully_sharded(case, member, rank) for member in case.members]
    return {name: torch.stack([state[name] for state in states]) for name in STATE}


def _fully_sharded(case: Case, member: Member, rank: int) -> dict[str, Tensor]:
    recipe, model = case.recipe, Llama(case.recipe).to(case.dtype)
    names = _initialize(model, recipe.shape, member.seed)
    mesh = init_device_mesh("cpu", (case.size,))
    for block in model.blocks.values():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = _optimizer(model, member)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, member.schedule)
    for batch in batches(case.budget, member.seed, recipe.batch_sequences, STEPS):
        windows = torch.from_numpy(batch).tensor_split(case.size)[rank]
        logits = model(windows[:, :-1])
        total = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="sum")
        optimizer.zero_grad()
        (total * case.size / recipe.batch_tokens).backward()  # fully_shard takes the mean over processes
        if member.coefficients.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), member.coefficients.grad_clip)
        optimizer.step()
        schedule.step()
    parameters = [model.get_parameter(name) for name in names]
    return {
        "weights": _whole(parameters),
        "first": _whole([optimizer.state[parameter]["exp_avg"] for parameter in parameters]),
        "second": _whole([optimizer.state[parameter]["exp_avg_sq"] for parameter in parameters]),
    }


def _initialize(model: nn.Module, shape: Shape, seed: int) -> list[str]:
    """Copy our initial values to the peer; return the names of its parameters in our order."""
    layout = ParameterLayout.of(shape)
    slots = layout.slots
    (member,) = draw(layout.values, generators([seed]))
    for slot, values in zip(slots, member.split([slot.numel for slot in slots]), strict=True):
        model.get_parameter(_named(slot.name)).data.copy_(values.view(slot.size))
    return [_named(slot.name) for slot in slots]


def _optimizer(model: nn.Module, member: Member) -> torch.optim.Optimizer:
    """Return torch's AdamW: matrices decay, gains and the embedding do not."""
    decayed = {name: parameter.ndim > 1 and "embedding" not in name for name, parameter in model.named_parameters()}
    groups = [
        {"params": [model.get_parameter(name) for name in decayed if decayed[name] == decays], "weight_decay": decay}
        for decays, decay in ((True, member.weight_decay), (False, 0.0))
    ]
    own = member.coefficients
    return torch.optim.AdamW(groups, lr=member.lr, betas=(own.beta1, own.beta2), eps=own.eps)


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().full_tensor().flatten() for part in parts])  # type: ignore[attr-defined]


def _named(slot: str) -> str:
    """Return the name in `Llama` of one of our tensors."""
    return f"blocks.{slot}.weight" if slot[0].isdigit() else f"{slot}.weight"


class Llama(nn.Module):
    """Decoder-only transformer: pre-RMSNorm, rotary positions, SwiGLU, optional QK-norm, tied or untied."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleDict({f"{block}": Block(recipe) for block in range(shape.depth)})
        self.final_norm = nn.RMSNorm(shape.width, eps=1e-6)
        if not shape.tied_embeddings:
            self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.embedding(tokens)
        for block in self.blocks.values():
            stream = block(stream)
        normed = self.final_norm(stream)
        return self.head(normed) if hasattr(self, "head") else F.linear(normed, self.embedding.weight)


class Block(nn.Module):
    """Attention and feed-forward, each added to the stream."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.shape
        self.heads, head = shape.heads, shape.width // shape.heads
        self.attention_norm = nn.RMSNorm(shape.width, eps=1e-6)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.attention_out = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=1e-6)
        self.gate_up = nn.Linear(shape.width, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.width, bias=False)
        self.query_norm = nn.RMSNorm(head, eps=1e-6) if shape.qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(head, eps=1e-6) if shape.qk_norm else nn.Identity()
        rates = recipe.rope_base ** -(torch.arange(0, head, 2, dtype=torch.float64) / head)
        angles = torch.outer(torch.arange(recipe.context, dtype=torch.float64), rates)
        self.cosine, self.sine = angles.cos().float(), angles.sin().float()  # as ours

    def forward(self, stream: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(stream)).chunk(3, dim=-1)
        )
        query, key = self._rotated(self.query_norm(query)), self._rotated(self.key_norm(key))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.attention_out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.ffn_norm(stream)).chunk(2, dim=-1)
        return stream + self.down(F.silu(gate) * up)

    def _rotated(self, vectors: Tensor) -> Tensor:
        left, right = vectors[..., ::2], vectors[..., 1::2]
        rotated = left * self.cosine - right * self.sine, left * self.sine + right * self.cosine
        return torch.stack(rotated, dim=-1).flatten(-2)


def main(rank: int, size: int, address: str, folder: str) -> None:
    """Train all cases of ``size`` processes both ways; write the results to a file of this process."""
    torch.set_num_threads(1)
    with Rendezvous(World(rank, size, address), "cpu").joined() as group:
        found = {
            name: ours(case, TrainingDevice("cpu", group, case.micro_batch_divisor)) | {"peer": theirs(case, rank)}
            for name, case in CASES.items()
            if case.size == size
        }
        dist.barrier()
    torch.save(found, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
