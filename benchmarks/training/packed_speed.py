"""Training steps of several small models as one stack, against one after another, and against one process a model.

All have the same data and the settings of a sweep of learning rates. Stacked and sequential training take turns in this
process; the processes train at the same time, each with its own interpreter, and are counted from when all have loaded
to when the last ends. Prints member-steps a second and the ratios.

    python benchmarks/training/packed_speed.py                       # 2.5k to 50k parameters on one CPU thread
    python benchmarks/training/packed_speed.py --device cuda --params 100000 1000000 --members 128
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.multiprocessing as multiprocessing

from sweeplaw.trials.accounting import Shape, parameters
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model.shapes import solve

WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class PackedTask:
    """What every contestant trains: ``members`` models of one shape for ``steps`` steps."""

    shape: Shape
    members: int
    steps: int
    context: int
    sequences: int
    device: str
    precision: str

    @property
    def budget(self) -> DataBudget:
        return open_corpus("stdlib", "bytes").budget(self.context, 2**20)

    def stack(self, members: Sequence[int]) -> Stack:
        """Return a stack of these members, which differ in seed and learning rate."""
        recipe = Recipe(self.shape, self.context, self.sequences, 10**6, 1e4, self.precision)
        schedule = Schedule("constant", 10**6)
        settings = [Member(seed, 1e-3 * (1 + seed / 100), WEIGHT_DECAY, schedule, 1e9) for seed in members]
        return Stack(settings, recipe, self.budget, TrainingDevice(self.device))


def synchronized(device: str, work: Callable[[], object]) -> float:
    """Return the wall seconds of one call, the device's work included."""
    if device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def turns(task: PackedTask, count: int) -> tuple[list[float], list[float]]:
    """Return the seconds of turns of the stack, and of the same models one after another, in alternation."""
    together, alone = task.stack(range(task.members)), [task.stack([seed]) for seed in range(task.members)]

    def one_after_another() -> None:
        for stack in alone:
            stack.advance(stack.step + task.steps)

    works: tuple[Callable[[], object], ...] = (lambda: together.advance(together.step + task.steps), one_after_another)
    for work in works:
        work()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for found, work in zip(times, works, strict=True):
            found.append(synchronized(task.device, work))
    return times


def processes(task: PackedTask, at_once: int) -> float:
    """Return the seconds in which ``at_once`` processes train the models, one model each at a time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(at_once + 1)
    shares = [range(task.members)[i::at_once] for i in range(at_once)]
    started = [context.Process(target=_train, args=(task, list(share), barrier)) for share in shares]
    for process in started:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    for process in started:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with {process.exitcode}")
    return time.perf_counter() - began


def _train(task: PackedTask, members: Sequence[int], barrier: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    torch.set_num_threads(1)
    task.stack(members[:1]).advance(1)
    barrier.wait()  # type: ignore[attr-defined]
    for seed in members:
        stack = task.stack([seed])
        synchronized(task.device, lambda stack=stack: stack.advance(task.steps))  # type: ignore[misc]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--params", type=int, nargs="+", default=[2_500, 5_000, 10_000, 50_000])
    parser.add_argument("--vocabulary", type=int, default=256, help="that of the corpus is 256")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="steps of each model a turn")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--processes", type=int, default=0, help="also measure this many processes at once")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.params:
        shape = solve(size, "params_non_embedding", vocabulary=256, tied_embeddings=True, qk_norm=False)
        task = PackedTask(
            shape, options.members, options.steps, options.context, options.batch, options.device, options.precision
        )
        stacked, alone = turns(task, options.turns)
        work = task.members * task.steps
        ratios = sorted(one / other for one, other in zip(alone, stacked, strict=True))
        line = (
            f"N {parameters(shape).non_embedding:>9,}  {task.members} members: stacked "
            f"{work / statistics.median(stacked):,.0f}, one after another {work / statistics.median(alone):,.0f} "
            f"member-steps/s: {statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        if options.processes:
            seconds = processes(task, options.processes)
            ratio = seconds / statistics.median(stacked)
            line += f"; {options.processes} processes {work / seconds:,.0f}: {ratio:.2f} times"
        print(line, flush=True)


if __name__ == "__main__":
    main()
