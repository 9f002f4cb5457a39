"""Training tokens per second of one trial sharded over processes, against a module wrapped by `fully_shard` itself.

Both train one member on the same batches over gloo, one CPU thread a process, and take turns in the same processes.
Ours is the loop that trials run (`Stack`, with `Sharded`); the peer is Hugging Face's Llama of the same shape, wrapped
layer by layer, with `clip_grad_norm_` and the fused `torch.optim.AdamW`, its batches drawn beforehand. Prints the
median of the paired ratios and the bytes of weights, gradients and moments of a process.

The models differ in speed too (`train_speed.py`), so each also trains one process's share of the batch without the
others, in the same turns: the time that sharding adds to a step is the difference.

    python benchmarks/training/shard_speed.py            # about 1M parameters, 8 x 128 bytes a step, 2 processes
    python benchmarks/training/shard_speed.py --params 10000000 --turns 9 --steps 1
"""

from __future__ import annotations

import argparse
import itertools
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import socket
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from train_speed import CLIP, LR, WEIGHT_DECAY, llama, seconds

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.corpus.order import batches
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup, Rendezvous
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workload import World
from sweeplaw.trials.workloads.language_model.shapes import solve


@dataclass(frozen=True)
class Task:
    """A training run of ``steps`` steps, ``per_turn`` in each turn, of ``sequences`` over all processes."""

    shape: Shape
    budget: DataBudget
    sequences: int
    steps: int
    per_turn: int


@dataclass(frozen=True)
class Training:
    """``turn`` trains the next steps; ``state`` returns the bytes of weights, gradients and moments of this process."""

    turn: Callable[[], object]
    state: Callable[[], int]


def ours(task: Task, group: ProcessGroup) -> Training:
    """Return our training, the loop that trials run."""
    recipe = Recipe(task.shape, task.budget.context, task.sequences, task.steps, 1e4, "float32")
    member = Member(0, LR, WEIGHT_DECAY, Schedule("constant", task.steps), 20.0, Coefficients(CLIP))
    stack = Stack([member], recipe, task.budget, TrainingDevice("cpu", group))
    weights, optimizer = stack.model.weights, stack.optimizer

    def state() -> int:
        return held([*weights.values, *weights.gradients, *itertools.chain(*optimizer.moments.values())])

    return Training(lambda: stack.advance(stack.step + task.per_turn), state)


def theirs(task: Task, group: ProcessGroup) -> Training:
    """Return the peer's training, wrapped if there is more than one process."""
    model = llama(task.shape, task.budget.context)
    if group.size > 1:
        mesh = init_device_mesh("cpu", (group.size,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY, fused=True)
    whole = [torch.from_numpy(batch) for batch in batches(task.budget, 0, task.sequences, task.steps)]
    drawn = iter([batch.tensor_split(group.size)[group.rank] for batch in whole])

    def turn() -> None:
        for _ in range(task.per_turn):
            windows = next(drawn)
            logits = model(input_ids=windows[:, :-1]).logits
            loss = F.cross_entropy(logits.reshape(-1, task.shape.vocabulary), windows[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            group.sum(loss.detach()).item()

    def state() -> int:
        parameters = list(model.parameters())
        moments = [optimizer.state[parameter][name] for parameter in parameters for name in ("exp_avg", "exp_avg_sq")]
        return held([*parameters, *(parameter.grad for parameter in parameters), *moments])

    return Training(turn, state)


def held(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of these tensors in this process."""
    local = [getattr(tensor, "to_local", lambda tensor=tensor: tensor)() for tensor in tensors]
    return sum(tensor.numel() * tensor.element_size() for tensor in local)


def measure(options: argparse.Namespace, group: ProcessGroup) -> None:
    """Train in turns and print the result in the first process."""
    shape = solve(options.params, "params", vocabulary=256, tied_embeddings=False, qk_norm=False)
    budget = open_corpus("stdlib", "bytes").budget(options.context, 2**21)
    steps = options.steps * (options.turns + 1)
    task = Task(shape, budget, options.batch, steps, options.steps)
    share = Task(shape, budget, options.batch // group.size, steps, options.steps)
    trainings = [ours(task, group), theirs(task, group), ours(share, ALONE), theirs(share, ALONE)]
    for training in trainings:  # the first turn allocates and warms up
        training.turn()
    times = np.array([[together(training.turn) for training in trainings] for _ in range(options.turns)])
    if group.rank == 0:
        report(shape, times / options.steps, [training.state() for training in trainings], task)


def together(work: Callable[[], object]) -> float:
    """Return the wall seconds from the start to the end of all processes."""

    def all_done() -> None:
        work()
        dist.barrier()

    dist.barrier()
    return seconds(all_done)


def report(shape: Shape, times: np.ndarray, states: list[int], task: Task) -> None:
    """Print ``times``, seconds a step: (turns, [ours, theirs, ours alone, theirs alone])."""
    tokens = task.sequences * task.budget.context
    ratios = sorted(times[:, 1] / times[:, 0])
    print(f"shape              {shape}")
    for name, column in (("ours", 0), ("fully_shard", 1)):
        median = statistics.median(times[:, column])
        added = statistics.median(times[:, column] - times[:, column + 2])
        print(
            f"{name:<18} {tokens / median:,.0f} tokens/s, {1e3 * median:.1f} ms a step, of which sharding "
            f"{1e3 * added:.1f} ms; {states[column]:,} bytes of state a process, {states[column + 2]:,} alone"
        )
    print(f"paired ratios      {ratios[0]:.3f} to {ratios[-1]:.3f}, median {statistics.median(ratios):.3f}")


def run(rank: int, address: str, options: argparse.Namespace) -> None:
    """Run one process of the measurement."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with Rendezvous(World(rank, options.processes, address), "cpu").joined() as group:
        measure(options, group)


def main() -> None:
    """Start the processes and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8, help="sequences of all processes")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=run, args=(rank, address, options)) for rank in range(options.processes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    raise SystemExit(max(process.exitcode or 0 for process in processes))


if __name__ == "__main__":
    main()
