"""The loss of the head in parts: equal to that of all logits at once, and within the memory that is planned for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeplaw.trials import accounting
from sweeplaw.trials.accounting import Shape, memory
from sweeplaw.trials.training.distillation import SoftLabels
from sweeplaw.trials.training.kernels import mean_losses
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.projected_loss import positions_at_once
from sweeplaw.trials.training.regularizers.layers import smoothed_losses
from sweeplaw.trials.training.weights import UnshardedWeights
from tests.paths import ROOT

MEMBERS, BATCH, CONTEXT = 2, 5, 6
WEIGHT = 0.25  # of a micro-batch
ESTIMATE = 1.3  # factor within which the peak is planned


def taught(tokens: Tensor) -> Tensor:
    return torch.nn.functional.one_hot((tokens + 1) % 12, 12).float() * tokens[..., None]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["tokens", "smoothed", "soft"])
@pytest.mark.parametrize("logits", [1, 12 * MEMBERS * 7, 2**20])  # one position, 7 of 30, all at once
def test_losses_and_gradients_in_parts_are_those_of_all_logits_at_once(monkeypatch, tied, kind, logits):
    shape = Shape(1, 16, 2, 40, 12, tied_embeddings=tied)
    windows = torch.randint(12, (MEMBERS, BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    smoothing = torch.tensor([0.0, 0.2]) if kind != "tokens" else None
    labels = SoftLabels(taught, 0.4, 2.0) if kind == "soft" else None
    whole, parts = Transformer(shape, CONTEXT, [0, 1], "cpu"), Transformer(shape, CONTEXT, [0, 1], "cpu")
    predicted, targets = whole.logits(windows[..., :-1]).flatten(1, 2), windows[..., 1:].flatten(1)
    if labels is not None:
        expected = labels.losses(predicted, windows, smoothing)
    else:
        expected = (
            mean_losses(predicted, targets) if smoothing is None else smoothed_losses(predicted, targets, smoothing)
        )
    whole.weights.backward(expected, WEIGHT)
    monkeypatch.setattr(accounting, "LOSS_LOGITS", logits)
    found = parts.losses(windows, None, smoothing, labels)
    parts.weights.backward(found, WEIGHT)
    assert torch.allclose(found, expected, rtol=1e-6)
    assert isinstance(whole.weights, UnshardedWeights)
    assert isinstance(parts.weights, UnshardedWeights)
    error = (parts.weights.gradient - whole.weights.gradient).abs().max()
    assert error <= 2e-6 * whole.weights.gradient.abs().max()


def test_as_many_positions_are_taken_at_once_as_logits_are_allowed():
    assert positions_at_once(1, 128_256) == 1046
    assert positions_at_once(5, 128_256) == 209
    assert positions_at_once(1, 128_256, 4096) == 4096  # of soft labels, never less than a window
    assert positions_at_once(2, 2**28) == 1


_PEAK = """
import sys, torch
torch.set_num_threads(1)
from sweeplaw.trials import accounting
from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.optimizers.adamw import AdamW
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
accounting.LOSS_LOGITS = 2**22

def train(shape, context, batch, members):
    autocast = torch.bfloat16 if sys.argv[1] == "bfloat16" else None
    model, each = Transformer(shape, context, range(members), "cpu", autocast=autocast), [0.1] * members
    weights = model.weights
    optimizer = AdamW(weights.values, weights.groups, [Coefficients(grad_clip=0.1)] * members)
    for _ in range(2):
        weights.backward(model.losses(torch.zeros(members, batch, context + 1, dtype=torch.int64)))
        optimizer.step(each, each, weights.gradients, weights.norms())

train(Shape(1, 8, 1, 16, 16), 8, 1, 1)
def resident(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew; that of getrusage also remembers the process that started this one
before = resident("VmRSS")
train(Shape(*map(int, sys.argv[2].split(","))), *map(int, sys.argv[3:]))
print(resident("VmHWM") - before)
"""


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("precision", "shape", "context", "batch", "members"),
    [
        ("float32", Shape(2, 64, 2, 160, 8192), 128, 32, 1),  # 33 million logits, in parts
        ("float32", Shape(4, 96, 3, 256, 256), 64, 24, 4),
        ("bfloat16", Shape(8, 96, 3, 256, 256), 128, 32, 1),
    ],
)
def test_a_training_takes_the_memory_that_is_planned_for_it(monkeypatch, precision, shape, context, batch, members):
    monkeypatch.setattr(accounting, "LOSS_LOGITS", 2**22)
    size = {"float32": 4, "bfloat16": 2}[precision]
    planned = memory(shape, context, batch, members=members, bytes_per_value=size).peak
    numbers = (shape.depth, shape.width, shape.heads, shape.ffn, shape.vocabulary)
    order: list[Any] = [precision, ",".join(map(str, numbers)), context, batch, members]
    command = [sys.executable, "-c", _PEAK, *map(str, order)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed leaves no holes in the heap
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    measured = int(done.stdout)
    assert planned / ESTIMATE <= measured <= planned * ESTIMATE
