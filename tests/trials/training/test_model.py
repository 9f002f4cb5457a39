"""The model agrees with another implementation, with its own symmetries, and with single members."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training.model import Transformer as Model
from sweeplaw.trials.training.model import token_losses
from sweeplaw.trials.training.parametrization.layout import layout
from sweeplaw.trials.training.sharding import spans
from sweeplaw.trials.training.weights import UnshardedWeights

SHAPE = Shape(depth=2, width=32, heads=4, ffn=48, vocabulary=61)
CONTEXT = 12


def tokens(members: int = 1, batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(61, (members, batch, CONTEXT), generator=torch.Generator().manual_seed(seed))


def whole(model: Model) -> UnshardedWeights:
    """Return the weights of the model, all in this process."""
    assert isinstance(model.weights, UnshardedWeights)
    return model.weights


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.heavy
def test_logits_and_gradients_are_those_of_hugging_face_llama(tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    shape = Shape(2, 32, 4, 48, 61, tied_embeddings=tied)
    model = Model(shape, CONTEXT, [5], "cpu")
    for name, leaf in whole(model).parameters.items():  # gains other than 1, so that a misplaced one is detected
        if name.endswith("norm"):
            leaf.data.copy_(torch.linspace(0.5, 1.5, leaf.numel()).view_as(leaf))
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
        use_cache=False,
    )
    peer: Any = transformers.LlamaForCausalLM(config)
    copied = _copy_to_llama(model, peer)
    windows = torch.cat([tokens()[0], tokens(seed=1)[0, :, :1]], dim=1)
    theirs = peer(input_ids=windows[:, :-1]).logits
    ours = model.logits(windows[None, :, :-1])[0]
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    F.cross_entropy(theirs.flatten(0, 1), windows[:, 1:].flatten()).backward()
    model.weights.backward(model.losses(windows[None]))
    gradients = dict(zip(whole(model).parameters, _split(model), strict=True))
    for name, parameter in copied.items():
        assert parameter.grad is not None
        assert torch.allclose(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6), name


def _split(model: Model) -> list[torch.Tensor]:
    """Return the gradient of the only member, tensor by tensor."""
    leaves = [leaf[0] for leaf in whole(model).parameters.values()]
    parts = whole(model).gradient[0].split([leaf.numel() for leaf in leaves])
    return [part.view_as(leaf) for part, leaf in zip(parts, leaves, strict=True)]


def _copy_to_llama(model: Model, peer: Any) -> dict[str, torch.nn.Parameter]:
    """Copy our weights to the peer; return its parameters of the same layout as ours, by our names."""
    weights, heads, width = whole(model).parameters, model.shape.heads, model.shape.width
    half = width // heads // 2
    # Our rotation pairs neighbouring dimensions, theirs j and j + half: rows of queries and keys are permuted.
    order = torch.arange(width).view(heads, half, 2).transpose(1, 2).flatten()
    same = {"embedding": peer.model.embed_tokens.weight, "final_norm": peer.model.norm.weight}
    if not model.shape.tied_embeddings:
        same["head"] = peer.lm_head.weight
    with torch.no_grad():
        for i, layer in enumerate(peer.model.layers):
            query, key, value = weights[f"{i}.qkv"][0].chunk(3)
            layer.self_attn.q_proj.weight.copy_(query[order])
            layer.self_attn.k_proj.weight.copy_(key[order])
            layer.self_attn.v_proj.weight.copy_(value)
            gate, up = weights[f"{i}.gate_up"][0].chunk(2)
            layer.mlp.gate_proj.weight.copy_(gate)
            layer.mlp.up_proj.weight.copy_(up)
            same[f"{i}.attention_out"] = layer.self_attn.o_proj.weight
            same[f"{i}.down"] = layer.mlp.down_proj.weight
            same[f"{i}.attention_norm"] = layer.input_layernorm.weight
            same[f"{i}.ffn_norm"] = layer.post_attention_layernorm.weight
        for name, parameter in same.items():
            parameter.copy_(weights[name][0])
    return same


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.heavy
def test_a_member_of_a_stack_has_the_weights_logits_and_gradient_of_a_single_model(qk_norm: bool, tied: bool) -> None:
    shape = Shape(2, 32, 4, 48, 61, tied_embeddings=tied, qk_norm=qk_norm)
    together = Model(shape, CONTEXT, [7, 8, 9], "cpu")
    inputs = tokens(members=3)
    logits = together.logits(inputs)
    windows = torch.cat([inputs, tokens(members=3, seed=2)[..., :1]], dim=2)
    together.weights.backward(together.losses(windows))
    for row, seed in enumerate([7, 8, 9]):
        alone = Model(shape, CONTEXT, [seed], "cpu")
        assert torch.equal(whole(alone).flat[0], whole(together).flat[row])
        assert torch.allclose(alone.logits(inputs[row : row + 1])[0], logits[row], rtol=1e-4, atol=1e-6)
        alone.weights.backward(alone.losses(windows[row : row + 1]))
        assert torch.allclose(whole(alone).gradient[0], whole(together).gradient[row], rtol=1e-4, atol=1e-7)


def test_logits_do_not_depend_on_later_tokens() -> None:
    model = Model(SHAPE, CONTEXT, [0], "cpu")
    before = tokens()
    after = before.clone()
    after[..., 7:] = (after[..., 7:] + 1) % 61
    assert torch.equal(model.logits(before)[..., :7, :], model.logits(after)[..., :7, :])
    assert not torch.equal(model.logits(before)[..., 7:, :], model.logits(after)[..., 7:, :])


def test_a_prefix_has_the_logits_of_the_whole_text() -> None:
    model = Model(SHAPE, CONTEXT, [0], "cpu")
    whole = model.logits(tokens())
    assert torch.allclose(model.logits(tokens()[..., :5]), whole[..., :5, :], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_starts_near_that_of_a_uniform_guess(tied: bool) -> None:
    shape = Shape(3, 64, 4, 172, 256, tied_embeddings=tied)
    windows = torch.randint(256, (1, 8, 65), generator=torch.Generator().manual_seed(0))
    start = Model(shape, 64, [0], "cpu").losses(windows).item()
    assert start == pytest.approx(math.log(256), abs=0.02 if not tied else 0.7)


def test_token_losses_are_minus_log_probabilities() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(5, (2, 3, 4), generator=torch.Generator().manual_seed(1))
    expected = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0].flatten(1)
    assert torch.allclose(token_losses(logits, targets), expected)


def test_the_parts_that_are_sharded_follow_each_other_and_are_all_weights() -> None:
    slots = layout(SHAPE)
    values = torch.arange(sum(slot.numel for slot in slots)).repeat(2, 1)
    parts = spans(slots)
    assert [slot for part in parts for slot in part.slots] == list(slots)
    assert torch.equal(torch.cat([part.of(values) for part in parts], dim=1), values)
