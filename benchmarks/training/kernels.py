"""Forward and backward pass with hand-written gradients, against plain operations and against these compiled.

All three compute the losses of the same weights on the same batch and their gradient in one flat buffer, on one CPU
thread and in one process, and take turns, so that other load of the machine affects all of them. Times are CPU seconds,
which such load affects less than wall seconds; on one thread of an idle machine both are the same.

- `hand-written` is `Transformer.losses`, which trials run (`trials.training.kernels`);
- `plain` is `trials.training.reference.losses`, whose gradients autograd derives;
- `compiled` is `plain` under `torch.compile`, which needs a C++ compiler; its first step compiles,
  into an empty cache. ``--backend aot_eager`` captures the same graphs and compiles nothing.

Prints the median times of a step, and the median and spread of the paired ratios to the hand-written pass: above 1 the
hand-written one is faster. Prints the wall seconds of the compilation and, if the compiled pass is faster, the number
of steps that pay for it.

    python benchmarks/training/kernels.py            # about 1M parameters, 8 x 128 bytes a step
    python benchmarks/training/kernels.py --small --backend aot_eager    # seconds: to see that it runs
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from sweeplaw.trials.accounting import parameters
from sweeplaw.trials.training import reference
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workloads.language_model.shapes import solve

Losses = Callable[[Tensor], Tensor]


def passes(model: Transformer, backend: str) -> Mapping[str, Losses]:
    """Return functions of windows that compute the losses of the same model."""
    assert isinstance(model.weights, UnshardedWeights)
    leaves, shape, rotation = model.weights.parameters, model.shape, model.rotation
    compiled = torch.compile(reference.losses, fullgraph=True, dynamic=False, backend=backend)
    return {
        "hand-written": model.losses,
        "plain": lambda windows: reference.losses(leaves, shape, rotation, windows),
        "compiled": lambda windows: compiled(leaves, shape, rotation, windows),
    }


def step_seconds(model: Transformer, losses: Losses, windows: Tensor) -> float:
    """Return the CPU seconds of one forward and backward pass."""
    start = time.process_time()
    model.weights.backward(losses(windows))
    return time.process_time() - start


def compile_seconds(model: Transformer, losses: Losses, windows: Tensor) -> float:
    """Return the wall seconds of the first pass, which compiles."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder, patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": folder}):
        model.weights.backward(losses(windows))
    return time.perf_counter() - start


def report(times: Mapping[str, np.ndarray], compilation: float, tokens: int) -> None:
    """Print medians and ratios of ``times``, seconds of each turn, and the seconds of the ``compilation``."""
    own = times["hand-written"]
    for name, seconds in times.items():
        low, ratio, high = np.quantile(seconds / own, [0.1, 0.5, 0.9])
        median = statistics.median(seconds)
        print(
            f"{name:<14} {1e3 * median:7.2f} ms a step, {tokens / median:9,.0f} tokens/s, "
            f"{ratio:.3f} of hand-written (80 % of turns: {low:.2f} to {high:.2f})"
        )
    saved = statistics.median(own) - statistics.median(times["compiled"])
    pays = f"pays after {compilation / saved:,.0f} steps" if saved > 0 else "does not pay"
    print(f"compilation    {compilation:.1f} s, {pays}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=int, default=1_000_000)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--small", action="store_true", help="100,000 parameters, 20 turns")
    parser.add_argument("--backend", choices=("inductor", "aot_eager"), default="inductor", help="of torch.compile")
    options = parser.parse_args()
    if options.small:
        options.params, options.turns = 100_000, 20
    torch.set_num_threads(1)
    shape = solve(options.params, "params", vocabulary=256, tied_embeddings=False, qk_norm=False)
    autocast = torch.bfloat16 if options.precision == "bfloat16" else None
    model = Transformer(shape, options.context, [0], "cpu", autocast=autocast)
    size = (1, options.batch, options.context + 1)
    windows = torch.randint(shape.vocabulary, size, generator=torch.Generator().manual_seed(0))
    losses = passes(model, options.backend)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast is not None):
        compilation = compile_seconds(model, losses["compiled"], windows)
        step_seconds(model, losses["hand-written"], windows)  # the first step of each allocates
        step_seconds(model, losses["plain"], windows)
        turns = [[step_seconds(model, function, windows) for function in losses.values()] for _ in range(options.turns)]
    print(f"shape          {shape}, {parameters(shape).total:,} parameters, {options.precision}")
    report(dict(zip(losses, np.array(turns).T, strict=True)), compilation, options.batch * options.context)


if __name__ == "__main__":
    main()
