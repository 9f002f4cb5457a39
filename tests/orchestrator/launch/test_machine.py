"""What a computation in this process may ask of the machine."""

from __future__ import annotations

import pytest
import torch

from sweeplaw.orchestrator.launch.evaluation.machine import check
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.sampling.corpora import DRAWN_TOGETHER


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("device", "count", "fault"),
    [
        ("cpu", 0, None),
        ("cuda", 1, None),
        ("cuda:1", 2, None),
        ("cuda:2", 2, "device = 'cuda:2', but there are 2 (accepted: cuda:0 to cuda:1)"),
        ("cuda:1", 1, "device = 'cuda:1', but there are 1 (accepted: cuda:0 to cuda:0)"),
        ("cuda", 0, "device = 'cuda', but this process sees no CUDA device (accepted: cpu)"),
        ("cuda:x", 2, "device = 'cuda:x' (accepted: cpu, cuda, cuda:NUMBER)"),
        ("gpu", 2, "device = 'gpu' (accepted: cpu, cuda, cuda:NUMBER)"),
    ],
)
def test_a_device_must_be_there(monkeypatch: pytest.MonkeyPatch, device: str, count: int, fault: str | None) -> None:
    gpus(monkeypatch, count)
    if fault is None:
        check(device=device)
        return
    with pytest.raises(InputError) as caught:
        check(device=device)
    assert caught.value.faults == (fault,)


def test_threads_and_sequences_have_a_range_and_all_faults_come_at_once() -> None:
    for threads, batch in ((1, 1), (1024, DRAWN_TOGETHER)):
        check(threads=threads, batch=batch)
    for threads, batch in ((0, 0), (1025, DRAWN_TOGETHER + 1)):
        with pytest.raises(InputError) as caught:
            check(threads=threads, batch=batch, device="tpu")
        assert [fault.partition(" = ")[0] for fault in caught.value.faults] == ["threads", "batch", "device"]
        assert "(accepted: 1 to 1024)" in caught.value.faults[0]
