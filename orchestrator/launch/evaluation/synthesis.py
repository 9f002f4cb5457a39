"""Sample a synthetic corpus from finished trials in this process, and keep it in their store."""

from __future__ import annotations

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.sampling.corpora import Request, Sampled, sample_corpus
from sweeplaw.trials.workloads.ensemble.specs import expanded, spec_of, training_flops


def sample(
    store: Store,
    request: Request,
    *,
    batch: int = 64,
    threads: int = 1,
    device: str = "cpu",
    progress: ProgressCallback = no_progress,
) -> Sampled:
    """Sample the corpus from models that the store keeps, unless the same text is there already.

    ``batch`` sequences are sampled at a time. Raise InputError, OSError.
    """
    import torch

    uri = store.location.uri
    names = expanded(uri, [part.strip() for part in request.teachers.split(",")])
    known = {
        "store": uri,
        "training_flops": training_flops(names, [spec_of(uri, name.kept)[0] for name in names]),
        "commit": commit(),
        "versions": versions(),
    }
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return sample_corpus(store.location, request, batch=batch, device=device, known=known, progress=progress)
    finally:
        torch.set_num_threads(before)
