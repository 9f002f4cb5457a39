"""Several processes train a trial as one process does, and end soon after one of them ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.sampling.corpora import SamplingRequest, sample_corpus
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.distributed import ProcessGroup, Rendezvous, detect_lost_peer
from sweeplaw.trials.training.kernels import _FeedForward
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.parametrization.layout import layout
from sweeplaw.trials.training.sharding import ShardedWeights, spans
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workload import Context, PeerLost, World
from sweeplaw.trials.workloads.language_model import LanguageModel
from tests.trials.training.worlds import PATIENCE_SECONDS, free_address, world

pytestmark = pytest.mark.kill

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
WORKLOAD = LanguageModel.of("", {})
# The same sums over a batch in another order: float32 rounds differently, and Adam propagates it.
SAME_LOSS = 1e-4


def spec(**values: Any) -> TrialSpec:
    small = {
        "corpus": MARKOV,
        "context": 16,
        "unique_tokens": 2048,
        "width": 16,
        "validation_tokens": 1008,  # 63 windows, which two processes cannot share evenly
        "curve_points": 8,
        "evaluations": 2,
        "grad_clip": 0.3,  # below the first gradient norms, so that clipping by a part of the norm would be detected
        "lr": 1e-2,
    }
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, **values}))


def alone(trial: TrialSpec, folder: Path, store: str | None = None) -> list[Any]:
    workload = LanguageModel.of("", {"store": store} if store else {})
    return list(workload.run([trial], Context("cpu", folder)))


@pytest.mark.parametrize(
    ("size", "micro_batch_divisor", "settings"),
    [
        (2, 1, {}),
        (2, 3, {"members": 2, "tied_embeddings": True, "batch_sequences": 7}),
        pytest.param(3, 1, {"batch_sequences": 5, "qk_norm": True}, marks=pytest.mark.slow),
        pytest.param(2, 1, {"precision": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_several_processes_train_a_trial_as_one_process_does(
    tmp_path: Path, size: int, micro_batch_divisor: int, settings: dict[str, Any]
) -> None:
    assert_trained_alike(spec(**settings), size, tmp_path, micro_batch_divisor=micro_batch_divisor)


def test_several_processes_train_a_student_as_one_process_does(tmp_path: Path) -> None:
    """From kept weights, on text of a model beside real text, with soft labels of that model."""
    teacher = spec()
    *_, outcome = WORKLOAD.run([teacher], Context("cpu", tmp_path, weights=f"{tmp_path}/weights"))
    assert isinstance(outcome, Outcome)
    assert outcome.state == "completed"
    text = sample_corpus(locate(str(tmp_path)), SamplingRequest(teacher.trial_id, 2048)).name
    student = spec(
        init_from=teacher.trial_id, synthetic=text, synthetic_weight=0.5, teachers=teacher.trial_id, teacher_weight=0.5,
        members=2, seed=1, unique_tokens=1024,
    )  # fmt: skip
    assert_trained_alike(student, 2, tmp_path, micro_batch_divisor=3, store=str(tmp_path))


def assert_trained_alike(trial: TrialSpec, size: int, tmp_path: Path, **options: Any) -> None:
    settings = trial.knobs
    expected = alone(trial, tmp_path, options.get("store"))
    first, *others = world(size, [trial], tmp_path / "world", **options)
    found = first.events()
    assert [other.events() for other in others] == [[]] * (size - 1)  # the first process yields all
    assert [process.popen.returncode for process in (first, *others)] == [0] * size, first.log.read_text()
    assert len(found) == len(expected)
    tolerance = SAME_LOSS if settings["precision"] != "bfloat16" else 1e-2  # 8 bits of mantissa
    for theirs, ours in zip(expected, found, strict=True):
        if isinstance(theirs, CurvePoint):
            assert ours["step"] == theirs.step
            assert ours["train_loss"] == pytest.approx(theirs.train_loss, rel=tolerance)
            assert ours["grad_norm"] == pytest.approx(theirs.grad_norm, rel=100 * tolerance)
            assert ours["val_loss"] == (theirs.val_loss and pytest.approx(theirs.val_loss, rel=tolerance))
    outcome = expected[-1]
    assert isinstance(outcome, Outcome)
    assert (found[-1]["state"], found[-1]["last_step"]) == ("completed", outcome.last_step)
    assert found[-1]["metrics"]["val_loss"] == pytest.approx(outcome.metrics["val_loss"], rel=tolerance)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_others_at_once(tmp_path: Path, killed: int) -> None:
    processes = world(2, [spec(epochs=1000.0, curve_points=10_000)], tmp_path)
    assert processes[0].first()["step"] > 0
    processes[killed].popen.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert processes[1 - killed].popen.wait(PATIENCE_SECONDS) == 3, processes[1 - killed].log.read_text()
    assert time.monotonic() - began < 30  # seconds, on a loaded machine; the connection closes at once
    assert "another process of this trial is gone" in processes[1 - killed].log.read_text()
    processes[killed].events()
    processes[1 - killed].events()


def test_a_lost_process_is_reported_once_by_nested_operations_and_other_errors_pass_unchanged() -> None:
    with pytest.raises(PeerLost) as caught, detect_lost_peer(), detect_lost_peer():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert str(caught.value).count("is gone") == 1
    for error in (RuntimeError("the shapes differ"), torch.OutOfMemoryError("out of memory")):
        with pytest.raises(RuntimeError) as same, detect_lost_peer():
            raise error
        assert same.value is error


def test_all_processes_retry_a_trial_smaller_if_one_is_out_of_memory(tmp_path: Path) -> None:
    trial = spec()
    expected = alone(trial, tmp_path)[-1]
    first, second = world(2, [trial], tmp_path / "world", oom=[1, 2])
    *_, outcome = first.events()
    assert second.events() == []
    assert outcome["state"] == "completed", outcome["message"]
    assert outcome["metrics"]["micro_batches"] == 4
    assert outcome["metrics"]["val_loss"] == pytest.approx(expected.metrics["val_loss"], rel=SAME_LOSS)


def test_every_weight_is_in_exactly_one_part() -> None:
    slots = layout(Shape(3, 18, 1, 25, 61, qk_norm=True))
    found = spans(slots)
    assert [span.begin for span in found] == [0, *(span.begin + span.size for span in found[:-1])]
    assert sum(span.size for span in found) == sum(slot.numel for slot in slots)
    assert [slot.name for span in found for slot in span.slots] == [slot.name for slot in slots]
    assert [span.name for span in found] == ["head", "0", "1", "2", "common"]  # decaying weights first


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    """A group of one process that still runs every collective operation."""
    with Rendezvous(World(0, 1, free_address()), "cpu").joined() as joined:
        yield joined


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_weights_are_gathered_for_one_block_at_a_time_forward_and_backward(
    autocast: torch.dtype | None, group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(3, 16, 2, 40, 12)
    whole, sharded = (Transformer(shape, 8, [0, 1], "cpu", autocast=autocast) for _ in range(2))
    held = sharded.weights = ShardedWeights(ParameterLayout.of(shape), [0, 1], "cpu", group, autocast)
    sharded.run = held.run
    gathered: list[set[str]] = []
    real = _FeedForward.backward

    def gathered_now() -> set[str]:
        return {name for name, part in held.parts.items() if not isinstance(part.flat, DTensor)}

    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gathered.append(gathered_now())
        return real(ctx, *gradients)

    run = sharded._block

    def block(*args: Any) -> torch.Tensor:
        gathered.append(gathered_now())
        return run(*args)

    windows = torch.randint(12, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    expected = whole.losses(windows)
    monkeypatch.setattr(sharded, "_block", block)
    found = sharded.losses(windows)
    assert torch.equal(expected, found)
    assert gathered == [{"common", name} for name in ("0", "1", "2")]
    assert gathered_now() == {"common", "head"}, "which the backward pass needs first"
    gathered.clear()
    whole.weights.backward(expected)
    monkeypatch.setattr(_FeedForward, "backward", backward)
    held.backward(found)
    assert gathered == [{"common", name} for name in ("2", "1", "0")]
    assert gathered_now() == set()
    # Of the largest gradient: gathered weights are rounded before the products, not within.
    rough = 2.0**-8 if autocast else 1e-5
    assert isinstance(whole.weights, UnshardedWeights)
    scale = whole.weights.gradient.abs().max()  # of the backward pass
    assert (whole.weights.gradient - torch.cat(held.gradients, dim=1)).abs().max() <= rough * scale
    assert torch.allclose(whole.weights.norms(), held.norms(), rtol=rough)
