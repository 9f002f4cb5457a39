"""Tokens sampled per CPU second: with the cache, without it, and by Hugging Face's `generate` (with its cache).

One model of random weights, one CPU thread, one process; the three take turns, so that other load of the machine
affects all of them, and times are CPU seconds. The model is exported as `sweeplaw export-checkpoint` does, so all three
have the same weights. Sampling at temperature 1, in batches, from prompts of one token.

Prints the median tokens per second and the median and spread of the paired ratios: above 1 the cache is faster.

    python benchmarks/sampling/sample_speed.py            # about 1M parameters, 64 sequences of 128 tokens
    python benchmarks/sampling/sample_speed.py --small    # seconds
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from sweeplaw.trials.kept import huggingface
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.sampling.sample import sample
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.keeping import named
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.weights import draw, generators
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.resolve import shape_of


def models(params: int, length: int, folder: Path) -> tuple[KeptModel, Any]:
    """Return the same model of random weights, ours and as transformers loads it."""
    workload = LanguageModel.of("", {})
    values = {"corpus": "stdlib", "params_non_embedding": params, "context": length, "unique_tokens": 2**16}
    spec = TrialSpec.of(workload.name, workload.knobs, workload.resolve(values))
    shape, kept = shape_of(spec.knobs), Kept(spec.trial_id)
    (row,) = draw(ParameterLayout.of(shape).values, generators([0]))
    kept_weights.save(f"{folder}/weights", kept, spec.canonical(), [named(row, shape)])
    with kept_weights.opened(locate(str(folder)), kept) as weights:
        huggingface.export(weights, 0, folder / "hf")
        ours = KeptModel(weights, 0)
    return ours, AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Sampling speed with a cache, without one, and of transformers.")
    parser.add_argument("--params", type=int, default=920_000)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--length", type=int, default=127)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="12k parameters, 8 sequences of 16 tokens, two turns")
    given = parser.parse_args()
    if given.small:
        given.params, given.sequences, given.length, given.turns = 12_000, 8, 15, 2
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = models(given.params, given.length + 1, Path(folder))
    prompts = torch.zeros(given.sequences, 1, dtype=torch.long)
    mask = torch.ones_like(prompts)
    ways: dict[str, Callable[[], object]] = {
        "cache": lambda: sample([ours], prompts, given.length, batch=given.sequences),
        "no cache": lambda: sample([ours], prompts, given.length, batch=given.sequences, cached=False),
        "transformers": lambda: theirs.generate(
            prompts, attention_mask=mask, max_new_tokens=given.length, do_sample=True, top_k=0, pad_token_id=0
        ),
    }
    for run in ways.values():
        run()
    times = [{name: seconds(run) for name, run in ways.items()} for _ in range(given.turns)]
    tokens = given.sequences * given.length
    for name in ways:
        own = statistics.median(tokens / turn[name] for turn in times)
        ratios = sorted(turn[name] / turn["cache"] for turn in times)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"{name:<14}{own:10,.0f} tokens a CPU second; the cache is {statistics.median(ratios):.2f}x ({spread})")


if __name__ == "__main__":
    main()
