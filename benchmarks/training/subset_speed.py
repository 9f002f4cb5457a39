"""The losses of every subset of an ensemble against the forward passes of its members, in CPU seconds.

For models of several sizes with the vocabulary of bytes, on one thread, in the batches of an evaluation: the time of
`subset_losses` for all subsets of the members over the time of the members' forward passes on the same tokens.

    python benchmarks/training/subset_speed.py            # 8 members: 255 subsets
    python benchmarks/training/subset_speed.py --small    # seconds
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from sweeplaw.trials.training.evaluation.combination import subset_losses
from sweeplaw.trials.training.evaluation.ensemble import batch_windows
from sweeplaw.trials.training.evaluation.subsets import chosen
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.workloads.language_model.shapes import solve

VOCABULARY, CONTEXT = 256, 128


@torch.no_grad()
def ratios(params: int, members: int, turns: int) -> list[float]:
    """Return the time of all subsets over that of the members' forward passes, once for each turn."""
    shape = solve(params, "params_non_embedding", vocabulary=VOCABULARY, tied_embeddings=False, qk_norm=False)
    model = Transformer(shape, CONTEXT, [0], "cpu")
    windows = batch_windows("cpu", members, VOCABULARY, CONTEXT)
    tokens = torch.randint(VOCABULARY, (1, windows, CONTEXT))
    found, subsets = [], chosen(members)
    for _ in range(turns + 1):  # the first warms up
        begin = time.process_time()
        logits = torch.cat([model.logits(tokens) for _ in range(members)])
        forward = time.process_time()
        subset_losses(logits, tokens[0], subsets)
        found.append((time.process_time() - forward) / (forward - begin))
    return found[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of every subset's loss against the members' forward passes.")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--small", action="store_true", help="4 members of 12k parameters, two turns")
    given = parser.parse_args()
    sizes = [12_000, 55_000, 220_000, 920_000]
    if given.small:
        given.members, given.turns, sizes = 4, 2, sizes[:1]
    torch.set_num_threads(1)
    for params in sizes:
        measured = sorted(ratios(params, given.members, given.turns))
        spread = f"{measured[0]:.2f} to {measured[-1]:.2f}"
        subsets = len(chosen(given.members))
        print(
            f"{params:>9,} parameters: {subsets} subsets take {statistics.median(measured):.2f}x ({spread}) the members"
        )


if __name__ == "__main__":
    main()
