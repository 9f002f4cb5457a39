"""What a sweep file says of kept models: which options are accepted, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.ensemble import Ensemble
from sweeplaw.trials.workloads.ensemble.tasks import Evaluation

KINDS = (Ensemble, Evaluation)
FIRST, SECOND = "a" * 20, "b" * 20


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A store without weights."""
    Store.open(tmp_path / "store", create=True)
    return str(tmp_path / "store")


@pytest.mark.parametrize("kind", KINDS)
def test_a_relative_store_starts_at_the_folder_of_the_sweep_and_a_uri_is_kept(kind: Any) -> None:
    for folder, store, found in (
        ("/sweeps", "kept", "/sweeps/kept"),
        ("/sweeps", "/elsewhere", "/elsewhere"),
        ("/sweeps", "s3://bucket/kept", "s3://bucket/kept"),
        (None, "kept", "kept"),
    ):
        assert kind.of("", {"store": store, "folder": folder}).store == found


@pytest.mark.parametrize(("kind", "name"), [(Ensemble, "ensemble"), (Evaluation, "evaluation")])
def test_all_faults_of_the_options_are_named_at_once(kind: Any, name: str) -> None:
    with pytest.raises(InputError) as caught:
        kind.of("x", {"stor": "kept"})
    assert caught.value.faults == (
        f"workload.stor is no option of {name} (accepted: store)",
        f"workload = '{name}:x' is not known (accepted: '{name}')",
        "workload.store: missing (accepted: the path or URI of the store that keeps the weights)",
    )
    for store in ("", 3):
        with pytest.raises(InputError, match=r"workload\.store: missing"):
            kind.of("", {"store": store})


def evaluated(workload: Ensemble, **values: str) -> TrialSpec:
    return TrialSpec.of(workload.name, workload.knobs, values)


def test_models_that_are_not_kept_are_all_named_and_cost_what_is_not_known(empty: str) -> None:
    workload = Ensemble(empty)
    specs = [evaluated(workload, subset=subset) for subset in (FIRST, f"{FIRST},{SECOND}")]
    with pytest.raises(InputError) as caught:
        workload.check(specs)
    assert [fault.count("keeps no weights of trial") for fault in caught.value.faults] == [1, 1]
    assert FIRST in str(caught.value)
    assert SECOND in str(caught.value)
    assert workload.cost(specs[0]) == Cost()


def test_tasks_that_cannot_be_read_and_models_that_are_not_kept_are_refused_together(
    empty: str, tmp_path: Path
) -> None:
    workload = Evaluation(empty, folder=str(tmp_path))
    named = ("choice:nowhere.jsonl", "lm-eval:nothing.yaml")
    texts = [workload.resolve({"subset": FIRST, "task": task}) for task in named]
    with pytest.raises(InputError) as caught:
        workload.check([evaluated(workload, **values) for values in texts])
    assert len(caught.value.faults) == 3
    for part in ("nowhere.jsonl", "nothing", "keeps no weights"):
        assert part in str(caught.value)
