"""Resources of this machine for trials: never more than its control groups allow."""

import os
from pathlib import Path

import psutil
import pytest

from sweeplaw.clusters.profile.capacity import (
    OBJECT_STORE_BYTES,
    memory_for_trials,
    object_store_bytes,
    usable_cores,
    usable_memory,
)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of version 2 without a limit: the root, and a job's below it."""
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    (tmp_path / "groups" / "slice" / "job").mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slice/job\n")
    (tmp_path / "groups" / "slice" / "job" / "memory.max").write_text("max\n")
    return tmp_path / "groups"


def test_without_limits_all_memory_of_the_machine_is_usable(groups: Path) -> None:
    assert usable_memory(groups, groups.parent / "own") == psutil.virtual_memory().total


@pytest.mark.parametrize("group", ["", "slice", "slice/job"])
def test_a_limit_of_any_enclosing_group_applies(groups: Path, group: str) -> None:
    (groups / group / "memory.max").write_text("1000000\n")
    assert usable_memory(groups, groups.parent / "own") == 10**6


def test_limits_of_version_1_apply_and_those_of_other_groups_do_not(groups: Path) -> None:
    (groups / "slice" / "other").mkdir()
    (groups / "slice" / "other" / "memory.max").write_text("5\n")
    (groups.parent / "memory.max").write_text("6\n")  # not a group
    whole = usable_memory(groups, groups.parent / "own")
    assert whole == psutil.virtual_memory().total
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")  # no limit, in version 1
    assert usable_memory(groups, groups.parent / "absent") == whole
    (groups / "memory" / "memory.limit_in_bytes").write_text("2000000\n")
    assert usable_memory(groups, groups.parent / "absent") == 2 * 10**6


@pytest.mark.parametrize(("granted", "mebibytes"), [("100", 100), ("0", None)])
def test_the_memory_granted_by_slurm_applies_without_a_control_group(
    groups: Path, monkeypatch: pytest.MonkeyPatch, granted: str, mebibytes: int | None
) -> None:
    whole = usable_memory(groups, groups.parent / "own")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", granted)
    assert usable_memory(groups, groups.parent / "own") == (mebibytes * 2**20 if mebibytes else whole)


def test_trials_get_the_memory_that_the_object_store_leaves() -> None:
    assert memory_for_trials(None) is None
    assert memory_for_trials(4 * 2**30) == 4 * 2**30 - OBJECT_STORE_BYTES
    assert memory_for_trials(2**29) == 2**28, "a small machine has something left"
    assert 80 * 2**20 <= object_store_bytes() <= OBJECT_STORE_BYTES


def test_usable_memory_is_at_most_the_machines() -> None:
    memory = usable_memory()
    assert memory is not None
    assert 10**8 < memory <= psutil.virtual_memory().total
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
