"""One member of a trial in the layout of Hugging Face: a Llama, or a Qwen3 where queries and keys are normalized.

`transformers.AutoModelForCausalLM.from_pretrained` gives the same logits. Our rotary pairs are neighbouring dimensions
of a head and theirs lie half a head apart, so the rows of queries and keys, and the gains of their norms, are permuted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.model import member_of
from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.kept_weights import KeptWeights
from sweeplaw.trials.training.kernels import NORM_EPS

NOTE = "sweeplaw.json"


def export(weights: KeptWeights, member: int, folder: Path) -> None:
    """Write config.json, model.safetensors, and a note with the spec and how text becomes tokens.

    Raise InputError if there is no such member, the file is damaged, or the folder has files; OSError.
    """
    knobs, shape, tensors = member_of(weights, member)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty (accepted: a new or empty folder)")
    folder.mkdir(parents=True, exist_ok=True)
    tensor_files.save(renamed(tensors, shape), str(folder / "model.safetensors"), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config(knobs, shape), indent=2) + "\n")
    tokenizer = _tokenizer(str(knobs["tokenizer"]))
    note = {"trial_id": str(weights.kept), "member": member, "tokenizer": tokenizer, "spec": json.loads(weights.spec)}
    (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n")


def config(knobs: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Return the config of transformers for this model."""
    kind, architecture = ("qwen3", "Qwen3ForCausalLM") if shape.qk_norm else ("llama", "LlamaForCausalLM")
    return {
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": knobs["context"],
        "rms_norm_eps": NORM_EPS,
        "rope_theta": knobs["rope_base"],
        "rope_parameters": {"rope_type": "default", "rope_theta": knobs["rope_base"]},
        "tie_word_embeddings": shape.tied_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": "float32",
    }


def renamed(tensors: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Return our tensors under the names of transformers, in its order of rotary dimensions."""
    found = {
        "model.embed_tokens.weight": tensors["embedding"],
        "model.norm.weight": tensors["final_norm"],
        **({} if shape.tied_embeddings else {"lm_head.weight": tensors["head"]}),
    }
    for block in range(shape.depth):
        own = {name.removeprefix(f"{block}."): tensor for name, tensor in tensors.items()}
        found |= {f"model.layers.{block}.{name}.weight": tensor for name, tensor in _block(own, shape)}
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def _block(own: Mapping[str, Tensor], shape: Shape) -> Iterator[tuple[str, Tensor]]:
    query, key, value = own["qkv"].chunk(3)
    head_width = shape.width // shape.heads
    halves = torch.cat([torch.arange(0, head_width, 2), torch.arange(1, head_width, 2)])
    for name, rows in (("q", query), ("k", key)):
        yield f"self_attn.{name}_proj", rows.view(shape.heads, head_width, -1)[:, halves].flatten(0, 1)
    yield "self_attn.v_proj", value
    yield "self_attn.o_proj", own["attention_out"]
    if shape.qk_norm:
        yield "self_attn.q_norm", own["query_norm"][halves]
        yield "self_attn.k_norm", own["key_norm"][halves]
    gate, up = own["gate_up"].chunk(2)
    yield from (("mlp.gate_proj", gate), ("mlp.up_proj", up), ("mlp.down_proj", own["down"]))
    yield from (("input_layernorm", own["attention_norm"]), ("post_attention_layernorm", own["ffn_norm"]))


def _tokenizer(tokenizer: str) -> str:
    """Return how text becomes tokens. A file is named and not copied: a store may name any file of this machine."""
    if tokenizer == "bytes":
        return "none: a token is a byte of UTF-8 text, 0 to 255, and a zero byte ends each document"
    if tokenizer == "none":
        return "none: the corpus is tokens already"
    return f"{tokenizer}: copy it here as tokenizer.json"
