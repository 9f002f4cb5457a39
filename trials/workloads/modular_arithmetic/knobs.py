"""Knobs and metrics of modular-arithmetic trials."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sweeplaw.trials.spec import Knob
from sweeplaw.trials.workloads.modular_arithmetic.arithmetic import OPERATIONS

MODELS, ACTIVATIONS, LOSS_FUNCTIONS = ("mlp", "transformer"), ("relu", "square"), ("softmax", "stablemax")
THRESHOLD = 0.99  # share of right answers above which pairs count as learned

KNOBS = (
    Knob("operation", "str", "addition", "", "of two integers modulo `modulus`", choices=OPERATIONS),
    Knob("modulus", "int", 97, "", "p; a prime for division", low=2, high=4096),
    Knob("train_fraction", "float", 0.5, "of pairs", "trained on; the others are the validation set", low=0, high=1),
    Knob("model", "str", "mlp", "", "mlp or a one-layer transformer", choices=MODELS),
    Knob("width", "int", 128, "", "of the hidden layers, or of the residual stream", low=1, high=2**16),
    Knob("hidden_layers", "int", 1, "layers", "of the mlp, input and output beside; 1 otherwise", low=1, high=100),
    Knob("heads", "int", 4, "", "attention heads of the transformer; without effect on the mlp", low=1, high=2**12),
    Knob("activation", "str", "relu", "", "nonlinearity of hidden layers", choices=ACTIVATIONS),
    Knob("loss_function", "str", "softmax", "", "turns logits into probabilities", choices=LOSS_FUNCTIONS),
    Knob("orthogonal_gradient", "bool", False, "", "leave out the part of each gradient along the weights"),
    Knob("steps", "int", 10_000, "steps", "optimizer steps", low=1, high=10**9),
    Knob("batch_pairs", "int", 0, "pairs", "of one step; 0: all training pairs", low=0, high=2**24),
    Knob("lr", "float", 1e-3, "", "learning rate", member=True, low=0, high=1e3),
    Knob("warmup_steps", "int", 10, "steps", "linear rise of the learning rate", low=0, high=10**9),
    Knob("weight_decay", "float", 1.0, "", "decoupled decay of all weights, times lr", member=True, low=0, high=1e4),
    Knob("beta1", "float", 0.9, "", "decay of Adam's first moment", low=0, high=1 - 1e-9),
    Knob("beta2", "float", 0.98, "", "decay of Adam's second moment", low=0, high=1 - 1e-9),
    Knob("eps", "float", 1e-8, "", "Adam's epsilon", low=1e-30, high=1),
    Knob("init_scale", "float", 1.0, "", "multiplies all initial weights", member=True, low=1e-6, high=1e6),
    Knob("seed", "int", 0, "", "initialization, training pairs and their order", member=True, low=0, high=2**63 - 1),
    Knob("evaluations", "int", 200, "", "evenly spaced, the last at the end", low=1, high=10**6),
    Knob("divergence_loss", "float", 1e6, "nats", "a loss above this has diverged", member=True, low=0, high=1e30),
)  # fmt: skip

METRICS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "train_accuracy": ("", "share of training pairs answered right at the end"),
        "val_accuracy": ("", "share of validation pairs answered right at the end"),
        "memorized_step": ("steps", f"first evaluation with a training accuracy above {THRESHOLD}; null without one"),
        "memorized_censored_step": ("steps", "last evaluation, where memorized_step is null"),
        "grok_step": (
            "steps",
            f"first evaluation from which on the validation accuracy is above {THRESHOLD} to the end; "
            "null if it is not above it at the end",
        ),
        "grok_censored_step": ("steps", "last evaluation, where grok_step is null: the trial may grok after it"),
        "weight_norm": ("", "Euclidean norm of all weights at the end"),
    }
)  # fmt: skip
