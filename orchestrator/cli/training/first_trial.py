"""The first trial of a sweep of language models, which commands train a few steps of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeplaw.trials.spec import TrialSpec
    from sweeplaw.trials.workloads.language_model import LanguageModel


def first_trial(sweep: str) -> tuple[LanguageModel, TrialSpec]:
    """Return the workload of a sweep file and its first trial. Raise InputError if it trains no language models, or if
    its data is missing.
    """
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import read
    from sweeplaw.orchestrator.search.space import Space
    from sweeplaw.trials.errors import InputError
    from sweeplaw.trials.workloads.language_model import LanguageModel

    parsed = read(sweep)
    workload = parsed.workload
    if not isinstance(workload, LanguageModel):
        raise InputError(f"{sweep} is a sweep of the workload {workload.name!r} (accepted: 'language_model')")
    groups = Space(parsed).examples if parsed.search.proposes else plan(parsed).groups
    if not groups:
        raise InputError(f"{sweep} has no trials")
    spec = groups[0].spec(0)
    workload.check([spec])
    return workload, spec
