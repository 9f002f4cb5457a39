"""Knobs, requests and metrics of language-model trials."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sweeplaw.trials.accounting import WEIGHT_PARTS, OperandCopies, real_parts
from sweeplaw.trials.spec import Knob, Value
from sweeplaw.trials.training.evaluation.subsets import ALL_OF

CORPORA = (
    "stdlib, text:GLOB, parquet:GLOB?column=NAME, tokens:PATH?vocab=N, hf:NAME, markov:states=N,order=K or synthetic:ID"
)

OF_SEED = -1  # of init_seed and data_seed
_INIT_SEED = "seed of the initialization alone, of every member; -1: each member's own seed"
_DATA_SEED = "seed of the data order alone, of every member; -1: each member's own seed"
OF_OPTIMIZER = -1.0  # of momentum
MOMENTUM = {"sgd": 0.9, "muon": 0.95}
NO_BASE = 0
# The optimizers, with the knobs among `TUNING` that each reads.
OPTIMIZER_KNOBS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "adamw": frozenset({"beta1", "beta2", "eps"}),
        "sgd": frozenset({"momentum", "nesterov"}),
        "lion": frozenset({"beta1", "beta2"}),
        "muon": frozenset({"beta1", "beta2", "eps", "momentum", "nesterov"}),
        "schedule_free": frozenset({"beta1", "beta2", "eps"}),
    }
)
# Tensors as large as the weights that each keeps; schedule_free copies the weights while it evaluates an average.
MOMENTS: Mapping[str, int] = MappingProxyType({"adamw": 2, "sgd": 1, "lion": 1, "muon": 2, "schedule_free": 4})
# Tensors as large as the weights that an update takes for a while (measured), where it is more than one.
WORKSPACES: Mapping[str, int] = MappingProxyType({"sgd": 2, "muon": 2})
# What a product of the blocks holds of an operand while it rounds it: in fp4 the operand in the order of either of its
# dimensions, scaled values, noise, and what rounding takes.
OPERANDS: Mapping[str, OperandCopies] = MappingProxyType({"fp8": OperandCopies(3, 1), "fp4": OperandCopies(9, 3)})
TUNING = frozenset().union(*OPTIMIZER_KNOBS.values())
_OPTIMIZER = "muon: of the hidden matrices, adamw of the rest; schedule_free: AdamW that averages"
_MOMENTUM = "of sgd and muon; -1: the optimizer's own, .9 and .95"
_POINTS = "of schedule = 'points', shares of the run after warm-up and of lr: '0: 1, 0.8: 0.6, 1: 0'"
PRECISION_BITS: Mapping[str, int] = MappingProxyType({"float32": 32, "bfloat16": 16, "fp8": 8, "fp4": 4})
_PRECISION = "of matrix products; bfloat16: autocast; fp8 (E4M3, E5M2) and fp4 (NVFP4) are emulated, in the blocks"
_MUP = "mup: initial values and rates scaled so that the best lr stays where it is at base_width"
_BASE_HEADS = "heads of the base width in mup; 0: as many as by default"
_BASE_DEPTH = "depth scaling (CompleteP): depth at which blocks add to the stream as in standard; 0: none"
_REGULARIZERS = {
    "dropout": "rate of what each layer adds to the residual stream, in training",
    "attention_dropout": "rate of attention weights, in training",
    "stochastic_depth": "rate at which the last block is left out, in training; earlier ones proportionally less often",
    "label_smoothing": "share of a target spread equally over the vocabulary; part of train_loss, not of val_loss",
}


class SyntheticShare(Knob):
    """The share of synthetic windows: of the real ones, of which epochs are asked for, some must be left."""

    __slots__ = ()

    def coerce(self, value: Any) -> Value:
        """Return the share. Raise ValueError if it is none, or leaves no real text."""
        share = Knob.coerce(self, value)
        if real_parts(float(share)) < 1:
            most = 1 - 1 / WEIGHT_PARTS
            raise ValueError(
                f"{value!r} leaves no real text, of which epochs are asked for (accepted: up to {most}; "
                "to train on synthetic text alone, corpus = 'synthetic:ID' and validation_corpus = the real corpus)"
            )
        return share


KNOBS = (
    Knob("corpus", "str", "stdlib", "", f"training text: {CORPORA}"),
    Knob("tokenizer", "str", "bytes", "", "bytes, or a tokenizers JSON file; none where the corpus is tokens already"),
    Knob("context", "int", 128, "tokens", "length of a training window", low=1, high=2**20),
    Knob("unique_tokens", "int", 2**20, "tokens", "U: distinct training tokens, in whole windows", low=1, high=2**53),
    Knob("epochs", "float", 1.0, "passes", "times the unique tokens are seen", low=1e-6, high=1e9),
    Knob("batch_sequences", "int", 8, "sequences", "windows of one optimizer step", low=1, high=2**24),
    Knob("depth", "int", None, "layers", "transformer blocks", low=1, high=10_000),
    Knob("width", "int", None, "", "dimension of the residual stream", low=2, high=2**20),
    Knob("heads", "int", None, "", "attention heads", low=1, high=2**16),
    Knob("ffn", "int", None, "", "hidden width of the SwiGLU", low=1, high=2**22),
    Knob("tied_embeddings", "bool", False, "", "the output head is the token embedding"),
    Knob("qk_norm", "bool", False, "", "RMSNorm of each head's queries and keys"),
    Knob("rope_base", "float", 1e4, "", "base of the rotary wavelengths", low=1.0, high=1e12),
    Knob("lr", "float", 3e-3, "", "peak learning rate", member=True, low=0, high=1e3),
    Knob(
        "weight_decay",
        "float",
        0.1,
        "",
        "decoupled decay of the matrices, times lr a step",
        member=True,
        low=0,
        high=1e4,
    ),
    Knob("beta1", "float", 0.9, "", "decay of Adam's first moment", member=True, low=0, high=1 - 1e-9),
    Knob("beta2", "float", 0.95, "", "decay of Adam's second moment", member=True, low=0, high=1 - 1e-9),
    Knob("eps", "float", 1e-8, "", "Adam's epsilon", member=True, low=0, high=1),
    Knob(
        "grad_clip", "float", 1.0, "", "largest global gradient norm; 0 for no clipping", member=True, low=0, high=1e9
    ),
    Knob(
        "schedule",
        "str",
        "cosine",
        "",
        "after warm-up",
        member=True,
        choices=("cosine", "linear", "wsd", "constant", "inverse_sqrt", "points"),
    ),
    Knob("warmup_fraction", "float", 0.05, "of steps", "linear rise of the learning rate", member=True, low=0, high=1),
    Knob("final_lr_fraction", "float", 0.0, "of lr", "where the learning rate ends", member=True, low=0, high=1),
    Knob("decay_fraction", "float", 0.2, "of steps", "length of the fall in wsd", member=True, low=0, high=1),
    Knob("seed", "int", 0, "", "initialization and data order", member=True, low=0, high=2**63 - 2**20),
    Knob("members", "int", 1, "models", "size of the ensemble: seeds seed, seed + 1, …", low=1, high=2**16),
    Knob(
        "evaluations",
        "int",
        5,
        "",
        "validation losses of a run, evenly spaced, the last at its end",
        low=1,
        high=100_000,
    ),
    Knob(
        "curve_points", "int", 40, "rows", "rows of the training curve, evaluations come on top", low=1, high=1_000_000
    ),
    Knob("validation_tokens", "int", 2**16, "tokens", "held-out tokens each evaluation uses", low=1, high=2**40),
    Knob(
        "divergence_loss", "float", 20.0, "nats/token", "a loss above this has diverged", member=True, low=0, high=1e6
    ),
    Knob("precision", "str", "float32", "", _PRECISION, choices=tuple(PRECISION_BITS)),
    Knob(
        "changes",
        "str",
        "",
        "",
        "new values of lr and weight_decay from some steps on: '200: lr=0.002, weight_decay=0.1; 400: lr=0.0024'",
        member=True,
        since="0.1.0",
    ),
    Knob("init_seed", "int", OF_SEED, "", _INIT_SEED, member=True, low=OF_SEED, high=2**63 - 2**20, since="0.1.0"),
    *(
        Knob(name, "float", 0.0, "", meaning, member=True, low=0, high=1 - 1e-9, since="0.1.0")
        for name, meaning in _REGULARIZERS.items()
    ),
    Knob("synthetic", "str", "", "", "sampled text to train on beside the corpus: synthetic:ID", since="0.1.0"),
    SyntheticShare(
        "synthetic_weight",
        "float",
        0.0,
        "of windows",
        "share of synthetic windows; epochs count the real text, so a run is 1 / (1 - share) times as long",
        low=0,
        high=1,
        since="0.1.0",
    ),
    Knob("teachers", "str", "", "", "kept models whose mean logits give a second target: TRIAL_ID, …", since="0.1.0"),
    Knob("teacher_weight", "float", 0.0, "", "share of the teachers in the target", low=0, high=1, since="0.1.0"),
    Knob("teacher_temperature", "float", 1.0, "", "of both softmaxes there", low=1e-3, high=1e3, since="0.1.0"),
    Knob("init_from", "str", "", "", "kept model whose weights a run begins with: TRIAL_ID[:MEMBER]", since="0.1.0"),
    Knob("validation_corpus", "str", "", "", "text of the validation loss, if not the corpus's own", since="0.1.0"),
    Knob("optimizer", "str", "adamw", "", _OPTIMIZER, choices=tuple(OPTIMIZER_KNOBS), since="0.1.0"),
    Knob("momentum", "float", OF_OPTIMIZER, "", _MOMENTUM, member=True, low=-1, high=1 - 1e-9, since="0.1.0"),
    Knob("nesterov", "bool", True, "", "Nesterov's momentum in sgd and muon", member=True, since="0.1.0"),
    Knob(
        "decay_convention",
        "str",
        "times_lr",
        "",
        "what an update takes of the matrices: lr x weight_decay, or independent of lr: schedule x weight_decay",
        member=True,
        choices=("times_lr", "independent"),
        since="0.1.0",
    ),
    Knob("schedule_points", "str", "", "", _POINTS, member=True, since="0.1.0"),
    Knob("parametrization", "str", "standard", "", _MUP, choices=("standard", "mup"), since="0.1.0"),
    Knob("base_width", "int", NO_BASE, "", "width at which mup is standard", low=0, high=2**20, since="0.1.0"),
    Knob("base_heads", "int", NO_BASE, "", _BASE_HEADS, low=0, high=2**16, since="0.1.0"),
    Knob("base_depth", "int", NO_BASE, "layers", _BASE_DEPTH, low=0, high=10_000, since="0.1.0"),
    Knob("data_seed", "int", OF_SEED, "", _DATA_SEED, member=True, low=OF_SEED, high=2**63 - 2**20, since="0.1.0"),
)

REQUESTS = (
    Knob("params", "int", None, "parameters", "N, embeddings included: a shape is solved for", low=1, high=1e14),
    Knob(
        "params_non_embedding",
        "int",
        None,
        "parameters",
        "N without embeddings: a shape is solved for",
        low=1,
        high=1e14,
    ),
    Knob("tokens", "int", None, "tokens", "D: in place of unique_tokens or of epochs", low=1, high=2**53),
)

_SIZES = range(1, ALL_OF + 1)
METRICS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "member_loss": ("nats/token", "validation loss of one member, mean over the ensemble; null for one member"),
        **{
            f"ensemble_loss_{size}": ("nats/token", f"final validation loss, mean over all ensembles of {size} members")
            for size in _SIZES
        },
        **{
            f"nested_loss_{size}": ("nats/token", f"final validation loss of the first {size} members")
            for size in _SIZES
        },
        "precision_bits": ("bits", "P: bits of an operand of the matrix products of the blocks"),
        "tokens_per_second": ("tokens/s", "training tokens of all members over the trial's share of wall seconds"),
        "teacher_flops": ("FLOPs", "training its teachers, and sampling or labels from them; null without teachers"),
        "micro_batches": ("", "parts that each batch was computed in to save memory; null for one"),
        "resumed_step": (
            "steps",
            "steps that an earlier attempt had done; null for a trial trained without interruption",
        ),
        "trunk_steps": (
            "steps",
            "first steps that a shorter trial did for both; null for a trial that did all its own",
        ),
    }
)
SHAPE = ("depth", "width", "heads", "ffn")
