"""Sample a synthetic corpus from finished trials in this process, and keep it in their store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.launch.evaluation import machine
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import TRIAL, best_runs
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.trials.errors import InputError, gathered, shown
from sweeplaw.trials.formula import parse
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import number
from sweeplaw.trials.sampling import corpora
from sweeplaw.trials.sampling.corpora import NOTHING, SampledCorpus, SamplingOptions, SamplingRequest, sample_corpus
from sweeplaw.trials.workloads.ensemble.specs import expanded, spec_of, training_flops

MOST_TOKENS = 2**53


def sample(
    store: Store,
    request: SamplingRequest,
    *,
    batch: int = 64,
    threads: int = 1,
    device: str = "cpu",
    progress: ProgressCallback = no_progress,
) -> SampledCorpus:
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


def checked(
    store: Store,
    requests: Callable[[], list[SamplingRequest]],
    options: SamplingOptions,
    *,
    batch: int,
    threads: int,
    device: str,
) -> list[SamplingRequest]:
    """Return these requests if they can be sampled. Raise InputError with every fault of them and of the options."""

    def possible() -> list[SamplingRequest]:
        found = requests()
        gathered({number: partial(corpora.check, store.location, one) for number, one in enumerate(found)})
        return found

    answers: dict[str, Callable[[], Any]] = {
        "requests": possible,
        "options": partial(_check_options, options),
        "machine": partial(machine.check, batch=batch, threads=threads, device=device),
    }
    return list(gathered(answers)["requests"])


def _check_options(options: SamplingOptions) -> None:
    if faults := corpora.option_faults(options):
        raise InputError(faults)


def requests_of_best(
    store: Store, tokens: str, options: SamplingOptions, sweep: str | None = None
) -> list[SamplingRequest]:
    """Return a request for the best setting of each scientific point of a sweep: all its seeds are teachers.

    ``tokens`` is a number or a formula over the knobs and columns of the setting. Raise InputError.
    """
    rows = best_runs(tables.load(store.location.uri), sweep)
    return [request_of(row[TRIAL], tokens, options, row) for row in rows]


def request_of(
    teachers: str, tokens: str, options: SamplingOptions, scope: Mapping[str, Any] = NOTHING
) -> SamplingRequest:
    """Return the request for a text of ``tokens``, a number such as ``10M`` or a formula over ``scope``.

    Raise InputError.
    """
    try:
        return SamplingRequest(teachers, _whole(tokens, number(tokens)), options)
    except InputError:
        raise
    except ValueError:
        formula = parse(tokens)
    if missing := sorted(formula.names - set(scope)):
        accepted = "a number such as 10M" + (", or a formula over knobs and columns" if scope else "")
        raise InputError(f"tokens = {tokens!r}: {', '.join(missing)} is not known (accepted: {accepted})")
    return SamplingRequest(teachers, _whole(tokens, formula(scope)), options)


def _whole(tokens: str, found: object) -> int:
    """Return the number that ``tokens`` means, rounded down. Raise InputError."""
    if not isinstance(found, int | float) or not 0 < found < MOST_TOKENS:
        raise InputError(f"tokens = {tokens!r} is {shown(found)} (accepted: a positive number below {MOST_TOKENS:,})")
    return int(found)
