"""One command for an H100 or H200, under eight minutes: packed training of small models, and one large model.

Packed: models of .1, 1, 10 and 30 million parameters as one stack, against one after another and against one process a
model (`benchmarks/training/packed_speed.py`). Large: 300 million and 1 billion parameters in bfloat16, tokens a second
and model FLOPs utilization (PaLM convention, against the data sheet's dense bf16 peak), against transformers' Llama
with SDPA attention, torch.compile and fused AdamW, in turns. Prints the device, versions and date first.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --small        # seconds on a CPU: shows that it runs, measures nothing
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `benchmarks.training`

from benchmarks.training.train_speed import llama
from sweeplaw.clusters.profile.hardware import of_model
from sweeplaw.trials.accounting import Shape, palm_flops_per_token, parameters
from sweeplaw.trials.corpus.shuffle import Shuffle
from sweeplaw.trials.corpus.streams import DataBudget, TokenStream
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model.shapes import solve

PACKED = Path(__file__).parent / "training" / "packed_speed.py"
PACKS = ((100_000, 128), (1_000_000, 128), (10_000_000, 32), (30_000_000, 16))  # parameters, members
MODELS = ((300_000_000, 16), (1_000_000_000, 8))  # parameters, sequences of a batch
VOCABULARY, CONTEXT = 50_304, 1024


def random_windows(context: int, windows: int, vocabulary: int) -> DataBudget:
    """Return random tokens: speed does not depend on their meaning."""
    tokens = torch.randint(vocabulary, (windows * context + 1,), generator=torch.Generator().manual_seed(0)).numpy()
    return DataBudget(TokenStream.whole(tokens), context, windows, Shuffle(windows, "random windows"))


def ours(shape: Shape, device: str, context: int, sequences: int) -> Callable[[int], object]:
    """Return a function that trains our model for some steps."""
    recipe = Recipe(shape, context, sequences, 10**6, 1e4, "bfloat16")
    member = Member(0, 1e-4, 0.1, Schedule("constant", 10**6), 1e9)
    stack = Stack([member], recipe, random_windows(context, 4 * sequences, shape.vocabulary), TrainingDevice(device))
    return lambda steps: stack.advance(stack.step + steps)


def theirs(shape: Shape, device: str, context: int, sequences: int, compiled: bool) -> Callable[[int], object]:
    """Return a function that trains transformers' Llama of this shape for some steps."""
    model: torch.nn.Module = llama(shape, context)
    model.to(device)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    windows = torch.randint(shape.vocabulary, (sequences, context + 1), device=device)

    def train(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16):
                logits = forward(input_ids=windows[:, :-1]).logits
                loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return train


def measured(work: Callable[[int], object], steps: int, device: str) -> float:
    """Return the seconds of ``steps`` steps."""
    if device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work(steps)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def large(size: int, sequences: int, context: int, vocabulary: int, device: str, turns: int, steps: int) -> None:
    """Measure one model against the peer, and print."""
    shape = solve(size, "params", vocabulary=vocabulary, tied_embeddings=False, qk_norm=False)
    works = [ours(shape, device, context, sequences), theirs(shape, device, context, sequences, device != "cpu")]
    for work in works:
        work(2)  # compiles, allocates
    times = [[measured(work, steps, device) for work in works] for _ in range(turns)]
    own, peer = (steps * sequences * context / statistics.median(column) for column in zip(*times, strict=True))
    flops = palm_flops_per_token(shape, context)
    known = of_model(torch.cuda.get_device_name()) if device != "cpu" else None
    mfu = f", MFU {100 * own * flops / known.peak['bf16']:.1f} %" if known else ""
    print(
        f"{parameters(shape).total / 1e6:,.1f}M parameters: {own:,.0f} tokens/s{mfu}; transformers {peer:,.0f}: "
        f"{own / peer:.2f} times",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny models on a CPU")
    options = parser.parse_args()
    if not options.small and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here (--small runs on a CPU)")
    device = "cpu" if options.small else "cuda"
    name = "a CPU" if options.small else torch.cuda.get_device_name()
    print(f"{name}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}, {dt.date.today()}", flush=True)
    packs = ((2_500, 2),) if options.small else PACKS
    for size, members in packs:
        of_pack = ["--params", str(size), "--members", str(members), "--device", device, "--context", "256"]
        of_pack += ["--steps", "2" if options.small else "8", "--turns", "1" if options.small else "5"]
        of_pack += ["--processes", "2" if options.small else "8"]
        of_pack += [] if options.small else ["--precision", "bfloat16"]
        subprocess.run([sys.executable, str(PACKED), *of_pack], check=True)
    models = ((20_000, 2),) if options.small else MODELS
    for size, sequences in models:
        context, vocabulary = (32, 256) if options.small else (CONTEXT, VOCABULARY)
        turns, steps = (1, 1) if options.small else (5, 10)
        large(size, sequences, context, vocabulary, device, turns, steps)
        if device != "cpu":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
