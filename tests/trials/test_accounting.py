"""Costs, compared with the tensors of a model, published conventions and worked examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.trials.accounting import (
    FLOPS_CONVENTIONS,
    Cost,
    Shape,
    chinchilla_flops_per_token,
    kaplan_flops_per_token,
    length,
    memory,
    palm_flops_per_token,
    parameters,
)

SHAPES = [
    Shape(3, 32, 2, 85, 256),
    Shape(3, 32, 2, 85, 256, tied_embeddings=True),
    Shape(2, 48, 3, 128, 1000, qk_norm=True),
    Shape(1, 16, 1, 40, 17, tied_embeddings=True, qk_norm=True),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameter_count_is_the_number_of_trained_values(shape: Shape) -> None:
    from sweeplaw.trials.training.model import Transformer
    from sweeplaw.trials.training.weights import UnshardedWeights

    model = Transformer(shape, 8, [0], "cpu")
    assert isinstance(model.weights, UnshardedWeights)
    assert model.weights.flat.shape == (1, parameters(shape).total)
    tables = {name: leaf.numel() for name, leaf in model.weights.parameters.items() if name in ("embedding", "head")}
    assert sum(tables.values()) == parameters(shape).embedding
    assert sum(leaf.numel() for leaf in model.weights.parameters.values()) == parameters(shape).total


def test_a_llama_7b_has_its_published_parameters() -> None:
    # Touvron et al. 2023, table 2: 6.7B parameters; the checkpoint has 6,738,415,616.
    assert parameters(Shape(32, 4096, 32, 11008, 32000)).total == 6_738_415_616


def test_palm_flops_are_six_per_matrix_parameter_plus_full_attention() -> None:
    shape, context = Shape(4, 64, 4, 172, 256), 128
    without_embedding = parameters(shape).non_embedding + 256 * 64
    assert palm_flops_per_token(shape, context) == 6 * without_embedding + 12 * 4 * 128 * 64


def test_tying_the_head_reduces_parameters_and_not_flops() -> None:
    untied, tied = Shape(2, 32, 2, 80, 512), Shape(2, 32, 2, 80, 512, tied_embeddings=True)
    assert parameters(untied).total - parameters(tied).total == 512 * 32
    assert all(flops(untied, 64) == flops(tied, 64) for flops in FLOPS_CONVENTIONS.values())


def test_conventions_agree_where_they_count_the_same() -> None:
    # At large width the embedding, attention scores and softmax vanish beside the matrices: all tend to 6N.
    shape, context = Shape(32, 32768, 256, 87384, 256), 16
    reference = 6 * parameters(shape).non_embedding
    for flops in (palm_flops_per_token, kaplan_flops_per_token, chinchilla_flops_per_token):
        assert flops(shape, context) == pytest.approx(reference, rel=2e-3)


@given(
    unique=st.integers(1, 10**6),
    epochs=st.floats(0.01, 50),
    batch=st.integers(1, 64),
    context=st.integers(1, 512),
)
def test_tokens_are_whole_batches_and_less_than_one_batch_short(
    unique: int, epochs: float, batch: int, context: int
) -> None:
    run = length(unique, epochs, batch, context)
    wanted = unique // context * context * epochs
    assert run.tokens == run.steps * batch * context
    assert run.tokens <= wanted * (1 + 1e-9) + 1e-6
    assert wanted - run.tokens < (batch + 1) * context
    assert run.unique_tokens <= unique


def test_whole_epochs_of_whole_batches_drop_no_token() -> None:
    run = length(32_768, 16, 8, 128)
    assert (run.steps, run.tokens) == (16 * 32, 16 * 32_768)


def test_state_is_sixteen_bytes_a_parameter_and_divides_over_the_devices_of_a_trial() -> None:
    shape = Shape(12, 768, 12, 2048, 50304)
    needed = memory(shape, 1024, 32)
    cost = Cost(
        batch_sequences=32,
        memory_bytes=needed.peak,
        state_bytes=needed.state,
        gathered_bytes=needed.gathered,
        undivided_bytes=needed.undivided,
    )
    # Four values of float32 a parameter: weight, gradient and two moments.
    assert needed.state == 16 * parameters(shape).total
    assert cost.memory_on(1) == needed.peak
    for devices in (2, 4, 8, 32):
        expected = needed.state / devices + needed.gathered + needed.activations / devices + needed.undivided
        assert cost.memory_on(devices) == pytest.approx(expected, abs=2)
    assert cost.memory_on(1, micro_batch_divisor=4) == pytest.approx(
        needed.state + needed.activations / 4 + needed.undivided, abs=1
    )


def test_logits_are_planned_as_they_are_held_at_once() -> None:
    shape = Shape(12, 768, 12, 2688, 128_256)
    needed = memory(shape, 4096, 64, bytes_per_value=2)
    assert needed.peak < 135e9  # 403 GB more with all logits
    assert needed.undivided == 12 * 4096 * 128_256 + 8 * 128_256 * 768  # those of a window of the evaluation
    small = memory(shape, 128, 8)
    assert small.undivided == 0
    assert small.activations > 12 * 128 * 8 * 128_256


def test_the_largest_share_of_a_batch_counts_and_shares_are_at_most_its_sequences() -> None:
    cost = Cost(batch_sequences=5, memory_bytes=1600, state_bytes=600, gathered_bytes=10)
    assert cost.memory_on(2) == 300 + 10 + 1000 * 3 // 5
    assert cost.memory_on(5) == 120 + 10 + 200
    assert cost.memory_on(6) is None
    assert cost.memory_on(1, micro_batch_divisor=100) == 600 + 200


def test_unknown_memory_is_unknown_on_any_number_of_devices() -> None:
    assert Cost().memory_on(1) is None
    assert Cost(memory_bytes=100).memory_on(1) == 100
    assert Cost(memory_bytes=100, batch_sequences=8).memory_on(2) is None


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.heavy
def test_state_is_the_memory_held_by_each_process_of_a_trial(processes: int) -> None:
    import torch

    from sweeplaw.trials.training.distributed import ProcessGroup
    from sweeplaw.trials.training.model import Transformer

    shape = Shape(3, 32, 2, 85, 256, qk_norm=True)
    expected = memory(shape, 64, 8, members=2).state / processes
    for rank in {0, processes - 1}:
        with _fake_group(rank, processes):
            model = Transformer(shape, 8, [0, 1], "cpu", group=ProcessGroup(rank, processes))
            model.weights.backward(model.losses(torch.zeros(2, 1, 9, dtype=torch.int64)))
            held = [*model.weights.values, *model.weights.gradients]
        assert {tensor.dtype for tensor in held} == {torch.float32}
        kept = 4 * 2 * sum(tensor.numel() for tensor in held)  # the optimizer holds two moments of the same size
        padding = 2 * 16 * (shape.depth + 2)  # at most one value per part and member
        assert expected <= kept <= expected + padding


@contextlib.contextmanager
def _fake_group(rank: int, processes: int) -> Iterator[None]:
    """A process group without the other processes: exchanged values are fake but have the right size."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=processes)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.heavy
def test_gathered_memory_is_the_shared_parameters_the_head_and_two_blocks() -> None:
    """As weights, gradients and exchange buffer: 12 bytes per parameter."""
    from sweeplaw.trials.training.parametrization.layout import COMMON, HEAD, layout
    from sweeplaw.trials.training.sharding import spans

    shape = Shape(3, 32, 2, 85, 256)
    size = {span.name: span.size for span in spans(layout(shape))}
    gathered = size[COMMON] + size[HEAD] + 2 * max(size[f"{block}"] for block in range(shape.depth))
    assert memory(shape, 64, 8).gathered == 12 * gathered
