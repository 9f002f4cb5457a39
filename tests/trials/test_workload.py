"""The context that a workload, or a function of the user, receives, and what a workload says it can do."""

from pathlib import Path

import pytest

from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry


def test_shrink_is_the_micro_batch_divisor(tmp_path: Path) -> None:
    assert Context("cpu", tmp_path, micro_batch_divisor=4).shrink == 4


def test_checkpoints_of_a_trial_are_in_scratch_space_if_checkpoints_are_disabled(tmp_path: Path) -> None:
    assert Context("cpu", tmp_path).own_folder("a") == f"{tmp_path}/checkpoints/a"
    assert Context("cpu", tmp_path, checkpoints="s3://bucket/kept/").own_folder("a") == "s3://bucket/kept/a"


@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_script_trains_alone_on_one_device_and_keeps_no_weights_for_us(checkpoints: bool, tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("true")
    options = {"argv": ["/bin/sh", "train.sh"], "folder": str(tmp_path), "checkpoints": checkpoints}
    script = registry.load("command", options)
    assert (script.spreads, script.stacks, script.keeps, script.resumes) == (False, False, False, checkpoints)
