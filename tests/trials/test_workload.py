"""The context that a workload, or a function of the user, receives."""

from pathlib import Path

from sweeplaw.trials.workload import Context


def test_shrink_is_the_micro_batch_divisor(tmp_path: Path) -> None:
    assert Context("cpu", tmp_path, micro_batch_divisor=4).shrink == 4


def test_checkpoints_of_a_trial_are_in_scratch_space_if_checkpoints_are_disabled(tmp_path: Path) -> None:
    assert Context("cpu", tmp_path).own_folder("a") == f"{tmp_path}/checkpoints/a"
    assert Context("cpu", tmp_path, checkpoints="s3://bucket/kept/").own_folder("a") == "s3://bucket/kept/a"
