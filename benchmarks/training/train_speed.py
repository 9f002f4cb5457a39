"""Training tokens per second of one member on one CPU thread, against Hugging Face's Llama of the same shape.

Both train on the same batches in the same process and take turns, so that other load of the machine affects both. Ours
is the loop that trials run (`Stack`: reading windows, forward, backward, clipping, AdamW); the peer is
`LlamaForCausalLM` with sdpa attention, `clip_grad_norm_` and `torch.optim.AdamW`, its batches drawn beforehand. Nothing
is compiled. Prints the ratio of the median times of a turn, and the spread of the paired ratios.

    python benchmarks/training/train_speed.py            # about 1M parameters, 8 x 128 bytes a step
    python benchmarks/training/train_speed.py --params 3000000 --turns 10
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from sweeplaw.trials.accounting import Shape, parameters
from sweeplaw.trials.corpus import DataBudget, open_corpus
from sweeplaw.trials.corpus.order import batches
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.recipe import Member, Recipe, TrainingDevice
from sweeplaw.trials.training.schedules.lr_schedule import Schedule
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model.shapes import solve

LR, WEIGHT_DECAY, CLIP = 3e-3, 0.1, 1.0


def ours(shape: Shape, budget: DataBudget, batch_sequences: int, steps: int, per_turn: int) -> Callable[[], object]:
    """Return a function that trains our model for ``per_turn`` steps."""
    recipe = Recipe(shape, budget.context, batch_sequences, steps, 1e4, "float32")
    member = Member(0, LR, WEIGHT_DECAY, Schedule("constant", steps), 20.0, Coefficients(CLIP))
    stack = Stack([member], recipe, budget, TrainingDevice("cpu"))
    return lambda: stack.advance(stack.step + per_turn)


def theirs(
    shape: Shape, budget: DataBudget, batch_sequences: int, steps: int, per_turn: int, fused: bool
) -> Callable[[], object]:
    """Return a function that trains the peer for ``per_turn`` steps."""
    model = llama(shape, budget.context)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY, fused=fused or None
    )
    drawn = iter([torch.from_numpy(batch) for batch in batches(budget, 0, batch_sequences, steps)])

    def turn() -> None:
        for _ in range(per_turn):
            windows = next(drawn)
            logits = model(input_ids=windows[:, :-1]).logits
            loss = F.cross_entropy(logits.reshape(-1, shape.vocabulary), windows[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            loss.item()

    return turn


def llama(shape: Shape, context: int) -> LlamaForCausalLM:
    """Return the peer with exactly this shape."""
    attention: dict[str, Any] = {"attn_implementation": "sdpa"}  # not among the annotated arguments
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        max_position_embeddings=context,
        tie_word_embeddings=shape.tied_embeddings,
        **attention,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    assert model.num_parameters() == parameters(shape).total
    return model


def seconds(work: Callable[[], object]) -> float:
    """Return the wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=int, default=1_000_000)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--steps", type=int, default=1, help="steps a turn; in short turns both meet the same load")
    parser.add_argument("--fused", action="store_true", help="give the peer the fused AdamW kernel")
    options = parser.parse_args()
    torch.set_num_threads(1)

    torch.manual_seed(0)
    shape = solve(options.params, "params", vocabulary=256, tied_embeddings=False, qk_norm=False)
    steps = options.steps * (options.turns + 1)
    budget = open_corpus("stdlib", "bytes").budget(options.context, 2**21)
    turns = [
        ours(shape, budget, options.batch, steps, options.steps),
        theirs(shape, budget, options.batch, steps, options.steps, options.fused),
    ]
    for turn in turns:  # the first turn allocates and warms up
        turn()
    times = np.array([[seconds(turn) for turn in turns] for _ in range(options.turns)])
    tokens = options.steps * options.batch * options.context
    ratios = sorted(times[:, 1] / times[:, 0])
    print(f"shape              {shape}")
    print(f"ours               {tokens / statistics.median(times[:, 0]):,.0f} tokens/s")
    print(f"transformers       {tokens / statistics.median(times[:, 1]):,.0f} tokens/s")
    print(f"ratio              {statistics.median(times[:, 1]) / statistics.median(times[:, 0]):.3f}")
    print(f"paired ratios      {ratios[0]:.3f} to {ratios[-1]:.3f}, median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
